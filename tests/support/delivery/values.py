"""Properties 1, 2 and 6: what the consumer has against what the market had. Pure.

A consumer is *stale* from the moment the market has a version that is owed and newer than the consumer's, until one
arrives. Stale for no longer than `fresh_ns` is the way a tick takes. Longer must be

* *declared* (6): no stretch of it longer than `fresh_ns` lies outside gap records and times when the consumer itself
  knew that it was blind; and
* *over in time* (1): it ends within the recovery bound of a fault that can have caused it. Without a fault nothing may
  stay stale, declared or not, for longer than the bound allows; and at the end of the run nothing may be stale at all.

The other half of (6): inside a record, `fresh_ns` away from its ends, no row of its instruments was both received and
given out.
(2): every digest that came, by message, from the client or from the hash, had been sent before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from tests.support.delivery.history import (
    MARKET,
    SECOND_NS,
    Bounds,
    GapTold,
    Given,
    History,
    Instrument,
    Interval,
    Property,
    Sent,
    Violation,
    account_of,
)
from tests.support.delivery.intervals import length_ns, longest, uncovered


class Versions:
    """One instrument's way: when each version was there first, which are owed, which digests carried them."""

    def __init__(self, instrument: Instrument, entries: Sequence[Sent]) -> None:
        self.known: list[int] = []  # owed versions, ascending
        self.since_ns: list[int] = []
        self._carried: dict[int, list[tuple[int, int]]] = defaultdict(list)  # digest → (at, version), ascending
        doubtful = {entry.version for entry in entries if entry.doubtful} | overtaking(entries)
        first: dict[int, int] = {}
        for entry in entries:
            if entry.socket != MARKET:
                self._carried[entry.digest].append((entry.at_ns, entry.version))
            # A mode that shows less than the full row owes only what it shows: what was sent.
            if entry.version not in doubtful and (instrument.full or entry.socket != MARKET):
                first.setdefault(entry.version, entry.at_ns)
        for version in sorted(first):
            self.known.append(version)
            self.since_ns.append(first[version])

    def carried_by(self, digest: int, *, at_ns: int) -> int | None:
        """The newest version that had been sent with this digest by then; `None`: never sent."""
        times = self._carried.get(digest, ())
        place = bisect_right(times, at_ns, key=lambda entry: entry[0])
        return max((version for _, version in times[:place]), default=None)

    def stale_since_ns(self, held: int) -> int | None:
        """Since when there is something newer than `held` that is owed."""
        place = bisect_right(self.known, held)
        return self.since_ns[place] if place < len(self.known) else None


def overtaking(entries: Iterable[Sent]) -> set[int]:
    """Versions that a fault let overtake an older one on their socket.

    The older packet arrives last. If second and volume are the same, nobody can tell that it is not the newer one, so
    it may be what is given out until the next change. (If they are not, going back is a violation of its own.)
    """
    found: set[int] = set()
    newest: dict[int, int] = {}
    for entry in entries:
        if entry.socket == MARKET:
            continue
        before = newest.get(entry.socket, 0)
        if entry.doubtful and entry.version < before:
            found.add(before)
        newest[entry.socket] = max(before, entry.version)
    return found


@dataclass(frozen=True, slots=True)
class Stale:
    """A consumer's instrument was behind; `held` is what it had, `over` whether the run saw its end."""

    instrument: Instrument
    channel: str
    interval: Interval
    held: int
    over: bool


def versions_of(history: History) -> dict[int, Versions]:
    """Each instrument's way, by token."""
    entries: dict[int, list[Sent]] = defaultdict(list)
    for entry in history.sent:
        entries[entry.token].append(entry)
    return {one.token: Versions(one, entries[one.token]) for one in history.instruments}


