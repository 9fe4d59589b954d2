"""A shard that reaches the broker and Redis but not the API server, while a successor starts beside it.

The control plane takes the cut-off pod for dead, and it is not: only the record in Redis can tell who publishes. Both
processes are real, as are API server, Role, Redis and the simulator's feed; a proxy that passes nothing on is the cut.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import redis

from tests.api.test_shard_sources import SECRET, Pool, pool
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shard import ShardFolder, ShardProcess, a_table, free_channels, listed_instruments
from tests.support.simulator import SimulatorProcess, simulator
from ticker_client.keys import fence_key
from ticker_shard.publish.limits import TIMING

__all__ = ["pool"]  # the fixture

CHANNEL = "ticker:equity"
WITHIN_S = 60.0  # a start takes its time where others run
CUT_OFF, SUCCESSOR = "pod-cut-off", "pod-successor"


@dataclass
class Account:
    """One account's channel, and whatever of it can be seen from outside."""

    pool: Pool
    sim: SimulatorProcess
    server: RedisServer
    heard: list[tuple[int, str]] = field(default_factory=list)  # (epoch, pod) of every message
    records: list[tuple[int, str]] = field(default_factory=list)  # (epoch, pod) of every look at the record

    @property
    def fence(self) -> str:
        return fence_key(CHANNEL, member=f"{self.pool.namespace}.acc1")

    def process(self, pod: str, *, api_url: str) -> ShardProcess:
        """One pod's process."""
        log = self.pool.folder / f"{pod}.log"
        arguments = {
            "account": "acc1", "namespace": self.pool.namespace, "secret-name": SECRET, "instance": pod,
            "api-url": api_url, "service-account-dir": self.pool.folder,
            "redis-url-file": self.pool.folder / "redis-url", "ticker-url": self.sim.ws, "host": "127.0.0.1",
            "port": 0, "market-hours": "never",
        }  # fmt: skip
        flags = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", "ticker_shard.app", *flags], stdout=out, stderr=out)
        return ShardProcess(ShardFolder(self.pool.folder), process, log)

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Hear every message and look at the record all the time."""
        stop = Event()
        with self.server.client() as client, client.pubsub() as channel:
            channel.subscribe(CHANNEL)
            thread = Thread(target=self._observe, args=(client, channel, stop))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()

    def _observe(self, client: redis.Redis, channel: Any, stop: Event) -> None:
        while not stop.is_set():
            epoch, holder = client.hmget(self.fence, "epoch", "holder")  # type: ignore[misc]
            if holder and not holder.startswith(b"before/"):
                self.records.append((int(epoch), holder.decode().partition("/")[0]))
            found = channel.get_message(timeout=0.02)
            if found is not None and found["type"] == "message" and "ticks" in (message := json.loads(found["data"])):
                self.heard.append((message["epoch"], message["process"].partition("/")[0]))

    def pods_heard(self) -> list[str]:
        """Who published, in turn."""
        return [pod for n, (_, pod) in enumerate(self.heard) if n == 0 or self.heard[n - 1][1] != pod]


def listens(shard: ShardProcess) -> bool:
    """Whether it answers probes."""
    return any("port" in line for line in shard.lines())


def holds_nothing(shard: ShardProcess) -> bool:
    """Whether its log says that it has lost its last channel."""
    changes = [line for line in shard.lines() if "held" in line]
    return bool(changes) and changes[-1]["held"] == []


async def until(shard: ShardProcess, holds: Callable[[], object], what: str) -> None:
    """Wait for it without stopping the loop, which is the proxy's too."""
    await asyncio.to_thread(shard.wait_until, lambda: bool(holds()), what, within_s=WITHIN_S)


async def test_a_successor_of_a_shard_without_the_api_server_waits_and_then_fences_it(pool: Pool) -> None:
    (pool.folder / "ca.crt").write_bytes(pool.plane.ca_file.read_bytes())
    port = int(pool.plane.url.rpartition(":")[2])
    with ExitStack() as stack:
        sim = stack.enter_context(simulator(seed=5, day="2026-11-20", ticks_per_second=300))
        server = stack.enter_context(redis_server())
        (pool.folder / "redis-url").write_text(server.url)
        pool.write_table(table=a_table(3, [r.assigned(CHANNEL) for r in listed_instruments(sim) if r.segment == "NSE"]))
        pool.write_secret("simtoken1", api_key="simkey1")
        account = Account(pool, sim, server)
        with server.client() as client:
            free_channels(client, [CHANNEL], member=f"{pool.namespace}.acc1")
        stack.enter_context(account.observed())
        async with redis_proxy(port) as way_to_api:
            first = account.process(CUT_OFF, api_url=f"https://127.0.0.1:{way_to_api.port}")
            stack.callback(first.kill)
            await until(first, lambda: account.pods_heard() == [CUT_OFF], "it publishes")
            await until(first, lambda: pool.lease_holder().startswith(CUT_OFF), "it has the Lease")

            way_to_api.black_hole = True
            second = account.process(SUCCESSOR, api_url=pool.plane.url)
            stack.callback(second.kill)
            await until(second, lambda: listens(second), "the successor has started")
            await until(second, second.ready, "the successor is warm")
            heard = len(account.heard)
            await asyncio.sleep(2 * TIMING.silent_ns / 1e9)  # more than a window: whoever is silent would be replaced
            assert len(account.heard) > heard, "it streams without the API server"
            assert account.pods_heard() == [CUT_OFF], "a healthy holder is not robbed, whatever its Lease says"
            assert {pod for _, pod in account.records} == {CUT_OFF}

            first.process.send_signal(signal.SIGSTOP)  # as on a node that hangs
            await until(second, lambda: account.pods_heard() == [CUT_OFF, SUCCESSOR], "the successor publishes")
            first.process.send_signal(signal.SIGCONT)
            await until(first, lambda: holds_nothing(first), "it has learnt that it is fenced")
            assert await asyncio.to_thread(first.terminate) == 0, "it ends without the API server, too"

    assert account.pods_heard() == [CUT_OFF, SUCCESSOR], "once fenced it published nothing more"
    seen = {*account.records, *account.heard}
    assert sorted(epoch for epoch, _ in seen) == sorted({epoch for epoch, _ in seen}), f"two in one epoch: {seen}"
    assert [pod for _, pod in sorted(seen)] == [CUT_OFF, SUCCESSOR]
