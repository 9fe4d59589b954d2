"""The hand-over under every interleaving, as it is: the real decisions, and the real scripts on a real Redis.

The same histories as in `tests/unit/test_handover_machine.py` and `test_handover_lanes.py` (which have the scripts'
twin, and so many more of them), in virtual time. Every broken variant that the protocol's document names and that
Redis and the processes of a shard can show fails in them. (Not here, because broker and kubelet are not: no close
frame, a terminated pod that stays as a reserve, a deadline above the grace period.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.fence_redis import FenceRedis
from tests.support.handover_histories import (
    HandoverHistory,
    MakeWorld,
    feed_lost,
    gauntlet,
    one_channel_taken,
    rewind_behind_a_lost_answer,
    rollouts,
    slow_successor,
    stopped_over_a_loss,
    undo_after_a_take_over,
    walk,
)
from tests.support.handover_outcome import (
    holders_of_everything,
    market,
    newest_values,
    one_holder_each,
    one_voice_each,
)
from tests.support.handover_variants import (
    FencedInOneSilentInAll,
    FencedNeverComesBack,
    NeverDoubts,
    NoAssert,
    NoLeavingMark,
    NoRewriteAfterClaim,
    NoRewriteAfterRewind,
    OneEpochForAllChannels,
    RewindByLess,
    WindowSurvives,
    unsound,
)
from tests.support.handover_world import World
from tests.support.lane_histories import LANE_VARIANTS, OVERLAPS, any_order, crash, lane_gauntlet, roll_out, undo
from tests.support.lane_world import LaneWorld
from tests.support.redis_server import redis_server
from ticker_shard.publish import handover_rules
from ticker_shard.publish.fence import ChannelState, ClaimReason
from ticker_shard.publish.handover import Phase as PodPhase
from ticker_shard.publish.handover_rules import CLAIM_RULES, ClaimRule
from ticker_shard.publish.lanes import split_lane
from ticker_shard.publish.limits import MS_NS, SECOND_NS

FREE = ChannelState.FREE


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("redis") / "redis.sock"
    with redis_server("--unixsocket", str(path)):
        yield path


@pytest.fixture
def worlds(socket: Path) -> Iterator[Callable[..., World]]:
    """Makes worlds; one at a time, because they share the server."""
    last: list[FenceRedis] = []

    def make(*, breaking=None, clock_stands=False, kind=World, **options) -> World:
        while last:
            last.pop().close()
        last.append(FenceRedis(socket, breaking=breaking, clock_stands=clock_stands))
        world = kind(twin=last[0], epochs_may_repeat=clock_stands, **options)
        last[0].now_ms = world.now_ns // MS_NS
        return world

    yield make
    while last:
        last.pop().close()


@pytest.fixture
def lane_worlds(worlds: Callable[..., World]) -> Callable[..., LaneWorld]:
    return lambda **options: worlds(kind=LaneWorld, **options)


def test_any_history_keeps_the_promises(worlds):
    histories: list[HandoverHistory] = []

    def another() -> HandoverHistory:
        histories.append(HandoverHistory(worlds))
        return histories[-1]

    run_state_machine_as_test(
        another,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert len(histories) >= 15, "each one healed, with one holder and the newest values, or it would have raised"
    assert one_holder_each(histories[-1].world)


@pytest.mark.parametrize("seed", range(6))
def test_seeded_histories_keep_the_promises(worlds, seed):
    world = walk(worlds, seed)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("seed", range(6))
def test_a_server_whose_clock_stands_still_keeps_epochs_apart_by_their_holders(worlds, seed):
    world = walk(lambda: worlds(clock_stands=True), seed)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("after", range(6))
def test_an_undo_right_after_a_take_over_leaves_no_channel_alone(worlds, after):
    world = undo_after_a_take_over(worlds, after)

    assert world.pods[-1].core.handover.held == world.channels, "the pod that Kubernetes wants has everything"
    assert [pod.core.handover.phase for pod in world.pods[:2]] == [PodPhase.GONE] * 2
    assert newest_values(world) == market(world)


@pytest.mark.parametrize(
    "history",
    [
        slow_successor,
        feed_lost,
        one_channel_taken,
        rewind_behind_a_lost_answer,
        stopped_over_a_loss,
        lambda make: rollouts(make, 3),
    ],
)
def test_what_is_planned_or_lost_leaves_no_channel_alone(worlds, history):
    world = history(worlds)

    assert one_holder_each(world)
    assert newest_values(world) == market(world)


# -- broken variants

NO_COMPARE_AND_SET = {
    "claim": (
        ("if ARGV[3] ~= '' then", "if false then"),
        ("if epoch ~= tonumber(ARGV[3]) or (record[2] or '') ~= ARGV[4] then", "if false then"),
        ("if ARGV[2] == 'silent' and", "if false and"),
        ("if (ARGV[2] == 'leaving' or ARGV[2] == 'free') and", "if false and"),
    )
}
NO_CALL_NUMBERS = {"call": (("if n <= previous then", "if false then"),)}
PUBLISH_RAISES = {
    "call": (
        (
            "if not epoch then\n  return {'REWOUND'}\nend\nlocal mine = tonumber(ARGV[1])\nif epoch < mine then\n"
            "  return {'REWOUND', unpack(record)}\nend",
            "local mine = tonumber(ARGV[1])\nif mine > 0 and (not epoch or epoch < mine) then\n"
            "  redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'holder', ARGV[2], 'n', '0')\n"
            "  epoch, record = mine, {ARGV[1], ARGV[2], '0'}\nend\nif not epoch then\n  return {'REWOUND'}\nend",
        ),
    )
}
NO_HOLDER = {"call": (("if epoch > mine or record[2] ~= ARGV[2] then", "if epoch > mine then"),)}


class PodsOnly(World):
    """A process is known by its pod alone."""

    def start(self, instance: str | None = None, *, warm: bool = True):
        make_core, self.make_core = (
            self.make_core,
            lambda **options: make_core(**options | {"process": f"{options['process'].partition('/')[0]}/"}),
        )
        try:
            return super().start(instance, warm=warm)
        finally:
            self.make_core = make_core


def with_rules(*rules: ClaimRule) -> Callable[..., MakeWorld]:
    def make(worlds, patch):
        patch.setattr(handover_rules, "CLAIM_RULES", rules)
        return worlds

    return make


def with_core(core: type, **more) -> Callable[..., MakeWorld]:
    return lambda worlds, patch: lambda: worlds(make_core=core, **more)


def with_scripts(breaking, **more) -> Callable[..., MakeWorld]:
    return lambda worlds, patch: lambda: worlds(breaking=breaking, **more)


SILENT_SHORTER_THAN_A_BEAT = unsound(silent_ns=SECOND_NS // 2)
DEADLINE_BELOW_WARM_UP = unsound(drain_deadline_ns=20 * SECOND_NS)
NO_YIELD = unsound(yield_ns=3_600 * SECOND_NS)

BROKEN = {
    "no compare-and-set": with_scripts(NO_COMPARE_AND_SET),
    "no holder comparison, and a clock that lags": with_scripts(NO_HOLDER, clock_stands=True),
    "identity is the pod's alone, and a clock that lags": lambda worlds, patch: (
        lambda: worlds(kind=PodsOnly, clock_stands=True)
    ),
    "no call numbers": with_scripts(NO_CALL_NUMBERS),
    "publish creates or raises a record": with_scripts(PUBLISH_RAISES),
    "no rewrite after a claim": with_core(NoRewriteAfterClaim),
    "no rewrite after a rewind": with_core(NoRewriteAfterRewind),
    "a rewind is known by a lower number": with_core(RewindByLess),
    "no assert": with_core(NoAssert),
    "a process that stood still asserts": with_core(NeverDoubts),
    "missing is silent": with_rules(*CLAIM_RULES, ClaimRule(ClaimReason.SILENT, lambda seen: seen.record is None)),
    "missing is free": with_rules(ClaimRule(ClaimReason.FREE, lambda seen: seen.record is None), *CLAIM_RULES),
    "the newer process takes over": with_rules(
        *CLAIM_RULES, ClaimRule(ClaimReason.SILENT, lambda seen: seen.record is not None)
    ),
    "one epoch for all channels": with_core(OneEpochForAllChannels),
    "fenced in one channel, silent in all": with_core(FencedInOneSilentInAll),
    "a fenced process never comes back": with_core(FencedNeverComesBack),
    "no leaving mark": with_core(NoLeavingMark),
    "silent is shorter than a beat": lambda worlds, patch: lambda: worlds(timing=SILENT_SHORTER_THAN_A_BEAT),
    "a window outlives an outage and the observer's pause, no compare-and-set": with_core(
        WindowSurvives, breaking=NO_COMPARE_AND_SET
    ),
    "the deadline is shorter than a warm-up": lambda worlds, patch: lambda: worlds(timing=DEADLINE_BELOW_WARM_UP),
    "no yield": lambda worlds, patch: lambda: worlds(timing=NO_YIELD),
}


@pytest.mark.parametrize("variant", BROKEN)
def test_a_broken_variant_is_caught(worlds, monkeypatch, variant):
    make_world = BROKEN[variant](worlds, monkeypatch)

    with pytest.raises(AssertionError) as caught:
        gauntlet(make_world, seeds=30)
    assert "cannot happen" not in str(caught.value), "the variant itself stumbled; no check has caught it"


# -- socket by socket


@pytest.mark.parametrize(("serving", "coming"), OVERLAPS)
def test_a_rollout_socket_by_socket_leaves_no_instrument_without_a_voice(lane_worlds, serving, coming):
    world = roll_out(lane_worlds, serving, coming)

    assert world.heard == {1}
    assert {split_lane(name)[1] for name, record in world.twin.records.items() if record.state is not FREE} == set(
        range(1, coming + 1)
    ), "a lane that is no more is freed"


@pytest.mark.parametrize("after", [2, 5, 8])
def test_a_rollout_undone_midway_leaves_no_instrument_without_a_voice(lane_worlds, after):
    world = undo(lane_worlds, 2, 2, after=after)

    assert world.heard == {1}
    assert holders_of_everything(world) == [world.pods[-1].name]
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("who", [0, 1], ids=["old", "new"])
@pytest.mark.parametrize("after", [2, 6])
def test_a_crash_midway_heals(lane_worlds, after, who):
    world = crash(lane_worlds, 2, 2, after=after, who=who)

    assert len(holders_of_everything(world)) == 1
    assert one_voice_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("seed", range(4))
def test_seeded_histories_of_several_sockets_keep_the_promises(lane_worlds, seed):
    world = any_order(lane_worlds, seed)

    assert len(holders_of_everything(world)) == 1
    assert one_voice_each(world)
    assert newest_values(world) == market(world)


@pytest.mark.parametrize("variant", LANE_VARIANTS)
def test_a_broken_variant_of_several_sockets_is_caught(lane_worlds, variant):
    with pytest.raises(AssertionError):
        lane_gauntlet(lambda: lane_worlds(make_core=variant))
