"""A process's books from what it exports: ``/metrics`` while it lives, the last line of its log when it has gone."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from tests.support.delivery.history import Books

RESIDENT = "process_resident_memory_bytes"
STARTED = "process_start_time_seconds"
_TERMS = ("received", "published", "conflated", "rejected", "dropped", "withheld", "superseded", "repeated")


def samples_of(text: str) -> Counter[str]:
    """Rows by outcome, unanswered ones, messages, memory, the process's start: of one ``/metrics`` answer."""
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            match sample.name:
                case "tickershard_rows_total":
                    outcome, reason = sample.labels["outcome"], sample.labels["reason"]
                    found[outcome] += int(sample.value)
                    if (outcome, reason) == ("dropped", "unanswered"):
                        found["unanswered"] += int(sample.value)
                case "tickershard_rows_in_flight":
                    found["in_flight"] = int(sample.value)
                case "tickershard_messages_total":
                    found["messages"] = int(sample.value)
                case "tickershard_messages_lost_total":
                    found["lost_messages"] = int(sample.value)
                case name if name in (RESIDENT, STARTED):
                    found[name] = int(sample.value)
    return found


def books_of_samples(samples: Mapping[str, int], *, shard: str, process: str, final: bool) -> Books:
    """The books of a living process."""
    terms = {name: int(samples.get(name, 0)) for name in _TERMS}
    rest = {name: int(samples.get(name, 0)) for name in ("in_flight", "messages", "lost_messages", "unanswered")}
    return Books(time.monotonic_ns(), shard, process, **terms, **rest, final=final)


def books_of_last_line(text: str, *, shard: str, process: str) -> Books:
    """The books in the line with which a shard ends; messages are not among them, so they are not final."""
    numbers = {name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", text)}
    terms = {name: numbers.get(name, 0) for name in (*_TERMS, "in_flight")}
    return Books(time.monotonic_ns(), shard, process, **terms)
