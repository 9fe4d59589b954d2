"""Histories of accounts with several sockets: planned roll-outs, undone or broken off at any moment, and any order.

In what is planned, each instrument has exactly one voice after every turn, what was published is the newest, nobody is
refused a socket, and nothing is dropped. A history raises when that is not so.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.handover_histories import KINDS, PODS_MAX, SeededFaults
from tests.support.handover_world import STEP_NS
from tests.support.lane_world import REFUSED_NS, LanePod, LaneWorld, every_instrument_ticks
from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import CATCH_UP_NS

MakeWorld = Callable[[], LaneWorld]
OVERLAPS = ((1, 1), (1, 2), (2, 1), (2, 2))
COLD_TURNS = 40  # the very first claims of an account wait for a window
READY_TURNS = 40
ROLL_TURNS = 40
CATCH_UP_TURNS = CATCH_UP_NS // STEP_NS


def serve(world: LaneWorld, sockets: int) -> LanePod:
    """A process that holds everything, in as many lanes as it has sockets."""
    pod = world.start(sockets=sockets)
    for _ in range(COLD_TURNS):
        world.everybody()
    assert pod.core.handover.held == pod.core.handover.channels
    assert len(pod.core.handover.held) == sockets * len(world.channels)
    world.assert_one_voice()
    return pod


def turn(world: LaneWorld) -> None:
    """One planned turn, and what must hold after it."""
    every_instrument_ticks(world)
    world.assert_one_voice()
    assert world.places <= SOCKETS_MAX
    assert world.refused == 0, "somebody asked for a fourth socket"


def make_ready(world: LaneWorld, sockets: int) -> LanePod:
    """The next pod of a roll-out, once it is Ready: then Kubernetes says SIGTERM to the one before."""
    pod = world.start(sockets=sockets)
    for _ in range(READY_TURNS):
        if pod.core.handover.phase is Phase.STANDBY:
            return pod
        turn(world)
    raise AssertionError(f"{pod.name} is not Ready: {pod.core.handover.stages}")


def roll_out(make_world: MakeWorld, serving: int, *coming: int) -> LaneWorld:
    """One roll-out after another."""
    world = make_world()
    old = serve(world, serving)
    for sockets in coming:
        new = make_ready(world, sockets)
        world.sigterm(old)
        for _ in range(ROLL_TURNS):
            turn(world)
        assert old.core.handover.phase is Phase.GONE, f"{old.name} does not give way"
        assert new.core.handover.held == new.core.handover.channels
        assert len(new.core.handover.held) == sockets * len(world.channels)
        old = new
    assert [sum(pod.core.ledger.dropped.values()) for pod in world.pods] == [0] * len(world.pods)
    assert [gap for call in world.twin.published for gap in call.gaps] == [], "nothing was missed, nothing is declared"
    return world


def early_successor(make_world: MakeWorld, *, after: int) -> LaneWorld:
    """A roll-out begins soon after the first pod of an account has the first lane; perhaps not yet the second."""
    world = make_world()
    old = world.start(sockets=2)
    while not old.core.handover.held:
        world.everybody()
    for _ in range(after):
        world.everybody()
    new = world.start(sockets=2)
    ready_within = REFUSED_NS // STEP_NS  # well before a socket that was refused would be tried again
    for _ in range(ready_within):
        world.everybody()
    assert new.core.handover.phase is Phase.STANDBY, f"{new.name} is not Ready: {new.core.handover.stages}"
    world.sigterm(old)
    for _ in range(ready_within + ROLL_TURNS):
        every_instrument_ticks(world)
        world.assert_one_voice()
    return world


def undo(make_world: MakeWorld, serving: int, coming: int, *, after: int) -> LaneWorld:
    """So many turns after SIGTERM the new pod is not wanted any more either: the old template comes back.

    Its pod may be refused a socket (two others have places already): that delays it, and costs no instrument its voice.
    """
    world = make_world()
    old = serve(world, serving)
    new = make_ready(world, coming)
    world.sigterm(old)
    for _ in range(after):
        turn(world)
    third = world.start(sockets=serving)
    for _ in range(400):
        every_instrument_ticks(world)
        world.assert_one_voice()
        assert world.places <= SOCKETS_MAX
        if third.core.handover.phase is not Phase.WARMING:
            world.sigterm(new)
        alone = {old.core.handover.phase, new.core.handover.phase} == {Phase.GONE}
        if alone and third.core.handover.held == third.core.handover.channels:
            break
    assert third.core.handover.held == third.core.handover.channels
    assert [pod.core.handover.phase for pod in (old, new)] == [Phase.GONE] * 2
    return world


def reassign(make_world: MakeWorld, *, first: int, later: int | None) -> LaneWorld:
    """In the moment before SIGTERM a table is written that moves an instrument to the other lane.

    One of the two pods (0: the old one) reads it at once, the other one so many turns later.
    """
    world = make_world()
    pods = [serve(world, 2), make_ready(world, 2)]
    lanes, table = dict(pods[0].socket_of), world.more_instruments()
    world.assign(pods[first], table)
    assert any(pods[first].socket_of[slot] != lanes[slot] for slot in lanes), "one has moved"
    world.sigterm(pods[0])
    for number in range(ROLL_TURNS + CATCH_UP_TURNS):
        if number == later:
            world.assign(pods[1 - first], table)
        if later is None:
            every_instrument_ticks(world)
        else:
            turn(world)
    assert pods[0].core.handover.phase is Phase.GONE
    assert pods[1].core.handover.held == pods[1].core.handover.channels
    world.assert_one_voice()
    return world


def crash(make_world: MakeWorld, serving: int, coming: int, *, after: int, who: int) -> LaneWorld:
    """So many turns after SIGTERM one of the two is killed; the new one's container starts again."""
    world = make_world()
    pods = [serve(world, serving), make_ready(world, coming)]
    world.sigterm(pods[0])
    for _ in range(after):
        turn(world)
    world.kill(pods[who])
    if who:
        world.restart(pods[who])
    for _ in range(20):
        every_instrument_ticks(world)
        world.check()
    world.heal()
    return world


