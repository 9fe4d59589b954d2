"""Whose field of the last values it is: taken with the instrument, deleted only by the account that took it last."""

from __future__ import annotations

from tests.support.handover_world import LOST, World
from tests.support.publish_world import ONE, a_holder, reload, rounds, step_with
from tests.support.ticks import a_table
from ticker_crds import Role


def fields(world: World) -> set[str]:
    return {name.decode() for name in world.twin.last[ONE[0]]}


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