def check_invention(history: History, versions: dict[int, Versions]) -> Iterator[Violation]:
    """(2) Every value received was sent."""
    seen = (
        *((told.at_ns, f"message {told.seq} in {told.channel}", token, digest) for told in history.told
          for token, digest in told.rows),
        *((given.at_ns, f"client in {given.channel}", given.token, given.digest) for given in history.given),
        *((stored.at_ns, f"hash of {stored.channel}", stored.token, stored.digest) for stored in history.stored),
    )  # fmt: skip
    for at_ns, where, token, digest in seen:
        way = versions.get(token)
        if way is None or way.carried_by(digest, at_ns=at_ns) is None:
            yield Violation(Property.NO_INVENTION, at_ns, f"{where}: token {token} with a content never sent before")


def staleness(history: History, versions: dict[int, Versions]) -> Iterator[Stale]:
    """Every stretch in which the client's output was behind the market, however short."""
    outputs: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for given in history.given:
        way = versions.get(given.token)
        version = None if way is None else way.carried_by(given.digest, at_ns=given.at_ns)
        if version is not None:
            outputs[given.channel, given.token].append((given.at_ns, version))
    for instrument in history.instruments:
        for channel in instrument.channels:
            yield from _stale_of(
                instrument, channel, versions[instrument.token], outputs[channel, instrument.token], history
            )


def _stale_of(
    instrument: Instrument, channel: str, way: Versions, outputs: Sequence[tuple[int, int]], history: History
) -> Iterator[Stale]:
    """Between two outputs the consumer holds one version: it is stale from that version's first successor on."""
    held, floor_ns = 0, history.start_ns
    for next_ns, version in (*outputs, (history.end_ns, None)):
        since_ns = way.stale_since_ns(held)
        if since_ns is not None and version != held:
            start_ns = max(since_ns, floor_ns)
            if start_ns < next_ns:
                yield Stale(instrument, channel, Interval(start_ns, next_ns), held, version is not None)
        if version is not None and version != held:
            # After a step back the newer values were known until now.
            floor_ns = max(history.start_ns, next_ns) if version < held else history.start_ns
            held = version


def check_staleness(history: History, bounds: Bounds, stale: Iterable[Stale]) -> Iterator[Violation]:
    """(1) and the first half of (6)."""
    gaps: dict[str, list[GapTold]] = defaultdict(list)
    for gap in history.gaps:
        gaps[gap.channel].append(gap)
    shards = publishers(history)
    for one in stale:
        if length_ns(one.interval) <= bounds.fresh_ns:
            continue
        where = f"{one.channel} {one.instrument.symbol}"
        covers = [Interval(gap.start_ns, gap.end_ns) for gap in gaps[one.channel] if gap.covers(one.instrument)]
        hole = longest(uncovered(one.interval, [*covers, *history.blind]))
        if hole is not None and history.ran_ns(hole) > bounds.fresh_ns:
            yield Violation(
                Property.GAP_HONESTY,
                hole.start_ns,
                f"{where}: behind for {seconds(length_ns(hole))} without a gap record"
                f" (of {seconds(length_ns(one.interval))})",
            )
        if not one.over:
            yield Violation(
                Property.LAST_VALUE, one.interval.end_ns, f"{where}: not the last value, for "
                f"{seconds(length_ns(one.interval))} at the end",
            )  # fmt: skip
        elif (late := _late(one.interval, history, bounds, shards[one.channel, one.instrument.token])) is not None:
            yield Violation(
                Property.LAST_VALUE, late.start_ns,
                f"{where}: behind for {seconds(length_ns(late))} when every fault should have been over",
            )  # fmt: skip


def _late(interval: Interval, history: History, bounds: Bounds, shards: set[str]) -> Interval | None:
    """The longest stretch, above the bound, in which no fault and no recovery of one explains it."""
    left = longest(uncovered(interval, [*_excuses(history, shards), *history.blind]))
    return left if left is not None and history.ran_ns(left) > bounds.fresh_ns else None


