"""The client on a real Redis Cluster: the plain subscriber, and one replay for each channel, each on its node."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio as aioredis
from redis.crc import key_slot

from tests.support.redis_clusters import Cluster, redis_cluster
from ticker_client import (
    AsyncReplay,
    AsyncSubscriber,
    Event,
    Replay,
    Snapshot,
    Subscriber,
    Update,
    last_values_key,
    numbers_key,
    stream_key,
)

DEADLINE_S = 30
MESSAGES = 250  # more than two pages


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.fixture
def client(cluster: Cluster) -> Iterator[redis.RedisCluster]:
    for node in cluster.nodes:
        with node.client() as single:
            single.flushall()
    with redis.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port) as found:
        yield found


@pytest.fixture
def channels(cluster: Cluster) -> tuple[str, ...]:
    """One on each node."""
    names = (f"ticker:channel{number}" for number in range(1_000))
    by_node = {cluster.node_of(key_slot(last_values_key(name).encode())).port: name for name in names}
    assert len(by_node) == len(cluster.nodes)
    return tuple(by_node.values())


def say(client: redis.RedisCluster, channel: str, seq: int) -> None:
    """As a shard does: all keys of a channel lie in one slot; the price is the message's number."""
    row = {"instrument_token": 1, "symbol": "NFO:X0", "last_price": float(seq), "received_at": "2025-11-21T03:45:30Z"}
    head = {"v": 1, "shard": "pool.acc1", "process": "p/1", "epoch": 5, "seq": seq, "sent_at": row["received_at"]}
    message = json.dumps({**head, "ticks": [row]})
    client.hset(last_values_key(channel), "NFO:X0", json.dumps(row))
    client.hset(numbers_key(channel), "pool.acc1", json.dumps({"process": "p/1", "epoch": 5, "seq": seq}))
    client.xadd(stream_key(channel), {"message": message})
    client.publish(channel, message)


async def as_async(events: Iterator[Event]) -> AsyncIterator[Event]:
    nothing = object()
    while (event := await asyncio.to_thread(next, events, nothing)) is not nothing:
        yield event


@pytest.fixture(params=["sync", "async"])
async def reader(cluster: Cluster, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """Events of a reader of this kind."""
    address: dict[str, Any] = {"host": "127.0.0.1", "port": cluster.nodes[0].port}
    synchronous, asynchronous = redis.RedisCluster(**address), aioredis.RedisCluster(**address)
    made: list[Any] = []

    def events_of(sync_kind: Any, async_kind: Any, channels: list[str], **options: Any) -> AsyncIterator[Event]:
        if request.param == "sync":
            made.append(sync_kind(synchronous, channels))
            return as_async(made[-1].events(**options))
        made.append(async_kind(asynchronous, channels))
        found: AsyncIterator[Event] = made[-1].events(**options)
        return found

    yield events_of
    for one in made:
        one.close()
    synchronous.close()
    await asynchronous.aclose()


def prices(events: list[Event]) -> list[int]:
    return [round(event.row.last_price) for event in events if isinstance(event, Update)]


async def test_each_channel_is_replayed_in_full_and_on(client, channels, reader):
    for channel in channels:
        for seq in range(1, MESSAGES + 1):
            say(client, channel, seq)

    for channel in channels:
        events, found = reader(Replay, AsyncReplay, [channel]), []
        async with asyncio.timeout(DEADLINE_S):
            while len(found) < MESSAGES:
                found.append(await anext(events))
            say(client, channel, MESSAGES + 1)
            found.append(await anext(events))
        assert prices(found) == list(range(1, MESSAGES + 2))


async def test_a_replay_ends_at_the_end_of_the_stream_when_told(client, channels, reader):
    say(client, channels[0], 1)

    async with asyncio.timeout(DEADLINE_S):
        found = [event async for event in reader(Replay, AsyncReplay, [channels[0]], live=False)]

    assert prices(found) == [1]


async def test_a_replay_of_several_channels_is_refused_with_what_to_do(client, channels, reader):
    with pytest.raises(ValueError, match="a replay of its own"):
        reader(Replay, AsyncReplay, list(channels))


async def test_one_subscriber_hears_channels_of_every_node(client, channels, reader):
    for channel in channels:
        say(client, channel, 1)

    events = reader(Subscriber, AsyncSubscriber, list(channels))
    async with asyncio.timeout(DEADLINE_S):
        first = [await anext(events) for _ in channels]
        for channel in channels:
            say(client, channel, 2)
        then = [await anext(events) for _ in channels]

    assert all(isinstance(event, Snapshot) for event in first)
    assert {event.channel: event.rows["NFO:X0"].last_price for event in first} == dict.fromkeys(channels, 1.0)
    assert {event.channel: event.row.last_price for event in then} == dict.fromkeys(channels, 2.0)


def price_of(event: Event) -> float | None:
    match event:
        case Snapshot(rows={"NFO:X0": row}) | Update(row=row):
            return row.last_price
    return None


async def again(client: redis.RedisCluster, channel: str, seq: int) -> None:
    """Say it as soon as the cluster takes it."""
    while True:
        try:
            await asyncio.to_thread(say, client, channel, seq)
            return
        except (redis.RedisError, redis.exceptions.RedisClusterException):
            await asyncio.sleep(0.1)


async def price_after_an_outage(
    cluster: Cluster, client: redis.RedisCluster, channel: str, events: AsyncIterator[Event], *, gone: str
) -> float | None:
    """Nodes are gone while somebody waits for the next event, and come back: the first price that is news then."""
    waiting = asyncio.ensure_future(anext(events))
    nodes = cluster.nodes if gone == "all" else [cluster.node_of(key_slot(last_values_key(channel).encode()))]
    for node in nodes:
        node.stop()
    await asyncio.sleep(3)  # long enough that it was refused meanwhile
    for node in nodes:
        node.start()
    await again(client, channel, 2)

    event = await waiting
    while price_of(event) in (None, 1):
        event = await anext(events)
    return price_of(event)


@pytest.mark.parametrize("gone", ["one", "all"])
async def test_a_subscriber_comes_back_when_nodes_were_gone(cluster, client, channels, reader, gone):
    say(client, channels[0], 1)
    events = reader(Subscriber, AsyncSubscriber, [channels[0]])
    async with asyncio.timeout(2 * DEADLINE_S):
        assert isinstance(await anext(events), Snapshot)

        assert await price_after_an_outage(cluster, client, channels[0], events, gone=gone) == 2


@pytest.mark.parametrize("gone", ["one", "all"])
async def test_a_replay_comes_back_when_nodes_were_gone(cluster, client, channels, reader, gone):
    say(client, channels[0], 1)
    events = reader(Replay, AsyncReplay, [channels[0]])
    async with asyncio.timeout(2 * DEADLINE_S):
        assert prices([await anext(events)]) == [1]

        assert await price_after_an_outage(cluster, client, channels[0], events, gone=gone) == 2
