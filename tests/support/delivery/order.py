"""Properties 3 and 5: numbers and times that only go up, and one owner at a time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.support.delivery.history import Bounds, History, Interval, Property, RecordSeen, Violation, account_of
from tests.support.delivery.intervals import length_ns, longest, uncovered
from tests.support.delivery.values import seconds


def check_numbers(history: History) -> Iterator[Violation]:
    """(3) `seq` never goes back within (shard, process, epoch, channel)."""
    last: dict[tuple[str, str, int, str], int] = {}
    for told in history.told:
        key = (told.shard, told.process, told.epoch, told.channel)
        if told.seq <= last.get(key, 0):
            yield Violation(
                Property.MONOTONIC, told.at_ns,
                f"{told.channel} {told.process}: seq {told.seq} after {last[key]} in epoch {told.epoch}",
            )  # fmt: skip
        last[key] = max(told.seq, last.get(key, 0))


def check_times(history: History, bounds: Bounds) -> Iterator[Violation]:
    """(3) What the client gives out never goes back in exchange time, unless the earlier row's time was wrong."""
    last: dict[tuple[str, int], tuple[int, int]] = {}
    for given in history.given:
        if not given.exchange_s:
            continue  # ltp and quote packets carry none: only their order of arrival is promised
        key = (given.channel, given.token)
        known_s, known_received_ns = last.get(key, (0, 0))
        lost = given.snapshot and history.lost_data(given.at_ns)
        corrected = given.received_ns - known_received_ns >= bounds.wrong_time_ns
        if given.exchange_s < known_s and not corrected and not lost:
            yield Violation(
                Property.MONOTONIC, given.at_ns,
                f"{given.channel} token {given.token}: exchange time {given.exchange_s} after {known_s}",
            )  # fmt: skip
        last[key] = (given.exchange_s, given.received_ns)


def check_owners(history: History, bounds: Bounds) -> Iterator[Violation]:
    """(5) One process an epoch, epochs that only go up, as told in messages and as seen in the records."""
    holders: dict[tuple[str, str, int], str] = {}
    newest: dict[tuple[str, str, str], int] = {}
    seen = [
        *((one.at_ns, "message", one.channel, one.shard, one.epoch, one.process) for one in history.told),
        *((one.at_ns, "record", one.channel, one.shard, one.epoch, one.holder) for one in history.records),
    ]
    seen.sort(key=lambda one: one[0])  # stable: what came at the same time stays in the order of arrival
    for at_ns, where, channel, shard, epoch, process in seen:
        if not epoch:
            continue  # a record that is missing
        holder = holders.setdefault((channel, shard, epoch), process)
        if holder != process:
            yield Violation(
                Property.OWNERSHIP, at_ns, f"{channel} {shard}: epoch {epoch} of {holder} used by {process} too"
            )
        before = newest.get((where, channel, shard), 0)
        if epoch < before and not history.lost_data(at_ns, within_ns=bounds.beat_ns):
            yield Violation(
                Property.OWNERSHIP, at_ns, f"{channel} {shard}: {where} of epoch {epoch} after epoch {before}"
            )
        newest[where, channel, shard] = max(before, epoch)


def check_someone_owns(history: History, bounds: Bounds) -> Iterator[Violation]:
    """(5) Outside declared gaps each channel's record is kept moving by somebody."""
    looks: dict[tuple[str, str], list[RecordSeen]] = defaultdict(list)
    for seen in history.records:
        if history.start_ns <= seen.at_ns <= history.end_ns:
            looks[seen.channel, seen.shard].append(seen)
    for (channel, shard), records in looks.items():
        told = (gap for gap in history.gaps if (gap.channel, gap.shard) == (channel, account_of(shard)))
        declared = [Interval(gap.start_ns, gap.end_ns) for gap in told]
        for still in _standstills(records):
            hole = longest(uncovered(still, [*declared, *history.blind]))
            if hole is not None and history.ran_ns(hole) > bounds.hole_ns:
                yield Violation(
                    Property.OWNERSHIP, hole.start_ns, f"{channel} {shard}: nobody for {seconds(length_ns(hole))}"
                )


def _standstills(records: list[RecordSeen]) -> Iterator[Interval]:
    """From the first to the last look at an unchanged record that is owed: the least time that nobody called."""
    first = last = None
    for seen in records:
        if first is not None and last is not None and seen.owns and (first.epoch, first.n) == (seen.epoch, seen.n):
            last = seen
            continue
        if first is not None and last is not None:
            yield Interval(first.at_ns, last.at_ns)
        first = last = seen if seen.owns else None
    if first is not None and last is not None:
        yield Interval(first.at_ns, last.at_ns)
