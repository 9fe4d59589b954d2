"""What one channel still has to send besides its queue, and what it has sent without knowing the outcome.

A *parcel* is what one call carried. It stays here, and its rows in flight, until its fate is known: accepted,
refused, or decided by a later answer (`settle_unanswered`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ticker_shard.publish.fence import Trouble
from ticker_shard.publish.gaps import NO_HOLES, GapRecord, encode_holes, hold_gap
from ticker_shard.publish.handover import CallMark
from ticker_shard.publish.ledger import DropCause, Ledger
from ticker_shard.publish.limits import REFUSED_WAIT_MAX_NS, REFUSED_WAIT_NS, UNANSWERED_CALLS_MAX
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
    holes: bytes = b""

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
    repeats
        Whether any is; asked for each channel in each round, so it is kept.
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
    term_ns
        Monotonic time of the claim.
    hole_ns
        Monotonic time since when not everything received could be published; `None` while it can.
    open_holes
        What the feed does not deliver at the moment.
    told_holes
        What the fence record says of holes, as far as accepted calls tell.
    taken
        By slot: the field of the last values was taken under this epoch.
    sweep
        Where the list of the account's fields goes on that is gone through after a claim; `None` when it is done.
    trouble, failures, retry_ns
        Redis refuses this channel: why, how many times in a row, and when to try again.
    """

    seq: int = 1
    repeating: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    repeats: bool = False
    deletes: dict[str, None] = field(default_factory=dict)
    gaps: list[GapRecord] = field(default_factory=list)
    sent: dict[int, Parcel] = field(default_factory=dict)
    unanswered: deque[tuple[int, int, bool]] = field(default_factory=deque)
    accepted_ns: int | None = None
    term_ns: int = 0
    hole_ns: int | None = None
    open_holes: list[GapRecord] = field(default_factory=list)
    told_holes: bytes | None = None
    taken: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    sweep: int | None = None
    trouble: Trouble | None = None
    failures: int = 0
    retry_ns: int = 0

    def fit(self, capacity: int, *, publishing: NDArray[np.bool_] | None) -> None:
        """A table with so many slots is in force; only what is `publishing` (`None`: nothing) is repeated any more."""
        kept = np.zeros(capacity, np.bool_)
        if publishing is not None:
            kept[: len(self.repeating)] = self.repeating
            kept &= publishing
        self.repeating, self.repeats = kept, bool(kept.any())
        taken = np.zeros(capacity, np.bool_)
        taken[: len(self.taken)] = self.taken
        self.taken = taken

    def repeat(self, which: Slots | NDArray[np.bool_]) -> None:
        """The newest values of these (slots, or a mask) are to be published again."""
        self.repeating[which] = True
        self.repeats = bool(self.repeating.any())

    def take_repeated(self, count: int) -> Slots:
        """At most so many slots to repeat; they are this round's now."""
        every = np.flatnonzero(self.repeating)
        slots = every[:count].astype(np.int32)
        self.repeating[slots] = False
        self.repeats = len(every) > len(slots)
        return slots

    def forget(self, gone: NDArray[np.bool_]) -> None:
        """Slots (a mask) that hold another contract now."""
        self.repeating[gone[: len(self.repeating)]] = False
        self.repeats = bool(self.repeating.any())
        self.taken[gone[: len(self.taken)]] = False

    def delete(self, fields: Iterable[str], *, wanted: Iterable[str]) -> None:
        """These are nobody's any more; what came back (is `wanted`) before it was deleted stays."""
        self.deletes.update(dict.fromkeys(fields))
        if self.deletes:
            for field in wanted:
                self.deletes.pop(field, None)

    def keep_for_later(self, parcel: Parcel) -> None:
        """Deletes and gap records were not written, or nobody knows; both may be written twice."""
        self.deletes.update(dict.fromkeys(parcel.deletes))
        for record in parcel.gaps:
            hold_gap(self.gaps, record)

    def abandon(self, *, ledger: Ledger) -> None:
        """The channel is not ours any more: nothing of it is owed."""
        self.repeating[:] = self.repeats = False
        self.deletes.clear()
        self.sweep = None
        self.recovered()
        ledger.lost_gaps += len(self.gaps)
        self.gaps.clear()

    @property
    def has_more(self) -> bool:
        """Whether something besides queued rows waits to be sent."""
        return bool(self.deletes) or bool(self.gaps) or self.sweep is not None or self.repeats

    def blocked(self, *, now_ns: int) -> bool:
        """Whether only beats go out, because Redis refuses the channel."""
        return self.trouble is not None and now_ns < self.retry_ns

    def refused(self, trouble: Trouble, *, now_ns: int) -> None:
        """Redis refused what this channel carries: try again later, and later each time."""
        self.trouble = trouble
        if now_ns >= self.retry_ns:  # the calls of one round are one failure
            self.failures += 1
            self.retry_ns = now_ns + min(REFUSED_WAIT_NS << (self.failures - 1), REFUSED_WAIT_MAX_NS)

    def recovered(self) -> None:
        """Redis took what this channel carries."""
        self.trouble, self.failures, self.retry_ns = None, 0, 0

    def untold_holes(self) -> bytes:
        """What the next call should say of holes; empty where the record says it already."""
        if self.told_holes == NO_HOLES and not self.open_holes and not self.gaps:
            return b""  # as nearly always
        holes = encode_holes(self.open_holes, self.gaps)
        return b"" if holes == self.told_holes else holes

    def behind(self, *, since_ns: int) -> None:
        """From `since_ns` on, if not before, something received is not published."""
        if self.hole_ns is None or since_ns < self.hole_ns:
            self.hole_ns = since_ns
        self.told_holes = None

    def in_flight(self) -> int:
        """Rows in calls without an answer, counted."""
        return sum(parcel.fresh for parcel in self.sent.values()) + sum(fresh for _, fresh, _ in self.unanswered)

    def begin_term(self, *, now_ns: int) -> None:
        """A new epoch: numbers start again, nothing of the term before is owed."""
        assert not self.sent, self.sent
        assert not self.unanswered, self.unanswered
        self.seq = 1
        self.accepted_ns = self.term_ns = now_ns
        self.hole_ns = self.told_holes = None
        self.taken[:] = False
        self.sweep = 0
        self.recovered()

    def keep_unanswered(self, parcel: Parcel, *, ledger: Ledger) -> None:
        """The connection broke before the answer to `parcel`."""
        self.unanswered.append((parcel.mark.n, parcel.fresh, parcel.numbered))
        if len(self.unanswered) > UNANSWERED_CALLS_MAX:
            _, fresh, numbered = self.unanswered.popleft()
            ledger.drop(DropCause.UNANSWERED, fresh)
            ledger.lost_messages += numbered

    def settle_unanswered(self, *, known_n: int | None, run_n: int = 1, ledger: Ledger) -> None:
        """Decide all calls without an answer.

        Parameters
        ----------
        known_n
            The last call that Redis knew before it accepted a later one: those above it never will be carried out.
            `None`: that cannot be said any more.
        run_n
            From here to `known_n` every call was carried out; of those before, some were refused (no memory, say),
            and nobody can tell which.
        ledger
            Where the rows are counted.
        """
        for n, fresh, numbered in self.unanswered:
            if known_n is None or n < run_n:
                ledger.drop(DropCause.UNANSWERED, fresh)
                ledger.lost_messages += numbered
            elif n <= known_n:
                ledger.published += fresh
                ledger.messages += numbered
            else:
                ledger.drop(DropCause.LOST, fresh)
                ledger.lost_messages += numbered
        self.unanswered.clear()
