"""When rows leave, and which. Reads no clock, touches no socket, never loses a row without a name for it.

One queue a channel. A batch leaves when its frame is complete and nothing is outstanding in the channel; a frame
that stays incomplete leaves after `window_ms`, or with `ticks_max` rows. While a call is outstanding rows wait,
because the next call could not be answered sooner, and the longer the wait the more of them are conflated.

A queue is bounded: above its ceiling (twice the channel's instruments plus one batch), or a tighter one while it is
told to conflate (one and a half times the instruments; when that is, `backpressure` decides), only the newest row of
each instrument is kept. So memory does not depend on how long Redis is gone. The room above the newest rows is what
makes it cheap: looking through a queue costs as much as a frame, and is done once for many. Conflated rows are counted
by the caller, from the answer of `offer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.publish.limits import BATCH_TICKS_MAX, MS_NS
from ticker_shard.ticks.rows import TickRows, empty_rows, join_rows


@dataclass(frozen=True, slots=True)
class Queued:
    """All rows are queued."""


@dataclass(frozen=True, slots=True)
class Conflated:
    """Queued, and this many older rows of the same instruments were given up."""

    rows: int


Offered: TypeAlias = Queued | Conflated
_QUEUED: Final = Queued()


class FlushReason(StrEnum):
    """Why a batch leaves."""

    FRAME_COMPLETE = "frame_complete"
    TICKS_MAX = "ticks_max"
    WINDOW_OVER = "window_over"


@dataclass(frozen=True, slots=True)
class Flush:
    """Take a batch now."""

    reason: FlushReason


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing leaves before `until_ns`; `None`: before something happens."""

    until_ns: int | None


Due: TypeAlias = Flush | Wait


def newest_positions(slots: NDArray[np.int32]) -> NDArray[np.intp]:
    """Where the newest row of each slot stands, in order of arrival."""
    if not len(slots):
        return np.zeros(0, np.intp)
    places = np.arange(len(slots))
    last = np.empty(int(slots.max()) + 1, np.intp)
    last[slots] = places  # of places with the same slot the last one stays
    return np.flatnonzero(last[slots] == places)


@dataclass(slots=True)
class _Queue:
    ceiling: int  # rows
    tight: int = 0  # rows, while it is told to conflate
    blocks: list[TickRows] = field(default_factory=list)
    rows: int = 0
    complete: int = 0  # the first so many rows belong to complete frames
    since_ns: int = 0  # when the oldest incomplete row came


