"""One channel that Redis refuses: it alone waits, is named, and comes back; the others do not notice."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.handover_world import STEP_NS, World
from tests.support.publish_world import a_holder, rounds, step_with
from ticker_shard.publish import fence
from ticker_shard.publish.fence import Refused, Trouble, TroubleKind
from ticker_shard.publish.limits import REFUSED_WAIT_NS

WRONG_TYPE = Refused(Trouble(TroubleKind.WRONG_TYPE, "WRONGTYPE Operation against a key"))


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
