"""TLS, a Sentinel's fail-over and a cluster's slot that moves, under load and with real servers.

Nothing of a wrong epoch is written, and afterwards the last values are complete.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from tests.support.publishing import QUICK, SHARD, Pod, last_prices, until
from tests.support.redis_clusters import redis_cluster, self_signed, watched_redis
from tests.support.redis_server import RedisServer, free_port
from tests.support.ticks import CHANNEL, a_table
from ticker_client import fence_key
from ticker_client.keys import last_values_key
from ticker_shard.publish.breaker import BreakerState
from ticker_shard.publish.doors import open_door
from ticker_shard.publish.fence import TroubleKind
from ticker_shard.publish.standing import Holdings
from ticker_shard.publish.trouble import RedisTroubleError

INSTRUMENTS = 50
LONG_S = 60


async def market(pod: Pod, begin: int, count: int) -> int:
    """So many prices for every instrument; the last one."""
    for price in range(begin, begin + count):
        pod.feed(range(INSTRUMENTS), price)
        await asyncio.sleep(0.005)
    return begin + count - 1


def everything_at(price: int) -> dict[str, int]:
    return {f"NFO:X{number}": price for number in range(INSTRUMENTS)}


async def complete(pod: Pod, client: redis.Redis, price: int) -> None:
    await until(lambda: pod.publisher.breaker.state is BreakerState.CLOSED and pod.publisher.trouble is None)
    await until(lambda: last_prices(client) == everything_at(price), within_s=LONG_S)
    await until(lambda: pod.publisher.ledger.in_flight() == 0)
    pod.assert_books_balance()


# -- TLS


@pytest.fixture
def tls_server(tmp_path: Path):
    certificate, key = self_signed(tmp_path)
    port = free_port()
    server = RedisServer(
        free_port(),
        (
            *("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
            *("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no"),
        ),
    )
    try:
        server.start()
    except redis.ConnectionError:
        server.stop()
        pytest.skip("this redis-server was built without TLS")
    yield server, port, certificate
    server.stop()


async def test_rows_arrive_over_tls_with_an_authority_of_ones_own(tls_server):
    server, port, certificate = tls_server
    pod = (
        await Pod(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", "a/1", a_table(INSTRUMENTS))
        .start()
        .holds()
    )

    price = await market(pod, 100, 20)

    with server.client() as client:
        await complete(pod, client, price)
    assert pod.publisher.breaker.state is BreakerState.CLOSED
    await pod.die()


async def test_a_certificate_that_nobody_vouches_for_is_refused_by_name(tls_server):
    _, port, _ = tls_server
    door = open_door(f"rediss://127.0.0.1:{port}/0", member=SHARD, timeout_ns=QUICK.call_timeout_ns * 10)

    with pytest.raises(RedisTroubleError, match=r"(?i)certificate"):
        await door.connect()


# -- Sentinel


async def test_a_planned_fail_over_under_load_leaves_complete_last_values(tmp_path):
    with watched_redis(tmp_path) as servers:
        pod = await Pod(servers.url, "a/1", a_table(INSTRUMENTS)).start().holds()
        epoch = pod.publisher.epoch
        price = await market(pod, 100, 20)

        servers.fail_over()
        deadline = asyncio.get_running_loop().time() + LONG_S
        while servers.named() != servers.replica.port:
            price = await market(pod, price + 1, 20)
            assert asyncio.get_running_loop().time() < deadline
        price = await market(pod, price + 1, 50)

        with servers.replica.client() as client:
            await complete(pod, client, price)
            assert client.hget(fence_key(CHANNEL, member=SHARD), "epoch") == str(epoch).encode()
        assert pod.publisher.holdings is Holdings.ALL
        await pod.die()


async def test_a_master_that_dies_is_followed_to_its_replica(tmp_path):
    with watched_redis(tmp_path) as servers:
        pod = await Pod(servers.url, "a/1", a_table(INSTRUMENTS)).start().holds()
        price = await market(pod, 100, 20)

        servers.master.stop()
        deadline = asyncio.get_running_loop().time() + LONG_S
        while servers.named() != servers.replica.port:
            price = await market(pod, price + 1, 20)
            assert asyncio.get_running_loop().time() < deadline

        with servers.replica.client() as client:
            await complete(pod, client, price)
            assert client.hget(fence_key(CHANNEL, member=SHARD), "holder") == b"a/1"
        await pod.die()


async def test_two_processes_agree_on_one_holder_after_a_fail_over(tmp_path):
    with watched_redis(tmp_path) as servers:
        first = await Pod(servers.url, "a/1", a_table(INSTRUMENTS)).start().holds()
        second = Pod(servers.url, "b/1", a_table(INSTRUMENTS)).start()
        for pod in (first, second):
            await market(pod, 100, 5)

        servers.fail_over()
        await until(lambda: servers.named() == servers.replica.port, within_s=LONG_S)
        first.publisher.terminate()
        await second.holds()
        price = await market(second, 1_000, 10)

        with servers.replica.client() as client:
            await complete(second, client, price)
            assert client.hget(fence_key(CHANNEL, member=SHARD), "holder") == b"b/1"
        await until(lambda: first.running.done())
        first.assert_books_balance()
        await second.die()


# -- cluster


async def test_channels_of_several_nodes_and_a_slot_that_moves_under_load(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        slot = key_slot(last_values_key(CHANNEL).encode())
        other = next(
            name
            for name in (f"ticker:other{number}" for number in range(1_000))
            if cluster.node_of(key_slot(last_values_key(name).encode())) is not cluster.node_of(slot)
        )
        pod = await Pod(cluster.url, "a/1", a_table(INSTRUMENTS, channels=(CHANNEL, other))).start().holds()
        epoch = pod.publisher.epoch
        price = await market(pod, 100, 20)
        source = cluster.node_of(slot)

        moving = asyncio.create_task(asyncio.to_thread(cluster.move, slot))
        while not moving.done():
            price = await market(pod, price + 1, 5)
        await moving
        price = await market(pod, price + 1, 20)

        target = cluster.node_of(slot)
        assert target is not source
        with target.client() as client:
            await complete(pod, client, price)
            assert client.hget(fence_key(CHANNEL, member=SHARD), "epoch") == str(epoch).encode()
            await until(lambda: last_prices(client, other) == everything_at(price))  # it was there all along
        assert pod.publisher.holdings is Holdings.ALL
        await pod.die()


async def test_a_node_that_is_gone_is_named_and_found_again(tmp_path):
    with redis_cluster(tmp_path) as cluster:
        node = cluster.node_of(key_slot(last_values_key(CHANNEL).encode()))
        pod = await Pod(cluster.url, "a/1", a_table(INSTRUMENTS)).start().holds()

        node.stop()
        await until(lambda: pod.publisher.breaker.state is BreakerState.OPEN)
        assert pod.publisher.trouble.partition(":")[0] in (TroubleKind.UNREACHABLE, TroubleKind.CLUSTER), "it is named"
        assert not pod.publisher.usable
        pod.feed(range(INSTRUMENTS), 700)
        node.start()

        with node.client() as client:
            await complete(pod, client, 700)
            assert last_prices(client) == everything_at(700)
        assert pod.publisher.trouble is None
        assert pod.publisher.usable
        assert pod.publisher.holdings is Holdings.ALL
        await pod.die()
