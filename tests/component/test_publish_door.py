"""The door to Redis: what is loaded, what its refusals are called, and no secret in what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis

from tests.support.fence_calls import HELD, MEMBER, a_call, a_claim, a_door, given_record
from tests.support.redis_server import RedisServer, redis_server
from tests.support.ticks import CHANNEL
from ticker_client.keys import last_values_key
from ticker_shard.publish.door import CALL, CLAIM, Door
from ticker_shard.publish.fence import Accepted, Refused, TroubleKind, Unanswered
from ticker_shard.publish.limits import SECOND_NS
from ticker_shard.publish.trouble import RedisTroubleError


@pytest.fixture
async def door(redis_url: str) -> AsyncIterator[Door]:
    async with a_door(redis_url) as door:
        yield door


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


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        pytest.param(["&other:*", "+@all", "-@dangerous", "+acl|whoami", "+acl|dryrun"], CHANNEL, id="the channel"),
        pytest.param(["&ticker:*", "+@all", "-script"], "script", id="loading scripts"),
    ],
)
async def test_what_an_acl_forbids_is_found_by_a_dry_run_and_named(redis_url, shared_redis: RedisServer, rights, named):
    with shared_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "shard", "on", ">shardpass", "~{ticker:*", *rights)
        try:
            door = Door(redis_url.replace("//", "//shard:shardpass@"), member=MEMBER, timeout_ns=2 * SECOND_NS)
            await door.connect()

            refusals = await door.permitted(door.rehearsed_commands(CHANNEL))

            assert [trouble.kind for trouble in refusals] == [TroubleKind.NO_PERMISSION]
            assert named in refusals[0].message
            await door.close()
        finally:
            client.acl_deluser("shard")
