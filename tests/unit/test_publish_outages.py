"""While Redis is away and afterwards: the hole is told, memory stays bounded, no unanswered call is counted twice."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.handover_world import KEPT, World, scaled_price
from tests.support.publish_world import ONE, a_holder, declared, now_ms, rounds, step_with
from tests.support.ticks import a_table
from ticker_shard.publish import fence
from ticker_shard.publish.ledger import DropCause
from ticker_shard.publish.limits import MS_NS, SECOND_NS

# -- holes while Redis is away


def test_an_outage_of_redis_is_declared_from_the_first_failure_to_the_end_of_the_rewrite():
    world = World(channels=ONE)
    a_holder(world)
    rounds(world, 0.5)
    world.redis_down()
    world.tick(0)
    down_ms = now_ms(world)
    rounds(world, 1.5)  # less than two beats
    world.redis_up()

    rounds(world, 2)

    assert declared(world) == [("redis", 2, down_ms, down_ms + 1_500)]


@pytest.mark.parametrize("kept", [True, False], ids=["with its data", "empty"])
@pytest.mark.parametrize("seconds", [1, 60, 600])
def test_however_long_redis_was_away_memory_is_bounded_and_last_values_are_soon_complete(seconds, kept):
    world = World(channels=ONE)
    holder = a_holder(world)
    rounds(world, 0.5)
    world.redis_down()
    began_ms, most = now_ms(world), 0
    for _ in range(2 * seconds):
        for slot in world.prices:
            world.tick(slot)
        world.step(holder)
        world.advance(SECOND_NS // 2)  # an attempt now and then, as the circuit lets it
        most = max(most, holder.core.ledger.in_flight())
    world.redis_up(data=KEPT if kept else None)
    back_ms = now_ms(world)

    rounds(world, 1.25)  # one beat, and the rewrite

    last = {name: scaled_price(row) for name, row in world.twin.last[ONE[0]].items()}
    assert last == {f"NFO:X{slot}".encode(): price for slot, price in world.prices.items()}
    assert most <= 2 * len(world.prices) + 1_000, "the queue's ceiling"
    balance = holder.core.ledger.balance()
    assert (balance.balanced, balance.in_flight) == (True, 0), balance
    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments) == ("redis", 2)
    assert began_ms <= start_ms <= began_ms + 1_000
    assert back_ms <= end_ms <= back_ms + 1_250


@pytest.mark.parametrize("set_by_s", [-3_600, 0, 3_600])
def test_a_pause_is_as_long_as_it_was_though_the_clock_was_set_meanwhile(set_by_s):
    world = World(channels=ONE)
    holder = a_holder(world)
    rounds(world, 1)
    world.pause(holder)
    rounds(world, 3)
    world.resume(holder)
    wall_ns = world.now_ns + set_by_s * SECOND_NS

    requests = holder.core.plan_round(now_ns=world.now_ns, wall_ns=wall_ns)
    answers = [world.twin.execute(request) for request in requests]
    holder.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=wall_ns)
    rounds(world, 1)

    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments, end_ms) == ("paused", 2, wall_ns // MS_NS)
    assert 3_000 <= end_ms - start_ms <= 4_000


def test_a_broken_connection_that_costs_less_than_a_batchs_window_is_no_hole():
    world = World(channels=ONE)
    holder = a_holder(world)
    world.tick(0)
    world.step(holder, carried_out=0)
    world.advance(50 * MS_NS)

    rounds(world, 3)

    assert declared(world) == []


def test_declared_instrument_seconds_are_counted_by_cause():
    world = World(channels=ONE)
    holder = a_holder(world)
    rounds(world, 3)
    start_ns = world.now_ns - 3 * SECOND_NS
    holder.core.report_gap(np.array([0, 1], np.int32), start_ns=start_ns, end_ns=world.now_ns, cause="reset")

    rounds(world, 1)

    assert holder.core.ledger.gap_instrument_ns == {"reset": 2 * 3 * SECOND_NS}


# -- what became of unanswered calls


def test_a_call_that_redis_had_no_memory_for_is_not_counted_as_published_when_answers_are_lost(monkeypatch):
    monkeypatch.setattr("ticker_shard.publish.calls.CALL_ROWS_MAX", 1)  # a call a row
    world = World(channels=ONE)
    world.table = a_table(4, channels=ONE)
    world.prices = dict.fromkeys(range(4), 1)
    holder = a_holder(world)
    published = holder.core.ledger.published
    last_n = world.twin.records[ONE[0]].n
    world.twin.refused_numbers = {last_n + 2}
    for slot in range(4):
        world.tick(slot)

    world.step(holder, carried_out=4, answered=0)
    world.twin.refused_numbers = set()
    rounds(world, 1)

    ledger = holder.core.ledger
    # 1 before the refused one and that one itself: nobody can tell them apart; the two behind it arrived.
    assert ledger.published - published == 2
    assert ledger.dropped[DropCause.UNANSWERED] == 2
    world.check()


def test_a_round_is_bounded_whatever_waits():
    from ticker_shard.publish.limits import CALL_ROWS_MAX, ROUND_ROWS_MAX

    world = World(channels=ONE)
    waiting = 2 * ROUND_ROWS_MAX + ROUND_ROWS_MAX // 2
    world.table = a_table(waiting, channels=ONE)
    world.prices = dict.fromkeys(range(waiting), 1)
    holder = a_holder(world)
    holder.core.disconnected()

    sizes = []
    for _ in range(3):
        requests = step_with(world, holder, world.twin.execute)
        calls = [request for request in requests if isinstance(request, fence.Call)]
        assert max(len(call.rows) for call in calls) <= CALL_ROWS_MAX
        sizes.append(sum(len(call.rows) for call in calls))

    assert sizes == [ROUND_ROWS_MAX, ROUND_ROWS_MAX, ROUND_ROWS_MAX // 2]
