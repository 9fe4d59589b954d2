"""SIGTERM at odd moments: with or without a feed, a table half confirmed, Redis away."""

from __future__ import annotations

from tests.support.handover_world import World
from tests.support.publish_world import ONE, a_holder, sent
from ticker_shard.publish.fence import ChannelState
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import SECOND_NS, Timing


def test_a_drain_that_redis_does_not_answer_ends_all_the_same_and_names_what_is_lost():
    world = World(channels=ONE, timing=Timing(drain_deadline_ns=SECOND_NS))
    pod = a_holder(world)
    world.redis_down()
    world.tick(0)
    world.sigterm(pod)

    for _ in range(40):
        world.everybody()

    assert pod.core.handover.phase is Phase.GONE
    assert sum(pod.core.ledger.dropped.values()) == 1
    world.check()


def test_sigterm_without_a_feed_frees_at_once():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.set_feed(pod, on=False)
    world.advance(world.timing.yield_ns)

    world.sigterm(pod)
    world.everybody()

    assert pod.core.handover.phase is Phase.GONE
    assert world.twin.records[ONE[0]].state is ChannelState.FREE


def test_sigterm_in_a_moment_without_feed_waits_as_an_ordinary_reconnect_does():
    world = World(channels=ONE)
    pod = a_holder(world)
    world.set_feed(pod, on=False)  # a new table that is being confirmed, or a socket that is just opening again

    world.sigterm(pod)
    world.everybody()
    assert pod.core.handover.phase is Phase.ACTIVE
    world.set_feed(pod, on=True)
    for _ in range(40):
        world.everybody()

    assert pod.core.handover.held == ONE
    assert world.twin.records[ONE[0]].state is ChannelState.LEAVING


def test_sigterm_while_a_new_table_is_being_confirmed_goes_on_publishing_what_flows():
    world = World(channels=ONE)
    pod = a_holder(world)
    pod.core.handover.feed(warm=False, now_ns=world.now_ns)  # one instrument of the new table is silent

    for turn in range(24):
        world.tick(0)
        world.everybody()
        if turn == 12:
            world.sigterm(pod)

    assert world.twin.records[ONE[0]].state is ChannelState.LEAVING
    assert sent(world)[-1] == ("NFO:X0", world.prices[0])
    assert sum(pod.core.ledger.dropped.values()) == 0
