"""Replay from a channel's durable stream on a real Redis: from a position to now and on, no hole, nothing twice.

And the plain subscriber, which after its own disconnect fetches from the stream what it missed.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
import redis.asyncio as aioredis

from tests.support.publishing import Pod, until
from tests.support.redis_proxy import redis_proxy
from tests.support.redis_server import redis_server
from tests.support.ticks import a_table
from ticker_client import (
    OLDEST,
    AsyncReplay,
    AsyncSubscriber,
    Event,
    Lost,
    Replay,
    Snapshot,
    Source,
    StreamAbsentError,
    Subscriber,
    Trimmed,
    Update,
    last_values_key,
    numbers_key,
    stream_key,
)

CHANNEL = "ticker:nifty:options"
OTHER = "ticker:other"
STREAM = stream_key(CHANNEL)
SOURCE = Source("pool.acc1", "p/1", 5)
DEADLINE_S = 30


def say(client: redis.Redis, seq: int, *, channel: str = CHANNEL, kept: int | None = None) -> None:
    """As one script call does it: last value, numbers, message, stream; the price is the message's number."""
    row = {"instrument_token": 1, "symbol": "NFO:X0", "last_price": float(seq), "received_at": "2025-11-21T03:45:30Z"}
    head = {"v": 1, "shard": SOURCE.shard, "process": SOURCE.process, "epoch": SOURCE.epoch, "seq": seq}
    message = json.dumps({**head, "sent_at": "2025-11-21T03:45:30Z", "ticks": [row]})
    with client.pipeline(transaction=True) as pipe:
        pipe.hset(last_values_key(channel), "NFO:X0", json.dumps(row))
        pipe.hset(numbers_key(channel), SOURCE.shard, json.dumps({"process": "p/1", "epoch": 5, "seq": seq}))
        pipe.publish(channel, message)
        pipe.xadd(stream_key(channel), {"message": message}, maxlen=kept, approximate=False)
        pipe.execute()


class Market(threading.Thread):
    """Says one message after another, until told to stop."""

    def __init__(self, url: str, *, first: int) -> None:
        super().__init__(daemon=True)
        self.client, self.stopping, self.seq = redis.Redis.from_url(url), threading.Event(), first

    def run(self) -> None:
        while not self.stopping.wait(0.002):
            say(self.client, self.seq)
            self.seq += 1


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def market(redis_url: str) -> Iterator[Callable[..., Market]]:
    started: list[Market] = []

    def start(*, first: int) -> Market:
        started.append(Market(redis_url, first=first))
        started[-1].start()
        return started[-1]

    yield start
    for thread in started:
        thread.stopping.set()
        thread.join()


async def as_async(events: Iterator[Event]) -> AsyncIterator[Event]:
    """A synchronous reader, read in a thread."""
    nothing = object()
    while (event := await asyncio.to_thread(next, events, nothing)) is not nothing:
        yield event


@pytest.fixture(params=["sync", "async", "async, protocol 3", "sync, protocol 3"])
async def reader(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Any]]:
    """Makes a reader and its events, of either kind, in either protocol."""
    protocol = 3 if "3" in request.param else 2
    # Without retries of redis-py's own: a broken connection is the reader's to mend.
    asynchronous = aioredis.Redis.from_url(redis_url, protocol=protocol, retry=None, client_name="reader")
    synchronous = redis.Redis.from_url(redis_url, protocol=protocol, retry=None, client_name="reader")

    made: list[Any] = []

    def make(*channels: str, live: bool = True, **options: Any) -> tuple[Any, AsyncIterator[Event]]:
        if request.param.startswith("async"):
            made.append(AsyncReplay(asynchronous, channels or (CHANNEL,), **options))
            return made[-1], made[-1].events(live=live)
        made.append(Replay(synchronous, channels or (CHANNEL,), **options))
        return made[-1], as_async(made[-1].events(live=live))

    yield make
    for replay in made:
        replay.close()
    await asynchronous.aclose()
    synchronous.close()


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    found = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < count:
            found.append(await anext(events))
    return found


def prices(events: list[Event]) -> list[int]:
    return [round(event.row.last_price) for event in events if isinstance(event, Update)]


def moment_of(client: redis.Redis, place: int) -> datetime:
    """When the entry at this place was added."""
    entry, _ = client.xrange(STREAM)[place]
    return datetime.fromtimestamp(int(entry.split(b"-")[0]) / 1_000, tz=UTC)


async def test_everything_kept_then_everything_that_comes(client, market, reader):
    for seq in range(1, 251):
        say(client, seq)
    market(first=251)

    _, events = reader()
    found = await take(events, 600)

    assert prices(found) == list(range(1, 601))


