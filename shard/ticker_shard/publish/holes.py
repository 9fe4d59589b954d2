"""Holes in what a channel publishes: from when to when, and who declares them. Pure.

============================  =====================================  ===========================================
hole                          from                                   to
============================  =====================================  ===========================================
calls fail (``redis``)        the first call that failed             the rewrite afterwards is complete
no call was made, though      the last accepted call                 the next one
none failed (``paused``:
the process was stopped)
nobody held the channel       the last accepted call of the          the claim
(``takeover``)                predecessor, by Redis's clock; where
                              Redis lost the record, the last that
                              this process knows of
the feed delivered nothing    the feed's word                        the feed's word; or the claim, where the holder
                                                                     gave way before its feed was back
a socket fell quiet, and      the last packet                        the claim; otherwise it is no hole, or becomes
nobody knows yet whether it                                          one of the line above
is mute
============================  =====================================  ===========================================

A hole no longer than a batch's window cannot be told from an ordinary batch and is not declared. A predecessor that
gave way (reason *leaving*) published until the claim and calls at least once a beat, so only a pause of more than
`STALL_BEATS` beats is a hole; in place of one that is gone nobody published from its last call on.

The last two lines need the fence record: what a holder knows to be missing stands there (`gaps.encode_holes`), with
every gap record that Redis has not accepted yet. A record leaves the list in the very call that publishes it.

An instrument that another account takes while one of these holes stands open ends its hole then: the other account
publishes already, but knows nothing of what was missed before. Where the process that published it died, the next one
declares it, unless its predecessor had applied a table in which it was *outgoing* already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.publish.fence import Claimed, ClaimReason
from ticker_shard.publish.gaps import GapRecord, Hole, close_holes, gap_record, hold_gap
from ticker_shard.publish.limits import MS_NS
from ticker_shard.publish.outbox import Outbox
from ticker_shard.publish.roster import Roster, displaced
from ticker_shard.ticks.rows import Slots

STALL_BEATS: Final = 2


class HoleKeeper:
    """Watches the channels of one process for holes, and puts their records into the outboxes.

    Parameters
    ----------
    shard
        For the records.
    outboxes
        By channel; the core's own.
    window_ns
        Of a batch: no shorter hole is declared.
    beat_ns
        Of the hand-over.
    """

    def __init__(self, shard: str, outboxes: Mapping[str, Outbox], *, window_ns: int, beat_ns: int) -> None:
        self._shard, self._outboxes = shard, outboxes
        self._window_ns, self._stall_ns = window_ns, STALL_BEATS * beat_ns
        self._roster: Roster | None = None
        self._feed: Sequence[Hole] = ()
        self._offset_ns = 0  # from the monotonic clock to the wall clock

    def configure(self, roster: Roster, *, held: Iterable[str], now_ns: int, wall_ns: int) -> None:
        """A table was applied; of the channels that are `held`, what another account publishes now is let go."""
        before, self._roster = self._roster, roster
        if before is not None:
            gone, silent = displaced(before.table, roster.table)
            for name in held:
                if name in before:
                    self._let_go(name, gone | silent, before=before, now_ns=now_ns, wall_ns=wall_ns)
        self.feed_misses(self._feed)

    def set_clock(self, *, now_ns: int, wall_ns: int) -> None:
        """What the wall clock shows: holes in its time follow, and it may have been set since the last call."""
        self._offset_ns = wall_ns - now_ns

    def feed_misses(self, holes: Sequence[Hole]) -> None:
        """What the feed does not deliver at the moment, all of it."""
        self._feed = holes
        for name, outbox in self._outboxes.items():
            outbox.open_holes = []
            for hole in holes:
                start_ns = max(hole.start_ns, self._term_wall_ns(outbox))
                record = self._record(name, hole.slots, start_ns=start_ns, end_ns=start_ns, cause=hole.cause)
                if record is not None:
                    hold_gap(outbox.open_holes, record)

    def declare(self, name: str, slots: Slots, *, start_ns: int, end_ns: int, cause: str) -> None:
        """Have a record published for those of `slots` that the channel publishes, from our claim on.

        What was missed before it, the claim has declared; and what our own feed missed while another process
        published, no consumer missed.
        """
        term_ns = self._term_wall_ns(self._outboxes[name])
        if start_ns < term_ns and end_ns <= term_ns:
            return
        record = self._record(name, slots, start_ns=max(start_ns, term_ns), end_ns=end_ns, cause=cause)
        if record is not None:
            hold_gap(self._outboxes[name].gaps, record)

    def term_begins(
        self,
        name: str,
        claimed: Claimed,
        *,
        reason: ClaimReason,
        revision: int | None,
        unheard_ns: int | None,
        wall_ns: int,
    ) -> None:
        """The channel was claimed: declare what was missed before.

        What is outgoing was published by the predecessor until it applied a table that said so; whether it did, its
        table's revision tells.

        Parameters
        ----------
        name
            The channel.
        claimed
            What the record told.
        reason
            Why it was claimed.
        revision
            Of the table that the predecessor had applied; `None`: not known.
        unheard_ns
            For how long nobody was known to publish; asked where Redis lost the record. `None`: not known.
        wall_ns
            Now.
        """
        self._offset_ns = wall_ns - self._outboxes[name].term_ns
        pause_ns = (unheard_ns or 0) if claimed.pause_ms is None else claimed.pause_ms * MS_NS
        nobody = pause_ns > (self._stall_ns if reason is ClaimReason.LEAVING else self._window_ns)
        spoke_ns = wall_ns - pause_ns if nobody else wall_ns
        # It knew of no end when it spoke last. There may have been one just then, and flow; after that, only silence.
        for gap in close_holes(claimed.holes, shard=self._shard, end_ns=spoke_ns):
            hold_gap(self._outboxes[name].gaps, gap)
        outgoing = self._roster is not None and revision != self._roster.table.revision
        if claimed.stalled_ms is not None:
            start_ns, end_ns = (wall_ns - ago_ms * MS_NS for ago_ms in claimed.stalled_ms)
            self._declare_all(name, start_ns=start_ns, end_ns=end_ns, cause="takeover", outgoing=outgoing)
        if nobody:
            self._declare_all(name, start_ns=spoke_ns, end_ns=wall_ns, cause="takeover", outgoing=outgoing)

    def accepted(self, name: str, *, now_ns: int, wall_ns: int) -> None:
        """Redis accepted a call: a hole may be over."""
        self.set_clock(now_ns=now_ns, wall_ns=wall_ns)
        outbox = self._outboxes[name]
        last_ns, hole_ns = outbox.accepted_ns, outbox.hole_ns
        if hole_ns is None:
            if last_ns is not None and now_ns - last_ns > self._stall_ns:
                self._declare_all(name, start_ns=wall_ns - (now_ns - last_ns), end_ns=wall_ns, cause="paused")
        elif not outbox.sent and not outbox.repeats and not outbox.blocked(now_ns=now_ns):
            outbox.hole_ns = None
            if now_ns - hole_ns > self._window_ns:
                self._declare_all(name, start_ns=wall_ns - (now_ns - hole_ns), end_ns=wall_ns, cause="redis")
        outbox.accepted_ns = now_ns

    def _term_wall_ns(self, outbox: Outbox) -> int:
        """When the channel was claimed, by the wall clock as it goes now: it may have been set meanwhile."""
        return outbox.term_ns + self._offset_ns

    def _let_go(self, name: str, leaving: NDArray[np.bool_], *, before: Roster, now_ns: int, wall_ns: int) -> None:
        """Another account publishes what is `leaving`: what was missed until now, only this process knows."""
        outbox = self._outboxes[name]
        for hole in (*self._feed, *self._standstill(name, before, now_ns=now_ns, wall_ns=wall_ns)):
            symbols = before.published_symbols(name, hole.slots[leaving[hole.slots]])
            if symbols:
                start_ns = max(hole.start_ns, self._term_wall_ns(outbox))
                hold_gap(
                    outbox.gaps,
                    gap_record(self._shard, symbols, start_ns=start_ns, end_ns=wall_ns, cause=hole.cause),
                )

    def _standstill(self, name: str, before: Roster, *, now_ns: int, wall_ns: int) -> Iterator[Hole]:
        """The hole of the whole channel that the next accepted call would end."""
        outbox, members = self._outboxes[name], before.table.members[name]
        if outbox.hole_ns is not None:
            yield Hole(members, wall_ns - (now_ns - outbox.hole_ns), "redis")
        elif outbox.accepted_ns is not None and now_ns - outbox.accepted_ns > self._stall_ns:
            yield Hole(members, wall_ns - (now_ns - outbox.accepted_ns), "paused")

    def _declare_all(self, name: str, *, start_ns: int, end_ns: int, cause: str, outgoing: bool = False) -> None:
        """Nothing of the whole channel was published for a while."""
        roster = self._roster
        if roster is not None and name in roster:
            symbols = roster.published_symbols(name, roster.table.members[name], outgoing=outgoing)
            if symbols:
                record = gap_record(self._shard, symbols, start_ns=start_ns, end_ns=end_ns, cause=cause)
                hold_gap(self._outboxes[name].gaps, record)

    def _record(self, name: str, slots: Slots, *, start_ns: int, end_ns: int, cause: str) -> GapRecord | None:
        roster = self._roster
        if roster is None or name not in roster:
            return None
        known = slots[(slots >= 0) & (slots < roster.table.capacity)]
        symbols = roster.published_symbols(name, known)
        return gap_record(self._shard, symbols, start_ns=start_ns, end_ns=end_ns, cause=cause) if symbols else None
