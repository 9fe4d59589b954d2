"""Never a silent loss: every hole at a move or a take-over has its record, and none covers time when data flowed."""

from __future__ import annotations

import numpy as np
import orjson
import pytest

from tests.support.handover_world import STEP_NS, World
from tests.support.publish_world import ONE, a_holder, a_standby, declared, lose_feed, now_ms, ns, reload, rounds
from tests.support.ticks import a_table
from ticker_crds import Role
from ticker_shard.publish.gaps import Hole
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS, SECOND_NS

# -- holes at a move to another account


MOVED = {"X0": Role.OWNER, "X1": Role.OUTGOING}


def test_what_the_feed_missed_is_declared_when_another_account_takes_the_instrument():
    world = World(channels=ONE)
    holder = a_holder(world)
    lost_ms = lose_feed(world, holder, 0, 1)
    rounds(world, 1.5)

    reload(world, holder, MOVED)
    moved_ms = now_ms(world)
    rounds(world, 1)

    (call,) = [call for call in world.twin.published if call.gaps]
    assert [orjson.loads(gap)["symbols"] for gap in call.gaps] == [["NFO:X1"]], "what stays is not over"
    assert declared(world) == [("reset", 1, lost_ms, moved_ms)]


def test_a_healthy_instrument_that_another_account_takes_leaves_no_record():
    world = World(channels=ONE)
    holder = a_holder(world)

    reload(world, holder, MOVED)
    rounds(world, 2)
    reload(world, holder, {"X0": Role.OWNER})
    rounds(world, 2)

    assert declared(world) == []


def test_an_instrument_that_leaves_during_an_outage_of_redis_was_missed_until_then():
    world = World(channels=ONE)
    holder = a_holder(world)
    world.up = False
    world.tick(1)
    rounds(world, 3)
    reload(world, holder, MOVED)
    moved_ms = now_ms(world)
    world.up = True
    rounds(world, 3)

    ends = {(cause, instruments): end_ms for cause, instruments, _, end_ms in declared(world)}
    assert ends[("redis", 1)] >= moved_ms
    assert len(declared(world)) == 2, "what leaves and what stays"


def test_an_instrument_that_leaves_a_process_that_was_stopped_was_missed_until_then():
    world = World(channels=ONE)
    holder = a_holder(world)
    stopped_ms = now_ms(world)
    world.advance(3 * SECOND_NS)

    reload(world, holder, MOVED)
    rounds(world, 1)

    assert {cause for cause, *_ in declared(world)} == {"paused"}
    assert all(start_ms <= stopped_ms for _, _, start_ms, _ in declared(world))
    symbols = [orjson.loads(gap)["symbols"] for call in world.twin.published for gap in call.gaps]
    assert sorted(symbols) == [["NFO:X0"], ["NFO:X1"]]


@pytest.mark.parametrize(("told", "instruments"), [(False, 2), (True, 1)], ids=["as its owner", "outgoing already"])
def test_what_a_dead_process_published_last_is_declared_by_the_next_although_another_account_has_it(told, instruments):
    world = World(channels=ONE)
    holder = a_holder(world)
    moved = a_table(MOVED, channels=ONE, revision=holder.table.revision + 1, previous=holder.table)
    if told:
        world.assign(holder, moved)
        rounds(world, 2)
    world.kill(holder)
    world.table = moved
    rounds(world, 3)

    world.start(holder.name)
    rounds(world, 2)

    assert [(cause, number) for cause, number, *_ in declared(world)] == [("takeover", instruments)]


# -- holes at a take-over


def test_a_successor_declares_what_a_holder_without_feed_did_not_deliver():
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = a_standby(world)
    lost_ms = lose_feed(world, holder, 0, 1)

    rounds(world, 5)

    assert standby.core.handover.held == ONE
    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments, start_ms) == ("reset", 2, lost_ms)
    # until the claim: `yield` without feed, then a poll
    assert world.timing.yield_ns <= (end_ms - start_ms) * MS_NS <= world.timing.yield_ns + 2 * world.timing.poll_ns


