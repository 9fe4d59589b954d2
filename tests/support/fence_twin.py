"""The three fence scripts once more, slow and obvious, over dictionaries; `test_publish_twin` compares with Redis.

Histories with many processes and faults run on it thousands of times; what it answers is what Redis answers.
Switches break one rule each, to show that the checks which run on it can fail.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace

from ticker_shard.publish import fence
from ticker_shard.publish.fence import Answer, ChannelState, ClaimReason, Record, Request, Trouble, TroubleKind
from ticker_shard.publish.holes import STALL_BEATS
from ticker_shard.publish.lanes import channel_of, lane_member, split_lane
from ticker_shard.publish.limits import MS_NS, TIMING

STALL_MS, TOLD_MS = STALL_BEATS * TIMING.beat_ns // MS_NS, TIMING.beat_ns // MS_NS


@dataclass
class FenceTwin:
    """Records, last values and what was published, of one account."""

    now_ms: int = 1_000_000
    records: dict[str, Record] = field(default_factory=dict)
    at_ms: dict[str, int] = field(default_factory=dict)
    stalls: dict[str, tuple[int, int]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    holes: dict[str, bytes] = field(default_factory=dict)
    owners: dict[str, dict[str, str]] = field(default_factory=dict)
    member: str = "pool.acc1"
    refused_numbers: set[int] = field(default_factory=set)  # calls that Redis has no memory for
    last: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    published: list[fence.Call] = field(default_factory=list)
    compare_and_set: bool = True
    call_numbers: bool = True
    call_raises_record: bool = False

    def record(self, channel: str) -> Record | None:
        """The channel's record."""
        return self.records.get(channel)

    def snapshot(self) -> FenceTwin:
        """What a replica has now."""
        return deepcopy(self)

    def restore(self, snapshot: FenceTwin | None) -> None:
        """The server has older data, or none."""
        data = FenceTwin() if snapshot is None else deepcopy(snapshot)
        self.records, self.last, self.owners = data.records, data.last, data.owners
        self.at_ms, self.stalls, self.runs, self.holes = data.at_ms, data.stalls, data.runs, data.holes

    def execute(self, request: Request) -> Answer:
        record = self.records.get(request.channel)
        match request:
            case fence.Read():
                return fence.Seen(record)
            case fence.Call():
                return self._call(request, record)
            case fence.Claim():
                return self._claim(request, record)
            case fence.Assert():
                return self._assert(request, record)
            case fence.Owned(channel):
                owned, member = self.owners.get(channel_of(channel), {}), self._member(channel)
                return fence.OwnedPage(0, tuple(name for name, owner in owned.items() if owner == member))

    def _member(self, name: str) -> str:
        return lane_member(self.member, split_lane(name)[1])

    def _call(self, call: fence.Call, record: Record | None) -> Answer:
        if record is None or record.epoch < call.epoch:
            if not self.call_raises_record:
                return fence.Rewound(record)
            record = Record(call.epoch, call.holder, 0, call.state, call.revision)
        if record.epoch > call.epoch or record.holder != call.holder:
            return fence.Fenced(record)
        if call.n <= record.n and self.call_numbers:
            return fence.Stale(record)
        if call.n in self.refused_numbers:
            return fence.Refused(Trouble(TroubleKind.OUT_OF_MEMORY, "OOM command not allowed"))
        values = self.last.setdefault(channel_of(call.channel), {})
        owners, member = self.owners.setdefault(channel_of(call.channel), {}), self._member(call.channel)
        values.update(call.rows)
        for name in call.deletes:
            if owners.get(name, member) == member:
                values.pop(name.encode(), None)
                owners.pop(name, None)
        owners.update(dict.fromkeys(call.takes, member))
        if call.message:
            self.published.append(call)
        run = self.runs.get(call.channel, record.n + 1)
        self.runs[call.channel] = run if call.n == record.n + 1 else call.n
        self.records[call.channel] = replace(record, n=call.n, state=call.state, revision=call.revision)
        before_ms = self.at_ms.get(call.channel)
        if before_ms is not None and record.n > 0 and self.now_ms - before_ms > STALL_MS:
            self.stalls[call.channel] = (before_ms, self.now_ms)
        self.at_ms[call.channel] = self.now_ms
        self.holes[call.channel] = call.holes or self.holes.get(call.channel, b"")
        return fence.Accepted(record.n, run)

    def _claim(self, claim: fence.Claim, record: Record | None) -> Answer:
        expected = claim.expected
        if self.compare_and_set:
            if (record is None) != (expected is None):
                return fence.Conflict(record)
            if record is not None and expected is not None:
                if (record.epoch, record.holder) != (expected.epoch, expected.holder):
                    return fence.Conflict(record)
                if claim.reason is ClaimReason.SILENT and record.n != expected.n:
                    return fence.Conflict(record)
                if claim.reason in (ClaimReason.LEAVING, ClaimReason.FREE) and record.state is ChannelState.ACTIVE:
                    return fence.Conflict(record)
                if record.revision > claim.revision:
                    return fence.Behind(record)
        epoch = max((record.epoch if record else 0) + 1, claim.seen + 1, self.now_ms)
        revision = record.revision if record else 0
        self.records[claim.channel] = Record(epoch, claim.holder, 0, ChannelState.ACTIVE, revision)
        at_ms = self.at_ms.get(claim.channel)
        stall = self.stalls.get(claim.channel)
        untold = stall is not None and at_ms is not None and at_ms - stall[1] <= TOLD_MS
        stalled_ms = (self.now_ms - stall[0], self.now_ms - stall[1]) if stall and untold else None
        self.runs[claim.channel] = 1
        pause_ms = None if at_ms is None else max(self.now_ms - at_ms, 0)
        return fence.Claimed(epoch, pause_ms, self.holes.get(claim.channel, b""), stalled_ms)

    def _assert(self, order: fence.Assert, record: Record | None) -> Answer:
        if record is None or record.epoch < order.epoch:
            self.records[order.channel] = Record(order.epoch, order.holder, order.n, order.state, order.revision)
            self.runs[order.channel] = order.n + 1
            return fence.Asserted()
        if (record.epoch, record.holder) == (order.epoch, order.holder):
            return fence.Kept(record)
        return fence.Fenced(record)
