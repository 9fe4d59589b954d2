"""The hand-over's world with accounts of several sockets, and the broker's three places.

A socket is opened as soon as its process may have it and the broker has a place, delivers from the next turn on, and
is closed when its process says that it is done with it. An instrument is delivered by its own socket alone. The
broker refuses a fourth socket; whoever was refused waits, as after a 429. A killed process's sockets linger.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.handover_world import HEAL_NS, STEP_NS, Pod, ViolationError, World
from tests.support.ticks import NewestRows, a_table
from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.lanes import channel_of
from ticker_shard.publish.limits import SECOND_NS
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.placement import place

INSTRUMENTS, MORE = 6, 8
WARM_NS = 1 * SECOND_NS
REFUSED_NS = 35 * SECOND_NS
LINGER_NS = 10 * SECOND_NS
CLOSE_NS = 1 * SECOND_NS


@dataclass
class LanePod(Pod):
    """One process and its sockets."""

    sockets: int = 1
    opened: dict[int, int] = field(default_factory=dict)  # socket -> since when
    warm: set[int] = field(default_factory=set)
    closing: dict[int, int] = field(default_factory=dict)  # socket -> since when it is being closed
    refused_ns: dict[int, int] = field(default_factory=dict)
    socket_of: dict[int, int] = field(default_factory=dict)  # slot -> socket
    killed_ns: int = 0

    def at_broker(self, now_ns: int) -> int:
        """Places that it takes there."""
        if self.dead:
            return len(self.opened) if now_ns - self.killed_ns < LINGER_NS else 0
        return 0 if self.core.handover.phase is Phase.GONE else len(self.opened)


@dataclass
class LaneWorld(World):
    """Several sockets a process, three in all."""

    refused: int = 0
    most: int = 0
    heard: set[int] = field(default_factory=set)  # how many voices an instrument had whenever that was looked at

    def __post_init__(self) -> None:
        self.table = a_table(INSTRUMENTS, channels=self.channels)
        self.prices = dict.fromkeys(range(INSTRUMENTS), 1)

    def start(self, instance: str | None = None, *, warm: bool = True, sockets: int = 2) -> LanePod:
        self.started += 1
        name, newest = instance or f"pod{self.started}", NewestRows()
        core = self.make_core(
            shard="pool.acc1", process=f"{name}/{self.started}", newest=newest, source="mock", window_ms=100,
            ticks_max=1_000, timing=self.timing, sockets=sockets, watched=SOCKETS_MAX,
        )  # fmt: skip
        pod = LanePod(name, core, newest, self.table, sockets=sockets, feed=warm)
        self.assign(pod, self.table)
        core.handover.feed(warm=False, now_ns=self.now_ns)
        self.pods.append(pod)
        return pod

    def assign(self, pod: Pod, table: InstrumentTable) -> None:
        assert isinstance(pod, LanePod)
        super().assign(pod, table)
        tokens = {row.token: slot for slot, row in enumerate(table.instruments) if row is not None}
        placed = place(tokens, sockets=pod.sockets, capacity=len(tokens)).socket_of
        pod.socket_of = {tokens[token]: socket + 1 for token, socket in placed.items() if tokens[token] in self.prices}

    def more_instruments(self) -> InstrumentTable:
        """A table with `MORE` besides; one of those that were there is in another lane by it."""
        count, revision = INSTRUMENTS + MORE, self.table.revision + 1
        return a_table(count, channels=self.channels, revision=revision, previous=self.table)

    def restart(self, pod: Pod) -> None:
        assert isinstance(pod, LanePod)
        if not any(other.name == pod.name and not self._ended(other) for other in self.pods):
            self.start(pod.name, sockets=pod.sockets)

    def kill(self, pod: Pod) -> None:
        if not self._ended(pod):
            assert isinstance(pod, LanePod)
            pod.killed_ns = self.now_ns
            super().kill(pod)

    def set_feed(self, pod: Pod, on: bool) -> None:
        assert isinstance(pod, LanePod)
        if pod.running and pod.feed is not on:
            pod.feed = on
            for socket in list(pod.warm) if not on else ():
                pod.warm.discard(socket)
                pod.core.handover.feed(warm=False, now_ns=self.now_ns, socket=socket)

    def tick(self, slot: int) -> None:
        self.prices[slot] += 1
        for pod in self.pods:
            if pod.running and isinstance(pod, LanePod) and pod.socket_of[slot] in pod.warm:
                self._deliver(pod, [slot])

    def resume(self, pod: Pod) -> None:
        if pod.paused:
            pod.paused = False
            assert isinstance(pod, LanePod)
            for socket in sorted(pod.warm) if not pod.dead else ():
                self._deliver(pod, [slot for slot, on in pod.socket_of.items() if on == socket])

    @property
    def places(self) -> int:
        """Sockets that stand at the broker."""
        return sum(pod.at_broker(self.now_ns) for pod in self.pods if isinstance(pod, LanePod))

    def turn_sockets(self, pod: LanePod) -> None:
        """Open, warm and close what its stages say."""
        handover, now_ns = pod.core.handover, self.now_ns
        if not pod.running:
            return
        for socket in handover.sockets_done:
            pod.closing.setdefault(socket, now_ns)
            if pod.warm & {socket}:
                pod.warm.discard(socket)
                handover.feed(warm=False, now_ns=now_ns, socket=socket)
            if now_ns - pod.closing[socket] >= CLOSE_NS:
                pod.opened.pop(socket, None)
                handover.socket_closed(socket)
        for socket in range(1, handover.stages.allowed + 1):
            if socket in pod.closing or now_ns < pod.refused_ns.get(socket, 0):
                continue
            if socket not in pod.opened:
                self._open(pod, socket)
            elif socket not in pod.warm and pod.feed and now_ns - pod.opened[socket] >= WARM_NS:
                pod.warm.add(socket)
                self._deliver(pod, [slot for slot, on in pod.socket_of.items() if on == socket])
                handover.feed(warm=True, now_ns=now_ns, socket=socket)

    def _open(self, pod: LanePod, socket: int) -> None:
        if self.places >= SOCKETS_MAX:
            self.refused += 1
            pod.refused_ns[socket] = self.now_ns + REFUSED_NS
            return
        pod.opened[socket] = self.now_ns
        self.most = max(self.most, self.places)

    def everybody(self) -> None:
        for pod in self.pods:
            assert isinstance(pod, LanePod)
            self.turn_sockets(pod)
        super().everybody()

    # -- what must hold

    def voices(self, channel: str, slot: int) -> list[str]:
        """Processes that publish an instrument in a channel: by Redis's word, with its socket open."""
        found = []
        for pod in self.pods:
            table = pod.core.table
            if not pod.running or table is None or not isinstance(pod, LanePod):
                continue
            row = table.instruments[slot]
            assert row is not None
            name = next(name for name in row.channels if channel_of(name) == channel)
            record = self.twin.record(name)
            if record is not None and record.holder == pod.core.handover.process and pod.socket_of[slot] in pod.warm:
                found.append(pod.name)
        return found

    def assert_one_voice(self) -> None:
        """Each instrument is published, and by one process only; and what was published is the newest."""
        for channel in self.channels:
            for slot in self.prices:
                voices = self.voices(channel, slot)
                self.heard.add(len(voices))
                if len(voices) != 1:
                    raise ViolationError(f"{channel}: X{slot} has the voices {voices}")
        self.assert_newest()

    def _settled(self) -> bool:
        last = next(pod for pod in self.pods if self._wanted(pod))
        handover = last.core.handover
        alone = all(pod is last or self._ended(pod) for pod in self.pods)
        return alone and set(handover.held) == set(handover.channels) and handover.stages.parts == last.sockets

    def heal(self) -> None:
        """All faults end; soon one wanted process holds every lane that it wants, and no other lane is held."""
        self.end_faults()
        for pod in [pod for pod in self.pods if self._wanted(pod)][:-1]:
            self.sigterm(pod)  # Kubernetes wants one
        settled = 0
        for _ in range((90 * SECOND_NS + 2 * REFUSED_NS + HEAL_NS) // STEP_NS):
            self.everybody()
            settled = settled + 1 if self._settled() else 0
            if settled > 8:
                break
        self.one_more_tick()
        last = next(pod for pod in self.pods if self._wanted(pod))
        if set(last.core.handover.held) != set(last.core.handover.channels):
            raise ViolationError(f"{last.name} holds {last.core.handover.held} of {last.core.handover.channels}")
        self.assert_one_voice()
        self.check()


def every_instrument_ticks(world: LaneWorld) -> None:
    """One turn of everybody in a market that moves."""
    for slot in world.prices:
        world.tick(slot)
    world.everybody()
