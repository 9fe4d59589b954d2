"""Both subscribers on a real Redis: a snapshot, then every update, also after the connection was broken."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
import redis.asyncio as aioredis

from tests.support.publishing import until
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_server import RedisServer, redis_server
from ticker_client import AsyncSubscriber, Event, Snapshot, Subscriber, Update, last_values_key, numbers_key

CHANNEL = "ticker:nifty:options"
DEADLINE_S = 20
QUIET_S = 7.0  # more than a subscriber waits for an answer


def a_row(price: float, symbol: str = "NFO:X0") -> bytes:
    row = {"instrument_token": 1, "symbol": symbol, "last_price": price, "received_at": "2025-11-21T03:45:30Z"}
    return json.dumps(row).encode()


def publish(client: redis.Redis, seq: int, price: float) -> None:
    """As one script call does it: last value and message."""
    head = b'{"v":1,"shard":"pool.acc1","process":"p/1","epoch":5,"seq":%d,"sent_at":"2025-11-21T03:45:30Z"' % seq
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(last_values_key(CHANNEL), "NFO:X0", a_row(price))
        pipe.hset(numbers_key(CHANNEL), "pool.acc1", json.dumps({"process": "p/1", "epoch": 5, "seq": seq}))
        pipe.publish(CHANNEL, head + b',"ticks":[%b]}' % a_row(price))
        pipe.execute()


class Market(threading.Thread):
    """Publishes rising prices until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client, self.stopping, self.price = redis.Redis.from_url(url), threading.Event(), 0

    def run(self) -> None:
        while not self.stopping.wait(0.002):
            self.price += 1
            publish(self.client, self.price, float(self.price))


@pytest.fixture
def market(redis_url: str) -> Iterator[Market]:
    thread = Market(redis_url)
    yield thread
    thread.stopping.set()
    thread.join()


def prices(events: list[Event]) -> list[float]:
    found: list[float] = []
    for event in events:
        match event:
            case Snapshot(rows=rows):
                found += [row.last_price for row in rows.values()]
            case Update(row=row):
                found.append(row.last_price)
    return found


def cut_subscriptions(client: redis.Redis) -> None:
    client.client_kill_filter(_type="pubsub")


def test_a_snapshot_then_every_update_without_a_hole(redis_url, market):
    market.start()
    events: list[Event] = []

    with Subscriber(redis.Redis.from_url(redis_url), [CHANNEL]) as ticks:
        for event in ticks.events():
            events.append(event)
            if len(events) == 200:
                break

    seen = prices(events)
    assert isinstance(events[0], Snapshot)
    assert [type(event) for event in events[1:]] == [Update] * 199
    assert seen == [seen[0] + step for step in range(len(seen))]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_asyncio_goes_on_with_a_snapshot_after_a_broken_connection(redis_url, market, protocol):
    market.start()
    events: list[Event] = []
    admin = redis.Redis.from_url(redis_url)

    async with asyncio.timeout(DEADLINE_S), aioredis.Redis.from_url(redis_url, protocol=protocol) as client:
        subscriber = AsyncSubscriber(client, [CHANNEL])
        async for event in subscriber.events():
            events.append(event)
            if len(events) in (50, 100):
                cut_subscriptions(admin)
            snapshots = [place for place, known in enumerate(events) if isinstance(known, Snapshot)]
            if len(snapshots) == 3 and len(events) - snapshots[-1] > 50:
                break

    seen = prices(events)
    assert seen == sorted(seen)
    assert seen[-1] > 100
    last = prices(events[snapshots[-1] :])
    assert last == [last[0] + step for step in range(len(last))]


def test_a_text_client_is_as_good(redis_url):
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    client.hset(last_values_key(CHANNEL), "NFO:X0", a_row(1.5).decode())

    with Subscriber(client, [CHANNEL]) as ticks:
        first = next(iter(ticks.events()))

    assert prices([first]) == [1.5]


