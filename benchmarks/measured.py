"""What a run showed, counted at both ends. Pure: arithmetic over what the processes reported.

A *frame* is sent on a schedule, carries a number (its step), and is *complete* when the last of its rows that was
delivered at all has arrived; a frame whose rows were all overtaken by newer ones (conflated) never arrives, and its
latency is NaN. So latencies say how old a value was when it came, and the counts beside them how many never had to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import percentile

TERMS: Final = ("received", "published", "conflated", "rejected", "dropped", "withheld", "superseded")


@dataclass(frozen=True)
class Flood:
    """Ticks sent as fast as taken, and what became of them.

    Attributes
    ----------
    sent, seconds
        Ticks; from the first sent to the last message.
    delivered, priced, missing
        At the subscriber: rows, those with Greeks, message numbers that never came.
    conflated, balanced
        The shard's books.
    """

    sent: int
    seconds: float
    delivered: int
    priced: int
    missing: int
    conflated: int
    balanced: bool

    @property
    def processed_per_s(self) -> float:
        """Received, checked, priced and accounted for, whether or not a newer value overtook it."""
        return self.sent / self.seconds

    @property
    def delivered_per_s(self) -> float:
        """What a subscriber really got."""
        return self.delivered / self.seconds


@dataclass(frozen=True)
class Paced:
    """Frames sent on schedule.

    Attributes
    ----------
    packets
        Ticks in a frame.
    due_s
        (frames,) when each frame was due, from the first.
    latency_us
        (frames,) from then to its last row at the subscriber; NaN where none came.
    unsent
        Frames for which nobody was connected.
    delivered, priced, missing, backwards
        At the subscriber: fresh rows, rows with Greeks, message numbers that never came, rows out of order.
    books
        The shard's ledger, terms by name, since the start of the run.
    balanced
        Its sum.
    newest_arrived
        Instruments whose newest value the subscriber has, of all.
    instruments
        How many those are.
    sender_late_us
        99th percentile of how late the broker itself had a frame in the socket.
    sender_behind_s
        The most that it was late.
    """

    packets: int
    due_s: NDArray[np.float64]
    latency_us: NDArray[np.float64]
    unsent: int
    delivered: int
    priced: int
    missing: int
    backwards: int
    books: Mapping[str, int]
    balanced: bool
    newest_arrived: int
    instruments: int
    sender_late_us: float
    sender_behind_s: float

    @property
    def sent(self) -> int:
        """Ticks that left the broker."""
        return (len(self.due_s) - self.unsent) * self.packets

    @property
    def conflated(self) -> int:
        """Ticks that a newer one of their instrument overtook."""
        return self.books.get("conflated", 0)

    @property
    def sound(self) -> bool:
        """Nothing lost without a word, nothing out of order, nobody left with an old value."""
        return self.balanced and not self.missing and not self.backwards and self.newest_arrived == self.instruments

    @property
    def error_rate(self) -> float:
        """Share of the received that was refused or lost."""
        return (self.books.get("rejected", 0) + self.books.get("dropped", 0)) / max(self.books.get("received", 0), 1)

    def percentile_us(self, share: float) -> float:
        """Of the frames that arrived; NaN if none did."""
        arrived = self.latency_us[~np.isnan(self.latency_us)]
        return percentile(arrived.tolist(), share) if len(arrived) else math.nan

    def calm_after_s(self, *, fault_s: float, window_s: float, share: float, limit_us: float) -> float:
        """How long after `fault_s` a window began of whose frames such a share arrived in time; infinite if none did.

        A window and a share of it, and not "all frames from then on": a process that the machine stops for a moment
        long afterwards has not failed to recover. What comes later is judged by `late_us`.
        """
        start_s = fault_s
        while start_s + window_s <= self.due_s[-1] + window_s / 2:
            if self.late_us(share, since_s=start_s, until_s=start_s + window_s) <= limit_us:
                return start_s - fault_s
            start_s += window_s
        return math.inf

    def late_us(self, share: float, *, since_s: float, until_s: float = math.inf) -> float:
        """Percentile of the frames due in an interval; one that never came is infinitely late. Infinite without any."""
        concerned = self.latency_us[(self.due_s >= since_s) & (self.due_s < until_s)]
        return percentile(np.nan_to_num(concerned, nan=np.inf).tolist(), share) if len(concerned) else math.inf

    def recovery_s(self, *, fault_s: float, until_s: float = math.inf, limit_us: float) -> float:
        """How long after `fault_s` frames were missing or later than `limit_us` again and again.

        From the fault to the arrival of the first frame after which all frames up to `until_s` arrived in time; 0 when
        none was disturbed, infinite when the last one still was.
        """
        concerned = np.flatnonzero((self.due_s >= fault_s) & (self.due_s < until_s))
        bad = np.flatnonzero(~(self.latency_us[concerned] <= limit_us))
        if not len(bad):
            return 0.0
        first_good = bad[-1] + 1
        if first_good == len(concerned):
            return math.inf
        frame = concerned[first_good]
        return float(self.due_s[frame] + self.latency_us[frame] / 1e6 - fault_s)


def difference(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What the ledger's terms grew by."""
    return {term: after.get(term, 0) - before.get(term, 0) for term in TERMS}