class TickBatcher:
    """Queues of rows, one a channel.

    Parameters
    ----------
    window_ms
        Rows of an incomplete frame leave after so long.
    ticks_max
        Rows leave as soon as there are so many; a message has no more.

    Attributes
    ----------
    ticks_max
        As given.
    """

    def __init__(self, *, window_ms: int, ticks_max: int) -> None:
        assert window_ms > 0, window_ms
        assert 0 < ticks_max <= BATCH_TICKS_MAX, ticks_max
        self._window_ns = window_ms * MS_NS
        self.ticks_max = ticks_max
        self._queues: dict[str, _Queue] = {}
        self._conflating = False
        self._overflowed = False  # since `fill` was asked last

    def configure(self, instruments: Mapping[str, int]) -> None:
        """Set the channels and how many instruments each has; a queue that vanishes must be empty."""
        for channel in [channel for channel in self._queues if channel not in instruments]:
            assert not self._queues[channel].rows, f"{channel} still holds rows"
            del self._queues[channel]
        for channel, count in instruments.items():
            queue = self._queues.setdefault(channel, _Queue(0))
            queue.ceiling, queue.tight = 2 * count + self.ticks_max, count + count // 2

    def conflate(self, on: bool) -> int:
        """Keep only the newest row per instrument from now on, or no longer; rows given up."""
        self._conflating = on
        return sum(self._shrink(queue) for queue in self._queues.values()) if on else 0

    def offer(self, channel: str, rows: TickRows, *, now_ns: int) -> Offered:
        """Queue `rows`, which came in this order."""
        queue, count = self._queues[channel], len(rows)
        if not count:
            return _QUEUED
        if queue.rows <= queue.complete:
            queue.since_ns = now_ns
        queue.blocks.append(rows)
        queue.rows += count
        if queue.rows <= (queue.tight if self._conflating else queue.ceiling):
            return _QUEUED
        self._overflowed |= queue.rows > queue.ceiling
        lost = self._shrink(queue)
        return Conflated(lost) if lost else _QUEUED

    def frame_complete(self) -> None:
        """Everything queued belongs to complete frames."""
        for queue in self._queues.values():
            queue.complete = queue.rows

    def due(self, channel: str, *, now_ns: int, outstanding: bool) -> Due:
        """Whether a batch leaves now.

        Parameters
        ----------
        channel
            The channel.
        now_ns
            Now.
        outstanding
            Whether a call of this channel waits for its answer.
        """
        queue = self._queues[channel]
        if outstanding or not queue.rows:
            return Wait(None)
        if queue.complete:
            return Flush(FlushReason.FRAME_COMPLETE)
        if queue.rows >= self.ticks_max:
            return Flush(FlushReason.TICKS_MAX)
        until_ns = queue.since_ns + self._window_ns
        return Flush(FlushReason.WINDOW_OVER) if now_ns >= until_ns else Wait(until_ns)

    def take(self, channel: str, *, rows_max: int) -> TickRows:
        """The oldest rows, at most `rows_max`."""
        queue = self._queues[channel]
        count = min(queue.rows, rows_max)
        taken: list[TickRows] = []
        wanted = count
        while wanted:
            block = queue.blocks.pop(0)
            if len(block) > wanted:
                # What stays is copied, so that it does not keep the whole of a taken block alive.
                queue.blocks.insert(0, block.take(np.arange(wanted, len(block))))
                block = block.take(slice(0, wanted))
            taken.append(block)
            wanted -= len(block)
        queue.rows -= count
        queue.complete = max(0, queue.complete - count)
        return join_rows(taken)

    def take_out(self, channel: str, wanted: NDArray[np.bool_]) -> TickRows:
        """Every queued row whose slot is marked in `wanted` (by slot), in order of arrival."""
        queue = self._queues[channel]
        if not queue.rows:
            return empty_rows()
        rows = join_rows(queue.blocks)
        out = wanted[rows.slot]
        kept = rows.take(~out)
        queue.complete = int(np.count_nonzero(~out[: queue.complete]))
        queue.blocks, queue.rows = ([kept] if len(kept) else []), len(kept)
        return rows.take(out)

    def discard(self, channel: str) -> int:
        """Empty the queue; how many rows there were."""
        queue = self._queues[channel]
        count = queue.rows
        queue.blocks, queue.rows, queue.complete = [], 0, 0
        return count

    def queued(self, channel: str) -> int:
        """Rows in one queue."""
        return self._queues[channel].rows

    def anything_queued(self) -> bool:
        """Whether rows wait anywhere."""
        return any(queue.rows for queue in self._queues.values())

    def fill(self) -> float:
        """How full the fullest queue is, 1 = its ceiling; 1 too if one had to conflate since the last answer."""
        overflowed, self._overflowed = self._overflowed, False
        fullest = max((queue.rows / queue.ceiling for queue in self._queues.values()), default=0.0)
        return max(fullest, float(overflowed))

    def in_flight(self) -> int:
        """Rows in all queues, counted."""
        return sum(len(block) for queue in self._queues.values() for block in queue.blocks)

    def _shrink(self, queue: _Queue) -> int:
        if not queue.rows:
            return 0
        rows = join_rows(queue.blocks)
        kept = newest_positions(rows.slot)
        lost = len(rows) - len(kept)
        if lost:
            queue.complete = int(np.searchsorted(kept, queue.complete))
            queue.blocks, queue.rows = [rows.take(kept)], len(kept)
        return lost
