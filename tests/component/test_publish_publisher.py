"""Publishers on a real Redis: hand-over under load, a process that dies, drain, outages, the fence. Books balance.

The hand-over's times are scaled down by about four; their relations are those of the real ones (`Timing` asserts them).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import numpy as np
import pytest
import redis

from tests.support.publishing import (
    DEADLINE_S,
    INSTRUMENTS,
    QUICK,
    SHARD,
    Listener,
    Pod,
    everything_at,
    last_prices,
    until,
)
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shard import free_channels
from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_client import decode_gap, fence_key, gaps_key, last_values_key
from ticker_crds import Role
from ticker_shard.publish.breaker import BreakerState
from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS
from ticker_shard.publish.publisher import RedisPublisher
from ticker_shard.publish.standing import Holdings, OtherHolder
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Word


@pytest.fixture
async def pods(redis_url: str) -> AsyncIterator[Callable[..., Pod]]:
    made: list[Pod] = []

    def make(process: str, *, instruments: int = INSTRUMENTS, **options) -> Pod:
        made.append(Pod(options.pop("url", redis_url), process, a_table(instruments), **options))
        return made[-1]

    yield make
    for pod in made:
        if pod.running is not None and not pod.running.done():
            await pod.die()


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


async def test_rows_arrive_in_numbered_messages_and_as_last_values(pods, client):
    listener = Listener(client)
    pod = pods("pod1/1").start()
    pod.feed(range(INSTRUMENTS), 100)
    await pod.holds()

    for price in range(101, 111):
        pod.feed(range(INSTRUMENTS), price)
        await asyncio.sleep(0)
    await until(lambda: pod.publisher.ledger.in_flight() == 0)

    messages = listener.read()
    assert [message.seq for message in messages] == list(range(1, len(messages) + 1))
    assert max(len(message.ticks) for message in messages) <= 100
    assert {(message.source.shard, message.source.epoch) for message in messages} == {(SHARD, pod.publisher.epoch)}
    assert last_prices(client) == everything_at(110)
    ledger = pod.publisher.ledger
    assert ledger.published + ledger.repeated == sum(len(message.ticks) for message in messages)
    assert ledger.withheld == INSTRUMENTS  # what came before the channel was held
    assert pod.publisher.latency.count == ledger.published
    pod.assert_books_balance()


async def test_rows_of_a_frame_that_is_never_complete_leave_when_the_window_is_over(pods, client):
    pod = await pods("pod1/1", window_ms=50).start().holds()
    pod.feed([0], 1)
    await until(lambda: pod.publisher.ledger.published)

    pod.publisher.offer(pod.newest.update(some_rows(pod.table, [0], price=7, received_ns=time.time_ns())))

    await until(lambda: pod.publisher.ledger.published == 2)
    assert last_prices(client) == {"NFO:X0": 7}


async def test_a_connection_lost_while_the_loop_sleeps_is_noticed_by_the_next_frame(pods, client):
    free_channels(client, [CHANNEL], member=SHARD)  # nobody's silence is to be waited for
    pod = await pods("pod1/1", timing=replace(QUICK, beat_ns=20_000 * MS_NS, silent_ns=30_000 * MS_NS)).start().holds()
    pod.feed(range(3), 1)
    await until(lambda: pod.publisher.ledger.published == 3)

    client.client_kill_filter(_type="normal", skipme=True)
    pod.feed(range(3), 2)

    await until(lambda: last_prices(client) == everything_at(2, 3), within_s=15)  # by a rewrite; the beat is far away
    pod.assert_books_balance()


async def test_frames_of_one_long_turn_of_the_loop_do_not_wait_for_its_end(pods):
    pod = await pods("pod1/1").start().holds()

    def published_within_a_turn() -> bool:
        """Frame after frame, and never back to the loop; it has to sleep at first, so this may take some tries."""
        before, end_s = pod.publisher.ledger.published, time.monotonic() + 0.2
        while pod.publisher.ledger.published == before and time.monotonic() < end_s:
            pod.feed([0], 7)
        return pod.publisher.ledger.published > before

    await until(published_within_a_turn)

    await until(lambda: pod.publisher.ledger.in_flight() == 0)
    pod.assert_books_balance()


async def test_a_fault_of_ours_while_the_loop_sleeps_ends_the_publisher(pods):
    broken = False

    def wall_ns() -> int:
        assert not broken, "the clock is gone"
        return time.time_ns()

    pod = await pods("pod1/1", wall_ns=wall_ns).start().holds()
    pod.feed([0], 1)
    await until(lambda: pod.publisher.ledger.in_flight() == 0)
    pod.feed([0], 2)  # on its way; what is left to do is to settle it
    broken = True

    with pytest.raises(AssertionError, match="the clock is gone"):
        async with asyncio.timeout(DEADLINE_S):
            await pod.running


async def test_a_successor_takes_over_under_load_and_no_old_epoch_speaks_again(pods, client):
    listener = Listener(client)
    old, new = await pods("pod1/1").start().holds(), pods("pod2/1")
    price = 1_000

    async def market(stop: Callable[[], bool]) -> None:
        nonlocal price
        async with asyncio.timeout(DEADLINE_S):
            while not stop():
                price += 1
                for pod in (old, new):
                    pod.feed(range(price % 50, INSTRUMENTS, 50), price)
                await asyncio.sleep(0.002)

    new.start()
    await market(lambda: new.publisher.state is Phase.STANDBY)
    old.publisher.terminate()
    await market(lambda: old.publisher.state is Phase.GONE)
    assert new.publisher.holdings is Holdings.ALL
    before = price
    await market(lambda: price > before + 50)
    await until(lambda: new.publisher.ledger.in_flight() == 0)

    assert old.running.done()
    epochs = [message.source.epoch for message in listener.read()]
    assert epochs == sorted(epochs)
    assert len(set(epochs)) == 2
    assert {row.symbol: row.last_price for message in listener.messages for row in message.ticks} == {
        symbol: price / 100 for symbol, price in last_prices(client).items()
    }
    newest = new.newest.newest(np.arange(INSTRUMENTS, dtype=np.int32))
    assert sorted(last_prices(client).values()) == sorted(newest.words[:, Word.LAST_PRICE].tolist())
    assert sum(old.publisher.ledger.dropped.values()) == sum(new.publisher.ledger.dropped.values()) == 0
    assert client.xlen(gaps_key(CHANNEL)) == 0
    old.assert_books_balance()
    new.assert_books_balance()


async def test_a_killed_publisher_is_replaced_and_what_it_never_published_is_rewritten(pods, client):
    old = await pods("pod1/1").start().holds()
    new = pods("pod2/1").start()
    for pod in (old, new):
        pod.feed(range(INSTRUMENTS), 100)
    await until(lambda: new.publisher.state is Phase.STANDBY and last_prices(client) == everything_at(100))
    await until(lambda: new.publisher.other_holder is OtherHolder.ALIVE)

    await old.die()
    new.feed(range(INSTRUMENTS), 101)  # quiet market afterwards: only the rewrite can bring it
    await new.holds()

    await until(lambda: last_prices(client) == everything_at(101))
    await until(lambda: new.publisher.ledger.repeated >= INSTRUMENTS)  # Redis has it before we have the answer
    assert new.publisher.ledger.published == 0
    await until(lambda: client.xlen(gaps_key(CHANNEL)) == 1)
    gap = decode_gap(client.xrange(gaps_key(CHANNEL))[0][1][b"gap"])
    assert (gap.cause, gap.instruments, len(gap.symbols)) == ("takeover", INSTRUMENTS, 100)
    new.assert_books_balance()


async def test_a_restarted_process_of_the_same_pod_waits_for_no_window(pods):
    first = await pods("pod1/1").start().holds()
    await first.die()

    started = time.monotonic()
    second = await pods("pod1/2").start().holds()

    assert time.monotonic() - started < QUICK.silent_ns / 1e9
    assert second.publisher.epoch > first.publisher.epoch


async def test_sigterm_without_a_successor_drains_flushes_and_frees(pods, client):
    pod = await pods("pod1/1", drain_deadline_s=0.3).start().holds()

    pod.publisher.terminate()
    await until(lambda: client.hget(fence_key(CHANNEL, member=SHARD), "state") == b"leaving")
    pod.feed(range(INSTRUMENTS), 200)
    async with asyncio.timeout(DEADLINE_S):
        await pod.running

    assert last_prices(client) == everything_at(200)
    assert client.hget(fence_key(CHANNEL, member=SHARD), "state") == b"free"
    assert sum(pod.publisher.ledger.dropped.values()) == 0
    pod.assert_books_balance()


async def test_sigterm_to_a_standby_lets_it_go_at_once(pods):
    holder = await pods("pod1/1").start().holds()
    standby = pods("pod2/1").start()
    await until(lambda: standby.publisher.state is Phase.STANDBY)

    standby.publisher.terminate()
    async with asyncio.timeout(1):
        await standby.running

    assert holder.publisher.holdings is Holdings.ALL


async def test_a_holder_without_feed_gives_way_to_a_warm_standby_and_stays(pods):
    holder = await pods("pod1/1").start().holds()
    standby = pods("pod2/1").start()
    await until(lambda: standby.publisher.state is Phase.STANDBY)

    holder.publisher.set_feed(False)
    await standby.holds()

    await until(lambda: holder.publisher.state is Phase.STANDBY)
    assert not holder.running.done()


async def test_a_fenced_publisher_writes_nothing_more_and_does_not_exit(pods, client):
    pod = await pods("pod1/1").start().holds()
    pod.feed(range(INSTRUMENTS), 100)
    await until(lambda: pod.publisher.ledger.in_flight() == 0)
    successor = {"epoch": str(pod.publisher.epoch + 1), "holder": "pod9/1", "n": "1", "state": "active"}
    client.hset(fence_key(CHANNEL, member=SHARD), mapping=successor)
    listener = Listener(client)

    pod.feed(range(INSTRUMENTS), 101)
    await pod.holds(Holdings.NONE)
    pod.feed(range(INSTRUMENTS), 102)

    assert listener.read() == []
    assert last_prices(client) == everything_at(100)
    assert client.hget(fence_key(CHANNEL, member=SHARD), "holder") == b"pod9/1"
    assert pod.publisher.state is Phase.STANDBY
    assert pod.publisher.ledger.superseded == INSTRUMENTS
    pod.assert_books_balance()


async def test_an_outage_keeps_newest_values_and_ends_in_an_assert_and_a_rewrite():
    with redis_server() as server:
        pod = await Pod(server.url, "pod1/1", a_table(INSTRUMENTS)).start().holds()
        epoch = pod.publisher.epoch
        pod.feed(range(INSTRUMENTS), 100)
        await until(lambda: pod.publisher.ledger.in_flight() == 0)

        server.stop()
        price = 100
        async with asyncio.timeout(DEADLINE_S):
            while pod.publisher.breaker.state is not BreakerState.OPEN or price < 400:
                price += 1
                pod.feed(range(100), price)
                await asyncio.sleep(0.001)
        in_flight = pod.publisher.ledger.in_flight()
        assert pod.publisher.trouble.startswith("Unreachable")
        server.start()  # empty: it kept nothing on disk

        with server.client() as client:
            await until(lambda: client.hlen(last_values_key(CHANNEL)) == INSTRUMENTS)
            await until(lambda: pod.publisher.ledger.in_flight() == 0)
            assert last_prices(client) == everything_at(100) | everything_at(price, 100)
            assert client.hget(fence_key(CHANNEL, member=SHARD), "epoch") == str(epoch).encode()
        assert in_flight <= 200 + 100  # one row each, and what was under way when the connection broke
        assert pod.publisher.ledger.conflated > 0
        assert pod.publisher.trouble is None
        pod.assert_books_balance()
        await pod.die()


async def test_a_redis_that_answers_nothing_for_a_while_costs_no_row_its_name():
    with redis_server() as server:
        pod = await Pod(server.url, "pod1/1", a_table(INSTRUMENTS)).start().holds()
        with server.client() as client:
            client.client_pause(int(1.5 * QUICK.call_timeout_ns / MS_NS), all=True)
            price = 100
            async with asyncio.timeout(DEADLINE_S):
                while pod.publisher.connected:
                    price += 1
                    pod.feed(range(INSTRUMENTS), price)
                    await asyncio.sleep(0.01)
            await until(lambda: pod.publisher.ledger.in_flight() == 0)
            await until(lambda: last_prices(client) == everything_at(price))
        assert pod.publisher.holdings is Holdings.ALL
        pod.assert_books_balance()
        await pod.die()


async def test_what_an_acl_forbids_keeps_a_process_warming_and_is_named(shared_redis: RedisServer, pods, client):
    rules = ("on", ">shardpass", "~{ticker:*", "+@all", "-@dangerous", "+acl|whoami", "+acl|dryrun")
    client.execute_command("ACL", "SETUSER", "shard", "resetchannels", *rules)
    try:
        pod = pods("pod1/1", url=shared_redis.url.replace("//", "//shard:shardpass@")).start()
        await until(lambda: pod.publisher.trouble is not None)

        assert pod.publisher.trouble.startswith("NoPermission")
        assert pod.publisher.state is Phase.WARMING
        client.execute_command("ACL", "SETUSER", "shard", "&ticker:*")
        await pod.holds()
        assert pod.publisher.trouble is None
    finally:
        client.acl_deluser("shard")


async def test_an_instrument_moves_from_one_account_to_another(redis_url, client):
    """The tables of docs/handover.md, moves, one after the other; each acknowledged before the next."""

    def account(name: str, table: InstrumentTable) -> Pod:
        pod = Pod(redis_url, f"{name}/1", table)
        pod.publisher = RedisPublisher(
            lambda: redis_url, shard=f"pool.{name}", process=f"{name}/1", newest=pod.newest, timing=QUICK
        )
        pod.publisher.configure(table)
        return pod.start()

    async def write(pod: Pod, role: Role | None) -> None:
        roles = {"X0": Role.OWNER} if pod is b else {"X1": Role.OWNER}
        roles |= {} if role is None else {"X7": role}
        pod.apply(a_table(roles, revision=pod.table.revision + 1, previous=pod.table))
        await until(lambda: pod.publisher.acknowledged == pod.table.revision)

    a = account("acca", a_table({"X1": Role.OWNER, "X7": Role.OWNER}))
    b = account("accb", a_table({"X0": Role.OWNER}))
    a.feed([0, 1], 100)
    b.feed([0], 100)
    await a.holds()
    await b.holds()
    listener = Listener(client)

    await write(b, Role.INCOMING)
    b.feed([1], 101)  # the cached packet; a quiet market from here on
    assert listener.read() == []
    await write(b, Role.SETTLING)
    settling = [(row.symbol, row.settling) for message in listener.read() for row in message.ticks]
    await write(a, Role.OUTGOING)
    a.feed([0, 1], 102)
    b.feed([1], 103)
    await write(b, Role.OWNER)
    await write(a, None)

    assert settling == [("NFO:X7", True)]
    writers = [
        (message.source.shard, row.last_price) for message in listener.read() for row in message.ticks
        if row.symbol == "NFO:X7" and not row.settling
    ]  # fmt: skip
    assert writers == [("pool.accb", 1.03)]
    assert last_prices(client)["NFO:X7"] == 103  # still there after account A forgot it
    for pod in (a, b):
        pod.assert_books_balance()
        await pod.die()


async def test_a_removed_instrument_leaves_the_last_values(pods, client):
    pod = await pods("pod1/1", instruments=3).start().holds()
    pod.feed(range(3), 100)
    await until(lambda: len(last_prices(client)) == 3)

    pod.apply(a_table(2, revision=2, previous=pod.table))

    await until(lambda: set(last_prices(client)) == {"NFO:X0", "NFO:X1"})
    assert pod.publisher.acknowledged == 2


async def test_a_gap_in_the_feed_is_told_to_listeners_and_kept(pods, client):
    pod = await pods("pod1/1", instruments=3).start().holds()
    listener = Listener(client)
    start_ns = time.time_ns()  # what lies before the claim is for others to tell

    pod.publisher.report_gap(np.array([0, 2], np.int32), start_ns=start_ns, end_ns=start_ns + 10**9, cause="silent")
    await until(lambda: pod.publisher.ledger.gaps == 1)

    (gap,) = [gap for message in listener.read() for gap in message.gaps]
    assert (gap.shard, gap.symbols, gap.cause) == (SHARD, ("NFO:X0", "NFO:X2"), "silent")
    assert (gap.end - gap.start).total_seconds() == 1
    assert decode_gap(client.xrange(gaps_key(CHANNEL))[0][1][b"gap"]) == gap


async def test_a_gap_told_right_after_the_clock_was_set_back_is_no_gap_of_the_term_before(redis_url, client):
    wrong_by = [0]
    pod = Pod(redis_url, "pod1/1", a_table(4), wall_ns=lambda: time.time_ns() + wrong_by[0])
    pod.feed(range(4), 100)
    await pod.start().holds()
    wrong_by[0] = -3_600 * 10**9

    end_ns = time.time_ns() + wrong_by[0]
    start_ns = end_ns - 10**6
    pod.publisher.report_gap(np.array([0], np.int32), start_ns=start_ns, end_ns=end_ns, cause="silent")
    await until(lambda: client.xlen(gaps_key(CHANNEL)))
    await pod.die()

    ((_, entry),) = client.xrange(gaps_key(CHANNEL))
    gap = json.loads(entry[b"gap"])
    assert (gap["cause"], gap["symbols"]) == ("silent", ["NFO:X0"])
    assert (gap["start"], gap["end"]) == (iso_utc(start_ns), iso_utc(end_ns)), (
        "whole, though the claim has a later time"
    )


async def test_a_channel_that_leaves_the_table_is_freed(pods, client):
    pod = pods("pod1/1", instruments=3)
    two = a_table(3, channels=(CHANNEL, "ticker:other"), revision=2, previous=pod.table)
    pod.apply(two)
    await pod.start().holds()
    pod.feed(range(3), 100)
    await until(lambda: client.hlen(last_values_key("ticker:other")) == 3)

    pod.apply(a_table(3, revision=3, previous=two))

    await until(lambda: client.hget(fence_key("ticker:other", member=SHARD), "state") == b"free")
    assert client.hlen(last_values_key("ticker:other")) == 0
    assert pod.publisher.holdings is Holdings.ALL
    pod.assert_books_balance()
