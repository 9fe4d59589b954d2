"""Two processes of one account on real Redis: taken over by consent, by death, by a restart; never two at once.

Each process has a folder of its own (another pod of the same account), so only Redis' records stand between them. A
consumer listens all the time; `judge_stream` says whether it saw a hole, a lost message or a fenced process that went
on, and the last values are compared with the simulator's record. A silence is as long as the processes could run in it:
what they waited for a CPU is measured, and taken off up to a half (tests/support/delivery/starving.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import redis

from tests.support.delivery.history import Interval, ran_ns
from tests.support.delivery.starving import CpuWaits
from tests.support.shard import (
    ShardFolder,
    ShardProcess,
    a_table,
    free_channels,
    last_rows,
    listed_instruments,
    shard_process,
    start_shard,
)
from tests.support.shard_checks import Verdict, books, differences, judge_stream
from tests.support.simulator import SimulatorProcess, simulator
from ticker_client.keys import fence_key
from ticker_crds import AssignmentTable

CHANNELS = ("ticker:equity", "ticker:nifty:options")
MEMBER = "default.acc1"
KEY, TOKEN = "simkey1", "simtoken1"
SILENCE_S = 3.0  # below the protocol's silence of 4 s; a busy machine pauses a process now and then
NO_DEADLINE_S = 60
WAITS_S = 0.25


@dataclass
class Consumer:
    """Everything that came over the channels."""

    url: str
    waits: CpuWaits
    received: dict[str, list[tuple[float, dict[str, Any]]]] = field(default_factory=lambda: {c: [] for c in CHANNELS})
    _stop: Event = field(default_factory=Event)

    def __enter__(self) -> Consumer:
        self._client = redis.Redis.from_url(self.url)
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(*CHANNELS)
        self._thread = Thread(target=self._listen)
        self._thread.start()
        self._watching = self.waits.watching(every_s=WAITS_S)
        self._watching.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._watching.__exit__(*error)
        self.waits.look()
        self._stop.set()
        self._thread.join()
        self._pubsub.close()
        self._client.close()

    def _listen(self) -> None:
        while not self._stop.is_set():
            found = self._pubsub.get_message(timeout=0.05)
            if found is not None and found["type"] == "message":
                message = json.loads(found["data"])
                if "ticks" in message:
                    self.received[found["channel"].decode()].append((time.monotonic(), message))

    def verdicts(self, *, silence_s: float = SILENCE_S) -> list[Verdict]:
        """By lane of each channel."""
        lanes: dict[tuple[str, str], list[tuple[float, dict[str, Any]]]] = {}
        for channel, messages in self.received.items():
            for at_s, message in messages:
                lanes.setdefault((channel, message["shard"]), []).append((at_s, message))
        return [judge_stream(messages, silence_s=silence_s, ran_s=self.ran_s) for messages in lanes.values()]

    def ran_s(self, start_s: float, end_s: float) -> float:
        """An interval without what the machine kept from simulator and shards."""
        return ran_ns(Interval(int(start_s * 1e9), int(end_s * 1e9)), self.waits.found) / 1e9

    def longest_pause_s(self) -> float:
        """Between two rows of one instrument, whoever published them."""
        before: dict[tuple[str, str], float] = {}
        longest = 0.0
        for channel, messages in self.received.items():
            for at_s, message in messages:
                for tick in message["ticks"]:
                    key = (channel, tick["symbol"])
                    if at_s - before.get(key, at_s) > longest:
                        longest = max(longest, self.ran_s(before[key], at_s))
                    before[key] = at_s
        return longest

    def gaps(self) -> list[Any]:
        messages = [message for received in self.received.values() for _, message in received]
        return [gap for message in messages for gap in message.get("gaps", ())]


@dataclass
class Account:
    """One account with a folder for each of its pods."""

    path: Path
    sim: SimulatorProcess
    redis_url: str
    table: AssignmentTable

    def pod(self, name: str, *, same_as: str | None = None) -> ShardFolder:
        folder = ShardFolder(self.path / name)
        folder.create(instance=same_as or name)
        folder.assign(self.table)
        folder.give_token(KEY, TOKEN)
        (self.path / "redis-url").write_text(self.redis_url)
        return folder

    def start(self, folder: ShardFolder, **settings: object) -> ShardProcess:
        defaults: dict[str, object] = {"drain_deadline_s": NO_DEADLINE_S}
        return start_shard(
            folder, redis_url_file=self.path / "redis-url", ticker_url=self.sim.ws, **{**defaults, **settings}
        )

    def consumer(self, pods: list[ShardProcess]) -> Consumer:
        waits = CpuWaits(
            in_series=lambda: [str(self.sim.process.pid)], beside=lambda: [str(pod.process.pid) for pod in pods]
        )
        return Consumer(self.redis_url, waits)

    def stand_still(self) -> None:
        assert self.sim.control.pause(finish=True)

    def wrong(self) -> list[str]:
        sent = self.sim.control.stats(api_key=KEY).tokens
        with redis.Redis.from_url(self.redis_url) as client:
            rows = {channel: last_rows(client, channel) for channel in CHANNELS}
        return [
            f"{channel} {row.symbol}: {text}"
            for row in self.table.instruments
            for channel in row.channels
            for text in differences(sent[row.token].row, rows[channel].get(row.symbol, {}))
        ]

    def holders(self) -> set[str]:
        with redis.Redis.from_url(self.redis_url) as client:
            found = [client.hget(fence_key(channel, member=MEMBER), "holder") for channel in CHANNELS]
        return {(holder or b"").decode().partition("/")[0] for holder in found}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=23, day="2026-11-20", ticks_per_second=1_000) as running:
        yield running


@pytest.fixture
def account(tmp_path: Path, sim: SimulatorProcess, redis_url: str) -> Iterator[Account]:
    listed = listed_instruments(sim)
    rows = [row.assigned(CHANNELS[0]) for row in [one for one in listed if one.segment == "NSE"][:40]]
    rows += [row.assigned(CHANNELS[1]) for row in [one for one in listed if one.segment == "NFO-OPT"][:60]]
    with redis.Redis.from_url(redis_url) as client:
        free_channels(client, CHANNELS)
    made = Account(tmp_path, sim, redis_url, a_table(1, rows))
    yield made
    sim.control.resume()


@pytest.fixture
def pods(account: Account) -> Iterator[list[ShardProcess]]:
    """Whatever a test starts is gone afterwards."""
    started: list[ShardProcess] = []
    yield started
    for pod in started:
        if pod.process.poll() is None:
            pod.kill()


def test_a_surge_replacement_hands_over_without_a_hole(account: Account, pods: list[ShardProcess]) -> None:
    old = account.start(account.pod("old"))
    pods.append(old)
    old.await_acknowledged(1)
    with account.consumer(pods) as consumer:
        new = account.start(account.pod("new"))
        pods.append(new)
        new.wait_until(new.ready, "the new pod is Ready")
        assert new.get("/readyz")[1] == "standby\n"
        assert account.holders() == {"old"}

        assert old.terminate() == 0
        new.wait_until(lambda: account.holders() == {"new"}, "the new pod holds every channel")
        new.await_acknowledged(1)
        account.stand_still()
        new.wait_until(lambda: not account.wrong(), "the last values are right", within_s=5)

    for verdict in consumer.verdicts():
        assert verdict.valid, verdict.complaints
        assert [process.partition("/")[0] for process in verdict.processes] == ["old", "new"]
    assert [books(pod.folder.status()["ledger"]) for pod in (old, new)] == [0, 0]
    assert old.folder.status()["ledger"]["in_flight"] == 0


@pytest.mark.parametrize(("serving", "coming"), [(1, 2), (2, 1), (2, 2)])
def test_a_change_of_sockets_overlaps_within_the_brokers_three(
    account: Account, pods: list[ShardProcess], serving: int, coming: int
) -> None:
    refused = account.sim.control.stats(tokens=False).refused
    total = len(account.table.instruments)

    def start(name: str, sockets: int) -> ShardProcess:
        per_socket = total if sockets == 1 else total // 2
        pod = account.start(account.pod(name), sockets=sockets, instruments_per_socket=per_socket)
        pods.append(pod)
        return pod

    old = start("old", serving)
    old.await_acknowledged(1)
    with account.consumer(pods) as consumer:
        new = start("new", coming)
        new.wait_until(new.ready, "the new pod is Ready")
        assert len(account.sim.control.stats(api_key=KEY, tokens=False).sockets) == 3
        assert account.holders() == {"old"}

        assert old.terminate() == 0
        new.wait_until(lambda: account.holders() == {"new"}, "the new pod holds every channel")
        new.await_acknowledged(1)
        account.stand_still()
        new.wait_until(lambda: not account.wrong(), "the last values are right")

    for verdict in consumer.verdicts():
        assert verdict.valid, verdict.complaints
    assert consumer.gaps() == []
    assert consumer.longest_pause_s() < SILENCE_S, "each instrument, whichever socket it is on"
    assert account.sim.control.stats(tokens=False).refused == refused, "nobody asked for a fourth socket"


def test_sigterm_without_a_successor_drains_and_leaves_the_channels_free(
    account: Account, pods: list[ShardProcess]
) -> None:
    pod = account.start(account.pod("only"), drain_deadline_s=0.5)
    pods.append(pod)
    pod.await_acknowledged(1)
    account.stand_still()
    pod.wait_until(lambda: not account.wrong(), "the last values are right", within_s=5)
    ended = pod.terminate()

    ledger = pod.folder.status()["ledger"]
    assert ended == 0
    assert (books(ledger), ledger["in_flight"], ledger["dropped"]) == (0, 0, 0)
    with redis.Redis.from_url(account.redis_url) as client:
        assert {client.hget(fence_key(channel, member=MEMBER), "state") for channel in CHANNELS} == {b"free"}
    assert account.sim.control.stats(api_key=KEY, tokens=False).sockets == []
    assert account.wrong() == []


def test_after_sigkill_a_standby_takes_over_and_repairs_the_last_values(
    account: Account, pods: list[ShardProcess]
) -> None:
    old, new = (account.start(account.pod(name)) for name in ("old", "new"))
    pods += [old, new]
    old.wait_until(lambda: account.holders() in ({"old"}, {"new"}), "one of them is active")
    active, standby = (old, new) if account.holders() == {"old"} else (new, old)
    standby.wait_until(standby.ready, "the other is Ready")
    name = standby.folder.path.name
    with account.consumer(pods) as consumer:
        active.kill()
        standby.wait_until(lambda: account.holders() == {name}, "the standby took over", within_s=15)
        standby.await_acknowledged(1)
        account.stand_still()
        standby.wait_until(lambda: not account.wrong(), "the last values are right", within_s=5)

    for verdict in consumer.verdicts(silence_s=12):  # silent + poll + two time-outs, and a busy machine
        assert verdict.valid, verdict.complaints


def test_a_restarted_container_takes_its_own_record_back_at_once(account: Account, pods: list[ShardProcess]) -> None:
    folder = account.pod("only")
    first = account.start(folder)
    pods.append(first)
    first.await_acknowledged(1)
    first.kill()
    replaced_ns = time.monotonic_ns()
    second = account.start(folder, name="second")
    pods.append(second)
    second.wait_until(
        lambda: folder.status().get("heartbeat_ns", 0) > replaced_ns and second_speaks(folder, first), "it speaks"
    )
    second.await_condition("Streaming", "True", "Streaming")
    account.stand_still()
    second.wait_until(lambda: not account.wrong(), "the last values are right", within_s=5)

    with redis.Redis.from_url(account.redis_url) as client:
        held_by = {client.hget(fence_key(channel, member=MEMBER), "holder") for channel in CHANNELS}
    assert held_by == {folder.status()["process"].encode()}
    assert account.wrong() == []


def second_speaks(folder: ShardFolder, first: ShardProcess) -> bool:
    process = next(line["holder"] for line in first.lines() if "holder" in line)
    return bool(folder.status()["process"] != process)


def test_a_second_process_of_a_living_instance_waits_for_its_end(account: Account, pods: list[ShardProcess]) -> None:
    folder = account.pod("only")
    first = account.start(folder)
    pods.append(first)
    first.await_acknowledged(1)
    second = account.start(folder, name="second")
    pods.append(second)
    second.wait_until(
        lambda: any("another process of this instance" in line["message"] for line in second.lines()), "it waits"
    )

    assert account.holders() == {"only"}
    assert second.terminate() == 0
    assert first.ready()


def test_sigterm_while_warming_ends_at_once(account: Account, redis_url: str) -> None:
    folder = account.pod("cold")
    (folder.path / "token").unlink()
    with shard_process(folder, redis_url_file=account.path / "redis-url", ticker_url=account.sim.ws) as pod:
        pod.await_condition("CredentialsValid", "False", "SecretMissing")

        assert pod.terminate(within_s=5) == 0
