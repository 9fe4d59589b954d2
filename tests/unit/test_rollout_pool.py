"""One shard of the pool rolls at a time, the next when no old pod is left; a hold or a stall stops them all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ticker_operator.desired import PoolRollout, roll_permits
from ticker_operator.model import DeploymentFacts, PodsView, RolloutRecord, RollPermit, ShardView

AVAILABLE = "NewReplicaSetAvailable"
MAY, WAIT, STOPPED = RollPermit.MAY_ROLL, RollPermit.WAIT, RollPermit.STOPPED


def a_shard(account: str, release: str = "v1", *, reason: str = AVAILABLE, **facts: object) -> ShardView:
    live = DeploymentFacts(
        generation=1,
        observed_generation=1,
        release_hash=release,
        template_hash=f"t-{release}",
        replicas=1,
        pods_updated=1,
        pods_ready=1,
        pods_available=1,
        pods_total=1,
        progressing_reason=reason,
    )
    record = RolloutRecord(applied=release, history=("v0", release))
    return ShardView(
        account, exists=True, pods=PodsView(alive=1, ready=1), deployment=replace(live, **facts), rollout=record
    )


def permits(
    shards: Iterable[ShardView], release: str = "v2", *, healthy: Iterable[str] | None = None, drifted: str = ""
) -> PoolRollout:
    every = list(shards)
    return roll_permits(
        every,
        release=release,
        templates={shard.account: f"t-{release}" for shard in every},
        healthy=frozenset(healthy if healthy is not None else (shard.account for shard in every)),
        drifted=frozenset(drifted.split()),
    )


def test_the_first_by_name_rolls_and_the_others_wait() -> None:
    pool = permits([a_shard("b"), a_shard("a"), a_shard("c")])

    assert pool.permits == {"a": MAY, "b": WAIT, "c": WAIT}
    assert (pool.rolling, pool.waiting) == ("a", ("b", "c"))


def test_the_next_rolls_only_when_no_old_pod_is_left() -> None:
    available = a_shard("a", "v2", pods_terminating=1)
    gone = a_shard("a", "v2")

    assert permits([available, a_shard("b")]).permits["b"] is WAIT
    assert permits([gone, a_shard("b")]).permits["b"] is MAY


def test_a_pod_that_still_terminates_counts_also_where_the_deployment_does_not_tell() -> None:
    shard = replace(a_shard("a", "v2"), pods=PodsView(alive=2, ready=1, terminating=1))

    assert permits([shard, a_shard("b")]).permits == {"a": WAIT, "b": WAIT}


def test_an_unhealthy_shard_is_not_waited_for_and_rolls_last() -> None:
    sick = a_shard("a", pods_ready=0, pods_available=0)

    pool = permits([sick, a_shard("b"), a_shard("c", "v2", pods_available=0)], healthy=["b"])

    assert pool.permits == {"a": WAIT, "b": MAY, "c": WAIT}


def test_a_repaired_release_reaches_the_shard_on_which_the_broken_one_hangs() -> None:
    hanging = a_shard("a", "v2", reason="ReplicaSetUpdated", pods_total=2, pods_ready=1)

    pool = permits([hanging, a_shard("b")], release="v3")

    assert pool.permits == {"a": MAY, "b": WAIT}


def test_a_held_shard_stops_the_pool() -> None:
    held = replace(a_shard("b"), rollout=RolloutRecord(applied="v2", history=("v1", "v2")))

    pool = permits([a_shard("a"), held, a_shard("c", "v2")])

    assert pool.permits == {"a": STOPPED, "b": WAIT, "c": WAIT}
    assert pool.stopped_by == "b"
    assert pool.message == "b: release v2 was rolled back to v1"
    assert pool.last_good == "b"  # a new shard starts on the release that people went back to


def test_another_release_lifts_the_hold_and_the_stop() -> None:
    held = replace(a_shard("b"), rollout=RolloutRecord(applied="v2", blocked="v2", history=("v1", "v2")))

    pool = permits([a_shard("a"), held], release="v3")

    assert (pool.stopped_by, pool.permits) == ("", {"a": MAY, "b": WAIT})


def test_a_resumed_shard_rolls_and_the_others_follow() -> None:
    record = RolloutRecord(applied="v2", blocked="v2", history=("v1", "v2"))
    resumed = replace(a_shard("b"), rollout=record, resume="v2")

    pool = permits([a_shard("a", "v2"), resumed, a_shard("c")])

    assert pool.permits == {"a": WAIT, "b": MAY, "c": WAIT}


def test_a_roll_out_past_its_deadline_stops_the_pool_and_says_why() -> None:
    stalled = a_shard(
        "b", "v2", reason="ProgressDeadlineExceeded", pods_total=2, progressing_message="has timed out progressing"
    )

    pool = permits([a_shard("a"), stalled])

    assert pool.permits["a"] is STOPPED
    assert pool.last_good == "a"  # b hangs on the bad one
    assert "past its deadline (has timed out progressing)" in pool.message
    repaired = permits([a_shard("a"), stalled], release="v3")
    assert (repaired.stopped_by, repaired.permits) == ("", {"a": WAIT, "b": MAY})


def test_edited_templates_are_healed_one_after_the_other() -> None:
    pool = permits([a_shard("a", "v2"), a_shard("b", "v2"), a_shard("c", "v2")], drifted="b c")

    assert pool.permits == {"a": WAIT, "b": MAY, "c": WAIT}


def test_with_nothing_to_do_everybody_may() -> None:
    assert set(permits([a_shard("a", "v2"), a_shard("b", "v2")]).permits.values()) == {MAY}


def test_a_paused_deployment_is_neither_due_nor_waited_for() -> None:
    paused = a_shard("a", paused=True, pods_total=2)

    assert permits([paused, a_shard("b")]).permits["b"] is MAY


shards = st.lists(
    st.builds(
        lambda release, updated, terminating, reason, held: replace(
            a_shard("x", release, reason=reason, pods_updated=updated, pods_terminating=terminating),
            rollout=RolloutRecord(applied="v2" if held else release, history=("v1", "v2")),
        ),
        st.sampled_from(["v1", "v2"]),
        st.integers(0, 1),
        st.integers(0, 1),
        st.sampled_from([AVAILABLE, "ReplicaSetUpdated", "ProgressDeadlineExceeded"]),
        st.booleans(),
    ),
    max_size=6,
).map(lambda views: [replace(view, account=f"acc{index}") for index, view in enumerate(views)])


@given(shards, st.sets(st.sampled_from([f"acc{index}" for index in range(6)])))
def test_never_two_shards_that_are_due_may_roll(views: list[ShardView], healthy: set[str]) -> None:
    pool = permits(views, healthy=healthy)

    due = {view.account for view in views if view.deployment is not None and view.deployment.release_hash != "v2"}
    assert len([name for name in due if pool.permits[name] is MAY]) <= 1
    assert set(pool.permits) == {view.account for view in views}
