"""A whole delivery on one machine: simulator, Redis, accounts with one or two pods, and a recorder of all of it.

    with delivery_world(path, accounts={"acc1": 2}) as world:
        world.begin()
        world.feed_fault("drop", shard="acc1")
        ...
        history = world.finish()

Faults go through this file so that each has its entry in the history, with the recovery time that the settings give it
(`bounds`). Processes are ended by their recorded handles.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis

from tests.support.delivery import bounds as times
from tests.support.delivery.history import Books, Bounds, Fault, History, Instrument, Sign, Target
from tests.support.delivery.hurting import FeedFaults, RedisFaults
from tests.support.delivery.ledgers import RESIDENT, books_of_last_line, books_of_samples, samples_of
from tests.support.delivery.listening import wall_offset_ns
from tests.support.delivery.recorder import Recorder
from tests.support.delivery.signs import signs_of
from tests.support.delivery.starving import CpuWaits
from tests.support.memory_group import MemoryGroup
from tests.support.redis_server import RedisServer, free_port
from tests.support.shard import (
    PROGRAM,
    ShardFolder,
    ShardProcess,
    a_table,
    free_channels,
    listed_instruments,
    start_shard,
)
from tests.support.simulator import Control, SimulatorProcess, simulator
from ticker_client.keys import fence_key
from ticker_crds import AssignmentTable
from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.lanes import lane_member

NAMESPACE = "default"
CHANNELS = ("ticker:equity", "ticker:nifty:options")
SHARES, OPTIONS = 12, 18  # of each account: below the hundred that a gap record lists
DEADLINE_S = 60.0
START_S = 120.0  # a fresh checkout compiles its kernels first
NO_DRAIN_DEADLINE_S = 60


@dataclass
class Pod:
    """One process of an account, with a folder of its own: another pod."""

    account: str
    name: str
    shard: ShardProcess
    memory: list[tuple[int, int]] = field(default_factory=list)  # (monotonic ns, resident bytes)
    process: str = ""

    @property
    def alive(self) -> bool:
        return self.shard.process.poll() is None

    @property
    def listens(self) -> bool:
        """Whether its probe server is there to be asked."""
        return any("port" in line for line in self.shard.lines())


@dataclass
class Account:
    """What every pod of an account is given."""

    name: str
    number: int
    table: AssignmentTable
    token: str
    made: int = 0
    tokens: int = 1

    @property
    def key(self) -> str:
        return f"simkey{self.number}"

    @property
    def shard(self) -> str:
        return f"{NAMESPACE}.{self.name}"


@dataclass
class World(FeedFaults, RedisFaults):
    """Everything that runs, and how to hurt it."""

    path: Path
    sim: SimulatorProcess
    redis: RedisServer
    accounts: dict[str, Account]
    instruments: tuple[Instrument, ...]
    bounds: Bounds
    recorder: Recorder = field(init=False)
    pods: list[Pod] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.recorder = Recorder(
            control=self.sim.control,
            connect=self.redis_client,
            channels=CHANNELS,
            shards=[account.shard for account in self.accounts.values()],
            instruments=self.instruments,
            books_of=self._books,
            waits=CpuWaits(in_series=self._path, beside=lambda: [str(pod.shard.process.pid) for pod in self.pods]),
            owners=lambda _: {account.shard for account in self.accounts.values()},
        )

    @property
    def control(self) -> Control:
        return self.sim.control

    def api_key(self, account: str) -> str:
        return self.accounts[account].key

    def signal_redis(self, which: signal.Signals) -> None:
        assert self.redis.process is not None
        self.redis.process.send_signal(which)

    def redis_client(self, **options: Any) -> redis.Redis:
        return redis.Redis.from_url(self.redis.url, **options)

    # -- life

    def start_pod(self, account: str, *, program: Sequence[object] = PROGRAM, sockets: int = 1) -> Pod:
        """Another pod of an account; it is not waited for. On each of its sockets an equal share must find room."""
        owner = self.accounts[account]
        owner.made += 1
        name = f"{account}-{owner.made}"
        folder = ShardFolder(self.path / name, account=account)
        folder.create(instance=name)
        folder.assign(owner.table)
        folder.give_token(owner.key, owner.token)
        shard = start_shard(
            folder,
            redis_url_file=self.path / "redis-url",
            ticker_url=self.sim.ws,
            program=program,
            drain_deadline_s=NO_DRAIN_DEADLINE_S,
            sockets=sockets,
            instruments_per_socket=-(-len(owner.table.instruments) // sockets),
            market_hours="always",  # the simulator's day is every day
        )
        self.pods.append(Pod(account, name, shard))
        return self.pods[-1]

    def begin(self) -> None:
        """Wait until every account streams from one pod and the others are Ready; what follows is judged."""
        for account in self.accounts:
            self.wait_until(
                lambda account=account: self.holder(account) is not None, f"{account} is held", within_s=START_S
            )
        for pod in self.pods:
            pod.shard.wait_until(pod.shard.ready, f"{pod.name} is Ready", within_s=START_S)
        seen = {(given.channel, given.token) for given in self.recorder.listener.given}
        wanted = {(channel, one.token) for one in self.instruments for channel in one.channels}
        self.wait_until(
            lambda: wanted <= seen | {(given.channel, given.token) for given in self.recorder.listener.given},
            "every instrument was given out",
        )
        self.recorder.begin()

    def finish(self) -> History:
        """Heal what is left, let the market stand still, and read everything to the end."""
        self.sim.control.heal()
        for account in self.accounts:
            self.wait_until(lambda account=account: self.holder(account) is not None, f"{account} is held in the end")
        assert self.sim.control.pause(finish=True, timeout_ms=20_000)
        history = self.recorder.finish(self.bounds, within_s=DEADLINE_S)
        return replace(history, signs=tuple(self.signs()))

    def close(self) -> None:
        """End everything that was started here."""
        self.recorder.stop()
        for pod in self.pods:
            if pod.alive:
                pod.shard.process.send_signal(signal.SIGCONT)
                pod.shard.kill()

    # -- looking

    def living(self, account: str) -> list[Pod]:
        """Pods of an account whose process lives."""
        return [pod for pod in self.pods if pod.account == account and pod.alive]

    def holder(self, account: str) -> Pod | None:
        """The living pod that holds every lane of every channel of an account; `None` while that is nobody."""
        try:
            with self.redis_client(socket_timeout=1.0) as client:
                found = {
                    (lane, *client.hmget(fence_key(channel, member=member), ["holder", "state"]))  # type: ignore[misc]
                    for channel in CHANNELS
                    for lane in range(1, SOCKETS_MAX + 1)
                    for member in [lane_member(self.accounts[account].shard, lane)]
                }
        except (redis.RedisError, OSError):
            return None
        holders = {holder or b"" for lane, holder, state in found if lane == 1 or (holder and state != b"free")}
        instances = {each.decode().partition("/")[0] for each in holders}
        return next((pod for pod in self.living(account) if {pod.name} == instances), None)

    def standby(self, account: str, *, beside: Pod) -> Pod | None:
        """A living, Ready pod that is not the holder, which is known: Redis, asked again, may just have gone away."""
        others = (pod for pod in self.living(account) if pod is not beside)
        return next((pod for pod in others if pod.listens and pod.shard.ready()), None)

    def wait_until(self, holds: Any, what: str, *, within_s: float = DEADLINE_S) -> None:
        """Wait for a condition, with a deadline; the failure shows every log's end."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                tails = "\n".join(f"-- {pod.name}\n{pod.shard.tail(8)}" for pod in self.pods)
                raise AssertionError(f"not within {within_s} s: {what}\n{tails}")
            time.sleep(0.05)

    def signs(self) -> Iterator[Sign]:
        """What the processes logged about trouble, in order of time."""
        offset_ns = wall_offset_ns()
        found = [
            sign for pod in self.pods for sign in signs_of(pod.shard.lines(), process=pod.name, offset_ns=offset_ns)
        ]
        yield from sorted(found, key=lambda sign: sign.at_ns)

    def _path(self) -> list[str]:
        server = self.redis.process
        return [
            str(self.sim.process.pid),
            *([] if server is None else [str(server.pid)]),
            self.recorder.listener.thread,
        ]

    def _books(self, final: bool) -> Iterator[Books]:
        for pod in list(self.pods):
            shard = self.accounts[pod.account].shard
            lines = pod.shard.lines()
            pod.process = pod.process or next((line["holder"] for line in lines if "holder" in line), "")
            if not pod.process:
                continue
            if pod.alive:
                try:
                    samples = samples_of(pod.shard.get("/metrics")[1])
                except OSError:
                    continue  # stopped, or on its way out
                pod.memory.append((time.monotonic_ns(), samples[RESIDENT]))
                yield books_of_samples(samples, shard=shard, process=pod.process, final=final)
            elif final:
                ends = [line for line in lines if line.get("message") == "shard ends"]
                if ends:
                    yield books_of_last_line(ends[-1]["ledger"], shard=shard, process=pod.process)

    # -- hurting

    def note(
        self,
        kind: str,
        target: Target,
        start_ns: int,
        *,
        recover_ns: int,
        account: str | None = None,
        loses_data: bool = False,
    ) -> None:
        """A fault that began then and is over now."""
        shard = None if account is None else self.accounts[account].shard
        self.recorder.faults.append(
            Fault(kind, target, start_ns, time.monotonic_ns(), recover_ns, shard, loses_data=loses_data)
        )

    def rotate_token(self, account: str) -> None:
        """What happens every morning: another token, in every pod's folder."""
        owner = self.accounts[account]
        owner.tokens += 1
        owner.token = f"simtoken{owner.number}-{owner.tokens}"
        self.sim.control.grant(owner.key, owner.token)
        for pod in self.pods:
            if pod.account == account:
                pod.shard.folder.give_token(owner.key, owner.token)

    def kill_holder(self, account: str, *, holder: Pod | None = None) -> None:
        """SIGKILL; a standby takes over after its window of silence."""
        start_ns = time.monotonic_ns()
        holder = holder or self.holder(account)
        assert holder is not None, f"nobody holds {account}"
        holder.shard.kill()
        self.note("sigkill", Target.PROCESS, start_ns, recover_ns=times.TAKE_OVER_NS, account=account)

    def run_out_of_memory(self, account: str, group: MemoryGroup) -> None:
        """The kernel kills the holder, which was started in `group`."""
        start_ns = time.monotonic_ns()
        holder = self.holder(account)
        assert holder is not None, f"nobody holds {account}"
        group.run_out()
        holder.shard.wait_for_exit()
        self.note("oom kill", Target.PROCESS, start_ns, recover_ns=times.TAKE_OVER_NS, account=account)

    def hand_over(self, account: str, *, holder: Pod | None = None) -> None:
        """SIGTERM to the holder, with a standby beside it; returns when it has gone."""
        start_ns = time.monotonic_ns()
        holder = holder or self.holder(account)
        assert holder is not None, f"nobody holds {account}"
        code = holder.shard.terminate(within_s=DEADLINE_S)
        assert code == 0, f"{holder.name} ended with {code}\n{holder.shard.tail()}"
        self.note("sigterm", Target.PROCESS, start_ns, recover_ns=0, account=account)

    def freeze_holder(
        self, account: str, *, for_s: float, holder: Pod | None = None, until_replaced: bool = False
    ) -> None:
        """SIGSTOP, then SIGCONT: what it still has in its hands must be refused if somebody took over."""
        start_ns = time.monotonic_ns()
        holder = holder or self.holder(account)
        assert holder is not None, f"nobody holds {account}"
        holder.shard.process.send_signal(signal.SIGSTOP)
        time.sleep(for_s)
        if until_replaced:
            self.wait_until(lambda: self.holder(account) not in (None, holder), "somebody took over")
        holder.shard.process.send_signal(signal.SIGCONT)
        self.note("sigstop", Target.PROCESS, start_ns, recover_ns=times.TAKE_OVER_NS, account=account)

    def restart_redis(self, *, down_s: float, empty: bool) -> None:
        """SIGKILL, and back after a while, with what it had or with nothing."""
        start_ns = time.monotonic_ns()
        self.redis.stop()
        time.sleep(down_s)
        if empty:
            for file in sorted((self.path / "redis").rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
        self.redis.start()
        kind = "redis restarted empty" if empty else "redis restarted"
        self.note(kind, Target.REDIS, start_ns, recover_ns=times.REDIS_BACK_NS, loses_data=empty)


@contextmanager
def delivery_world(
    path: Path, *, accounts: Mapping[str, int], seed: int = 23, ticks_per_second: int = 300, sockets: int = 1
) -> Iterator[World]:
    """A world in which everything has started; `accounts`: how many pods each has, of so many `sockets`."""
    with ExitStack() as stack:
        sim = stack.enter_context(simulator(seed=seed, day="2026-11-20", ticks_per_second=ticks_per_second))
        server = persisting_redis(path / "redis")
        server.start()
        stack.callback(server.stop)
        (path / "redis-url").write_text(server.url)
        made, instruments = _assign(sim, list(accounts))
        with server.client() as client:
            for account in made.values():
                free_channels(client, CHANNELS, member=account.shard)
        world = World(path, sim, server, made, instruments, times.from_settings())
        stack.callback(world.close)
        world.recorder.roll_tape()
        world.recorder.start()
        for account, pods in accounts.items():
            for _ in range(pods):
                world.start_pod(account, sockets=sockets)
        yield world


def persisting_redis(folder: Path) -> RedisServer:
    """A server that keeps what it has answered when it is killed (not when the machine is: nothing is synced)."""
    folder.mkdir(parents=True)
    return RedisServer(free_port(), ("--appendonly", "yes", "--appendfsync", "no", "--dir", str(folder)))


def _assign(sim: SimulatorProcess, names: list[str]) -> tuple[dict[str, Account], tuple[Instrument, ...]]:
    """Shares and options in turn, nobody's twice."""
    listed = listed_instruments(sim)
    shares = [one for one in listed if one.segment == "NSE"]
    options = [one for one in listed if one.segment == "NFO-OPT"]
    made: dict[str, Account] = {}
    instruments: list[Instrument] = []
    for place, name in enumerate(names):
        rows = [one.assigned(CHANNELS[0]) for one in shares[place :: len(names)][:SHARES]]
        rows += [one.assigned(CHANNELS[1]) for one in options[place :: len(names)][:OPTIONS]]
        made[name] = Account(name, place + 1, a_table(1, rows, account=name), f"simtoken{place + 1}")
        instruments += [Instrument(row.token, row.symbol, row.channels) for row in rows]
    return made, tuple(instruments)
