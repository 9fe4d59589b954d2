"""A small world for hand-over histories: processes with the real publishing core, one Redis, a market, faults.

Time is virtual. A step is one round of one process; its requests are carried out at once, or lost, or *late*: carried
out after the process has given up on them. What must hold is checked where Redis accepts something (`_accepted`),
after each step (`check`), and once all faults have ended (`heal`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tests.support.fence_redis import FenceRedis
from tests.support.fence_twin import FenceTwin
from tests.support.ticks import NewestRows, a_table, some_rows
from ticker_client import Row, decode_row
from ticker_shard.publish import fence
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.fence import Answer, ClaimReason, Request, Trouble, TroubleKind, Unanswered
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.lanes import channel_of
from ticker_shard.publish.limits import MS_NS, SECOND_NS, TIMING, Timing
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Word

CHANNELS = ("ticker:a:options", "ticker:b:options")
KEPT = object()
LOST = Unanswered(Trouble(TroubleKind.UNREACHABLE, "the history says so"))
STEP_NS = 250 * MS_NS
HEAL_NS = 30 * SECOND_NS  # silent window, take-over, rewrites; and the longest catch-up


class ViolationError(AssertionError):
    """A promise that a history broke."""


def scaled_price(payload: bytes) -> int:
    """Last price of a row as it lies in the hash, in whichever encoding, in paise."""
    row = decode_row(payload)
    assert isinstance(row, Row), row
    return round(row.last_price * 100)


@dataclass
class Pod:
    """One process."""

    name: str
    core: PublisherCore
    newest: NewestRows
    table: InstrumentTable
    paused: bool = False
    feed: bool = True
    dead: bool = False
    ran_ns: int | None = None  # when it last made a round
    woke_ns: int = 0  # when it did after standing still for so long that it may have been replaced

    @property
    def running(self) -> bool:
        return not self.dead and not self.paused and self.core.handover.phase is not Phase.GONE


@dataclass
class World:
    """Everything there is.

    Attributes
    ----------
    make_core
        Builds the core of a process; broken variants come in here.
    twin
        Redis.
    """

    make_core: Callable[..., PublisherCore] = PublisherCore
    twin: FenceTwin | FenceRedis = field(default_factory=FenceTwin)
    timing: Timing = TIMING
    channels: tuple[str, ...] = CHANNELS
    now_ns: int = 10**12
    pods: list[Pod] = field(default_factory=list)
    late: list[tuple[int, Request]] = field(default_factory=list)  # sent when, and what
    up: bool = True
    prices: dict[int, int] = field(default_factory=dict)
    holders: dict[tuple[str, int], str] = field(default_factory=dict)  # (channel, epoch) -> the holder accepted there
    highest: dict[str, tuple[int, int]] = field(default_factory=dict)  # channel -> (epoch, n) accepted last
    kept: dict[tuple[str, bytes], int] = field(default_factory=dict)  # (channel, field) -> value while data is kept
    spoke: dict[tuple[str, str], int] = field(default_factory=dict)  # (channel, process) -> accepted last, ns
    numbers: dict[tuple[str, str, int], int] = field(default_factory=dict)  # (channel, process, epoch) -> last seq
    losses: int = 0  # times that Redis lost data
    claimed: dict[tuple[str, str], int] = field(default_factory=dict)  # (channel, process) -> losses before its claim
    epochs_may_repeat: bool = False  # after a loss of data, where the server's clock does not tell terms apart
    started: int = 0

    def __post_init__(self) -> None:
        self.table = a_table(2, channels=self.channels)
        self.prices = {0: 1, 1: 1}

    # -- what happens

    def restart(self, pod: Pod) -> None:
        """The kubelet starts the next process of a pod whose process is gone, one at a time."""
        if not any(other.name == pod.name and not self._ended(other) for other in self.pods):
            self.start(pod.name)

    def _ended(self, pod: Pod) -> bool:
        return pod.dead or pod.core.handover.phase is Phase.GONE

    @property
    def living(self) -> int:
        """Processes that have not ended."""
        return sum(not self._ended(pod) for pod in self.pods)

    def start(self, instance: str | None = None, *, warm: bool = True) -> Pod:
        self.started += 1
        newest = NewestRows()
        core = self.make_core(
            shard="pool.acc1",
            process=f"{instance or f'pod{self.started}'}/{self.started}",
            newest=newest,
            source="mock",
            window_ms=100,
            ticks_max=1_000,
            timing=self.timing,
        )
        pod = Pod(f"{instance or f'pod{self.started}'}", core, newest, self.table)
        self.assign(pod, self.table)
        self.pods.append(pod)
        pod.feed = warm
        if warm:
            self._deliver(pod, list(self.prices))
        core.handover.feed(warm=warm, now_ns=self.now_ns)
        return pod

    def assign(self, pod: Pod, table: InstrumentTable) -> None:
        """The pod applies a table."""
        pod.table = table
        pod.core.configure(table, now_ns=self.now_ns, wall_ns=self.now_ns)

    def tick(self, slot: int) -> None:
        self.prices[slot] += 1
        for pod in self.pods:
            if pod.running and pod.feed:
                self._deliver(pod, [slot])

    def step(self, pod: Pod, *, carried_out: int | None = None, answered: int = 0, late: bool = False) -> None:
        """One round. With `carried_out`, only so many requests reach Redis, and `answered` of them are answered."""
        if not pod.running:
            return
        sent_ns = self.now_ns
        if pod.ran_ns is not None and sent_ns - pod.ran_ns >= TIMING.silent_ns:
            pod.woke_ns = sent_ns
        pod.ran_ns = sent_ns
        pod.core.handover.ran(now_ns=sent_ns)
        requests = pod.core.plan_round(now_ns=sent_ns, wall_ns=sent_ns)
        if pod.core.handover.phase is Phase.GONE:
            pod.core.close_books()
            return
        if not requests:
            return
        answers: list[Answer]
        if not self.up:
            answers = [LOST] * len(requests)
        elif carried_out is None:
            answers = [self._execute(request) for request in requests]
        else:
            done = [self._execute(request) for request in requests[:carried_out]][:answered]
            if late:
                self.late += [(sent_ns, request) for request in requests[carried_out:]]
            answers = [*done, *[LOST] * (len(requests) - len(done))]
        pod.core.settle_round(requests, answers, sent_ns=sent_ns, now_ns=self.now_ns, wall_ns=self.now_ns)

    def land_late(self, place: int = 0) -> None:
        """A request whose sender has long given up reaches Redis."""
        if self.late and self.up:
            sent_ns, request = self.late.pop(place % len(self.late))
            self._execute(request, sent_ns=sent_ns)

    def advance(self, ns: int) -> None:
        self.now_ns += ns
        self.twin.now_ms = self.now_ns // MS_NS

    def sigterm(self, pod: Pod) -> None:
        if not pod.dead:
            pod.core.handover.terminate(now_ns=self.now_ns)

    def kill(self, pod: Pod) -> None:
        pod.dead = True

    def pause(self, pod: Pod) -> None:
        pod.paused = True

    def resume(self, pod: Pod) -> None:
        if pod.paused:
            pod.paused = False
            if pod.feed and not pod.dead:
                self._deliver(pod, list(self.prices))

    def set_feed(self, pod: Pod, on: bool) -> None:
        if not pod.running or pod.feed is on:
            return
        pod.feed = on
        if on:
            self._deliver(pod, list(self.prices))
        pod.core.handover.feed(warm=on, now_ns=self.now_ns)

    def redis_down(self) -> None:
        self.up = False
        self.late.clear()  # connections close with their server

    def redis_up(self, *, data: object = KEPT) -> None:
        """Redis is back: with its data, empty (`None`), or with older data (a snapshot of the twin's)."""
        self.up = True
        if data is KEPT:
            return
        self.late.clear()
        self.losses += 1
        self.twin.restore(data)
        self.highest.clear()
        self.kept.clear()
        if self.epochs_may_repeat:
            self.holders.clear()
        for pod in self.pods:
            if not pod.dead:
                pod.core.disconnected()

    # -- what must hold

    def _execute(self, request: Request, *, sent_ns: int | None = None) -> Answer:
        before = self.twin.record(request.channel)
        answer = self.twin.execute(request)
        match request, answer:
            case fence.Call(), fence.Accepted():
                if before is None or (before.epoch, before.holder) != (request.epoch, request.holder):
                    raise ViolationError(f"{request.holder}, {request.epoch} was accepted although Redis had {before}")
                self.spoke[request.channel, request.holder] = self.now_ns
                self._accepted(request)
            case fence.Assert(), fence.Asserted():
                if self.claimed.get((request.channel, request.holder)) == self.losses:
                    raise ViolationError(f"{request.holder} raised {before} to {request.epoch}, and nothing was lost")
                decided_ns = self.now_ns if sent_ns is None else sent_ns  # before it stood still, if it comes late
                if self.spoke.get((request.channel, request.holder), 0) < self._woke_ns(request.holder) <= decided_ns:
                    raise ViolationError(f"{request.holder} stood still, and asserted what it held before")
                self.spoke[request.channel, request.holder] = self.now_ns
            case fence.Claim(), fence.Claimed() if request.reason is ClaimReason.SILENT or request.expected is None:
                for (channel, process), spoke_ns in self.spoke.items():
                    if (channel, process) == (request.channel, request.holder) or channel != request.channel:
                        continue
                    if self.now_ns - spoke_ns < TIMING.silent_ns:
                        raise ViolationError(f"{channel}: {request.holder} took it from {process}, which just spoke")
                self.spoke[request.channel, request.holder] = self.now_ns
        if isinstance(answer, fence.Claimed):
            assert isinstance(request, fence.Claim)
            self.claimed[request.channel, request.holder] = self.losses
        return answer

    def _accepted(self, call: fence.Call) -> None:
        holder = self.holders.setdefault((call.channel, call.epoch), call.holder)
        if holder != call.holder:
            raise ViolationError(f"{call.channel}: two holders in epoch {call.epoch}: {holder}, {call.holder}")
        mark = (call.epoch, call.n)
        if mark <= self.highest.get(call.channel, (0, 0)):
            raise ViolationError(f"{call.channel}: {mark} was accepted after {self.highest[call.channel]}")
        self.highest[call.channel] = mark
        if call.message:
            seq, key = json.loads(call.numbers)["seq"], (call.channel, call.holder, call.epoch)
            if seq <= self.numbers.get(key, 0):
                raise ViolationError(f"{key}: message {seq} after {self.numbers.get(key, 0)}")
            self.numbers[key] = seq
        for name, row in call.rows:
            value = scaled_price(row)
            channel = channel_of(call.channel)
            if value < self.kept.get((channel, name), 0):
                raise ViolationError(f"{call.channel}: {name!r} went back to {value}")
            self.kept[channel, name] = value

    def check(self) -> None:
        for pod in self.pods:
            balance = pod.core.ledger.balance()
            if not balance.balanced:
                raise ViolationError(f"{pod.name}: {balance}, difference {balance.difference}")

    def assert_newest(self) -> None:
        """The last values are the market's."""
        last = self.twin.last
        for channel in self.channels:
            for slot, price in self.prices.items():
                row = last.get(channel, {}).get(f"NFO:X{slot}".encode())
                value = 0 if row is None else scaled_price(row)
                if value != price:
                    raise ViolationError(f"{channel}: X{slot} is {value} in the last values, {price} on the market")

    def heal(self) -> None:
        """All faults end; soon one wanted process holds every channel and the last values are the newest."""
        self.end_faults()
        for _ in range(HEAL_NS // STEP_NS):
            self.everybody()
        self.one_more_tick()
        for channel in self.channels:
            holding = [pod for pod in self.pods if pod.running and pod.core.handover.holds(channel)]
            record = self.twin.records.get(channel)
            if len(holding) != 1:
                raise ViolationError(f"{channel}: {len(holding)} processes believe that they hold it")
            if record is None or record.holder != holding[0].core.handover.process:
                raise ViolationError(f"{channel}: {record} is not {holding[0].name}'s")
        self.assert_newest()
        self.check()

    def end_faults(self) -> None:
        """Redis is there, nothing is on its way, everybody runs and has a feed, and one of them at least is wanted."""
        self.redis_up()
        self.late.clear()
        for pod in self.pods:
            self.resume(pod)
            self.set_feed(pod, on=True)
        if not any(self._wanted(pod) for pod in self.pods):
            self.start()

    def one_more_tick(self) -> None:
        """A price moves, and everybody has the time to say so."""
        self.tick(0)
        self.everybody()
        self.everybody()

    def everybody(self) -> None:
        """Each process makes rounds until nothing more is due; then a quarter of a second passes."""
        for _ in range(4):
            for pod in self.pods:
                self.step(pod)
        self.advance(STEP_NS)

    def _woke_ns(self, process: str) -> int:
        return next(pod.woke_ns for pod in self.pods if pod.core.handover.process == process)

    def _wanted(self, pod: Pod) -> bool:
        return not pod.dead and not pod.core.handover.terminating and pod.core.handover.phase is not Phase.GONE

    def _deliver(self, pod: Pod, slots: list[int]) -> None:
        if pod.core.handover.phase is Phase.GONE:
            return
        rows = some_rows(self.table, slots, received_ns=self.now_ns)
        rows.words[:, Word.LAST_PRICE] = np.array([self.prices[slot] for slot in slots], np.uint32)
        pod.newest.update(rows)
        pod.core.offer(rows, now_ns=self.now_ns)
        pod.core.batcher.frame_complete()
