"""Hand-overs socket by socket: accounts of one and two sockets, the broker's three places, the real core.

Proved for every overlap that the operator allows (1 to 1, 1 to 2, 2 to 1, 2 to 2): after each turn every instrument
has exactly one voice and its last value is the market's, nobody asks for a fourth socket, nothing is dropped and
nothing declared. Undone or broken off at any moment, and in any order of faults: never more than three sockets, one
holder a record, no value goes back, and once faults end one process holds everything. Broken variants are caught.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.support.handover_histories import HandoverHistory
from tests.support.handover_outcome import holders_of_everything, market, newest_values, one_voice_each
from tests.support.lane_histories import (
    LANE_VARIANTS,
    OVERLAPS,
    any_order,
    crash,
    early_successor,
    lane_gauntlet,
    reassign,
    roll_out,
    undo,
)
from tests.support.lane_world import LaneWorld
from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.handover import Phase

TURNS = 14  # from SIGTERM until the old process is gone, and two more


class LaneHistory(HandoverHistory):
    def __init__(self) -> None:
        super().__init__(LaneWorld)


LaneHistory.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyHistoryOfTwoSocketsKeepsThePromises = LaneHistory.TestCase


@pytest.mark.parametrize(("serving", "coming"), OVERLAPS)
def test_a_rollout_leaves_no_instrument_without_a_voice_and_none_with_two(serving, coming):
    world = roll_out(LaneWorld, serving, coming)

    assert world.heard == {1}
    assert newest_values(world) == market(world)
    assert world.most == min(serving + coming, SOCKETS_MAX), "it used the places there are"


@pytest.mark.parametrize("after", range(0, 20, 2))
def test_a_pod_that_comes_before_the_second_lane_is_claimed_gets_ready_all_the_same(after):
    world = early_successor(LaneWorld, after=after)

    old, new = world.pods
    assert old.core.handover.phase is Phase.GONE
    assert holders_of_everything(world) == [new.name]
    assert newest_values(world) == market(world)


def test_rollouts_follow_one_another():
    world = roll_out(LaneWorld, 2, 2, 1, 2, 2, 1, 1, 2)

    *before, last = world.pods
    assert [pod.core.handover.phase for pod in before] == [Phase.GONE] * 7
    assert holders_of_everything(world) == [last.name]
    assert world.heard == {1}
    assert world.refused == 0
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("after", range(TURNS))
@pytest.mark.parametrize(("serving", "coming"), OVERLAPS[1:])
def test_a_rollout_undone_midway_leaves_no_instrument_without_a_voice(serving, coming, after):
    world = undo(LaneWorld, serving, coming, after=after)

    assert world.heard == {1}
    assert [pod.core.handover.phase for pod in world.pods[:-1]] == [Phase.GONE] * 2
    assert holders_of_everything(world) == [world.pods[-1].name]
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("later", [0, 1, 4, 12])
@pytest.mark.parametrize("first", [0, 1], ids=["old first", "new first"])
def test_a_table_written_just_before_sigterm_leaves_no_instrument_without_a_voice(first, later):
    world = reassign(LaneWorld, first=first, later=later)

    old, new = world.pods
    assert world.heard == {1}
    assert old.core.handover.phase is Phase.GONE
    assert holders_of_everything(world) == [new.name]
    assert newest_values(world) == market(world)


def test_a_table_that_the_old_pod_never_reads_holds_nothing_up_for_long():
    world = reassign(LaneWorld, first=1, later=None)

    old, new = world.pods
    assert old.core.handover.phase is Phase.GONE
    assert holders_of_everything(world) == [new.name]
    assert one_voice_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("who", [0, 1], ids=["old", "new"])
@pytest.mark.parametrize("after", range(0, TURNS, 2))
@pytest.mark.parametrize(("serving", "coming"), OVERLAPS[1:])
def test_a_crash_midway_heals(serving, coming, after, who):
    world = crash(LaneWorld, serving, coming, after=after, who=who)

    assert len(holders_of_everything(world)) == 1
    assert one_voice_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("seed", range(20))
def test_seeded_histories_of_several_sockets_keep_the_promises(seed):
    world = any_order(LaneWorld, seed)

    assert len(holders_of_everything(world)) == 1
    assert one_voice_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("variant", LANE_VARIANTS)
def test_a_broken_variant_is_caught(variant):
    with pytest.raises(AssertionError):
        lane_gauntlet(lambda: LaneWorld(make_core=variant))
