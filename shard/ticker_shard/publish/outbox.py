"""What one channel still has to send besides its queue, and what it has sent without knowing the outcome.

A *parcel* is what one call carried. It stays here, and its rows in flight, until its fate is known: accepted,
refused, or decided by a later answer (`settle_unanswered`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ticker_shard.publish.gaps import GapRecord
from ticker_shard.publish.handover import CallMark
from ticker_shard.publish.ledger import DropCause, Ledger
from ticker_shard.publish.limits import UNANSWERED_CALLS_MAX
from ticker_shard.ticks.rows import Nanoseconds, Slots


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one call carried.

    Attributes
    ----------
    mark, revision
        The fenced part, and the table in force when it was made.
    slots
        Of all its rows.
    fresh_ns
        When each row that is not a repetition was received; these are the rows in flight.
    numbered
        Whether it carried a message, that is, used a sequence number.
    """

    mark: CallMark
    revision: int
    slots: Slots
    fresh_ns: Nanoseconds
    numbered: bool
    deletes: tuple[str, ...] = ()
    gaps: tuple[GapRecord, ...] = ()

    @property
    def fresh(self) -> int:
        """Rows in flight."""
        return len(self.fresh_ns)

    @property
    def repeated(self) -> int:
        """Rows that repeat a value accounted for before."""
        return len(self.slots) - len(self.fresh_ns)


@dataclass(slots=True)
class Outbox:
    """One channel's state besides its queue.

    Attributes
    ----------
    seq
        The next message's number; counts under one epoch.
    repeating
        By slot: the newest value is to be published again.
    deletes
        Fields to delete from the last values, in order.
    gaps
        Records to publish.
    sent
        Parcels of the round under way, by call number.
    unanswered
        (call number, rows in flight, numbered) of calls without an answer, oldest first.
    accepted_ns
        Monotonic time of the last accepted call under this epoch.
    accepted_wall_ns
        The same on the wall clock.
    """

    seq: int = 1
    repeating: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    deletes: dict[str, None] = field(default_factory=dict)
    gaps: list[GapRecord] = field(default_factory=list)
    sent: dict[int, Parcel] = field(default_factory=dict)
    unanswered: deque[tuple[int, int, bool]] = field(default_factory=deque)
    accepted_ns: int | None = None
    accepted_wall_ns: int = 0

    @property
    def has_more(self) -> bool:
        """Whether something besides queued rows waits to be sent."""
        return bool(self.deletes) or bool(self.gaps) or bool(self.repeating.any())

    def in_flight(self) -> int:
        """Rows in calls without an answer, counted."""
        return sum(parcel.fresh for parcel in self.sent.values()) + sum(fresh for _, fresh, _ in self.unanswered)

    def begin_term(self) -> None:
        """A new epoch: numbers start again, nothing of the term before is owed."""
        assert not self.sent, self.sent
        assert not self.unanswered, self.unanswered
        self.seq = 1
        self.accepted_ns = None

    def keep_unanswered(self, parcel: Parcel, *, ledger: Ledger) -> None:
        """The connection broke before the answer to `parcel`."""
        self.unanswered.append((parcel.mark.n, parcel.fresh, parcel.numbered))
        if len(self.unanswered) > UNANSWERED_CALLS_MAX:
            _, fresh, numbered = self.unanswered.popleft()
            ledger.drop(DropCause.UNANSWERED, fresh)
            ledger.lost_messages += numbered

    def settle_unanswered(self, *, known_n: int | None, ledger: Ledger) -> None:
        """Decide all calls without an answer.

        Parameters
        ----------
        known_n
            The last call that Redis knew before it accepted a later one: up to it calls were carried out (one
            connection carries them in order), those above it never will be. `None`: that cannot be said any more.
        ledger
            Where the rows are counted.
        """
        for n, fresh, numbered in self.unanswered:
            if known_n is None:
                ledger.drop(DropCause.UNANSWERED, fresh)
                ledger.lost_messages += numbered
            elif n <= known_n:
                ledger.published += fresh
                ledger.messages += numbered
            else:
                ledger.drop(DropCause.LOST, fresh)
                ledger.lost_messages += numbered
        self.unanswered.clear()
