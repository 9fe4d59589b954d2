"""Hand-over histories: processes with the real core, crashes, SIGTERM, pauses, late calls, Redis lost or rewound.

Proved in every history: a record has one accepted holder in each epoch; nothing older is accepted while Redis keeps its
data (neither a term, nor a call number, nor a value); every ledger balances; once faults end, exactly one wanted
process holds each channel and the last values are the market's. Broken variants of the protocol run through the same
world, and each is caught: the checks can fail.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from random import Random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.fence_twin import FenceTwin
from tests.support.handover_world import STEP_NS, Pod, World
from ticker_shard.publish import handover, handover_rules
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.fence import Accepted, ClaimReason, Rewound
from ticker_shard.publish.handover import Effect, Handover, Phase
from ticker_shard.publish.handover_rules import CLAIM_RULES, ClaimRule
from ticker_shard.publish.limits import MS_NS, SECOND_NS

PODS_MAX = 3
pods = st.integers(0, PODS_MAX - 1)


class HandoverHistory(RuleBasedStateMachine):
    """Any order of events."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.older: FenceTwin | None = None
        self.world.start()
        for _ in range(20):  # somebody holds everything when the history starts
            self.world.everybody()

    def pod(self, number: int) -> Pod:
        return self.world.pods[-(number % len(self.world.pods)) - 1]

    @precondition(lambda self: self.world.living < PODS_MAX)
    @rule()
    def start(self):
        self.world.start()

    @precondition(lambda self: self.world.living < PODS_MAX)
    @rule(number=pods)
    def restart(self, number):
        self.world.restart(self.pod(number))

    @rule(number=pods)
    def step(self, number):
        self.world.step(self.pod(number))

    @rule(number=pods, carried_out=st.integers(0, 3), answered=st.integers(0, 3), late=st.booleans())
    def step_without_answer(self, number, carried_out, answered, late):
        self.world.step(self.pod(number), carried_out=carried_out, answered=answered, late=late)

    @precondition(lambda self: self.world.late)
    @rule(place=st.integers(0, 5))
    def late_request_lands(self, place):
        self.world.land_late(place)

    @rule(slot=st.integers(0, 1))
    def tick(self, slot):
        self.world.tick(slot)

    @rule(ms=st.sampled_from([100, 500, 1_000, 2_500]))
    def time_passes(self, ms):
        self.world.advance(ms * MS_NS)

    @rule(rounds=st.integers(1, 20))
    def undisturbed(self, rounds):
        for _ in range(rounds):
            self.world.everybody()

    @rule(number=pods)
    def sigterm(self, number):
        self.world.sigterm(self.pod(number))

    @rule(number=pods)
    def crash(self, number):
        self.world.kill(self.pod(number))

    @rule(number=pods)
    def pause_or_resume(self, number):
        pod = self.pod(number)
        if pod.paused:
            self.world.resume(pod)
        else:
            self.world.pause(pod)

    @rule(number=pods, on=st.booleans())
    def feed(self, number, on):
        self.world.set_feed(self.pod(number), on)

    @rule()
    def redis_goes_away(self):
        self.world.redis_down()

    @rule()
    def redis_comes_back(self):
        self.world.redis_up()

    @rule()
    def redis_comes_back_empty(self):
        self.world.redis_up(data=None)

    @rule()
    def replica_is_here(self):
        self.older = deepcopy(self.world.twin)

    @precondition(lambda self: self.older is not None)
    @rule()
    def redis_fails_over_to_the_replica(self):
        self.world.redis_up(data=self.older)

    @invariant()
    def books_balance(self):
        self.world.check()

    def teardown(self):
        self.world.heal()


HandoverHistory.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestAnyHistoryKeepsThePromises = HandoverHistory.TestCase


# -- planned operations


