"""Up to which table revision this process has done what the table asks of a publisher.

A move of an instrument between two accounts is a chain of table writes, each waiting for an acknowledgement
(docs/handover.md, moves). The publisher's part of one:

``settling``, ``owner`` (newly so)
    Redis has accepted a value of the instrument, in each of its channels, by a call made under this table or a
    later one. For settling that is the proof that it streams; for owner it is the last rewrite, after which the old
    account's late values cannot be the last word.
``outgoing`` (newly so)
    a *barrier*: one accepted call in each of its channels, made under this table. Calls are numbered, so none made
    before can be carried out any more.
``incoming``
    nothing: the feed's part.

The barriers are answered for by themselves, too: whatever else of a table takes its time (the first claim of a new
channel waits for a window of silence), the account that an instrument moves to must write it once more soon after the
old one stopped.

An instrument that has no value at all cannot be published; whoever acknowledges lists it as unconfirmed. It is not
waited for here, but owed again as soon as it has a value. So the answer may fall back for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from ticker_crds import PUBLISHING_ROLES, AssignedInstrument, Role
from ticker_shard.publish.lanes import same_channel
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots


class Duties:
    """What is still owed, by channel."""

    def __init__(self) -> None:
        self._table: InstrumentTable | None = None
        self._done = 0
        self._values: dict[str, NDArray[np.int64]] = {}  # by slot: the revision since when a value is owed; 0 = none
        self._owing: set[str] = set()  # channels in which any value is owed: nearly always none, and asked every round
        self._barriers: dict[str, int] = {}  # the revision since when one is owed
        self._outgoing = False  # the table asks for any

    def configure(self, table: InstrumentTable) -> dict[str, Slots]:
        """Apply `table`; slots whose newest value is owed from now on, by channel."""
        before = self._table
        changed = [slot for slot in range(table.capacity) if _changed(before, table, slot)]
        owed: dict[str, Slots] = {}
        values: dict[str, NDArray[np.int64]] = {}
        for channel, members in table.members.items():
            since = np.zeros(table.capacity, np.int64)
            if (earlier := self._values.get(channel)) is not None:
                since[: len(earlier)] = earlier
            publishing = np.zeros(table.capacity, np.bool_)
            publishing[members] = table.publishes[members]
            since[~publishing] = 0
            fresh = np.zeros(table.capacity, np.bool_)
            fresh[changed] = True
            fresh |= ~self._was_member(before, channel, table.capacity)
            fresh &= publishing
            since[fresh] = table.revision
            values[channel] = since
            owed[channel] = np.flatnonzero(fresh).astype(np.int32)
        for slot, row in enumerate(table.instruments):
            if row is not None and _leaves(before, table, slot):
                self._barriers.update(dict.fromkeys(row.channels, table.revision))
        self._barriers = {channel: since for channel, since in self._barriers.items() if channel in table.members}
        self._outgoing = any(row is not None and row.role is Role.OUTGOING for row in table.instruments)
        self._values, self._table = values, table
        self._owing = {channel for channel, since in values.items() if since.any()}
        return owed

    def accepted(self, channel: str, slots: Slots, *, revision: int) -> None:
        """Redis accepted a call in `channel`, made under `revision`, with values of `slots`."""
        if self._barriers.get(channel, revision + 1) <= revision:
            del self._barriers[channel]
        if channel in self._owing and len(slots):
            since = self._values[channel]
            known = slots[slots < len(since)]
            since[known[since[known] <= revision]] = 0
            if not since.any():
                self._owing.discard(channel)

    def done(self, *, have_value: Callable[[Slots], Slots]) -> int:
        """The highest revision with nothing owed.

        Parameters
        ----------
        have_value
            Which of some slots have a value.
        """
        if self._table is None:
            return 0
        owing = bool(self._barriers) or any(
            len(have_value(np.flatnonzero(self._values[channel]).astype(np.int32))) for channel in sorted(self._owing)
        )
        if not owing:
            self._done = self._table.revision
        # While something of this table is owed (again), the answer is the table before it.
        return min(self._done, self._table.revision - 1) if owing else self._done

    @property
    def barriers(self) -> Iterable[str]:
        """Channels in which one is owed."""
        return self._barriers.keys()

    def past_barriers(self) -> int:
        """The revision in force, if something is outgoing and nothing of that can be published any more; else 0."""
        if self._table is None or not self._outgoing or self._barriers:
            return 0
        return self._table.revision

    @staticmethod
    def _was_member(table: InstrumentTable | None, channel: str, capacity: int) -> NDArray[np.bool_]:
        was = np.zeros(capacity, np.bool_)
        if table is not None and channel in table.members:
            was[table.members[channel]] = True
        return was


def _changed(before: InstrumentTable | None, table: InstrumentTable, slot: int) -> bool:
    """Whether the slot holds another contract than before, or the same one in another role."""
    row = table.instruments[slot]
    previous: AssignedInstrument | None = None
    if before is not None and slot < before.capacity:
        previous = before.instruments[slot]
    if row is None:
        return False
    return previous is None or previous.identity != row.identity or previous.role is not row.role


def _leaves(before: InstrumentTable | None, table: InstrumentTable, slot: int) -> bool:
    """Whether the slot is outgoing, newly so or newly in this lane, where another process may still publish it."""
    row = table.instruments[slot]
    if row is None or row.role is not Role.OUTGOING:
        return False
    previous = before.instruments[slot] if before is not None and slot < before.capacity else None
    return previous is None or previous.channels != row.channels or _changed(before, table, slot)


def vanished_fields(before: InstrumentTable | None, table: InstrumentTable) -> dict[str, list[str]]:
    """Last-value fields that nobody writes any more, by channel of the table before.

    Only fields of instruments that this account *published* until now: one that was outgoing belongs to the account
    it moved to, and an incoming one was never written.
    """
    if before is None:
        return {}
    now = {row.symbol: row for row in table.instruments if row is not None}
    gone: dict[str, list[str]] = {}
    for row in before.instruments:
        if row is None or row.role not in PUBLISHING_ROLES:
            continue
        heir = now.get(row.symbol)
        for channel in row.channels:
            if heir is None or (not same_channel(channel, heir.channels) and heir.role in PUBLISHING_ROLES):
                gone.setdefault(channel, []).append(row.symbol)
    return gone
