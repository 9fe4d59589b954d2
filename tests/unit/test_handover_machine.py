"""Hand-over histories: processes with the real core, crashes, SIGTERM, pauses, late calls, Redis lost or rewound.

Proved in every history: a record has one accepted holder in each epoch; nothing older is accepted while Redis keeps its
data (neither a term, nor a call number, nor a value); every ledger balances; once faults end, exactly one wanted
process holds each channel and the last values are the market's. Broken variants of the protocol run through the same
world, and each is caught: the checks can fail.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from tests.support.fence_twin import FenceTwin
from tests.support.handover_histories import (
    HandoverHistory,
    feed_lost,
    holder_and_standby,
    late_assert_over_a_standstill,
    one_channel_taken,
    rewind_behind_a_lost_answer,
    rollouts,
    slow_successor,
    stopped_over_a_loss,
    undo_after_a_take_over,
    walk,
)
from tests.support.handover_outcome import market, newest_values, one_holder_each
from tests.support.handover_variants import NeverDoubts, NoAssert, NoRewriteAfterClaim, NoRewriteAfterRewind
from tests.support.handover_world import STEP_NS, World
from ticker_shard.publish import handover, handover_rules
from ticker_shard.publish.fence import Accepted, ClaimReason, Rewound
from ticker_shard.publish.handover import Handover, Phase
from ticker_shard.publish.handover_rules import CLAIM_RULES, ClaimRule
from ticker_shard.publish.limits import SECOND_NS

HandoverHistory.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyHistoryKeepsThePromises = HandoverHistory.TestCase


@pytest.mark.parametrize("seed", range(12))
def test_a_planned_rollout_never_leaves_a_channel_without_a_live_holder(seed):
    world = rollouts(World, seed)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)
    assert [sum(pod.core.ledger.dropped.values()) for pod in world.pods] == [0] * len(world.pods)


@pytest.mark.parametrize("after", range(8))
def test_an_undo_right_after_a_take_over_never_leaves_a_channel_without_a_live_holder(after):
    world = undo_after_a_take_over(World, after)

    assert world.pods[-1].core.handover.held == world.channels, "the pod that Kubernetes wants has everything"
    assert newest_values(world) == market(world)


@pytest.mark.parametrize(
    "history",
    [slow_successor, feed_lost, one_channel_taken, rewind_behind_a_lost_answer, late_assert_over_a_standstill],
)
def test_a_channel_is_published_in_whatever_is_planned_or_lost(history):
    world = history(World)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)


# -- broken variants


def broken_twin(**switches: bool) -> Callable[[], World]:
    return lambda: World(twin=FenceTwin(**switches))


def with_rules(*rules: ClaimRule):
    def make(monkeypatch):
        monkeypatch.setattr(handover_rules, "CLAIM_RULES", rules)
        return World

    return make


MISSING_IS_SILENT = (*CLAIM_RULES, ClaimRule(ClaimReason.SILENT, lambda seen: seen.record is None))
PREEMPTION = (*CLAIM_RULES, ClaimRule(ClaimReason.SILENT, lambda seen: seen.record is not None))
NEVER_SILENT = tuple(rule for rule in CLAIM_RULES if rule.reason is not ClaimReason.SILENT)

BROKEN = {
    "no compare-and-set": lambda patch: broken_twin(compare_and_set=False),
    "no call numbers": lambda patch: broken_twin(call_numbers=False),
    "publish creates or raises a record": lambda patch: broken_twin(call_raises_record=True),
    "no rewrite after a claim": lambda patch: lambda: World(make_core=NoRewriteAfterClaim),
    "no rewrite after a rewind or a lost answer": lambda patch: lambda: World(make_core=NoRewriteAfterRewind),
    "no assert": lambda patch: lambda: World(make_core=NoAssert),
    "a process that stood still asserts": lambda patch: lambda: World(make_core=NeverDoubts),
    "missing is silent": with_rules(*MISSING_IS_SILENT),
    "the newer process takes over": with_rules(*PREEMPTION),
    "silence is never noticed": with_rules(*NEVER_SILENT),
}


@pytest.mark.parametrize("seed", range(40))
def test_seeded_histories_keep_the_promises(seed):
    world = walk(World, seed)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)


def walk_many(make_world: Callable[[], World], *, seeds: int) -> None:
    for seed in range(seeds):
        walk(make_world, seed)


@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_variant_is_caught(variant, monkeypatch):
    make_world = BROKEN[variant](monkeypatch)

    with pytest.raises(AssertionError):
        walk_many(make_world, seeds=200)


def test_a_process_that_stood_still_while_redis_lost_its_data_observes_anew():
    world = stopped_over_a_loss(World)

    stopped, successor = world.pods
    assert successor.core.handover.held == world.channels
    assert stopped.core.handover.phase is Phase.STANDBY
    assert stopped.core.ledger.gap_instrument_ns == {}, "it has nothing to say of the time that its successor served"


def test_a_lonely_process_that_stood_still_takes_its_lost_record_again_after_one_window():
    world = World()
    lonely = world.start()
    for _ in range(20):
        world.everybody()
    world.advance(20 * SECOND_NS)
    world.redis_up(data=None)
    woke_ns = world.now_ns
    while lonely.core.handover.held != world.channels or world.now_ns == woke_ns:
        world.everybody()
        assert world.now_ns - woke_ns <= world.timing.silent_ns + 4 * world.timing.poll_ns

    gaps = [gap for call in world.twin.published for gap in call.gaps]
    assert len(gaps) == len(world.channels), "the whole time is declared, by the first call of the new term"
    assert lonely.core.ledger.gap_instrument_ns["takeover"] >= len(world.channels) * 2 * 20 * SECOND_NS


def test_a_missing_record_is_left_to_its_living_holder():
    world, holder, standby = holder_and_standby(World)

    world.redis_up(data=None)
    for _ in range(8):
        world.everybody()

    assert holder.core.handover.held == world.channels
    assert standby.core.handover.phase is Phase.STANDBY


def test_nobody_takes_from_a_healthy_holder():
    world = World()
    holder = world.start()
    for _ in range(20):
        world.everybody()
    epochs = [holder.core.handover.epoch(channel) for channel in world.channels]
    standby = world.start()

    for _ in range(60 * SECOND_NS // STEP_NS):
        world.everybody()

    assert [holder.core.handover.epoch(channel) for channel in world.channels] == epochs
    assert standby.core.handover.phase is Phase.STANDBY


def test_answers_outside_the_table_are_bugs():
    machine = Handover(process="pod/1")

    with pytest.raises(AssertionError, match="cannot happen"):
        machine._move(handover.Move.TOOK_FIRST)
    assert machine.phase is Phase.WARMING
    assert {type(Accepted(0)), type(Rewound(None))} <= set(handover.ON_CALL)
