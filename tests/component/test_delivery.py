"""Delivery under faults, judged by the checker: what a subscriber got against what the broker's market had.

Each test begins with everything streaming, hurts one thing, and ends with the market standing still; `check` then
answers for the whole history (tests/support/delivery). The bounds are the settings' defaults.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.delivery.bounds import SILENCE_NS
from tests.support.delivery.check import check, summary
from tests.support.delivery.history import History, Interval
from tests.support.delivery.world import START_S, World, delivery_world
from tests.support.memory_group import memory_group
from tests.support.shard import PROGRAM


def judged(world: World) -> History:
    """The run's end: nothing is violated."""
    history = world.finish()
    violations = check(history, world.bounds)
    faults = [(fault.kind, fault.start_ns - history.start_ns) for fault in history.faults]
    assert not violations, f"{summary(violations)}\n{world.bounds}\n{faults}\n{history.gaps}"
    return history


def unexplained(history: History, world: World) -> set[str]:
    """Shards with a gap record that lasts longer than a beat, less what the machine kept from the processes in it."""
    return {
        gap.shard
        for gap in history.gaps
        if history.ran_ns(Interval(gap.start_ns, gap.end_ns)) > world.bounds.beat_ns and gap.end_ns > history.start_ns
    }


def more_messages(world: World, number: int = 40) -> None:
    """Let the market run until the subscriber was told so much more."""
    before = len(world.recorder.listener.told)
    world.wait_until(lambda: len(world.recorder.listener.told) >= before + number, f"{number} more messages")


def test_a_quiet_run_is_clean_and_every_count_agrees(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 1, "acc2": 1}) as world:
        world.begin()
        more_messages(world)
        history = judged(world)

    assert {books.shard for books in history.books if books.final} == {"default.acc1", "default.acc2"}
    assert len({given.token for given in history.given if not given.snapshot}) == len(history.instruments)


def test_a_dropped_socket_is_a_declared_gap(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 1, "acc2": 1}) as world:
        world.begin()
        world.feed_fault("drop", account="acc1")
        world.wait_until(lambda: world.recorder.listener.gaps, "the gap is reported")
        more_messages(world)
        history = judged(world)

    assert "default.acc1" in {gap.shard for gap in history.gaps}
    assert unexplained(history, world) <= {"default.acc1"}


@pytest.mark.parametrize(
    ("kind", "for_s", "noticed_ns"),
    [("half_open", 0.0, SILENCE_NS), ("mute", 16.0, 0)],
    ids=["half open", "only heartbeats come"],
)
def test_a_socket_that_says_nothing_is_a_declared_gap_from_its_last_packet_on(
    tmp_path: Path, kind: str, for_s: float, noticed_ns: int
) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 1, "acc2": 1}) as world:
        world.begin()
        more_messages(world, 80)  # the sockets' rhythms are known
        world.feed_fault(kind, account="acc1", for_s=for_s, noticed_ns=noticed_ns)
        world.wait_until(lambda: world.recorder.listener.gaps, "the gap is reported")
        more_messages(world)
        history = judged(world)

    assert "default.acc1" in {gap.shard for gap in history.gaps}
    assert unexplained(history, world) <= {"default.acc1"}


def test_a_killed_holder_leaves_a_declared_gap_and_a_successor(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 2}) as world:
        world.begin()
        world.kill_holder("acc1")
        world.wait_until(lambda: world.holder("acc1") is not None, "the standby took over")
        more_messages(world)
        history = judged(world)

    assert "takeover" in {gap.cause for gap in history.gaps}


def test_a_holder_killed_by_the_kernel_for_want_of_memory_leaves_what_sigkill_leaves(tmp_path: Path) -> None:
    with memory_group() as group, delivery_world(tmp_path, accounts={"acc1": 0}) as world:
        doomed = world.start_pod("acc1", program=group.program(*PROGRAM))
        world.wait_until(lambda: world.holder("acc1") is doomed, "it holds every channel", within_s=START_S)
        world.start_pod("acc1")
        world.begin()
        world.run_out_of_memory("acc1", group)
        world.wait_until(lambda: world.holder("acc1") is not None, "the standby took over")
        more_messages(world)
        history = judged(world)
        killed = group.kills

    assert killed, "the eater may have been the next"
    assert doomed.shard.process.returncode == -signal.SIGKILL, "a container's exit code 137"
    assert "takeover" in {gap.cause for gap in history.gaps}


def test_a_planned_hand_over_leaves_no_gap_at_all(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 1}) as world:
        world.begin()
        successor = world.start_pod("acc1")
        world.wait_until(successor.shard.ready, "the successor is warm")
        world.hand_over("acc1")
        world.wait_until(lambda: world.holder("acc1") is successor, "it holds every channel")
        more_messages(world)
        history = judged(world)

    assert unexplained(history, world) == set()


BOTH_LANES = {"default.acc1", "default.acc1/2"}


def lanes_heard(world: World) -> set[str]:
    """Lanes that the subscriber had messages of."""
    return {told.shard for told in world.recorder.listener.told}


@pytest.mark.parametrize(("serving", "coming"), [(1, 2), (2, 1), (2, 2)])
def test_a_hand_over_socket_by_socket_leaves_no_gap_at_all(tmp_path: Path, serving: int, coming: int) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 1}, sockets=serving) as world:
        world.begin()
        if serving == 2:
            world.wait_until(lambda: lanes_heard(world) == BOTH_LANES, "the second lane is claimed, too")
        successor = world.start_pod("acc1", sockets=coming)
        world.wait_until(successor.shard.ready, "the successor is warm")
        world.hand_over("acc1")
        world.wait_until(lambda: world.holder("acc1") is successor, "it holds every lane of every channel")
        world.wait_until(lambda: lanes_heard(world) == BOTH_LANES, "two lanes had their say")
        more_messages(world)
        history = judged(world)

    assert unexplained(history, world) == set(), history.gaps
    assert {told.shard for told in history.told} == BOTH_LANES
    assert {seen.shard for seen in history.records} == BOTH_LANES


def test_a_frozen_holder_is_fenced_when_it_wakes(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 2}) as world:
        world.begin()
        frozen = world.holder("acc1")
        world.freeze_holder("acc1", for_s=10, until_replaced=True)
        more_messages(world)
        history = judged(world)
        assert world.holder("acc1") is not frozen

    assert "takeover" in {gap.cause for gap in history.gaps}


def test_redis_restarted_with_its_data_is_a_declared_gap(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 2}) as world:
        world.begin()
        world.restart_redis(down_s=4, empty=False)
        more_messages(world)
        history = judged(world)

    assert "redis" in {gap.cause for gap in history.gaps}


def test_redis_restarted_empty_has_every_last_value_again(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 2}) as world:
        world.begin()
        world.restart_redis(down_s=1, empty=True)
        more_messages(world)
        history = judged(world)

    at_the_end = {one.token for one in history.stored if one.at_ns >= history.end_ns - 10**9}
    assert at_the_end == {one.token for one in history.instruments}


def test_a_redis_that_stops_answering_is_a_declared_gap(tmp_path: Path) -> None:
    with delivery_world(tmp_path, accounts={"acc1": 2}) as world:
        world.begin()
        world.pause_redis(for_s=5)
        more_messages(world)
        history = judged(world)

    assert "redis" in {gap.cause for gap in history.gaps}
