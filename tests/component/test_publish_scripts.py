"""The fence scripts on a real Redis: each answer of the tables, and one hash slot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis

from tests.support.fence_calls import (
    ACTIVE,
    FENCE,
    FREE,
    HELD,
    LEAVING,
    MEMBER,
    a_call,
    a_claim,
    a_door,
    an_assert,
    given_record,
)
from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_client import Message, decode_message, decode_row
from ticker_client.keys import gaps_key, last_values_key, numbers_key, owners_key, stream_key
from ticker_crds import Encoding
from ticker_shard.publish import fence
from ticker_shard.publish.door import CALL, CLAIM, Door
from ticker_shard.publish.encode import Head, make_encoders
from ticker_shard.publish.fence import (
    Accepted,
    Asserted,
    Behind,
    Claimed,
    ClaimReason,
    Conflict,
    Fenced,
    Kept,
    Record,
    Rewound,
    Seen,
    Stale,
)
from ticker_shard.publish.gaps import gap_record
from ticker_shard.publish.holes import STALL_BEATS
from ticker_shard.publish.limits import MS_NS, TIMING
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import Word


@pytest.fixture
async def door(redis_url: str) -> AsyncIterator[Door]:
    async with a_door(redis_url) as door:
        yield door


@pytest.mark.parametrize(
    ("record", "call", "answer"),
    [
        (None, a_call(8), Rewound(None)),
        (Record(4, "a/1", 7, ACTIVE, 3), a_call(8), Rewound(Record(4, "a/1", 7, ACTIVE, 3))),
        (Record(6, "a/1", 7, ACTIVE, 3), a_call(8), Fenced(Record(6, "a/1", 7, ACTIVE, 3))),
        (Record(5, "b/2", 7, ACTIVE, 3), a_call(8), Fenced(Record(5, "b/2", 7, ACTIVE, 3))),
        (HELD, a_call(7), Stale(HELD)),
        (HELD, a_call(6), Stale(HELD)),
    ],
    ids=["missing", "earlier epoch", "later epoch", "other holder", "same number", "lower number"],
)
async def test_a_refused_call_writes_nothing(door, redis_url, record, call, answer):
    if record is not None:
        await given_record(door, record)

    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=1)
        before = client.hgetall(FENCE)
        assert await door.exchange([call]) == [answer]
        assert client.hgetall(FENCE) == before
        assert client.keys(last_values_key(CHANNEL)) == []
        assert listener.get_message(timeout=0.05) is None


async def test_an_accepted_call_writes_publishes_and_names_the_call_before(door, redis_url):
    await given_record(door, HELD)

    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        client.hset(last_values_key(CHANNEL), "NFO:GONE", "old")
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=1)
        call = a_call(9, state=LEAVING, deletes=("NFO:GONE",), gaps=(b'{"g":1}',))
        assert await door.exchange([call]) == [Accepted(previous_n=7, run_n=8)]
        assert client.hgetall(last_values_key(CHANNEL)) == {b"NFO:X0": b"1"}
        assert listener.get_message(timeout=1)["data"] == b"m1"
        assert [entry for _, entry in client.xrange(gaps_key(CHANNEL))] == [{b"gap": b'{"g":1}'}]
    assert await door.exchange([fence.Read(CHANNEL)]) == [Seen(Record(5, "a/1", 9, LEAVING, 3))]


@pytest.mark.parametrize("encoding", Encoding)
@pytest.mark.parametrize("native", [True, False], ids=["native", "plain"])
async def test_each_row_is_cut_out_of_the_message(door, redis_url, encoding, native):
    await given_record(door, HELD)
    table = a_table(5)
    rows = some_rows(table, [4, 0, 2, 3])
    rows.words[:, Word.VOLUME_TRADED] = [7, 70_000, 0, 4_000_000_000]  # json rows of several sizes
    head = Head(shard=MEMBER, process="a/1", epoch=5, seq=1, source="mock", sent_ns=1)
    gap = gap_record(MEMBER, ["NFO:X0"], start_ns=1, end_ns=2, cause="test").encode()
    message, cut = make_encoders(native=native)[encoding].encode(head, rows, book=SymbolBook(table), gaps=[gap])

    (answer,) = await door.exchange([replace(a_call(8), message=message, rows=cut)])

    assert answer == Accepted(7, run_n=8)
    with redis.Redis.from_url(redis_url) as client:
        stored = client.hgetall(last_values_key(CHANNEL))
    published = decode_message(message)
    assert isinstance(published, Message)
    assert [tick.symbol for tick in published.ticks] == ["NFO:X4", "NFO:X0", "NFO:X2", "NFO:X3"]
    assert len(stored) == len(published.ticks)
    for tick in published.ticks:
        assert decode_row(stored[tick.symbol.encode()], symbol=tick.symbol) == tick


async def test_a_channels_stream_keeps_about_so_many_messages_where_one_is_wanted(door, redis_url):
    await given_record(door, HELD)
    calls = [a_call(n, price=str(n), stream_max=100 if n % 2 else 0) for n in range(8, 1_008)]
    for start in range(0, len(calls), 100):
        await door.exchange(calls[start : start + 100])

    with redis.Redis.from_url(redis_url) as client:
        kept = [entry[b"message"] for _, entry in client.xrange(stream_key(CHANNEL))]
    assert kept[-1] == b"m1007"
    assert all(int(message[1:]) % 2 for message in kept)
    assert 100 <= len(kept) <= 250  # trimmed by whole nodes of a hundred entries


async def test_a_number_that_somebody_spoiled_is_no_number_and_no_end(door, redis_url):
    await given_record(door, HELD)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(FENCE, "n", "spoiled")

    assert await door.exchange([a_call(8)]) == [Accepted(previous_n=0, run_n=8)]


async def test_a_beat_publishes_nothing(door, redis_url):
    await given_record(door, HELD)
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(CHANNEL)
        listener.get_message(timeout=1)

        assert await door.exchange([fence.Call(CHANNEL, 5, "a/1", 8, ACTIVE, 3)]) == [Accepted(7, run_n=8)]
        assert listener.get_message(timeout=0.05) is None


LEFT = Record(5, "a/1", 7, LEAVING, 3)


@pytest.mark.parametrize(
    ("record", "claim", "kind"),
    [
        (None, a_claim(None), Claimed),
        (None, a_claim(HELD), Conflict),
        (HELD, a_claim(None), Conflict),
        (HELD, a_claim(HELD), Claimed),
        (HELD, a_claim(Record(5, "a/1", 6, ACTIVE, 3)), Conflict),
        (HELD, a_claim(Record(5, "c/1", 7, ACTIVE, 3)), Conflict),
        (HELD, a_claim(Record(4, "a/1", 7, ACTIVE, 3)), Conflict),
        (HELD, a_claim(Record(5, "a/1", 6, ACTIVE, 3), reason=ClaimReason.OWN), Claimed),
        (HELD, a_claim(LEFT, reason=ClaimReason.LEAVING), Conflict),
        (LEFT, a_claim(Record(5, "a/1", 2, LEAVING, 3), reason=ClaimReason.LEAVING), Claimed),
        (Record(5, "a/1", 7, FREE, 3), a_claim(LEFT, reason=ClaimReason.LEAVING), Claimed),
        (HELD, a_claim(HELD, revision=2), Behind),
    ],
    ids=[
        "missing as observed",
        "vanished since",
        "appeared since",
        "silent as observed",
        "silent, but it moved",
        "another holder",
        "another epoch",
        "own, moved or not",
        "leaving no more",
        "leaving, still moving",
        "leaving became free",
        "by a newer table",
    ],
)
async def test_a_claim_takes_only_what_was_observed(door, record, claim, kind):
    if record is not None:
        await given_record(door, record)

    (answer,) = await door.exchange([claim])

    assert isinstance(answer, kind)
    (seen,) = await door.exchange([fence.Read(CHANNEL)])
    if kind is Claimed:
        revision = record.revision if record else 0
        assert seen == Seen(Record(answer.epoch, "b/2", 0, ACTIVE, revision))
    else:
        assert seen == Seen(record)


async def test_epochs_follow_the_servers_clock_the_record_and_what_was_ever_seen(door):
    (first,) = await door.exchange([a_claim(None)])
    far = first.epoch + 10**9
    await given_record(door, Record(far, "c/1", 3, FREE, 0))

    (second,) = await door.exchange([a_claim(Record(far, "c/1", 3, FREE, 0), reason=ClaimReason.FREE)])
    (third,) = await door.exchange(
        [a_claim(Record(second.epoch, "b/2", 0, ACTIVE, 0), reason=ClaimReason.OWN, seen=far + 500)]
    )

    assert first.epoch > 1_600_000_000_000  # milliseconds, in full digits
    assert (second.epoch, third.epoch) == (far + 1, far + 501)


async def test_a_claim_tells_how_long_nobody_published(door):
    await given_record(door, HELD)
    await door.exchange([a_call(8)])

    (answer,) = await door.exchange([a_claim(Record(5, "a/1", 8, ACTIVE, 3))])

    assert 0 <= answer.pause_ms < 10_000


@pytest.mark.parametrize(("lived_on_ms", "tells"), [(0, True), (3_000, False)], ids=["ended", "lived on"])
async def test_a_claim_tells_of_a_standstill_after_which_the_holder_hardly_spoke(door, redis_url, lived_on_ms, tells):
    await given_record(door, HELD)
    await door.exchange([a_call(8)])
    with redis.Redis.from_url(redis_url) as client:

        def earlier(field: str, by_ms: int) -> None:
            client.hset(FENCE, field, int(client.hget(FENCE, field)) - by_ms)

        earlier("at", 5_000)
        await door.exchange([a_call(9)])
        earlier("stalled_to", lived_on_ms)

    (answer,) = await door.exchange([a_claim(Record(5, "a/1", 9, ACTIVE, 3))])

    assert answer.pause_ms < 1_500
    if tells:
        since_ms, till_ms = answer.stalled_ms
        assert 5_000 <= since_ms - till_ms < 10_000
        assert till_ms < 1_500
    else:
        assert answer.stalled_ms is None


def test_what_the_scripts_call_a_standstill_is_what_the_publisher_does():
    assert f"STALL_MS = {STALL_BEATS * TIMING.beat_ns // MS_NS} " in CALL.text
    assert f"TOLD_MS = {TIMING.beat_ns // MS_NS} " in CLAIM.text


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        (None, Asserted()),
        (Record(4, "c/9", 99, FREE, 8), Asserted()),
        (HELD, Kept(HELD)),
        (Record(5, "c/9", 1, ACTIVE, 3), Fenced(Record(5, "c/9", 1, ACTIVE, 3))),
        (Record(6, "a/1", 1, ACTIVE, 3), Fenced(Record(6, "a/1", 1, ACTIVE, 3))),
    ],
    ids=["missing", "earlier term", "its own", "same epoch, another holder", "later epoch"],
)
async def test_assert_puts_back_only_a_lost_record(door, record, answer):
    if record is not None:
        await given_record(door, record)

    assert await door.exchange([an_assert(12)]) == [answer]
    expected = Record(5, "a/1", 12, ACTIVE, 3) if answer == Asserted() else record
    assert await door.exchange([fence.Read(CHANNEL)]) == [Seen(expected)]


async def test_a_record_without_a_number_is_nobodys(door, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.hset(FENCE, mapping={"epoch": "junk", "holder": "x"})

    assert await door.exchange([fence.Read(CHANNEL), a_call(8)]) == [Seen(None), Rewound(None)]
    (answer,) = await door.exchange([a_claim(None)])
    assert isinstance(answer, Claimed)


async def test_all_keys_of_a_channel_share_one_slot_of_a_cluster():
    from redis.crc import key_slot

    keys = (
        *(FENCE, last_values_key(CHANNEL), gaps_key(CHANNEL), numbers_key(CHANNEL)),
        *(owners_key(CHANNEL), stream_key(CHANNEL)),
    )

    assert len({key_slot(key.encode()) for key in keys}) == 1