async def test_from_a_moment_on(client, reader):
    for seq in range(1, 4):
        say(client, seq)
    await asyncio.sleep(0.01)  # the next entry is of another millisecond
    for seq in range(4, 7):
        say(client, seq)

    _, events = reader(since=moment_of(client, 3), live=False)

    assert prices([event async for event in events])[-3:] == [4, 5, 6]


async def test_a_saved_position_goes_on_behind_what_was_given_out(client, reader):
    for seq in range(1, 8):
        say(client, seq)

    replay, events = reader()
    await take(events, 4)
    saved = replay.position  # the fourth is in our hands, not behind us
    replay.close()
    _, events = reader(since=saved, live=False)

    assert prices([event async for event in events]) == [4, 5, 6, 7]


async def test_a_broken_connection_leaves_no_hole_and_gives_nothing_twice(client, market, reader):
    market(first=1)
    await until(lambda: client.exists(STREAM))

    _, events = reader()
    found = await take(events, 100)
    for _ in range(3):
        for one in client.client_list():
            if one["name"] == "reader":
                client.client_kill_filter(_id=one["id"])
        found += await take(events, 100)

    assert prices(found) == list(range(1, 401))


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_server_that_vanished_without_a_word_is_left(shared_redis, client, kind):
    say(client, 1)
    async with redis_proxy(shared_redis.port) as proxy, asyncio.timeout(DEADLINE_S):
        replay: Any
        if kind == "sync":
            replay = Replay(redis.Redis.from_url(proxy.url, retry=None), [CHANNEL])
            events = as_async(replay.events())
        else:
            replay = AsyncReplay(aioredis.Redis.from_url(proxy.url, retry=None), [CHANNEL])
            events = replay.events()
        assert prices(await take(events, 1)) == [1]

        proxy.black_hole = True
        say(client, 2)
        waiting = asyncio.ensure_future(take(events, 1))
        await until(lambda: replay.reconnects)
        proxy.black_hole = False

        assert prices(await waiting) == [2]
        replay.close()


async def test_a_channel_without_a_stream_is_an_error_that_names_the_setting(reader):
    _, events = reader()

    with pytest.raises(StreamAbsentError, match="TICKERSHARD_SHARD_STREAM_MAX"):
        await anext(events)


async def test_a_moment_before_everything_that_is_kept_is_told_as_a_loss(client, reader):
    for seq in range(1, 11):
        say(client, seq, kept=3)

    since = moment_of(client, 0) - timedelta(seconds=1)
    _, events = reader(since=since, live=False)
    found = [event async for event in events]

    assert isinstance(found[0], Trimmed)
    assert found[0].kept_from == moment_of(client, 0)
    assert abs(found[0].since - since) < timedelta(milliseconds=2)
    assert prices(found) == [8, 9, 10]


async def test_a_moment_before_the_first_message_ever_is_no_loss(client, reader):
    for seq in range(1, 4):
        say(client, seq)

    _, events = reader(since=moment_of(client, 0) - timedelta(hours=1), live=False)

    assert [type(event) for event in [event async for event in events]] == [Update] * 3


async def test_an_entry_that_was_trimmed_is_told_as_a_loss(client, reader):
    say(client, 1)
    position = client.xrange(STREAM)[0][0].decode()
    for seq in range(2, 11):
        say(client, seq, kept=3)

    _, events = reader(since={CHANNEL: position}, live=False)
    found = [event async for event in events]

    assert [type(event) for event in found] == [Trimmed, Update, Update, Update]


async def test_the_oldest_that_is_kept_is_what_was_asked_for(client, reader):
    for seq in range(1, 11):
        say(client, seq, kept=3)

    _, events = reader(since=OLDEST, live=False)

    assert [type(event) for event in [event async for event in events]] == [Update] * 3


async def test_a_reader_that_is_slower_than_the_stream_is_long_hears_how_much_it_lost(client, reader):
    for seq in range(1, 201):
        say(client, seq)

    _, events = reader()
    found = await take(events, 50)  # the first page is fetched: 100 entries
    for seq in range(201, 301):
        say(client, seq, kept=20)
    found += await take(events, 71)

    lost = [event for event in found if isinstance(event, Lost)]
    assert lost == [Lost(CHANNEL, SOURCE, first=101, messages=180)]
    assert prices(found) == [*range(1, 101), *range(281, 301)]


async def test_several_channels_are_read_side_by_side(client, reader):
    for seq in range(1, 151):
        say(client, seq)
        say(client, seq, channel=OTHER)

    _, events = reader(CHANNEL, OTHER, live=False)
    found = [event async for event in events]

    for channel in (CHANNEL, OTHER):
        assert prices([event for event in found if event.channel == channel]) == list(range(1, 151))