def _excuses(history: History, shards: set[str]) -> list[Interval]:
    """When a fault of these shards was in force or had the right to be felt still.

    A recovery that another fault disturbs begins anew when that one is over.
    """
    faults = sorted(
        (one for one in history.faults if one.shard is None or one.shard in shards), key=lambda one: one.start_ns
    )
    excuses: list[Interval] = []
    for fault in faults:
        until_ns = fault.end_ns + fault.recover_ns
        for other in faults:
            if fault.start_ns <= other.start_ns <= until_ns:
                until_ns = max(until_ns, other.end_ns + fault.recover_ns)
        excuses.append(Interval(fault.start_ns, until_ns))
    return excuses


def publishers(history: History) -> dict[tuple[str, int], set[str]]:
    """Which accounts ever published an instrument in a channel."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for given in history.given:
        if given.shard:
            found[given.channel, given.token].add(account_of(given.shard))
    return found


def check_stored(history: History, bounds: Bounds, versions: dict[int, Versions]) -> Iterator[Violation]:
    """(1) in the hash: a last value that was looked up is no older than the consumer's may be."""
    gaps: dict[str, list[GapTold]] = defaultdict(list)
    for gap in history.gaps:
        gaps[gap.channel].append(gap)
    instruments = {one.token: one for one in history.instruments}
    shards = publishers(history)
    for stored in history.stored:
        way, instrument = versions.get(stored.token), instruments.get(stored.token)
        if way is None or instrument is None or not history.start_ns <= stored.at_ns <= history.end_ns:
            continue
        version = way.carried_by(stored.digest, at_ns=stored.at_ns)
        since_ns = None if version is None else way.stale_since_ns(version)
        if since_ns is None or stored.at_ns - since_ns <= bounds.fresh_ns:
            continue
        stale = Interval(max(since_ns, history.start_ns), stored.at_ns)
        excused = _excuses(history, shards[stored.channel, stored.token])
        covers = [Interval(gap.start_ns, gap.end_ns) for gap in gaps[stored.channel] if gap.covers(instrument)]
        left = longest(uncovered(stale, [*excused, *covers, *history.blind]))
        if left is not None and history.ran_ns(left) > bounds.fresh_ns:
            yield Violation(
                Property.LAST_VALUE, stored.at_ns,
                f"{stored.channel} {instrument.symbol}: the stored value is {seconds(length_ns(stale))} old",
            )  # fmt: skip


def check_false_gaps(history: History, bounds: Bounds) -> Iterator[Violation]:
    """The second half of (6): inside a record nothing of its instruments was both received and given out.

    A successor's rewrite repeats what it received before: that is no flow.
    """
    arrivals: dict[tuple[str, str, int], list[Given]] = defaultdict(list)
    for given in history.given:
        if not given.snapshot:
            arrivals[given.channel, account_of(given.shard), given.token].append(given)
    for gap in history.gaps:
        low, high = gap.start_ns + bounds.fresh_ns, gap.end_ns - bounds.fresh_ns
        # After a loss of Redis's data a predecessor that was never told may speak once more (docs/handover.md).
        if low >= high or history.lost_data(gap.end_ns, within_ns=bounds.beat_ns):
            continue
        for instrument in history.instruments:
            if not gap.covers(instrument):
                continue
            rows = arrivals.get((gap.channel, gap.shard, instrument.token), [])
            start = bisect_left(rows, low, key=lambda given: given.at_ns)
            end = bisect_right(rows, high, key=lambda given: given.at_ns)
            flowed = next((given for given in islice(rows, start, end) if given.received_ns >= low), None)
            if flowed is not None:
                yield Violation(
                    Property.GAP_HONESTY, flowed.at_ns,
                    f"{gap.channel} {instrument.symbol}: a value came {seconds(flowed.at_ns - gap.start_ns)} into a "
                    f"gap record of {seconds(gap.end_ns - gap.start_ns)} ({gap.cause})",
                )  # fmt: skip


def seconds(ns: int) -> str:
    """For people."""
    return f"{ns / SECOND_NS:.2f} s"
