"""Histories of hand-overs, for any `World`: any order of events, seeded walks, planned operations.

A history raises (`AssertionError`, of which `ViolationError` is one) when a promise is broken. `gauntlet` runs all of
them; each broken variant of the protocol (`handover_variants`) must fail in it, and the protocol itself must not.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.handover_world import STEP_NS, Pod, World
from ticker_shard.publish import fence
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS, SECOND_NS, TIMING

PODS_MAX = 3
pods = st.integers(0, PODS_MAX - 1)
MakeWorld = Callable[[], World]


class HandoverHistory(RuleBasedStateMachine):
    """Any order of events.

    Parameters
    ----------
    make_world
        Builds the world of one history.
    """

    def __init__(self, make_world: Callable[[], World] = World) -> None:
        super().__init__()
        self.world = make_world()
        self.older: object = None
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
        self.older = self.world.twin.snapshot()

    @precondition(lambda self: self.older is not None)
    @rule()
    def redis_fails_over_to_the_replica(self):
        self.world.redis_up(data=self.older)

    @invariant()
    def books_balance(self):
        self.world.check()

    def teardown(self):
        self.world.heal()


KINDS = 16  # of what may happen at a step: the faults below, and what a walk adds to them


class SeededFaults:
    """Faults that chance gives to a world.

    Parameters
    ----------
    start
        Starts one more process.
    """

    def __init__(self, world: World, chance: Random, *, start: Callable[[], Pod]) -> None:
        self.world, self.chance, self.start = world, chance, start
        self.older: object = None

    def strikes(self, kind: int, pod: Pod) -> bool:
        """Whether this kind is a fault, and one that can befall now; then it has."""
        world, chance = self.world, self.chance
        match kind:
            case 0:
                world.kill(pod)
            case 1 if world.living < PODS_MAX:
                if chance.random() < 0.5:
                    world.restart(pod)
                else:
                    self.start()
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
                self.older = world.twin.snapshot()
            case 10 if self.older is not None:
                world.redis_up(data=self.older)
            case _:
                return False
        return True


def walk(make_world: MakeWorld, seed: int, steps: int = 60) -> World:
    """One seeded history with every kind of fault."""
    chance, world = Random(seed), make_world()
    world.start()
    world.start()
    for _ in range(20):
        world.everybody()
    faults = SeededFaults(world, chance, start=world.start)
    for _ in range(steps):
        pod, kind = chance.choice(world.pods[-PODS_MAX:]), chance.randrange(KINDS)
        if faults.strikes(kind, pod):
            pass
        elif kind in (11, 12, 13):
            world.tick(chance.randrange(2))
            world.step(pod)
        else:
            for _ in range(chance.randrange(12)):
                world.everybody()
        world.check()
    world.heal()
    return world


def assert_held(world: World) -> None:
    for channel, record in world.twin.records.items():
        holder = next(pod for pod in world.pods if pod.core.handover.process == record.holder)
        assert holder.running, f"{channel} belongs to a dead process"
        assert holder.core.handover.phase is Phase.ACTIVE, f"{channel} belongs to {holder.core.handover.phase}"
    assert len(world.twin.records) == len(world.channels)


def holder_and_standby(make_world: MakeWorld) -> tuple[World, Pod, Pod]:
    """A world in which one process holds everything and another one is warm beside it."""
    world = make_world()
    holder = world.start()
    for _ in range(40):
        world.everybody()
    standby = world.start()
    for _ in range(8):
        world.everybody()
    return world, holder, standby


def rollouts(make_world: MakeWorld, seed: int, count: int = 4) -> World:
    """Roll-outs, some of them undone midway."""
    chance, world = Random(seed), make_world()
    current = world.start()
    for _ in range(40):
        world.everybody()
    assert current.core.handover.phase is Phase.ACTIVE

    for _ in range(count):  # each: a new pod warms, then the old one gets SIGTERM
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
        assert unwanted.core.handover.phase is Phase.GONE, f"{unwanted.name} does not give way"
    losses = [sum(pod.core.ledger.dropped.values()) for pod in world.pods]
    assert losses == [0] * len(world.pods)
    world.heal()
    return world


def undo_after_a_take_over(make_world: MakeWorld, after: int) -> World:
    """The new pod has just taken over (or is about to) when it is not wanted any more; the old one has SIGTERM too."""
    world, old, new = holder_and_standby(make_world)
    world.sigterm(old)
    for _ in range(after):
        for pod in world.pods:
            world.step(pod)
        world.advance(STEP_NS // 5)
    third = world.start()
    world.sigterm(new)
    for _ in range(20):
        world.tick(0)
        world.everybody()
        assert_held(world)
    assert third.core.handover.held == world.channels
    world.heal()
    return world


def one_channel_taken(make_world: MakeWorld) -> World:
    """A process loses one of its channels to another: the others never stand still."""
    world, first, second = holder_and_standby(make_world)
    lost = world.channels[0]
    holds = second.core.handover.holds
    second.core.handover.advance(now_ns=world.now_ns, idle=False)
    world.set_feed(first, on=False)
    world.advance(world.timing.yield_ns)
    world.step(first)  # says that it gives way
    world.set_feed(first, on=True)
    requests = second.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    answers = [world._execute(request) for request in requests]
    second.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    second.core.handover._channels[world.channels[1]].claim = None  # it comes to claim one of them only
    world.step(second)
    assert holds(lost)
    for _ in range(40):
        world.tick(0)
        world.everybody()
        for channel in world.channels:
            spoke_ns = max(ns for (name, _), ns in world.spoke.items() if name == channel)
            assert world.now_ns - spoke_ns <= 2 * TIMING.beat_ns, f"nobody publishes in {channel}"
    world.sigterm(first)  # the other channel follows, a term later
    for _ in range(20):
        world.everybody()
        assert_held(world)
    assert second.core.handover.held == world.channels
    world.heal()
    return world


def slow_successor(make_world: MakeWorld) -> World:
    """SIGTERM comes when the successor has not even started, and the broker keeps it waiting once (40 s)."""
    world = make_world()
    old = world.start()
    for _ in range(40):
        world.everybody()
    world.sigterm(old)
    for _ in range(5 * SECOND_NS // STEP_NS):
        world.everybody()
        assert_held(world)
    new = world.start(warm=False)
    for _ in range(40 * SECOND_NS // STEP_NS):
        world.everybody()
        assert_held(world)
    world.set_feed(new, on=True)
    for _ in range(20):
        world.everybody()
        assert_held(world)
    assert new.core.handover.held == world.channels
    world.heal()
    return world


def feed_lost(make_world: MakeWorld) -> World:
    """The holder has no feed, and a warm process stands beside it."""
    world, holder, standby = holder_and_standby(make_world)
    world.set_feed(holder, on=False)
    for _ in range((TIMING.yield_ns + 2 * TIMING.poll_ns) // STEP_NS + 1):
        world.everybody()
    assert standby.core.handover.held == world.channels, "no feed for long, and the warm process was not let in"
    world.set_feed(holder, on=True)
    world.kill(standby)
    for _ in range((TIMING.silent_ns + 3 * SECOND_NS) // STEP_NS):
        world.everybody()
    assert holder.core.handover.held == world.channels, "nobody came back for a dead process"
    world.heal()
    return world


def rewind_behind_a_lost_answer(make_world: MakeWorld) -> World:
    """Redis goes back, and a call whose answer is lost lifts the number again before anybody can see it."""
    world = make_world()
    holder = world.start()
    for _ in range(40):
        world.everybody()
    older = world.twin.snapshot()
    world.tick(1)
    world.everybody()
    world.redis_up(data=older)
    for _ in range(4):
        world.tick(0)
        world.step(holder, carried_out=9, answered=0)
    for _ in range(4):
        world.tick(0)
        world.everybody()
    world.heal()
    return world


def stopped_over_a_loss(make_world: MakeWorld) -> World:
    """A holder is stopped, its successor serves, Redis loses its data, and the first to find out is the old holder."""
    world, stopped, successor = holder_and_standby(make_world)
    world.pause(stopped)
    for _ in range((TIMING.silent_ns + 4 * SECOND_NS) // STEP_NS):
        world.tick(0)
        world.everybody()
    assert successor.core.handover.held == world.channels, "nobody came for a process that stood still"
    world.redis_up(data=None)
    world.resume(stopped)
    world.step(stopped)
    for _ in range(40):
        world.tick(0)
        world.everybody()
        assert successor.core.handover.held == world.channels, "it lost its channels to a process that stood still"
    world.heal()
    return world


def late_assert_over_a_standstill(make_world: MakeWorld) -> World:
    """A holder repairs its lost record and stands still; only when it runs again has the repair reached Redis."""
    world = make_world()
    holder = world.start()
    for _ in range(40):
        world.everybody()
    world.redis_up(data=None)
    world.step(holder)
    world.step(holder, carried_out=0, late=True)
    assert isinstance(world.late[0][1], fence.Assert), "nothing was repaired"
    world.advance(TIMING.silent_ns + SECOND_NS)
    world.step(holder, carried_out=0)
    world.land_late()
    world.heal()
    return world


def gauntlet(make_world: MakeWorld, *, seeds: int) -> None:
    """Every history there is."""
    rollouts(make_world, 1)
    slow_successor(make_world)
    feed_lost(make_world)
    one_channel_taken(make_world)
    rewind_behind_a_lost_answer(make_world)
    undo_after_a_take_over(make_world, 1)
    stopped_over_a_loss(make_world)
    late_assert_over_a_standstill(make_world)
    for seed in range(seeds):
        walk(make_world, seed)
