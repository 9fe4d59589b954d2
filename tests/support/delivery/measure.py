"""How long each fault took to be noticed, and how long until every value was right again. Pure; nothing here judges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from tests.support.delivery.history import SECOND_NS, Bounds, Fault, History, Interval
from tests.support.delivery.intervals import length_ns, union
from tests.support.delivery.values import staleness, versions_of


@dataclass(frozen=True, slots=True)
class Measured:
    """One fault.

    Attributes
    ----------
    detected_s
        From its start to the first line that a process logged about it; `None`: nobody said anything.
    recovered_s
        From its end until no instrument was behind any more because of it; 0: already so.
    behind_s
        The longest that any instrument was behind.
    declared_s
        How much of the time from its start until then gap records of its account cover.
    """

    fault: Fault
    detected_s: float | None
    recovered_s: float
    behind_s: float
    declared_s: float


def measure(history: History, bounds: Bounds) -> list[Measured]:
    """Every fault, in order of time."""
    stale = [one for one in staleness(history, versions_of(history)) if length_ns(one.interval) > bounds.fresh_ns // 4]
    measured = []
    ordered = sorted(history.faults, key=lambda fault: fault.start_ns)
    for place, fault in enumerate(ordered):
        following = (other.start_ns for other in ordered[place + 1 :])
        until_ns = min(next(following, history.end_ns), fault.end_ns + fault.recover_ns + bounds.fresh_ns)
        touched = [
            one.interval
            for one in stale
            if fault.start_ns - bounds.fresh_ns <= one.interval.start_ns <= max(until_ns, fault.end_ns)
            and one.interval.end_ns > fault.start_ns
        ]
        signs = (
            sign.at_ns
            for sign in history.signs
            if fault.start_ns <= sign.at_ns <= max(until_ns, fault.end_ns) and _is_of(fault, sign.process)
        )
        first_ns = next(signs, None)
        over_ns = max((interval.end_ns for interval in touched), default=fault.end_ns)
        measured.append(
            Measured(
                fault,
                None if first_ns is None else (first_ns - fault.start_ns) / SECOND_NS,
                max(0, over_ns - fault.end_ns) / SECOND_NS,
                max((length_ns(interval) for interval in touched), default=0) / SECOND_NS,
                _declared_ns(history, fault, until_ns=max(over_ns, fault.end_ns)) / SECOND_NS,
            )
        )
    return measured


def _is_of(fault: Fault, process: str) -> bool:
    """Whether a process belongs to the account that was struck; processes are named after it."""
    return fault.shard is None or fault.shard.rpartition(".")[2] in process


def _declared_ns(history: History, fault: Fault, *, until_ns: int) -> int:
    told = (gap for gap in history.gaps if fault.shard in (None, gap.shard))
    parts = (Interval(max(gap.start_ns, fault.start_ns), min(gap.end_ns, until_ns)) for gap in told)
    return sum(length_ns(part) for part in union(part for part in parts if part.start_ns < part.end_ns))


def middle(values: Iterable[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def worst(values: Iterable[float | None]) -> float | None:
    """The largest that is known."""
    return max((value for value in values if value is not None), default=None)