@pytest.mark.parametrize("seed", range(12))
def test_a_planned_rollout_never_leaves_a_channel_without_a_live_holder(seed):
    chance, world = Random(seed), World()
    current = world.start()
    for _ in range(40):
        world.everybody()
    assert current.core.handover.phase is Phase.ACTIVE

    for _ in range(4):  # each: a new pod warms, then the old one gets SIGTERM; sometimes undone midway
        following = world.start(warm=False)
        for _ in range(chance.randrange(1, 20)):
            world.everybody()
            assert_held(world)
        world.set_feed(following, on=True)
        for _ in range(chance.randrange(2, 20)):
            world.tick(0)
            world.everybody()
            assert_held(world)
        unwanted, current = (current, following) if chance.random() < 0.7 else (following, current)
        world.sigterm(unwanted)
        for _ in range(8):
            world.tick(1)
            world.everybody()
            assert_held(world)
        assert unwanted.core.handover.phase is Phase.GONE
    losses = [sum(pod.core.ledger.dropped.values()) for pod in world.pods]
    assert losses == [0] * len(world.pods)
    world.heal()


def assert_held(world: World) -> None:
    for channel, record in world.twin.records.items():
        holder = next(pod for pod in world.pods if pod.core.handover.process == record.holder)
        assert holder.running, f"{channel} belongs to a dead process"
        assert holder.core.handover.phase is Phase.ACTIVE, f"{channel} belongs to {holder.core.handover.phase}"
    assert len(world.twin.records) == len(world.channels)


# -- broken variants


def broken_twin(**switches: bool) -> Callable[[], World]:
    return lambda: World(twin=FenceTwin(**switches))


class NoRewriteAfterClaim(PublisherCore):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        answered = self.handover.claim_answered

        def silently(*args, **kwargs):
            answered(*args, **kwargs)
            return Effect.NOTHING

        self.handover.claim_answered = silently


class NoRewriteAfterRewind(PublisherCore):
    def _apply(self, name, effect):
        if effect is Effect.REWRITE and not self._outboxes[name].sent:
            effect = Effect.KEEP_ON
        super()._apply(name, effect)

    def disconnected(self):
        self.handover.disconnected()


class NoAssert(PublisherCore):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.begin_asserts = lambda: ()


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
    "missing is silent": with_rules(*MISSING_IS_SILENT),
    "the newer process takes over": with_rules(*PREEMPTION),
    "silence is never noticed": with_rules(*NEVER_SILENT),
}


def walk(make_world: Callable[[], World], seed: int, steps: int = 60) -> World:
    """One seeded history with every kind of fault."""
    chance, world = Random(seed), make_world()
    world.start()
    world.start()
    older: FenceTwin | None = None
    for _ in range(20):
        world.everybody()
    for _ in range(steps):
        pod = chance.choice(world.pods[-PODS_MAX:])
        match chance.randrange(16):
            case 0:
                world.kill(pod)
            case 1 if world.living < PODS_MAX:
                if chance.random() < 0.5:
                    world.restart(pod)
                else:
                    world.start()
            case 2:
                world.sigterm(pod)
            case 3:
                world.pause(pod)
            case 4:
                world.resume(pod)
            case 5 | 6:
                carried_out = chance.randrange(4)
                world.step(pod, carried_out=carried_out, answered=chance.randrange(carried_out + 1), late=True)
            case 7:
                world.land_late(chance.randrange(6))
            case 8:
                world.redis_up(data=None)
            case 9:
                older = deepcopy(world.twin)
            case 10 if older is not None:
                world.redis_up(data=older)
            case 11 | 12 | 13:
                world.tick(chance.randrange(2))
                world.step(pod)
            case _:
                for _ in range(chance.randrange(12)):
                    world.everybody()
        world.check()
    world.heal()
    return world


@pytest.mark.parametrize("seed", range(40))
def test_seeded_histories_keep_the_promises(seed):
    walk(World, seed)


def walk_many(make_world: Callable[[], World], *, seeds: int) -> None:
    for seed in range(seeds):
        walk(make_world, seed)


@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_variant_is_caught(variant, monkeypatch):
    make_world = BROKEN[variant](monkeypatch)

    with pytest.raises(AssertionError):
        walk_many(make_world, seeds=200)


def test_a_missing_record_is_left_to_its_living_holder():
    world = World()
    holder = world.start()
    for _ in range(20):
        world.everybody()
    standby = world.start()
    for _ in range(8):
        world.everybody()

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
