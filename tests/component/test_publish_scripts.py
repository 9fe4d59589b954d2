"""The fence scripts on a real Redis: each answer of the tables, one hash slot, and the same answers as their twin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fence_twin import FenceTwin
from tests.support.redis_server import RedisServer, redis_server
from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_client import Message, decode_message, decode_row
from ticker_client.keys import fence_key, gaps_key, last_values_key, numbers_key, owners_key, stream_key
from ticker_crds import Encoding
from ticker_shard.publish import fence
from ticker_shard.publish.door import CALL, CLAIM, Door, RedisTroubleError
from ticker_shard.publish.encode import Head, make_encoders
from ticker_shard.publish.fence import (
    Accepted,
    Asserted,
    Behind,
    ChannelState,
    Claimed,
    ClaimReason,
    Conflict,
    Fenced,
    Kept,
    Record,
    Refused,
    Rewound,
    Seen,
    Stale,
    TroubleKind,
    Unanswered,
)
from ticker_shard.publish.gaps import gap_record
from ticker_shard.publish.holes import STALL_BEATS
from ticker_shard.publish.limits import MS_NS, SECOND_NS, TIMING
from ticker_shard.publish.resp import CallRows
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import Word

MEMBER = "pool.acc1"
FENCE = fence_key(CHANNEL, member=MEMBER)
ACTIVE, LEAVING, FREE = ChannelState.ACTIVE, ChannelState.LEAVING, ChannelState.FREE


@pytest.fixture
async def door(redis_url: str) -> AsyncIterator[Door]:
    door = Door(redis_url, member=MEMBER, timeout_ns=2 * SECOND_NS)
    await door.connect()
    yield door
    await door.close()


def a_call(n: int, *, epoch: int = 5, holder: str = "a/1", state: ChannelState = ACTIVE, price: str = "1", **more):
    message = b"m" + price.encode()
    rows = CallRows.within(message, [(b"NFO:X0", price.encode())])
    return fence.Call(CHANNEL, epoch, holder, n, state, 3, message=message, numbers=b"{}", rows=rows, **more)


def a_claim(expected: Record | None, *, reason: ClaimReason = ClaimReason.SILENT, seen: int = 0, revision: int = 9):
    return fence.Claim(CHANNEL, "b/2", reason, expected, seen, revision)


def an_assert(n: int, *, epoch: int = 5, holder: str = "a/1"):
    return fence.Assert(CHANNEL, epoch, holder, n, ACTIVE, 3)


async def given_record(door: Door, record: Record) -> None:
    order = fence.Assert(CHANNEL, record.epoch, record.holder, record.n, record.state, record.revision)
    assert await door.exchange([order]) == [Asserted()]


HELD = Record(5, "a/1", 7, ACTIVE, 3)


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


async def test_a_missing_script_is_loaded_once_and_the_request_sent_again(door, redis_url):
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
        await given_record(door, HELD)
        client.script_flush()
        client.script_load(CLAIM.text)

        answers = await door.exchange([a_call(8), a_call(9, price="2")])

        assert answers == [Accepted(7, run_n=8), Accepted(8, run_n=8)]
        assert client.hget(last_values_key(CHANNEL), "NFO:X0") == b"2"
        assert client.script_exists(CALL.digest) == [True]


async def test_a_time_out_leaves_the_fate_open_and_ends_the_connection(redis_url):
    door = Door(redis_url, member=MEMBER, timeout_ns=SECOND_NS // 5)
    await door.connect()
    await given_record(door, HELD)
    with redis.Redis.from_url(redis_url) as client:
        client.client_pause(400, all=True)

    (unknown,) = await door.exchange([a_call(8)])
    (after,) = await door.exchange([a_call(9)])

    assert isinstance(unknown, Unanswered)
    assert unknown.trouble.kind is TroubleKind.TIMEOUT
    assert isinstance(after, Unanswered)
    assert after.trouble.kind is TroubleKind.UNREACHABLE


@pytest.mark.parametrize(
    ("setting", "value", "kind"),
    [("maxmemory", "1", TroubleKind.OUT_OF_MEMORY), ("min-replicas-to-write", "1", TroubleKind.NOT_WRITABLE)],
    ids=["out of memory", "not enough replicas"],
)
async def test_a_refusal_has_a_name_and_nothing_is_written(door, redis_url, setting, value, kind):
    await given_record(door, HELD)
    with redis.Redis.from_url(redis_url) as client:
        usual = client.config_get(setting)[setting]
        client.config_set(setting, value)
        try:
            (answer,) = await door.exchange([a_call(8)])
        finally:
            client.config_set(setting, usual)

        assert isinstance(answer, Refused)
        assert answer.trouble.kind is kind
        assert client.exists(last_values_key(CHANNEL)) == 0


async def test_a_replica_is_read_only(redis_url):
    port = redis_url.rsplit(":", 1)[1].split("/")[0]
    with redis_server("--replicaof", "127.0.0.1", port) as replica:
        door = Door(replica.url, member=MEMBER, timeout_ns=2 * SECOND_NS)
        await door.connect()

        (answer,) = await door.exchange([a_claim(None)])

        assert isinstance(answer, Refused)
        assert answer.trouble.kind in (TroubleKind.READ_ONLY, TroubleKind.LOADING)
        await door.close()


async def test_wrong_and_missing_passwords_have_names():
    with redis_server("--requirepass", "s3cret-word") as server:
        for url, kind in (
            (server.url, TroubleKind.NO_AUTH),
            (server.url.replace("//", "//:wrong-word@"), TroubleKind.WRONG_PASSWORD),
        ):
            door = Door(url, member=MEMBER, timeout_ns=2 * SECOND_NS)
            with pytest.raises(RedisTroubleError) as raised:
                await door.connect()
            assert raised.value.trouble.kind is kind
            assert "wrong-word" not in str(raised.value)


async def test_a_url_that_cannot_be_read_is_not_repeated():
    with pytest.raises(RedisTroubleError) as raised:
        Door("redis://:pa/ss@host:x", member=MEMBER, timeout_ns=SECOND_NS)

    assert "pa" not in raised.value.trouble.message.replace("missing", "")


@pytest.mark.parametrize(
    ("scheme", "option"),
    [("redis", "ssl_cert_reqs=none"), ("redis", "nonsense=1"), ("redis", "db=x"), ("rediss", "ssl_cert_reqs=perhaps")],
)
def test_a_url_with_an_option_that_nobody_knows_is_a_named_trouble(scheme, option):
    with pytest.raises(RedisTroubleError) as raised:
        Door(f"{scheme}://:s3cret-word@127.0.0.1:6379/0?{option}", member=MEMBER, timeout_ns=SECOND_NS)

    assert raised.value.trouble.kind is TroubleKind.UNREACHABLE
    assert "s3cret" not in str(raised.value)


async def test_what_an_acl_forbids_is_found_by_a_dry_run(redis_url, shared_redis: RedisServer):
    with shared_redis.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "shard", "on", ">shardpass", "~{ticker:*", "&other:*", "+@all", "-@dangerous",
            "+acl|whoami", "+acl|dryrun",
        )  # fmt: skip
        try:
            door = Door(redis_url.replace("//", "//shard:shardpass@"), member=MEMBER, timeout_ns=2 * SECOND_NS)
            await door.connect()

            refusals = await door.permitted(door.rehearsed_commands(CHANNEL))

            assert [trouble.kind for trouble in refusals] == [TroubleKind.NO_PERMISSION]
            assert CHANNEL in refusals[0].message
            await door.close()
        finally:
            client.acl_deluser("shard")


async def test_a_user_who_may_not_load_the_scripts_is_told_so(redis_url, shared_redis: RedisServer):
    with shared_redis.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "shard", "on", ">shardpass", "~{ticker:*", "&ticker:*", "+@all", "-script",
        )  # fmt: skip
        try:
            door = Door(redis_url.replace("//", "//shard:shardpass@"), member=MEMBER, timeout_ns=2 * SECOND_NS)
            await door.connect()

            refusals = await door.permitted(door.rehearsed_commands(CHANNEL))

            assert [trouble.kind for trouble in refusals] == [TroubleKind.NO_PERMISSION]
            assert "script" in refusals[0].message
            await door.close()
        finally:
            client.acl_deluser("shard")


async def test_all_keys_of_a_channel_share_one_slot_of_a_cluster():
    from redis.crc import key_slot

    keys = (
        *(FENCE, last_values_key(CHANNEL), gaps_key(CHANNEL), numbers_key(CHANNEL)),
        *(owners_key(CHANNEL), stream_key(CHANNEL)),
    )

    assert len({key_slot(key.encode()) for key in keys}) == 1


# -- the twin

History = list[tuple[object, fence.Answer]]  # of each step: the answer (of a claim, that it was one), the record then
epochs = st.integers(1, 3)
numbers = st.integers(1, 4)
holders = st.sampled_from(["a/1", "a/2", "b/1"])
states = st.sampled_from(ChannelState)
records = st.none() | st.builds(Record, epochs, holders, st.integers(0, 4), states, st.integers(0, 2))
requests = st.one_of(
    st.builds(fence.Call, st.just(CHANNEL), epochs, holders, numbers, states, st.integers(0, 2), st.just(b"m")),
    st.builds(fence.Assert, st.just(CHANNEL), epochs, holders, numbers, states, st.integers(0, 2)),
    st.builds(fence.Claim, st.just(CHANNEL), holders, st.sampled_from(ClaimReason), records, epochs, st.integers(0, 2)),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(start=records, steps=st.lists(requests, min_size=1, max_size=8))
def test_the_twin_answers_what_redis_answers(redis_url, start, steps):
    of_redis, of_the_twin = asyncio.run(both(redis_url, start, steps))

    assert of_redis == of_the_twin


async def both(redis_url: str, start: Record | None, steps: list[fence.Request]) -> tuple[History, History]:
    """What Redis and its twin answer."""
    twin = FenceTwin(now_ms=0)  # epochs by the clock differ; both sides' records are put in step after a claim
    of_redis: History = []
    of_the_twin: History = []
    door = Door(redis_url, member=MEMBER, timeout_ns=2 * SECOND_NS)
    await door.connect()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(FENCE)
        if start is not None:
            await given_record(door, start)
            twin.records[CHANNEL] = start
        for step in steps:
            (real,), alike = await door.exchange([step]), twin.execute(step)
            if isinstance(real, Claimed) and isinstance(alike, Claimed):
                client.hset(FENCE, "epoch", str(alike.epoch))
                real = alike = Claimed
            (record,) = await door.exchange([fence.Read(CHANNEL)])
            of_redis.append((real, record))
            of_the_twin.append((alike, Seen(twin.records.get(CHANNEL))))
    await door.close()
    return of_redis, of_the_twin