def test_only_the_instruments_of_the_lost_socket_are_declared():
    world = World(channels=ONE)
    holder = a_holder(world)
    a_standby(world)
    lose_feed(world, holder, 1)

    rounds(world, 5)

    (call,) = [call for call in world.twin.published if call.gaps]
    assert [orjson.loads(gap)["symbols"] for gap in call.gaps] == [["NFO:X1"]]


def test_a_holder_whose_feed_comes_back_declares_its_hole_itself_and_only_once():
    world = World(channels=ONE)
    holder = a_holder(world)
    lost_ms = lose_feed(world, holder, 0, 1)
    rounds(world, 1)
    world.set_feed(holder, on=True)
    holder.core.report_gap(np.array([0, 1], np.int32), start_ns=lost_ms * MS_NS, end_ns=world.now_ns, cause="reset")
    holder.core.holes.feed_misses([])
    rounds(world, 2)
    a_standby(world)
    world.sigterm(holder)

    rounds(world, 2)

    assert declared(world) == [("reset", 2, lost_ms, lost_ms + 1_000)]


def test_a_healthy_hand_over_declares_nothing():
    world = World()
    holder = a_holder(world)
    a_standby(world)
    for _ in range(20):
        world.tick(0)
        world.everybody()
    world.sigterm(holder)
    for _ in range(20):
        world.tick(1)
        world.everybody()

    assert holder.core.handover.phase is Phase.GONE
    assert declared(world) == []


@pytest.mark.parametrize("quiet_s", [0.5, 1.5, 30.0])
def test_a_channel_that_was_freed_has_a_hole_until_the_next_process_claims(quiet_s):
    world = World(channels=ONE)
    holder = a_holder(world)
    world.sigterm(holder)
    for _ in range(400):
        if holder.core.handover.phase is Phase.GONE:
            break
        world.everybody()
    freed_ms = world.twin.at_ms[ONE[0]]
    world.advance(int(quiet_s * SECOND_NS))

    world.start()
    rounds(world, 2)

    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments, start_ms) == ("takeover", 2, freed_ms)
    assert end_ms - start_ms >= quiet_s * 1_000


def test_a_dead_holders_open_hole_ends_with_its_last_call_and_the_time_without_anybody_follows():
    """Its feed may have come back right after that call: nobody can know, and the next hole covers it."""
    world = World(channels=ONE)
    holder = a_holder(world)
    a_standby(world)
    holder.core.holes.feed_misses([Hole(np.array([0], np.int32), world.now_ns, "mute")])
    quiet_ms = now_ms(world)
    rounds(world, 3)
    last_ms = world.twin.at_ms[ONE[0]]
    world.kill(holder)

    rounds(world, 8)

    holes = {cause: (start_ms, end_ms) for cause, _, start_ms, end_ms in declared(world)}
    assert holes["mute"] == (quiet_ms, last_ms)
    assert holes["takeover"][0] == last_ms