def test_without_reconnecting_a_broken_connection_is_raised():
    with redis_server() as server:
        events = Subscriber(redis.Redis.from_url(server.url, retry=None), [CHANNEL]).events(reconnect=False)
        assert isinstance(next(events), Snapshot)
        server.stop()

        with pytest.raises(redis.ConnectionError):
            list(events)


@pytest.mark.parametrize("url_part", ["", ":wrong-word@"], ids=["no password", "a wrong one"])
async def test_what_no_reconnect_can_heal_is_raised(url_part):
    with redis_server("--requirepass", "s3cret-word") as server:
        url = server.url.replace("//", f"//{url_part}")
        with pytest.raises(redis.AuthenticationError):
            next(Subscriber(redis.Redis.from_url(url), [CHANNEL]).events())
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(redis.AuthenticationError):
                await anext(AsyncSubscriber(aioredis.Redis.from_url(url), [CHANNEL]).events())


# -- silence


async def as_async(events: Iterator[Event]) -> AsyncIterator[Event]:
    """A synchronous subscriber, read in a thread."""
    nothing = object()
    while (event := await asyncio.to_thread(next, events, nothing)) is not nothing:
        yield event


def reading(kind: str, url: str, **options: Any) -> tuple[Subscriber | AsyncSubscriber, AsyncIterator[Event]]:
    if kind == "async":
        subscriber = AsyncSubscriber(aioredis.Redis.from_url(url, retry=None, **options), [CHANNEL])
        return subscriber, subscriber.events()
    synchronous = Subscriber(redis.Redis.from_url(url, retry=None, **options), [CHANNEL])
    return synchronous, as_async(synchronous.events())


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_server_that_vanished_without_a_word_is_left(shared_redis, redis_url, kind, protocol):
    with redis.Redis.from_url(redis_url) as client:
        publish(client, 1, 1.0)
        async with redis_proxy(shared_redis.port) as proxy, asyncio.timeout(DEADLINE_S):
            subscriber, events = reading(kind, proxy.url, protocol=protocol)
            assert prices([await anext(events)]) == [1.0]

            proxy.black_hole = True
            publish(client, 2, 2.0)
            waiting = asyncio.ensure_future(anext(events))
            await until(lambda: subscriber.reconnects)
            proxy.black_hole = False
            event = await waiting

            assert isinstance(event, Snapshot)
            assert prices([event]) == [2.0]
            subscriber.close()


READERS = {
    "sync": ("sync", {}),
    "async": ("async", {}),
    "sync, protocol 3": ("sync", {"protocol": 3}),
    "async, protocol 3": ("async", {"protocol": 3}),
    "text": ("sync", {"decode_responses": True}),
    "text, protocol 3": ("async", {"decode_responses": True, "protocol": 3}),
    "checks of redis-py's own": ("async", {"health_check_interval": 1}),
    "may not ask": ("sync", {"username": "mute", "password": "word"}),
    "may not ask, async": ("async", {"username": "mute", "password": "word", "protocol": 3}),
}


async def test_a_quiet_market_is_left_alone(shared_redis: RedisServer, redis_url: str):
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "mute", "on", ">word", "~*", "&*", "+@all", "-ping")
        publish(client, 1, 1.0)
        subscribers = {name: reading(kind, redis_url, **options) for name, (kind, options) in READERS.items()}
        async with asyncio.timeout(DEADLINE_S + QUIET_S):
            for _, events in subscribers.values():
                assert isinstance(await anext(events), Snapshot)
            waiting = [asyncio.ensure_future(anext(events)) for _, events in subscribers.values()]

            await asyncio.sleep(QUIET_S)  # the silence itself is what is tested
            publish(client, 2, 2.0)

            assert prices(await asyncio.gather(*waiting)) == [2.0] * len(READERS)
        assert {name: subscriber.reconnects for name, (subscriber, _) in subscribers.items()} == dict.fromkeys(
            READERS, 0
        )
        for subscriber, _ in subscribers.values():
            subscriber.close()
        client.execute_command("ACL", "DELUSER", "mute")
