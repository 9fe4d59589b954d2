"""The newest row of every instrument, by slot.

A row is exactly one packet: a poorer packet that follows a richer one replaces it whole, because a row put together
from two moments would say things that were never true at once. What outlives such a replacement are the marks that
ordering needs: the newest exchange time and the volume at it, so that a quote packet in between does not open the
door for an older full one. An older row never overwrites a newer one; equal times are told apart by arrival.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ticker_crds import AssignmentTable
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.rows import (
    GREEKS,
    WORDS,
    Greeks,
    Kinds,
    Nanoseconds,
    Outcomes,
    PacketKind,
    Slots,
    TickRows,
    Word,
    Words,
)

HAS_TIME = np.zeros(len(PacketKind), np.bool_)  # by kind: the packet carries an exchange time
HAS_TIME[[PacketKind.INDEX_FULL, PacketKind.FULL]] = True
HAS_VOLUME = np.zeros(len(PacketKind), np.bool_)  # by kind: the packet carries the day's volume
HAS_VOLUME[[PacketKind.QUOTE, PacketKind.FULL]] = True


def no_instruments() -> InstrumentTable:
    """The table before the first assignment: no slot."""
    return build_instruments(AssignmentTable(account="", revision=0))


class InstrumentState:
    """Newest row per slot.

    Attributes
    ----------
    has_row
        (capacity,) bool.
    exchange_s
        (capacity,) newest exchange time of the slot, epoch seconds; 0 where none came.
    volume
        (capacity,) volume of the newest row that carried one.
    """

    def __init__(self) -> None:
        self._table = no_instruments()
        self._words = np.zeros((0, WORDS), np.uint32)
        self._kind: Kinds = np.zeros(0, np.uint8)
        self._received_ns = np.zeros(0, np.int64)
        self._greeks: Greeks = np.zeros((0, GREEKS))
        self._outcome: Outcomes = np.zeros(0, np.uint8)
        self._priced_ns = np.zeros(0, np.int64)
        self.has_row: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self.exchange_s: NDArray[np.int64] = np.zeros(0, np.int64)
        self.volume: NDArray[np.int64] = np.zeros(0, np.int64)
        self._refused_ns = np.zeros(0, np.int64)  # when the first older row since the last accepted one came; 0: none

    @property
    def table(self) -> InstrumentTable:
        """The table whose slots these are."""
        return self._table

    @property
    def received_ns(self) -> NDArray[np.int64]:
        """(capacity,) wall clock nanoseconds at which the newest row of the slot came; to be read only."""
        return self._received_ns

    @property
    def marks(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Newest exchange time, volume, and since when older rows were refused: what a native pass writes itself."""
        return self.exchange_s, self.volume, self._refused_ns

    @property
    def kept(self) -> tuple[Words, Kinds, Nanoseconds, Greeks, Outcomes, Nanoseconds, NDArray[np.bool_]]:
        """The columns of the kept rows, and which slots have one; arrays of the table in force, written natively."""
        columns = (self._words, self._kind, self._received_ns, self._greeks, self._outcome, self._priced_ns)
        return *columns, self.has_row

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`: what stays keeps its row, a slot that changes hands is emptied.

        Parameters
        ----------
        table
            Built on the table before it.
        """
        before = self._table.instruments
        grown = table.capacity - len(before)
        if grown > 0:
            self._words = np.concatenate([self._words, np.zeros((grown, WORDS), np.uint32)])
            self._kind = np.concatenate([self._kind, np.zeros(grown, np.uint8)])
            self._received_ns = np.concatenate([self._received_ns, np.zeros(grown, np.int64)])
            self._greeks = np.concatenate([self._greeks, np.full((grown, GREEKS), np.nan)])
            self._outcome = np.concatenate([self._outcome, np.zeros(grown, np.uint8)])
            self._priced_ns = np.concatenate([self._priced_ns, np.zeros(grown, np.int64)])
            self.has_row = np.concatenate([self.has_row, np.zeros(grown, np.bool_)])
            self.exchange_s = np.concatenate([self.exchange_s, np.zeros(grown, np.int64)])
            self.volume = np.concatenate([self.volume, np.zeros(grown, np.int64)])
            self._refused_ns = np.concatenate([self._refused_ns, np.zeros(grown, np.int64)])
        for slot, (old, new) in enumerate(zip(before, table.instruments, strict=False)):
            if old is None:
                continue
            if new is None or new.identity != old.identity:
                self._clear(slot)
            elif new.token != old.token and self.has_row[slot]:
                self._words[slot, Word.TOKEN] = new.token
        for slot in range(table.capacity, len(before)):
            self._clear(slot)
        self._table = table

    def _clear(self, slot: int) -> None:
        self.has_row[slot] = False
        self.exchange_s[slot] = 0
        self.volume[slot] = 0
        self._refused_ns[slot] = 0

    def note_refused(self, slots: Slots, *, now_ns: int) -> None:
        """Older rows of these came and were refused."""
        first = slots[self._refused_ns[slots] == 0]
        self._refused_ns[first] = now_ns

    def stuck(self, slots: Slots, *, now_ns: int, limit_ns: int) -> NDArray[np.bool_]:
        """Which of these have got nothing but older rows for `limit_ns`: then their newest time is the wrong one."""
        since_ns = self._refused_ns[slots]
        return (since_ns > 0) & (now_ns - since_ns >= limit_ns)

    def update(self, rows: TickRows) -> None:
        """Take over `rows`, in order, where they are not older than what is here.

        Parameters
        ----------
        rows
            Rows with known slots.
        """
        if len(rows) > 1 and len(np.unique(rows.slot)) < len(rows):
            for position in range(len(rows)):
                self.update(rows.take(slice(position, position + 1)))
            return
        time_s = rows.words[:, Word.EXCHANGE_TIMESTAMP]
        older = HAS_TIME[rows.kind] & (time_s > 0) & (time_s < self.exchange_s[rows.slot])
        self.admit(rows.take(~older) if older.any() else rows)

    def admit(self, rows: TickRows) -> None:
        """Take over rows that were judged already: all are to replace what is here, no slot occurs twice.

        Parameters
        ----------
        rows
            Rows with known slots.
        """
        slot, kind, words = rows.slot, rows.kind, rows.words
        self._words[slot] = words
        self._kind[slot] = kind
        self._received_ns[slot] = rows.received_ns
        self._greeks[slot] = rows.greeks
        self._outcome[slot] = rows.outcome
        self._priced_ns[slot] = rows.priced_ns
        self.has_row[slot] = True
        time_s = words[:, Word.EXCHANGE_TIMESTAMP]
        # Rows without a time leave the mark where it is.
        self.exchange_s[slot] = np.where(time_s > 0, time_s, self.exchange_s[slot])
        self._refused_ns[slot[time_s > 0]] = 0
        counted = HAS_VOLUME[kind]
        volume = words[:, Word.VOLUME_TRADED]
        all_counted = np.count_nonzero(counted) == len(kind)
        self.volume[slot] = volume if all_counted else np.where(counted, volume, self.volume[slot])

    def enrich(self, slots: Slots, *, greeks: Greeks, outcome: Outcomes, priced_ns: Nanoseconds) -> None:
        """Put new Greeks beside the rows that are here; what the broker sent stays as it is.

        Parameters
        ----------
        slots
            Of instruments that have a row, none twice.
        greeks, outcome, priced_ns
            As in `TickRows`.
        """
        self._greeks[slots] = greeks
        self._outcome[slots] = outcome
        self._priced_ns[slots] = priced_ns

    def newest(self, slots: Slots) -> TickRows:
        """A copy of the newest rows of `slots`, those that have one, in that order.

        Parameters
        ----------
        slots
            Slots of the table in force; unknown or free ones have no row.
        """
        slots = slots[(slots >= 0) & (slots < len(self.has_row))]
        slots = slots[self.has_row[slots]].astype(np.int32, copy=False)
        return TickRows(
            self._words[slots],
            self._kind[slots],
            slots,
            self._received_ns[slots],
            self._greeks[slots],
            self._outcome[slots],
            self._priced_ns[slots],
        )
