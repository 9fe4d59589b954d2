"""Where rows come in: each to the queues of its channels, each counted once a channel.

Nearly every frame is *plain*: its instruments are known, and published in one channel, the same for all. One look at
one array says so. Else a frame is split by its instruments' first channel (`Roster.home`), not tried against each of up
to 64 channels; instruments that are in several are looked at again, and only they. Rows of one instrument keep their
order in each of its channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ticker_shard.publish.batcher import Conflated, TickBatcher
from ticker_shard.publish.handover import Handover
from ticker_shard.publish.lanes import channel_of
from ticker_shard.publish.ledger import DropCause, Ledger
from ticker_shard.publish.outbox import Outbox
from ticker_shard.publish.roster import NOWHERE, Roster, displaced, mask_of
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots, TickRows


class Intake:
    """Takes rows for one process.

    Parameters
    ----------
    handover, batcher, ledger
        The process's own.
    """

    def __init__(self, *, handover: Handover, batcher: TickBatcher, ledger: Ledger) -> None:
        self._handover, self._batcher, self._ledger = handover, batcher, ledger
        self._roster: Roster | None = None
        self._only = np.full(1, NOWHERE, np.int32)  # by slot: the one channel in which it is published
        self.open = True  # until the process goes

    def configure(self, roster: Roster) -> None:
        """A table was applied."""
        self._roster = roster
        plain = roster.table.publishes & ~roster.shared
        self._only = np.append(np.where(plain, roster.home, NOWHERE), NOWHERE)  # the last: `UNKNOWN_SLOT`

    def offer(self, rows: TickRows, *, now_ns: int) -> None:
        """Take rows that validation passed."""
        roster = self._roster
        if roster is None:
            self._ledger.unrouted += len(rows)
            return
        if (only := self._only_channel(rows.slot)) != NOWHERE:
            self._into(only, rows, now_ns=now_ns, plain=True)
            return
        known = (rows.slot >= 0) & (rows.slot < roster.table.capacity)
        if not known.all():
            self._ledger.unrouted += int(np.count_nonzero(~known))
            rows = rows.take(known)
        if not len(rows):
            return
        home = roster.home[rows.slot]
        first = int(home[0])
        if (home == first).all():
            self._into(first, rows, now_ns=now_ns)
        else:
            for channel in np.unique(home).tolist():
                self._into(channel, rows.take(home == channel), now_ns=now_ns)
        if roster.further and (shared := roster.shared[rows.slot]).any():
            rows = rows.take(shared)
            for channel, members in roster.further.items():
                self._into(channel, rows.take(members[rows.slot]), now_ns=now_ns)

    def reject(self, reason: str, slots: Slots) -> None:
        """Account for rows that validation refused."""
        roster = self._roster
        known = slots[(slots >= 0) & (slots < (0 if roster is None else roster.table.capacity))]
        self._ledger.unrouted += len(slots) - len(known)
        self._ledger.reject(reason, 0 if roster is None else roster.units(known))

    def purge(self, before: InstrumentTable, table: InstrumentTable, *, outboxes: Mapping[str, Outbox]) -> None:
        """Take rows out of the queues that the new table has no place for.

        What goes over to another lane of its channel is written there again, with its newest value.
        """
        gone, silent = displaced(before, table)
        channels: dict[str, NDArray[np.bool_]] = {}
        for name, slots in table.members.items():
            channels.setdefault(channel_of(name), np.zeros(len(gone), np.bool_))[slots] = True
        for name, outbox in outboxes.items():
            outside = ~channels.get(channel_of(name), np.zeros(len(gone), np.bool_))
            elsewhere = ~mask_of(table.members.get(name, np.empty(0, np.int32)), len(gone))
            self._ledger.drop(DropCause.REMOVED, len(self._batcher.take_out(name, gone | outside)))
            self._ledger.conflated += len(self._batcher.take_out(name, elsewhere))
            self._ledger.withheld += len(self._batcher.take_out(name, silent))
            outbox.forget(gone)

    def _only_channel(self, slots: Slots) -> int:
        """The one channel in which all of these rows are published; `NOWHERE` if it is not as simple as that."""
        try:
            found = self._only.take(slots)
        except IndexError:  # of another table
            return NOWHERE
        # As bytes: an array operation that comes once a frame finds its code cold (docs/performance.md).
        column, size = found.tobytes(), found.itemsize
        return found.item(0) if column and column[size:] == column[:-size] else NOWHERE

    def _into(self, channel: int, rows: TickRows, *, now_ns: int, plain: bool = False) -> None:
        """Rows of one channel's members; of a `plain` frame every one is published."""
        count = len(rows)
        if channel == NOWHERE or not count:
            return
        assert self._roster is not None
        name, ledger = self._roster.names[channel], self._ledger
        ledger.received += count
        if not self.open:
            ledger.drop(DropCause.SHUTDOWN, count)
            return
        if not self._handover.holds(name):
            ledger.withheld += count
            return
        if not plain and not (outgoing := self._roster.table.publishes[rows.slot]).all():
            ledger.withheld += int(np.count_nonzero(~outgoing))
            rows = rows.take(outgoing)
        offered = self._batcher.offer(name, rows, now_ns=now_ns)
        if isinstance(offered, Conflated):
            ledger.conflated += offered.rows
