"""Lanes: instruments in parts, each with a record of its own; which sockets a process may have, and when."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lane_histories import serve
from tests.support.lane_world import LaneWorld
from tests.support.ticks import a_table
from ticker_crds.subscription import CHANNEL_PATTERN
from ticker_shard.publish import fence
from ticker_shard.publish.door import Door
from ticker_shard.publish.fence import ChannelState, Record
from ticker_shard.publish.handover import Handover, Phase
from ticker_shard.publish.lanes import channel_of, lane_member, lane_name, lanes_of, split_lane
from ticker_shard.publish.limits import SECOND_NS

CHANNELS = ("ticker:a", "ticker:b")
NOW_NS = 10**12


@given(channel=st.from_regex(CHANNEL_PATTERN, fullmatch=True), lane=st.integers(1, 3))
def test_a_lanes_name_tells_its_channel_and_its_number(channel: str, lane: int) -> None:
    name = lane_name(channel, lane)

    assert split_lane(name) == (channel, lane)
    assert channel_of(name) == channel
    assert (name == channel) == (lane == 1), "the first lane is what an account with one socket has"


@given(
    memberships=st.lists(st.sets(st.sampled_from(CHANNELS)), min_size=1, max_size=20),
    parts=st.integers(1, 3),
    more=st.integers(0, 2),
)
def test_each_instrument_is_in_one_lane_the_same_in_all_its_channels(
    memberships: list[set[str]], parts: int, more: int
) -> None:
    names = {f"X{number}": tuple(sorted(channels)) for number, channels in enumerate(memberships)}
    table = a_table(len(names), channels=CHANNELS, in_channels=names)

    laned = lanes_of(table, parts=parts, lanes=parts + more, capacity=3_000)

    for before, row in zip(table.instruments, laned.instruments, strict=True):
        assert before is not None
        assert row is not None
        assert tuple(channel_of(name) for name in row.channels) == before.channels
        assert len({split_lane(name)[1] for name in row.channels}) <= 1
        assert all(split_lane(name)[1] <= parts for name in row.channels)
    for name, slots in laned.members.items():
        named = [slot for slot, row in enumerate(laned.instruments) if row is not None and name in row.channels]
        assert slots.tolist() == named
    assert {channel.name for channel in laned.channels} == set(laned.members)
    assert len(laned.members) == len(CHANNELS) * (parts + more)


def test_an_account_with_one_lane_has_the_table_as_it_is() -> None:
    table = a_table(3)

    assert lanes_of(table, parts=1, lanes=1, capacity=3_000) is table


def test_a_lane_has_its_own_record_beside_the_channels_other_keys() -> None:
    door = Door("redis://nowhere", member="pool.acc1", timeout_ns=1)

    first, second = (door.packed(fence.Read(lane_name("ticker:a", lane))) for lane in (1, 2))

    assert b"{ticker:a}:fence:pool.acc1\r\n" in first
    assert b"{ticker:a}:fence:pool.acc1/2\r\n" in second


def test_a_call_of_a_lane_goes_to_the_channel_under_the_lanes_name() -> None:
    door = Door("redis://nowhere", member="pool.acc1", timeout_ns=1)
    call = fence.Call(lane_name("ticker:a", 2), 1, "pod/1", 1, ChannelState.ACTIVE, 1, message=b"m", numbers=b"{}")

    packed = door.packed(call)

    assert b"{ticker:a}:last\r\n" in packed
    assert b"\r\nticker:a\r\n" in packed, "where it is published"
    assert packed.count(b"pool.acc1/2\r\n") == 2, "its record, and whose numbers and fields they are"


def test_a_message_says_its_lane() -> None:
    world = LaneWorld()
    serve(world, 2)

    said = {
        (call.channel, json.loads(call.message)["shard"]) for call in world.twin.published if json.loads(call.numbers)
    }

    assert said == {
        (lane_name(channel, lane), lane_member("pool.acc1", lane)) for channel in world.channels for lane in (1, 2)
    }


def test_rows_that_wait_while_their_lane_changes_leave_once_as_the_newest() -> None:
    world = LaneWorld()
    pod = serve(world, 2)
    published = pod.core.ledger.published
    for slot in world.prices:
        world.tick(slot)

    pod.core.handover.stages.parts = 1  # what waits in two lanes goes over to one
    pod.core.configure(world.table, now_ns=world.now_ns, wall_ns=world.now_ns)
    world.everybody()

    ledger = pod.core.ledger
    assert sum(ledger.dropped.values()) == 0
    assert ledger.published - published + ledger.conflated == len(world.prices) * len(world.channels)
    world.assert_newest()
    world.check()


@pytest.mark.parametrize(
    ("records", "allowed", "parts"),
    [
        ({}, 2, 1),
        ({1: "other", 2: "other"}, 1, 2),
        ({1: "other"}, 2, 1),
        ({1: "mine", 2: "mine"}, 2, 2),
        ({1: "mine", 2: "other"}, 1, 2),
        ({1: "mine", 2: "leaving"}, 2, 2),
        ({1: "leaving", 2: "other"}, 1, 2),
        ({1: "free", 2: "free"}, 2, 1),
        ({1: "free", 2: "other"}, 1, 2),
        ({1: "other", 2: "free"}, 2, 1),
    ],
)
def test_what_the_records_say_of_places_and_lanes(records: dict[int, str], allowed: int, parts: int) -> None:
    handover = a_starting_process()

    handover.polled(
        {name: a_record(records.get(split_lane(name)[1])) for name in handover.begin_poll(now_ns=NOW_NS)},
        sent_ns=NOW_NS,
        now_ns=NOW_NS,
    )
    if handover.divides_anew:
        handover.divide()

    assert (handover.stages.allowed, handover.stages.parts) == (allowed, parts)


def test_whose_record_stands_still_for_a_window_has_no_place() -> None:
    handover = a_starting_process()
    for step in range(11):
        now_ns = NOW_NS + step * SECOND_NS // 2
        names = handover.begin_poll(now_ns=now_ns)
        records = {name: a_record("other" if split_lane(name)[1] < 3 else None) for name in names}
        handover.polled(records, sent_ns=now_ns, now_ns=now_ns)
        assert handover.stages.allowed == (1 if step < 8 else 2)


def test_a_record_that_redis_refuses_to_read_keeps_no_socket_shut() -> None:
    handover = a_starting_process()
    handover.poll_failed("ticker:a")

    names = [name for name in handover.begin_poll(now_ns=NOW_NS) if name != "ticker:a"]
    handover.polled(dict.fromkeys(names), sent_ns=NOW_NS, now_ns=NOW_NS)

    assert handover.stages.allowed == 2


def test_a_process_is_not_warm_before_it_knows_which_sockets_it_may_open() -> None:
    handover = a_starting_process()
    handover.feed(warm=True, now_ns=NOW_NS, socket=1)

    assert not handover.warm
    assert handover.phase is Phase.WARMING


def a_starting_process() -> Handover:
    handover = Handover(process="pod/2", sockets=2, watched=3)
    handover.configure([lane_name(channel, lane) for channel in CHANNELS for lane in (1, 2)], revision=1)
    return handover


def a_record(kind: str | None) -> Record | None:
    match kind:
        case None:
            return None
        case "mine":
            return Record(1, "pod/1", 5, ChannelState.ACTIVE)
        case "leaving":
            return Record(1, "other/1", 5, ChannelState.LEAVING)
        case "free":
            return Record(1, "other/1", 5, ChannelState.FREE)
    return Record(1, "other/1", 5, ChannelState.ACTIVE)
