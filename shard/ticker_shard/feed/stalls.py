"""One instrument that has gone quiet on a socket that flows: found by its own rhythm. Pure, columns by slot.

The path of a frame pays nothing for it. Once a second somebody hands over the arrival times of the newest rows, which
are kept anyway; an instrument whose time has changed was heard. What is measured are therefore pauses, to a second,
and nobody is flagged for less than `floor_s`.

An instrument is *stalled* when its pause is longer than `floor_s`, longer than `multiple` times its mean pause, and
longer than `LONGEST_MULTIPLE` times its longest of late, *by two clocks*. One counts seconds; the other counts what the
account's other instruments send. The first alone would take the lull at noon for a fault of everybody, the second
a burst in one underlying for a fault of all others. If arrivals are a Poisson process by either clock, a pause of 25
means has a probability of about 1e-11, and an estimate of the mean from `PAUSES_KNOWN` pauses (10 % off) leaves about
1e-9: at 2 million pauses a day, a false alarm in years. The longest pause covers what is burstier than that.

Where most go quiet at once the second clock all but stands still: then it is the market, or the socket, which has
watchdogs of its own (`ticker_shard.feed.watchdogs`).

Not judged is an instrument whose rhythm is not known, whose socket does not flow, or whose market is shut: its pause
starts again when that is over, because a pause that has another cause teaches nothing.

A stalled instrument is to be subscribed again: it alone, at once if the budget allows, then after waits that double.
The broker answers with its cached packet. Whatever comes ends the stall (nothing else does), and the pause is learnt:
an instrument that was merely quiet is believed to be slow from now on, and does not raise the same alarm twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots

SECOND_NS: Final = 1_000_000_000
HALF_LIFE_S: Final = 3_600.0  # of the longest pause: one long one is not remembered all day
LONGEST_MULTIPLE: Final = 3.0
PAUSES_KNOWN: Final = 100
PAUSES_KEPT: Final = 400  # then the weight of what is past is halved
SECONDS: Final = 0  # the first of the two clocks
RETRY_S: Final = 60.0
RETRY_DOUBLINGS_MAX: Final = 4  # 16 minutes
ASKED_PER_MINUTE_MAX: Final = 60  # over all sockets: were they all false, they would still cost nothing


def _no_slots() -> Slots:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True)
class StallReport:
    """What one look found; all by slot.

    Attributes
    ----------
    stalled
        Newly found.
    ask
        To be subscribed again now: newly found ones and those that are due again, within the budget.
    recovered
        Heard again since the look before.
    silent_since_ns
        For each of `recovered`, wall clock nanoseconds of the last row before the stall.
    """

    stalled: Slots = field(default_factory=_no_slots)
    ask: Slots = field(default_factory=_no_slots)
    recovered: Slots = field(default_factory=_no_slots)
    silent_since_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


class StallWatch:
    """Knows every instrument's rhythm.

    Parameters
    ----------
    floor_s
        Nobody is flagged for a shorter pause.
    multiple
        How many times its mean pause an instrument may be quiet.
    """

    def __init__(self, *, floor_s: float, multiple: float) -> None:
        assert floor_s > 0, floor_s
        assert multiple > 1, multiple
        self._floor_ns, self._multiple = floor_s * SECOND_NS, multiple
        self._identities: tuple[object, ...] = ()
        self._received_ns = np.zeros(0, np.int64)  # at the look before
        self._heard = np.zeros((2, 0), np.float64)  # by either clock, when the present pause began
        self._longest = np.zeros((2, 0), np.float64)
        self._total = np.zeros((2, 0), np.float64)  # of the pauses counted
        self._pauses = np.zeros(0, np.float64)
        self._judged = np.zeros(0, np.bool_)  # at the look before
        self._stalled = np.zeros(0, np.bool_)
        self._asked = np.zeros(0, np.int64)  # times
        self._ask_ns = np.zeros(0, np.int64)  # monotonic; not before
        self._looked_ns: int | None = None
        self._others = 0.0  # the second clock
        self._budget = float(ASKED_PER_MINUTE_MAX)

    @property
    def stalled(self) -> int:
        """How many instruments are stalled now, those left out whose market has shut or whose socket is gone."""
        return int(np.count_nonzero(self._stalled & self._judged))

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`: who stays keeps its rhythm, a slot that changes hands has none."""
        identities = tuple(None if row is None else row.identity for row in table.instruments)
        grown = len(identities) - len(self._identities)
        kept = np.array(
            [new is not None and new == old for new, old in zip(identities, self._identities, strict=False)], np.bool_
        )
        for name in _COLUMNS:
            column = getattr(self, name)[..., : len(identities)]
            column = np.where(kept, column, np.zeros((), column.dtype))
            setattr(self, name, np.pad(column, [*[(0, 0)] * (column.ndim - 1), (0, max(grown, 0))]))
        self._identities = identities

    def look(self, received_ns: NDArray[np.int64], judged: NDArray[np.bool_], *, now_ns: int) -> StallReport:
        """Compare with the look before.

        Parameters
        ----------
        received_ns
            (capacity,) wall clock nanoseconds of the newest row; 0 where there is none.
        judged
            (capacity,) bool: confirmed, the socket flows, and the market is open.
        now_ns
            Monotonic.
        """
        assert len(received_ns) == len(judged) == len(self._identities), (len(received_ns), len(self._identities))
        elapsed_ns = 0 if self._looked_ns is None else now_ns - self._looked_ns
        self._looked_ns = now_ns
        heard = received_ns != self._received_ns  # an inequality: the wall clock may be set back
        self._others += np.count_nonzero(heard & judged)
        clocks = np.array([[now_ns], [self._others]], np.float64)

        learning = heard & judged & self._judged & (self._received_ns > 0)
        self._longest *= 0.5 ** (elapsed_ns / (HALF_LIFE_S * SECOND_NS))
        self._learn(learning, clocks - self._heard)

        recovered = np.flatnonzero(self._stalled & heard).astype(np.int32)
        silent_since_ns = self._received_ns[recovered]
        self._stalled[heard] = False
        self._asked[heard] = 0
        np.copyto(self._heard, clocks, where=heard | ~judged | ~self._judged)
        self._received_ns[:] = received_ns
        self._judged[:] = judged

        late = judged & (self._pauses >= PAUSES_KNOWN) & self._is_late(clocks - self._heard)
        found = np.flatnonzero(late & ~self._stalled).astype(np.int32)
        self._stalled[found] = True
        self._ask_ns[found] = now_ns
        return StallReport(found, self._ask(elapsed_ns, now_ns), recovered, silent_since_ns)

    def _learn(self, learning: NDArray[np.bool_], pauses: NDArray[np.float64]) -> None:
        """These pauses ended by themselves, or with an answer."""
        np.maximum(self._longest, pauses, out=self._longest, where=learning)
        np.add(self._total, pauses, out=self._total, where=learning)
        self._pauses[learning] += 1
        full = self._pauses >= PAUSES_KEPT
        self._pauses[full] /= 2
        self._total[:, full] /= 2

    def _is_late(self, pauses: NDArray[np.float64]) -> NDArray[np.bool_]:
        mean = self._total / np.maximum(self._pauses, 1)
        limits = np.maximum(self._multiple * mean, LONGEST_MULTIPLE * self._longest)
        late: NDArray[np.bool_] = (pauses > limits).all(axis=0) & (pauses[SECONDS] > self._floor_ns)
        return late

    def _ask(self, elapsed_ns: int, now_ns: int) -> Slots:
        """Who is asked for now: the longest waiting first, as far as the budget goes."""
        refill = ASKED_PER_MINUTE_MAX * elapsed_ns / (60 * SECOND_NS)
        self._budget = min(self._budget + refill, float(ASKED_PER_MINUTE_MAX))
        due = np.flatnonzero(self._stalled & self._judged & (self._ask_ns <= now_ns)).astype(np.int32)
        due = due[np.argsort(self._ask_ns[due], kind="stable")][: int(self._budget)]
        self._budget -= len(due)
        doublings = np.minimum(self._asked[due], RETRY_DOUBLINGS_MAX)
        self._ask_ns[due] = now_ns + (RETRY_S * SECOND_NS * 2.0**doublings).astype(np.int64)
        self._asked[due] += 1
        return due


# Of a `StallWatch`: what is kept per slot, along the last axis.
_COLUMNS: Final = (
    "_received_ns", "_heard", "_longest", "_total", "_pauses", "_judged", "_stalled", "_asked", "_ask_ns",
)  # fmt: skip