@pytest.mark.parametrize("ends", ["before the claim", "after the claim"])
def test_what_an_own_feed_missed_while_another_process_published_is_no_hole(ends):
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = a_standby(world)
    lost_ns = world.now_ns
    standby.core.holes.feed_misses([Hole(np.array([0], np.int32), lost_ns, "silent")])
    rounds(world, 5)
    over_ns = world.now_ns
    world.sigterm(holder)
    while not standby.core.handover.held:
        world.everybody()
    claimed_ms = now_ms(world)
    rounds(world, 2)
    end_ns = over_ns if ends == "before the claim" else world.now_ns

    standby.core.report_gap(np.array([0], np.int32), start_ns=lost_ns, end_ns=end_ns, cause="silent")
    standby.core.holes.feed_misses([])
    rounds(world, 1)

    if ends == "before the claim":
        assert declared(world) == []
        return
    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments, end_ms) == ("silent", 1, end_ns // MS_NS)
    assert claimed_ms - STEP_NS // MS_NS <= start_ms <= claimed_ms


def test_a_record_that_redis_lost_with_its_holder_leaves_a_hole_since_the_standby_last_heard_of_it():
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = a_standby(world)
    rounds(world, 3)
    last_ms = world.twin.at_ms[ONE[0]]
    world.kill(holder)
    rounds(world, 0.5)
    world.redis_up(data=None)

    rounds(world, 8)

    assert standby.core.handover.held == ONE
    ((cause, instruments, start_ms, end_ms),) = declared(world)
    assert (cause, instruments) == ("takeover", 2)
    assert last_ms <= start_ms <= last_ms + world.timing.poll_ns // MS_NS
    assert end_ms - start_ms >= world.timing.silent_ns // MS_NS


@pytest.mark.parametrize("end", ["dies", "gives way"])
def test_a_standstill_of_redis_is_declared_by_the_next_holder_where_the_last_one_could_not(end):
    """What waits in Redis's buffers is carried out when it runs again, for a holder that is gone by then."""
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = a_standby(world)
    last_ms = world.twin.at_ms[ONE[0]]
    world.advance(SECOND_NS)
    if end == "dies":
        world.tick(0)
    else:
        world.sigterm(holder)
    world.step(holder, carried_out=0, late=True)
    world.kill(holder)
    world.advance(3 * SECOND_NS)
    world.land_late()
    late_ms = now_ms(world)
    assert world.twin.at_ms[ONE[0]] == late_ms, "it seems to live"

    rounds(world, 6)

    assert standby.core.handover.held == ONE
    stalled, *after = declared(world)
    assert stalled == ("takeover", 2, last_ms, late_ms)
    assert [(cause, start_ms) for cause, _, start_ms, _ in after] == ([("takeover", late_ms)] if end == "dies" else [])


def test_a_standstill_that_its_holder_lived_to_declare_is_no_part_of_the_next_take_over():
    world = World(channels=ONE)
    holder = a_holder(world)
    a_standby(world)
    world.pause(holder)
    world.advance(3 * SECOND_NS)
    world.resume(holder)
    for _ in range(20):
        world.everybody()
    world.kill(holder)
    last_ms = world.twin.at_ms[ONE[0]]

    rounds(world, 6)

    assert [(cause, start_ms) for cause, _, start_ms, _ in declared(world)][1:] == [("takeover", last_ms)]


def test_a_claimant_that_dies_before_its_first_call_hands_the_holes_on():
    world = World(channels=ONE)
    holder = a_holder(world)
    heir = a_standby(world)
    lost_ms = lose_feed(world, holder, 0)
    while world.twin.records[ONE[0]].holder == holder.core.handover.process:
        world.step(holder)
        world.step(heir, carried_out=None)
        world.advance(50 * MS_NS)
        if heir.core.handover.held:
            break
    world.kill(heir)
    calls_before = len(world.twin.published)

    world.restart(heir)
    rounds(world, 8)

    after = [gap for call in world.twin.published[calls_before:] for gap in call.gaps]
    assert ("reset", lost_ms) in {
        (orjson.loads(gap)["cause"], ns(orjson.loads(gap)["start"]) // MS_NS) for gap in after
    }


def test_records_that_redis_never_accepted_are_found_by_the_next_holder():
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = a_standby(world)
    gap = {"start_ns": world.now_ns - SECOND_NS, "end_ns": world.now_ns, "cause": "silent"}
    holder.core.report_gap(np.array([0], np.int32), **gap)
    for _ in range(25):  # more than one call carries
        holder.core.report_gap(np.array([1], np.int32), **gap)
    world.step(holder, carried_out=1, answered=0)  # the first ten, and what is left, are in Redis; the holder dies
    world.kill(holder)

    rounds(world, 8)

    assert standby.core.handover.held == ONE
    assert sum(cause == "silent" for cause, *_ in declared(world)) == 26
