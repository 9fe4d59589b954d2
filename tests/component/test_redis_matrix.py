"""Whatever a Redis does: the circuit opens, streaming and memory are unaffected, and afterwards everything is there.

Real servers, and a proxy where the network is to blame. After each fault: the last values are complete, every row that
was lost has a name in the books (they balance), and a hole longer than a batch's window was declared.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from tests.support.publishing import DEADLINE_S, QUICK, SHARD, Listener, Pod, last_prices, until
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_server import RedisServer, redis_server
from tests.support.ticks import CHANNEL, a_table
from ticker_client import decode_gap, fence_key, gaps_key, last_values_key
from ticker_shard.publish.backpressure import BackpressureSettings, Level
from ticker_shard.publish.breaker import BreakerState
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import SECOND_NS, Timing
from ticker_shard.publish.standing import Holdings
from ticker_shard.ticks.rows import Word

INSTRUMENTS = 250
OPEN = BreakerState.OPEN
# Where nothing may time out, however little of the processor a test is given.
PATIENT = replace(QUICK, call_timeout_ns=5 * SECOND_NS, silent_ns=6 * SECOND_NS)


class Market:
    """Feeds a pod until it is told to stop; every instrument moves, in turns."""

    def __init__(self, pod: Pod) -> None:
        self.pod, self.price, self.longest_in_flight = pod, 1_000, 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.price += 1
            self.pod.feed(range(self.price % 5, INSTRUMENTS, 5), self.price)
            self.longest_in_flight = max(self.longest_in_flight, self.pod.publisher.ledger.in_flight())
            await asyncio.sleep(0.005)

    async def ends(self) -> None:
        """No more ticks."""
        self._task.cancel()
        await asyncio.wait([self._task])


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture
async def holder(server: RedisServer) -> AsyncIterator[Callable[..., Pod]]:
    pods: list[Pod] = []

    async def make(
        url: str | None = None,
        *,
        timing: Timing = QUICK,
        backpressure: BackpressureSettings = BackpressureSettings(),  # noqa: B008 - frozen
        **table,
    ) -> Pod:
        table = a_table(INSTRUMENTS, **table)
        pod = Pod(url or server.url, "pod1/1", table, timing=timing, backpressure=backpressure)
        pods.append(pod)
        pod.feed(range(INSTRUMENTS), 500)
        await pod.start().holds()
        return pod

    yield make
    for pod in pods:
        if not pod.running.done():
            await pod.die()


def newest(pod: Pod) -> dict[str, int]:
    rows = pod.newest.newest(np.arange(INSTRUMENTS, dtype=np.int32))
    return {f"NFO:X{slot}": int(row[Word.LAST_PRICE]) for slot, row in zip(rows.slot.tolist(), rows.words, strict=True)}


async def everything_is_there(pod: Pod, client: redis.Redis, channel: str = CHANNEL) -> None:
    await until(lambda: pod.publisher.trouble is None and pod.publisher.breaker.state is BreakerState.CLOSED)
    await until(lambda: last_prices(client, channel) == newest(pod))
    await until(lambda: pod.publisher.ledger.in_flight() == 0)
    assert pod.publisher.holdings is Holdings.ALL
    pod.assert_books_balance()


async def declared_causes(client: redis.Redis) -> set[str]:
    await until(lambda: client.xlen(gaps_key(CHANNEL)))
    return {decode_gap(entry[b"gap"]).cause for _, entry in client.xrange(gaps_key(CHANNEL))}


def trouble_is(pod: Pod, *kinds: str) -> Callable[[], bool]:
    return lambda: pod.publisher.trouble is not None and pod.publisher.trouble.partition(":")[0] in kinds


def assert_memory_was_bounded(market: Market) -> None:
    # The queue's ceiling (twice the instruments and a batch), and one round under way.
    assert market.longest_in_flight <= 2 * INSTRUMENTS + 2 * 1_000


@pytest.mark.parametrize("seconds", [1.0, 4.0])
async def test_a_server_that_is_gone_and_comes_back_empty(server, holder, seconds):
    pod = await holder()
    market = Market(pod)
    server.stop()
    await until(lambda: pod.publisher.breaker.state is OPEN)
    opened = market.price
    await asyncio.sleep(seconds)
    server.start()
    await until(lambda: market.price > opened + 20)
    await market.ends()

    with server.client() as client:
        await everything_is_there(pod, client)
        assert "redis" in await declared_causes(client)
    await until(lambda: pod.publisher.ledger.gap_instrument_ns.get("redis"))  # Redis has it before we have the answer
    assert_memory_was_bounded(market)


async def test_a_slow_network_delays_and_loses_nothing(server, holder):
    async with redis_proxy(server.port) as proxy:
        pod = await holder(proxy.url, timing=PATIENT)
        proxy.delay_s = 0.1  # each way
        market = Market(pod)
        await until(lambda: pod.publisher.ledger.published > 2_000)
        await market.ends()

        with server.client() as client:
            await everything_is_there(pod, client)
        assert pod.publisher.breaker.transitions == {}
        assert sum(pod.publisher.ledger.dropped.values()) == 0
        assert_memory_was_bounded(market)
        await pod.die()


async def test_a_slow_redis_gets_newest_values_and_every_tick_again_when_it_is_quick(server, holder, caplog):
    caplog.set_level(logging.INFO, "ticker_shard.publish.backpressure_log")
    calm = BackpressureSettings(conflate_ms=400, shed_ms=20_000, calm_ms=300)
    async with redis_proxy(server.port) as proxy:
        pod = await holder(proxy.url, timing=PATIENT, backpressure=calm)
        await until(lambda: pod.publisher.ledger.in_flight() == 0)
        proxy.delay_s = 0.3  # each way
        market = Market(pod)
        await until(lambda: pod.publisher.backpressure.level is Level.CONFLATE)
        await until(lambda: pod.publisher.ledger.conflated > 1_000)
        proxy.delay_s = 0.0
        await until(lambda: pod.publisher.backpressure.level is Level.NORMAL)
        await market.ends()

        with server.client() as client:
            await everything_is_there(pod, client)
        assert sum(pod.publisher.ledger.dropped.values()) == 0
        await until(lambda: pod.publisher.backpressure.transitions == told_levels(caplog))
        assert_memory_was_bounded(market)
        await pod.die()


async def test_a_stopped_redis_raises_the_level_to_shed_and_it_comes_back_step_by_step(server, holder, caplog):
    caplog.set_level(logging.INFO, "ticker_shard.publish.backpressure_log")
    pod = await holder(backpressure=BackpressureSettings(conflate_ms=150, shed_ms=400, calm_ms=300))
    market = Market(pod)
    server.process.send_signal(signal.SIGSTOP)
    try:
        await until(lambda: pod.publisher.backpressure.level is Level.SHED)
        await until(lambda: pod.publisher.breaker.state is OPEN)
        held = pod.publisher.ledger.in_flight()
        await until(lambda: pod.publisher.ledger.conflated > 10 * INSTRUMENTS)  # it goes on, and nothing grows
        assert pod.publisher.ledger.in_flight() <= max(held, INSTRUMENTS) + 2 * 1_000
    finally:
        server.process.send_signal(signal.SIGCONT)
    await until(lambda: pod.publisher.backpressure.level is Level.NORMAL)
    await market.ends()

    with server.client() as client:
        await everything_is_there(pod, client)
        assert "redis" in await declared_causes(client)
    transitions = pod.publisher.backpressure.transitions
    assert transitions[Level.SHED, Level.CONFLATE] >= 1
    assert transitions[Level.CONFLATE, Level.NORMAL] >= 1
    assert (Level.SHED, Level.NORMAL) not in transitions
    await until(lambda: transitions == told_levels(caplog))  # the line follows at the end of the loop's turn
    assert_memory_was_bounded(market)


def told_levels(caplog) -> dict[tuple[Level, Level], int]:
    """Changes of the level as the log has them, one line each."""
    told: dict[tuple[Level, Level], int] = {}
    for record in caplog.records:
        if record.name == "ticker_shard.publish.backpressure_log":
            change = (Level[record.before.upper()], Level[record.level.upper()])
            told[change] = told.get(change, 0) + 1
    return told


async def test_a_black_hole_is_left_by_the_time_out_and_every_row_in_it_has_a_name(server, holder):
    async with redis_proxy(server.port) as proxy:
        pod = await holder(proxy.url)
        market = Market(pod)
        proxy.black_hole = True
        await until(lambda: pod.publisher.breaker.state is OPEN)
        assert trouble_is(pod, "Timeout", "Unreachable")()
        proxy.black_hole = False
        price = market.price
        await until(lambda: market.price > price + 20)
        await market.ends()

        with server.client() as client:
            await everything_is_there(pod, client)
            assert "redis" in await declared_causes(client)
        assert_memory_was_bounded(market)
        await pod.die()


async def test_connections_that_are_reset_again_and_again(server, holder):
    async with redis_proxy(server.port) as proxy:
        pod = await holder(proxy.url)
        market = Market(pod)
        for number in range(15):
            await until(lambda number=number: proxy.accepted > number)
            proxy.reset()
        await until(lambda: proxy.accepted > 15)
        await market.ends()

        with server.client() as client:
            await everything_is_there(pod, client)
        assert_memory_was_bounded(market)
        await pod.die()


async def test_a_server_that_loads_its_data(tmp_path: Path):
    with redis_server("--dir", str(tmp_path), "--enable-debug-command", "yes") as server:
        pod = await Pod(server.url, "pod1/1", a_table(INSTRUMENTS)).start().holds()
        market = Market(pod)
        with server.client() as client:
            for number in range(1_500):
                client.set(f"filler:{number}", "x" * 1_000)
            client.save()
        server.stop()
        slowly = ("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
        server.start(*slowly, wait=False)
        await until(trouble_is(pod, "Loading"))
        await until(lambda: pod.publisher.trouble is None)
        price = market.price
        await until(lambda: market.price > price + 20)
        await market.ends()

        with server.client() as client:
            await everything_is_there(pod, client)
        assert_memory_was_bounded(market)
        await pod.die()


async def test_a_server_without_memory(server, holder):
    pod = await holder()
    market = Market(pod)
    with server.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        await until(trouble_is(pod, "OutOfMemory"))
        await until(lambda: pod.publisher.breaker.state is OPEN)
        client.config_set("maxmemory", "0")
        price = market.price
        await until(lambda: market.price > price + 20)
        await market.ends()

        await everything_is_there(pod, client)
    assert_memory_was_bounded(market)


async def test_a_server_that_became_a_replica(server, holder):
    pod = await holder()
    market = Market(pod)
    with server.client() as client, redis_server() as other:
        client.execute_command("REPLICAOF", "127.0.0.1", str(other.port))
        # While it takes over the other one's data it says LOADING or, already without ours, knows no record.
        await until(trouble_is(pod, "ReadOnly", "Loading"))
        client.execute_command("REPLICAOF", "NO", "ONE")
        price = market.price
        await until(lambda: market.price > price + 20)
        await market.ends()

        await everything_is_there(pod, client)
    assert_memory_was_bounded(market)


@pytest.mark.parametrize("fault", ["NoAuth", "WrongPassword", "NoPermission"])
async def test_a_wrong_configuration_is_named_and_not_hammered(server, fault):
    user = "" if fault == "NoAuth" else "shard:good@"
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "shard", "on", ">good", "~*", "&*", "+@all")
        async with redis_proxy(server.port) as proxy:
            pod = Pod(proxy.url.replace("//", f"//{user}"), "pod1/1", a_table(INSTRUMENTS))
            pod.feed(range(INSTRUMENTS), 500)
            await pod.start().holds()
            market = Market(pod)
            wrong, right = {
                "NoAuth": (("default", ">secret", "resetpass", ">secret"), ("default", "nopass")),
                "WrongPassword": (("shard", "resetpass", ">other"), ("shard", ">good")),
                "NoPermission": (("shard", "-evalsha"), ("shard", "+evalsha")),
            }[fault]
            admin = redis.Redis(port=server.port, username="admin", password="admin")
            client.execute_command("ACL", "SETUSER", "admin", "on", ">admin", "~*", "&*", "+@all")
            admin.execute_command("ACL", "SETUSER", *wrong)
            proxy.reset()
            await until(trouble_is(pod, fault))
            await until(lambda: pod.publisher.breaker.failures >= 8)  # the wait has grown to its longest
            attempts, began = pod.publisher.breaker.failures, asyncio.get_running_loop().time()
            await asyncio.sleep(3)
            seconds = asyncio.get_running_loop().time() - began
            # At least half a second between two attempts.
            assert pod.publisher.breaker.failures - attempts <= seconds / 0.5 + 1
            assert trouble_is(pod, fault)()
            admin.execute_command("ACL", "SETUSER", *right)
            price = market.price
            await until(lambda: market.price > price + 20)
            await market.ends()

            await everything_is_there(pod, admin)
            assert_memory_was_bounded(market)
            await pod.die()
            admin.close()


async def test_a_channel_that_redis_refuses_is_alone_in_that(server, holder):
    bad, good = CHANNEL, "ticker:other"
    pod = await holder(timing=PATIENT, channels=(bad, good))
    with server.client() as client:
        await until(lambda: last_prices(client, bad) == newest(pod))
        client.delete(last_values_key(bad))
        client.set(last_values_key(bad), "not a hash")
        market = Market(pod)
        await until(lambda: pod.publisher.refused_channels == 1)
        assert pod.publisher.trouble.startswith(f"WrongType: refused by Redis: channel {bad}: ")
        assert pod.publisher.usable
        published = pod.publisher.ledger.published
        await until(lambda: pod.publisher.ledger.published > published + 5_000)
        beat = client.hget(fence_key(bad, member=SHARD), "n")
        await until(lambda: client.hget(fence_key(bad, member=SHARD), "n") != beat)
        assert pod.publisher.breaker.transitions == {}
        assert pod.publisher.holdings is Holdings.ALL
        await market.ends()
        await until(lambda: last_prices(client, good) == newest(pod))

        client.delete(last_values_key(bad))
        async with asyncio.timeout(2 * DEADLINE_S):
            await everything_is_there(pod, client, bad)
        await everything_is_there(pod, client, good)


async def test_a_subscriber_that_does_not_read_loses_its_connection_not_the_shards_time(server, holder):
    pod = await holder(timing=PATIENT)
    with server.client() as client:
        client.config_set("client-output-buffer-limit", "pubsub 256kb 128kb 1")
        listener = Listener(client)
        pod.feed(range(INSTRUMENTS), 501)
        await until(lambda: pod.publisher.ledger.in_flight() == 0)
        last = listener.read()[-1].seq
        for price in range(600, 1_400):  # nobody reads: megabytes
            pod.feed(range(INSTRUMENTS), price)
            await asyncio.sleep(0)
            if price % 20 == 0:
                await until(lambda: pod.publisher.ledger.in_flight() == 0)
        assert pod.publisher.breaker.transitions == {}
        assert sum(pod.publisher.ledger.dropped.values()) == 0
        await until(lambda: client.pubsub_numsub(CHANNEL)[0][1] == 0)  # Redis has cut it off
        await everything_is_there(pod, client)

        again = Listener(client)
        pod.feed(range(INSTRUMENTS), 2_000)
        await until(lambda: again.read())
        assert again.messages[0].source.epoch == pod.publisher.epoch
        assert again.messages[0].seq > last + 100  # what it missed is counted by the numbers
    assert pod.publisher.state is Phase.ACTIVE
