"""Decisions of the publishing core that histories reach too rarely: roles, books at odd moments, lost answers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.support.handover_world import CHANNELS, LOST, STEP_NS, Pod, World
from tests.support.publish_world import ONE, a_holder, reload, sent
from tests.support.ticks import a_table, some_rows
from ticker_client import Message, decode_message
from ticker_crds import Channel, Encoding, Role
from ticker_shard.publish import fence
from ticker_shard.publish.fence import ChannelState, Record, Refused, Trouble, TroubleKind, parse_record
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.ledger import DropCause
from ticker_shard.publish.limits import CALL_ROWS_MAX, CATCH_UP_NS, MS_NS, SECOND_NS, TIMING


def test_an_incoming_instrument_is_withheld_and_its_newest_value_published_when_it_settles():
    world = World(channels=ONE)
    pod = a_holder(world)
    reload(world, pod, {"X0": Role.OWNER, "X1": Role.INCOMING})
    world.everybody()
    withheld = pod.core.ledger.withheld
    world.twin.published.clear()

    world.tick(1)
    world.everybody()
    assert sent(world) == []
    assert pod.core.ledger.withheld == withheld + 1
    reload(world, pod, {"X0": Role.OWNER, "X1": Role.SETTLING})
    world.everybody()

    assert sent(world) == [("NFO:X1", world.prices[1])]
    assert pod.core.acknowledged() == pod.table.revision


def test_a_channel_that_changes_its_encoding_is_written_anew():
    world = World(channels=ONE)
    pod = a_holder(world)
    for _ in range(8):
        world.everybody()
    world.twin.published.clear()
    assert {row[:1] for row in world.twin.last[ONE[0]].values()} == {b"{"}

    packed = replace(pod.table, revision=2, channels=(Channel(ONE[0], Encoding.MSGPACK),))
    world.assign(pod, packed)
    (call,) = [r for r in pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns) if isinstance(r, fence.Call)]

    assert {row[:1] for _, row in call.rows} == {b"\x11"}
    assert len(call.rows) == len(world.twin.last[ONE[0]])
    assert isinstance(decode_message(call.message), Message)


@pytest.mark.parametrize(("encoding", "sizes"), [(Encoding.JSON, [100, 100, 50]), (Encoding.MSGPACK, [200, 50])])
def test_a_call_carries_as_many_rows_as_do_not_hold_redis_up(encoding, sizes):
    world = World(channels=ONE)
    pod = a_holder(world)
    many = a_table(
        dict.fromkeys((f"X{n}" for n in range(250)), Role.OWNER), channels=ONE, revision=2, previous=pod.table
    )
    world.assign(pod, replace(many, channels=(Channel(ONE[0], encoding),)))
    for _ in range(8):
        world.everybody()  # what the new table owes is written
    pod.core.offer(pod.newest.update(some_rows(many, range(250))), now_ns=world.now_ns)
    pod.core.batcher.frame_complete()

    calls = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)

    assert [len(call.rows) for call in calls if isinstance(call, fence.Call)] == sizes


def test_a_settling_value_is_repeated_in_a_quiet_market_every_second_and_after_a_while_every_ten():
    world = World(channels=ONE)
    pod = a_holder(world)
    reload(world, pod, {"X0": Role.OWNER, "X1": Role.SETTLING})
    world.everybody()
    world.twin.published.clear()
    began_ns, repeated_s = world.now_ns, []

    for _ in range(40 * 4):
        world.everybody()
        if sent(world):
            assert sent(world) == [("NFO:X1", 1)]
            repeated_s.append((world.now_ns - began_ns) // SECOND_NS)
            world.twin.published.clear()

    assert repeated_s == [*range(1, 16), 25, 35]


def test_what_was_given_up_is_told_long_before_a_new_channel_can_be_claimed():
    world = World(channels=ONE)
    pod = a_holder(world)
    table = a_table(
        {"X0": Role.OWNER, "X1": Role.OUTGOING, "X2": Role.OWNER}, channels=CHANNELS[:2], revision=2,
        previous=pod.table, in_channels={"X0": ONE, "X1": ONE, "X2": CHANNELS[1:2]},
    )  # fmt: skip
    began_ns, told_ns, acknowledged_ns = world.now_ns, 0, 0
    world.assign(pod, table)
    pod.core.offer(pod.newest.update(some_rows(table, [2])), now_ns=world.now_ns)
    assert pod.core.past_barriers() == 0, "what was queued may be on its way"

    for _ in range(40):
        world.everybody()
        told_ns = told_ns or (world.now_ns if pod.core.past_barriers() == 2 else 0)
        acknowledged_ns = acknowledged_ns or (world.now_ns if pod.core.acknowledged() == 2 else 0)

    assert told_ns == began_ns + STEP_NS, "it waits for no beat"
    assert acknowledged_ns >= began_ns + TIMING.silent_ns, "that nobody holds the new channel is known after a window"


def test_an_outgoing_instrument_is_published_no_more_not_even_what_is_queued():
    world = World(channels=ONE)
    pod = a_holder(world)
    assert pod.core.acknowledged() == 1
    world.twin.published.clear()
    world.tick(1)

    reload(world, pod, {"X0": Role.OWNER, "X1": Role.OUTGOING})
    assert pod.core.acknowledged() == 1
    world.everybody()
    world.advance(2 * SECOND_NS)
    world.everybody()

    assert sent(world) == []
    assert pod.core.acknowledged() == 2
    world.check()


def test_what_is_refreshed_leaves_once_more_as_a_repetition_and_only_where_it_is_published():
    world = World()
    pod = a_holder(world)
    reload(world, pod, {"X0": Role.OWNER, "X1": Role.OUTGOING, "X2": Role.OWNER})
    world.everybody()
    world.twin.published.clear()
    received, repeated = pod.core.ledger.received, pod.core.ledger.repeated

    pod.core.refresh(np.array([0, 1], np.int32))
    waits = pod.core.is_repeating()
    world.everybody()

    assert [symbol for symbol, _ in sent(world)] == ["NFO:X0"] * len(CHANNELS)
    assert (pod.core.ledger.received, pod.core.ledger.repeated) == (received, repeated + len(CHANNELS))
    assert (waits, pod.core.is_repeating()) == (True, False)
    world.check()


def test_a_queued_tick_leaves_with_its_refreshed_row_and_stays_a_tick_in_the_books():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.twin.published.clear()
    published = pod.core.ledger.published

    world.tick(0)
    pod.core.refresh(np.array([0], np.int32))
    world.everybody()

    assert sent(world) == [("NFO:X0", world.prices[0])]
    assert pod.core.ledger.published == published + 1
    world.check()


def test_nothing_is_refreshed_without_a_channel():
    world = World(channels=ONE)
    pod = world.start()

    pod.core.refresh(np.array([0], np.int32))

    assert not pod.core.is_repeating()


def a_holder_and_one_with_the_table_before(world: World) -> tuple[Pod, Pod]:
    holder = a_holder(world)
    reload(world, holder, {"X0": Role.OWNER, "X1": Role.OWNER})
    world.everybody()
    behind = world.start()
    for _ in range(8):
        world.everybody()
    return holder, behind


def test_a_claimant_with_an_older_table_waits_while_the_holder_lives_and_not_for_ever():
    world = World(channels=ONE)
    holder, behind = a_holder_and_one_with_the_table_before(world)

    world.sigterm(holder)
    for _ in range(40):
        world.everybody()
    assert behind.core.handover.phase is Phase.STANDBY
    world.kill(holder)
    for _ in range((CATCH_UP_NS + 5 * SECOND_NS) // (250 * MS_NS)):
        world.everybody()

    assert behind.core.handover.held == ONE


def test_a_claimant_that_catches_up_takes_over_at_once():
    world = World(channels=ONE)
    holder, behind = a_holder_and_one_with_the_table_before(world)
    world.sigterm(holder)
    for _ in range(8):
        world.everybody()

    world.assign(behind, holder.table)
    for _ in range(3):
        world.everybody()

    assert behind.core.handover.held == ONE


@pytest.mark.parametrize(
    ("carried_out", "published", "dropped"), [(1, 1, 0), (0, 0, 1)], ids=["it was carried out", "it was not"]
)
def test_the_next_answer_decides_what_became_of_an_unanswered_call(carried_out, published, dropped):
    world = World(channels=ONE)
    pod = a_holder(world)
    before = pod.core.ledger.published
    world.tick(0)

    world.step(pod, carried_out=carried_out)
    assert pod.core.ledger.in_flight() == 1
    world.everybody()

    assert pod.core.ledger.published - before == published
    assert pod.core.ledger.dropped[DropCause.LOST] == dropped
    assert pod.core.ledger.in_flight() == 0
    assert pod.core.ledger.lost_messages == dropped


def test_a_number_is_never_sent_twice():
    world = World(channels=ONE)
    pod = a_holder(world)
    for round_ in range(6):
        world.tick(0)
        world.step(pod, carried_out=round_ % 2, late=True)
        world.land_late()
        world.everybody()

    numbers = [json.loads(call.message)["seq"] for call in world.twin.published]
    assert len(numbers) == len(set(numbers))


def test_refused_rows_are_dropped_by_name_and_rewritten():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.tick(0)
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    refused = [Refused(Trouble(TroubleKind.OUT_OF_MEMORY, "OOM"))] * len(requests)

    pod.core.settle_round(requests, refused, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    assert pod.core.trouble == Trouble(TroubleKind.OUT_OF_MEMORY, "OOM")
    assert pod.core.ledger.dropped[DropCause.REFUSED] == 1
    world.everybody()

    assert pod.core.trouble is None
    assert sent(world)[-2:] == [("NFO:X0", 2), ("NFO:X1", 1)]
    world.check()


def test_rows_beyond_the_table_and_before_any_table_are_unrouted():
    world = World(channels=ONE)
    pod = a_holder(world)
    rows = some_rows(pod.table, [0])
    rows.slot[:] = -1

    pod.core.offer(rows, now_ns=0)
    pod.core.reject("crossed", np.array([0, -1], np.int32))

    assert pod.core.ledger.unrouted == 2
    assert pod.core.ledger.rejected == {"crossed": 1}
    world.check()


def a_record_freed_by_its_holder(world: World, holder: Pod) -> None:
    world.set_feed(holder, on=False)
    world.advance(world.timing.yield_ns)
    world.sigterm(holder)
    for _ in range(2):
        world.step(holder)
    assert world.twin.records[ONE[0]].state is ChannelState.FREE


def test_a_process_that_turns_warm_claims_after_its_rehearsal_without_waiting_for_the_next_poll():
    world = World(channels=ONE)
    a_record_freed_by_its_holder(world, a_holder(world))
    pod = world.start(warm=False)
    world.step(pod)  # polls, and may claim nothing yet

    world.set_feed(pod, on=True)
    for _ in range(3):  # the rehearsal, a poll, the claim
        world.step(pod)

    assert pod.core.handover.held == ONE


def test_a_standby_whose_feed_is_back_claims_without_waiting_for_the_next_poll():
    world = World(channels=ONE)
    holder = a_holder(world)
    standby = world.start()
    for _ in range(4):
        world.everybody()
    world.set_feed(standby, on=False)
    a_record_freed_by_its_holder(world, holder)
    world.step(standby)  # polls, and may claim nothing yet

    world.set_feed(standby, on=True)
    for _ in range(2):  # a poll, the claim
        world.step(standby)

    assert standby.core.handover.held == ONE


def test_a_channel_may_be_lost_alone():
    world = World()
    pod = a_holder(world)
    record = world.twin.records[CHANNELS[0]]
    world.twin.records[CHANNELS[0]] = Record(record.epoch + 1, "pod9/9", 5, ChannelState.ACTIVE, 1)
    world.tick(0)

    world.everybody()

    assert pod.core.handover.held == CHANNELS[1:]
    assert pod.core.handover.phase is Phase.ACTIVE
    assert pod.core.ledger.superseded == 1
    world.check()


def test_a_hole_in_publishing_is_told_when_calls_come_through_again():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.redis_down()
    for _ in range(20):
        world.everybody()

    world.redis_up()
    for _ in range(4):
        world.everybody()

    assert [gap["cause"] for call in world.twin.published for gap in json.loads(call.message).get("gaps", ())] == [
        "redis"
    ]
    assert pod.core.ledger.gaps == 1


def test_a_connection_that_breaks_behind_a_fenced_call_leaves_nothing_to_the_next_term():
    world = World(channels=ONE)
    pod = a_holder(world)
    many = dict.fromkeys((f"X{number}" for number in range(CALL_ROWS_MAX + 3)), Role.OWNER)
    reload(world, pod, many)
    pod.core.offer(pod.newest.update(some_rows(pod.table, range(len(many)))), now_ns=world.now_ns)
    taken = Record(world.twin.records[ONE[0]].epoch + 1, "pod9/9", 5, ChannelState.FREE, 1)
    world.twin.records[ONE[0]] = taken
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    assert len(requests) == 2

    answers = [fence.Fenced(taken), LOST]
    pod.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    world.check()
    assert pod.core.ledger.in_flight() == 0
    for _ in range(8):
        world.everybody()

    assert pod.core.handover.held == ONE
    world.check()


def test_a_process_that_redis_forbids_to_publish_waits_between_its_questions():
    world = World(channels=ONE)
    pod = world.start()
    pod.core.rehearsal.forbidden = Trouble(TroubleKind.NO_PERMISSION, "PUBLISH")
    for _ in range(8):
        world.everybody()
    while requests := pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns):
        answers = [world.twin.execute(request) for request in requests]
        pod.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)

    assert pod.core.wake_ns(now_ns=world.now_ns) > world.now_ns
    pod.core.rehearsal.forbidden = None
    assert pod.core.wake_ns(now_ns=world.now_ns) <= world.now_ns


def test_every_request_lost_is_unanswered_in_the_books_not_forgotten():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.tick(0)
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)

    pod.core.settle_round(requests, [LOST] * len(requests), sent_ns=0, now_ns=world.now_ns, wall_ns=0)

    assert pod.core.ledger.in_flight() == 1
    world.check()


@pytest.mark.parametrize(
    ("fields", "record"),
    [
        ([None] * 5, None),
        ([b"x", b"a/1", b"1", b"active", b"1"], None),
        ([b"5", None, b"x", b"odd", None], Record(5, "", 0, ChannelState.ACTIVE, 0)),
        ([b"5", b"\xff/1", b"2", b"free", b"3"], Record(5, "\ufffd/1", 2, ChannelState.FREE, 3)),
    ],
    ids=["missing", "no number", "half a record gives nobody a right", "odd bytes"],
)
def test_a_record_is_read_as_the_scripts_judge_it(fields, record):
    assert parse_record(fields) == record


def test_a_requests_kinds_are_all_that_a_round_holds():
    world = World(channels=ONE)
    pod = world.start()
    kinds = {type(request) for request in pod.core.plan_round(now_ns=world.now_ns, wall_ns=0)}

    assert kinds == {fence.Read, fence.Call}  # the poll, and the rehearsal