def until_an_update(events: Iterator[Event]) -> list[type[Event]]:
    found: list[type[Event]] = []
    while Update not in found:
        found.append(type(next(events)))
    return found


def test_a_redis_that_came_back_empty_is_told_as_a_loss():
    with redis_server() as server:
        with server.client() as client:
            say(client, 1)
        replay = Replay(redis.Redis.from_url(server.url, retry=None), [CHANNEL])
        events = replay.events()
        assert until_an_update(events) == [Update]
        server.stop()

        def come_back() -> None:
            while not replay.reconnects:
                time.sleep(0.01)
            server.start()
            with server.client() as client:
                say(client, 9)

        coming = threading.Thread(target=come_back)
        coming.start()
        assert until_an_update(events) == [Trimmed, Lost, Update]
        coming.join()


def test_a_redis_that_came_back_empty_unseen_is_told_by_the_numbers():
    with redis_server() as server:
        with server.client() as client:
            say(client, 1)
        events = Replay(redis.Redis.from_url(server.url), [CHANNEL]).events()
        assert until_an_update(events) == [Update]
        server.stop()
        server.start()
        with server.client() as client:
            say(client, 9)

        assert Lost in until_an_update(events)


async def test_what_a_shard_publishes_is_read_again_in_full(redis_url):
    pod = Pod(redis_url, "pod1/1", a_table(50), stream_max=1_000)
    pod.feed(range(50), 100)
    await pod.start().holds()
    for price in range(101, 121):
        pod.feed(range(50), price)
        await until(lambda: pod.publisher.ledger.in_flight() == 0)
    channel = pod.table.channels[0].name
    async with aioredis.Redis.from_url(redis_url) as client:
        events = [event async for event in AsyncReplay(client, [channel]).events(live=False)]

    of_one = [round(e.row.last_price * 100) for e in events if isinstance(e, Update) and e.row.symbol == "NFO:X7"]
    assert of_one == list(range(100, 121))
    assert {type(event) for event in events} == {Update}
    await pod.die()


# -- the plain subscriber and the stream


def cut(client: redis.Redis) -> None:
    client.client_kill_filter(_type="pubsub")


async def test_a_subscriber_fetches_what_it_missed_from_the_stream(redis_url, client, market):
    market(first=1)
    found: list[Event] = []

    async with asyncio.timeout(DEADLINE_S), aioredis.Redis.from_url(redis_url) as own:
        subscriber = AsyncSubscriber(own, [CHANNEL])
        async for event in subscriber.events():
            found.append(event)
            if len(found) in (100, 200, 300):
                cut(client)
            if len(found) == 500:
                break

    assert isinstance(found[0], Snapshot)
    assert [type(event) for event in found[1:]] == [Update] * 499
    first = prices(found)[0]
    assert prices(found) == list(range(first, first + 499))
    assert subscriber.reconnects == 3


def missed_with(redis_url: str, client: redis.Redis, *, then: Callable[[], None], own: redis.Redis) -> Event:
    """The first that a synchronous subscriber gives out after a disconnect in which `then` happened."""
    say(client, 1)
    events = Subscriber(own, [CHANNEL]).events()
    assert isinstance(next(events), Snapshot)
    say(client, 2)
    assert prices([next(events)]) == [2]
    cut(client)
    then()
    return next(events)


def test_a_subscriber_takes_a_snapshot_where_the_stream_lacks_something(redis_url, client):
    def ten_messages_of_which_three_are_kept() -> None:
        for seq in range(3, 13):
            say(client, seq, kept=3)

    event = missed_with(
        redis_url, client, then=ten_messages_of_which_three_are_kept, own=redis.Redis.from_url(redis_url)
    )

    assert isinstance(event, Snapshot)
    assert event.rows["NFO:X0"].last_price == 12


def test_a_subscriber_takes_a_snapshot_where_it_may_not_read_the_stream(redis_url, client):
    client.execute_command(
        "ACL", "SETUSER", "reader", "on", ">word", "~ticker:*", "~{ticker:*", "&ticker:*", "+@all", "-xrevrange"
    )
    own = redis.Redis.from_url(redis_url.replace("//", "//reader:word@"))

    event = missed_with(redis_url, client, then=lambda: say(client, 3), own=own)

    assert isinstance(event, Snapshot)


def test_a_synchronous_subscriber_goes_on_with_exactly_what_it_missed(redis_url, client):
    def three_messages() -> None:
        for seq in range(3, 6):
            say(client, seq)

    event = missed_with(redis_url, client, then=three_messages, own=redis.Redis.from_url(redis_url))

    assert prices([event]) == [3]
