"""How rows become calls: what one message may hold, and what must not wait behind full frames."""

from __future__ import annotations

from tests.support.handover_world import CHANNELS, Pod, World
from tests.support.ticks import a_table, some_rows
from ticker_crds import Role
from ticker_shard.publish import fence
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.limits import CALL_ROWS_MAX

[ONE] = CHANNELS[:1]


def a_holder(*, instruments: int, ticks_max: int) -> tuple[World, Pod]:
    world = World(channels=(ONE,), make_core=lambda **given: PublisherCore(**{**given, "ticks_max": ticks_max}))
    world.table = a_table(instruments, channels=(ONE,))
    world.prices = dict.fromkeys(range(instruments), 1)
    pod = world.start()
    for _ in range(24):
        world.everybody()
    assert pod.core.handover.held == world.channels
    return world, pod


def a_frame(world: World, pod: Pod, slots: list[int], *, price: int) -> list[int]:
    """One complete frame and the round that follows; how many rows each of its calls carries."""
    pod.core.offer(some_rows(pod.table, slots, price=price), now_ns=world.now_ns)
    pod.core.batcher.frame_complete()
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    answers = [world.twin.execute(request) for request in requests]
    pod.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    return [len(request.rows) for request in requests if isinstance(request, fence.Call)]


def test_no_message_holds_more_than_a_batch_may_and_a_round_carries_several():
    world, pod = a_holder(instruments=7, ticks_max=3)

    assert a_frame(world, pod, list(range(7)), price=2) == [3, 3, 1]
    assert pod.core.ledger.in_flight() == 0


def test_a_round_of_small_batches_is_bounded_by_its_calls():
    world, pod = a_holder(instruments=40, ticks_max=1)

    assert a_frame(world, pod, list(range(40)), price=2) == [1] * 30
    assert pod.core.ledger.in_flight() == 10


def test_a_field_that_vanished_is_deleted_although_every_call_is_full():
    world, pod = a_holder(instruments=CALL_ROWS_MAX + 1, ticks_max=1_000)
    staying = {f"X{slot}": Role.OWNER for slot in range(CALL_ROWS_MAX)}
    world.assign(pod, a_table(staying, channels=(ONE,), revision=2, previous=pod.table))

    assert a_frame(world, pod, list(range(CALL_ROWS_MAX)), price=2) == [CALL_ROWS_MAX]
    assert set(world.twin.last[ONE]) == {f"NFO:{name}".encode() for name in staying}
