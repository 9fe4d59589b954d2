"""What a process makes of a record that another one holds: who is alive there, and whether to claim it. Pure.

Everything is judged by successful polls and this process's own monotonic clock. A *window* is a time of uninterrupted
polls in which a record (or its absence) did not change; it starts again after whatever might have hidden a change.
"""

from __future__ import annotations

from dataclasses import dataclass

from ticker_shard.publish.fence import ChannelState, ClaimReason, Record
from ticker_shard.publish.handover_rules import Sighting, reason_to_claim
from ticker_shard.publish.handover_terms import ChannelTerm
from ticker_shard.publish.limits import CATCH_UP_NS, Timing


@dataclass(frozen=True, slots=True)
class Watcher:
    """Judges records for one process.

    Parameters
    ----------
    instance
        Of this process: a record of the same instance belongs to a dead one, or to this very process.
    timing
        Times of the protocol.
    """

    instance: str
    timing: Timing

    def observe(self, channel: ChannelTerm, record: Record | None, *, now_ns: int) -> None:
        """A poll brought `record`."""
        channel.refused = False
        channel.see(record)
        channel.hear(record, now_ns=now_ns)
        if channel.since_ns is None:
            channel.observed, channel.since_ns = record, now_ns
        elif channel.observed != record:
            channel.observed, channel.since_ns, channel.changed_ns = record, now_ns, now_ns

    def occupied(self, channel: ChannelTerm, *, now_ns: int) -> bool | None:
        """Whether another process is alive there; `None` when that is not known."""
        record, window = channel.observed, self.timing.silent_ns
        if channel.since_ns is None:
            return None
        if record is not None and (record.state is ChannelState.FREE or self._mine(record)):
            return False
        if channel.changed_ns is not None and now_ns - channel.changed_ns <= window:
            return record is not None
        return False if now_ns - channel.since_ns >= window else None

    def may_live(self, channel: ChannelTerm, *, sent_ns: int) -> bool:
        """Whether the record that was just observed may be another living process's."""
        record, since_ns = channel.observed, channel.since_ns
        if record is None or record.state is ChannelState.FREE or self._mine(record):
            return False
        return since_ns is None or sent_ns - since_ns < self.timing.silent_ns

    def reason(
        self, channel: ChannelTerm, *, revision: int, divided: bool, terminating: bool, sent_ns: int, now_ns: int
    ) -> ClaimReason | None:
        """Why to claim what was just observed, if at all.

        Parameters
        ----------
        channel
            Observed by the poll that was asked for at `sent_ns`.
        revision
            Of this process's table; behind the record's it waits, but not for ever.
        divided
            The channel's other lanes stay with their holder for a while: then a table ahead of its waits as well,
            because the two may put an instrument into different lanes.
        terminating
            SIGTERM came.
        sent_ns, now_ns
            When the poll left, and now.
        """
        record, since_ns = channel.observed, channel.since_ns
        assert since_ns is not None
        # Seen first at `since_ns` at the latest, seen last at `sent_ns` at the earliest.
        silent = sent_ns - since_ns >= self.timing.silent_ns
        mine = record is not None and self._mine(record)
        reason = reason_to_claim(Sighting(record=record, mine=mine, silent=silent, terminating=terminating))
        behind = record is not None and record.revision > revision
        ahead = record is not None and record.revision < revision and divided and reason is ClaimReason.LEAVING
        if reason is None or not (behind or ahead):
            channel.behind_ns = None
            return reason
        if channel.behind_ns is None:
            channel.behind_ns = now_ns
        # A living holder goes on publishing by the newer table: nothing is lost by waiting for it.
        if behind and reason is ClaimReason.LEAVING:
            reason = ClaimReason.SILENT if silent else None
        return reason if now_ns - channel.behind_ns >= CATCH_UP_NS else None

    def _mine(self, record: Record) -> bool:
        return record.holder.partition("/")[0] == self.instance
