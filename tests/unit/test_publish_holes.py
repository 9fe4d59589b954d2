"""Never a silent loss: every hole has its record, no record covers time when data flowed, nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import orjson
import pytest

from tests.support.handover_world import CHANNELS, KEPT, LOST, STEP_NS, Pod, World, scaled_price
from tests.support.ticks import a_table
from ticker_crds import Role
from ticker_shard.publish import fence
from ticker_shard.publish.fence import Refused, Trouble, TroubleKind
from ticker_shard.publish.gaps import Hole, close_holes, encode_holes, gap_record
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.ledger import DropCause
from ticker_shard.publish.limits import MS_NS, REFUSED_WAIT_NS, SECOND_NS

ONE = CHANNELS[:1]
WRONG_TYPE = Refused(Trouble(TroubleKind.WRONG_TYPE, "WRONGTYPE Operation against a key"))


def rounds(world: World, seconds: float) -> None:
    for _ in range(round(seconds * SECOND_NS / STEP_NS)):
        world.everybody()


def a_holder(world: World) -> Pod:
    pod = world.start()
    rounds(world, 6)
    assert pod.core.handover.held == world.channels
    return pod


def a_standby(world: World) -> Pod:
    pod = world.start()
    rounds(world, 3)
    assert pod.core.handover.phase is Phase.STANDBY
    return pod


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1_000


def declared(world: World) -> list[tuple[str, int, int, int]]:
    """Cause, instruments, start and end of every record that was published, times since the world's beginning in ms."""
    records = [orjson.loads(gap) for call in world.twin.published for gap in call.gaps]
    return [(gap["cause"], gap["instruments"], ns(gap["start"]) // MS_NS, ns(gap["end"]) // MS_NS) for gap in records]


def now_ms(world: World) -> int:
    return world.now_ns // MS_NS


def lose_feed(world: World, pod: Pod, *slots: int) -> int:
    """The pod's feed delivers nothing for these; when, in ms."""
    hole = Hole(np.array(slots, np.int32), world.now_ns, "reset")
    world.set_feed(pod, on=False)
    pod.core.holes.feed_misses([hole])
    return now_ms(world)


def step_with(world: World, pod: Pod, answer: Callable[[fence.Request], fence.Answer]) -> list[fence.Request]:
    """One round in which `answer` stands for Redis."""
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    answers = [answer(request) for request in requests]
    pod.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    return requests


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


def test_holes_that_somebody_spoiled_say_nothing():
    for text in (b"", b"spoiled", b"[1]", b'[["a", 1]]', b"{}"):
        assert close_holes(text, shard="s", end_ns=1) == []


def test_holes_are_what_they_were_when_they_are_closed():
    record = gap_record("s", ["A", "B"], start_ns=5, end_ns=5, cause="reset")
    held = gap_record("s", ["C"], start_ns=1, end_ns=3, cause="silent")

    closed = close_holes(encode_holes([record], [held]), shard="s", end_ns=9)

    assert [(gap.symbols, gap.start_ns, gap.end_ns, gap.cause) for gap in closed] == [
        (("A", "B"), 5, 9, "reset"),
        (("C",), 1, 3, "silent"),
    ]


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


# -- whose field it is


def fields(world: World) -> set[str]:
    return {name.decode() for name in world.twin.last[ONE[0]]}


def reload(world: World, pod: Pod, roles: dict[str, Role]) -> None:
    world.assign(pod, a_table(roles, channels=ONE, revision=pod.table.revision + 1, previous=pod.table))


def test_fields_of_instruments_that_left_while_nobody_held_the_channel_are_deleted_at_the_next_claim():
    world = World(channels=ONE)
    world.kill(a_holder(world))
    assert fields(world) == {"NFO:X0", "NFO:X1"}
    world.table = a_table(1, channels=ONE, revision=2)
    world.prices = {0: 7}

    world.start()
    rounds(world, 8)

    assert fields(world) == {"NFO:X0"}
    assert world.twin.owners[ONE[0]] == {"NFO:X0": "pool.acc1"}


def test_a_field_that_another_account_took_is_left_to_it():
    world = World(channels=ONE)
    world.kill(a_holder(world))
    world.twin.owners[ONE[0]]["NFO:X1"] = "pool.acc2"
    world.table = a_table(1, channels=ONE, revision=2)
    world.prices = {0: 7}

    world.start()
    rounds(world, 8)

    assert fields(world) == {"NFO:X0", "NFO:X1"}


def test_a_running_holder_deletes_only_what_nobody_took_over():
    world = World(channels=ONE)
    world.table = a_table(3, channels=ONE)
    world.prices = dict.fromkeys(range(3), 1)
    holder = a_holder(world)
    world.twin.owners[ONE[0]]["NFO:X2"] = "pool.acc2"

    reload(world, holder, {"X0": Role.OWNER})
    world.prices = {0: 1}
    rounds(world, 1)

    assert fields(world) == {"NFO:X0", "NFO:X2"}


def test_what_is_settling_is_not_taken_before_it_is_owned():
    world = World(channels=ONE)
    holder = a_holder(world)
    world.twin.owners[ONE[0]]["NFO:X1"] = "pool.acc2"
    reload(world, holder, {"X0": Role.OWNER, "X1": Role.INCOMING})
    rounds(world, 1)
    reload(world, holder, {"X0": Role.OWNER, "X1": Role.SETTLING})
    rounds(world, 1)
    assert world.twin.owners[ONE[0]]["NFO:X1"] == "pool.acc2"

    reload(world, holder, {"X0": Role.OWNER, "X1": Role.OWNER})
    rounds(world, 1)

    assert world.twin.owners[ONE[0]]["NFO:X1"] == "pool.acc1"


# -- one channel in trouble


def refusing(world: World, channel: str) -> Callable[[fence.Request], fence.Answer]:
    """A Redis in which one channel's keys hold something else: beats pass, rows do not."""

    def answer(request: fence.Request) -> fence.Answer:
        carries = isinstance(request, fence.Call) and (request.rows or request.gaps or request.deletes)
        return WRONG_TYPE if carries and request.channel == channel else world._execute(request)

    return answer


def test_a_channel_that_redis_refuses_is_tried_again_ever_later_keeps_its_beats_and_disturbs_no_other():
    world = World()
    holder = a_holder(world)
    bad, good = world.channels
    tries, beats = 0, 0
    redis = refusing(world, bad)

    for _ in range(60 * 4):
        world.tick(0)
        for request in step_with(world, holder, redis):
            if isinstance(request, fence.Call) and request.channel == bad:
                tries += bool(request.rows)
                beats += not request.rows
        world.advance(STEP_NS)

    assert 4 <= tries <= 7  # after 0, 1, 3, 7, 15, 31 s
    assert beats >= 50
    assert holder.core.handover.held == world.channels
    assert holder.core.trouble is None
    assert {name: why.kind for name, why in holder.core.refused_channels.items()} == {bad: TroubleKind.WRONG_TYPE}
    assert world.kept[good, b"NFO:X0"] == world.prices[0]
    world.check()

    rounds(world, 35)  # somebody repaired it
    assert holder.core.refused_channels == {}
    assert world.kept[bad, b"NFO:X0"] == world.prices[0]
    world.check()


def test_a_refused_channel_does_not_keep_the_loop_awake():
    world = World()
    holder = a_holder(world)
    bad = world.channels[0]
    world.tick(0)
    step_with(world, holder, refusing(world, bad))
    step_with(world, holder, refusing(world, bad))

    wake_ns = holder.core.wake_ns(now_ns=world.now_ns)

    assert world.now_ns < wake_ns <= world.now_ns + REFUSED_WAIT_NS


def test_a_record_that_cannot_be_read_costs_its_own_channel_only():
    world = World()
    bad, good = world.channels
    pod = world.start()

    def answer(request: fence.Request) -> fence.Answer:
        return WRONG_TYPE if request.channel == bad else world._execute(request)

    for _ in range(40):
        step_with(world, pod, answer)
        world.advance(STEP_NS)

    assert pod.core.handover.held == (good,)
    assert set(pod.core.refused_channels) == {bad}
    assert pod.core.trouble is None


def test_an_answer_that_was_lost_during_the_sweep_is_asked_for_again():
    world = World(channels=ONE)
    world.kill(a_holder(world))
    world.table = a_table(1, channels=ONE, revision=2)
    world.prices = {0: 7}
    pod = world.start()
    while not pod.core.handover.held:
        world.everybody()
    pod.core._outboxes[ONE[0]].sweep = 0
    step_with(world, pod, lambda request: LOST)

    rounds(world, 2)

    assert fields(world) == {"NFO:X0"}