def any_order(make_world: MakeWorld, seed: int, steps: int = 60) -> LaneWorld:
    """One seeded history with every kind of fault, and pods of one or two sockets."""
    chance, world = Random(seed), make_world()
    serve(world, chance.choice((1, 2)))
    faults = SeededFaults(world, chance, start=lambda: world.start(sockets=chance.choice((1, 2))))
    for _ in range(steps):
        pod, kind = chance.choice(world.pods[-PODS_MAX:]), chance.randrange(KINDS)
        if faults.strikes(kind, pod):
            pass
        elif kind == 11:
            world.set_feed(pod, on=chance.random() < 0.5)
        elif kind in (12, 13):
            world.tick(chance.randrange(len(world.prices)))
            world.step(pod)
        else:
            for _ in range(chance.randrange(12)):
                world.everybody()
        world.check()
        assert world.places <= SOCKETS_MAX
    world.heal()
    return world


def lane_gauntlet(make_world: MakeWorld) -> None:
    """Every planned history."""
    for serving, coming in OVERLAPS:
        roll_out(make_world, serving, coming)
    for after in range(12):
        undo(make_world, 2, 2, after=after)


# -- broken variants


class OpensAtOnce(PublisherCore):
    """The second socket is opened without asking whether there is a place."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        stages = self.handover.stages
        stages.allowed, stages.known = stages.sockets, True


class ClaimsCold(PublisherCore):
    """A lane is claimed before its socket delivers."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.stages = _Broken(self.handover.stages, lane_warm=lambda lane: True)


class LeavesAllAtOnce(PublisherCore):
    """All lanes are called leaving while all sockets are open."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.stages = _Broken(self.handover.stages, gives_way=lambda lane, held: True)


class DividesItsOwnWay(PublisherCore):
    """In as many lanes as it has sockets, whatever the process before it did."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        stages = self.handover.stages
        self.handover.stages = _Broken(stages, parts_due=lambda terms, **also: stages.sockets)


class KeepsItsSockets(PublisherCore):
    """The old process says that a socket is closed, and closes it at its own end only."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.stages = _Broken(self.handover.stages, done=lambda held: frozenset())


class _Broken:
    """Stages of which some methods are others."""

    def __init__(self, stages, **methods):
        object.__setattr__(self, "_stages", stages)
        object.__setattr__(self, "_methods", methods)

    def __getattr__(self, name):
        return self._methods.get(name) or getattr(self._stages, name)

    def __setattr__(self, name, value):
        setattr(self._stages, name, value)


LANE_VARIANTS = (OpensAtOnce, ClaimsCold, LeavesAllAtOnce, DividesItsOwnWay, KeepsItsSockets)
