"""A new pod streams beside the old one wherever the sockets of both fit into the broker's three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.pool import a_shard, an_account
from ticker_crds import AssignmentTable
from ticker_operator.desired import Rollout, RolloutDecision, ShardKnobs, render_shard
from ticker_operator.desired.overlap import HAND_OVER_S, RECREATE, SURGE, serving_sockets
from ticker_operator.kube.views import deployment_facts
from ticker_operator.model import DeploymentFacts, PodsView, PoolSnapshot, ReplicaSetView, RolloutRecord, TableView
from ticker_operator.reconcile.decide import Policy, decide

KNOBS = ShardKnobs(image="tickershard:1", redis_secret="redis")
TABLE = AssignmentTable("acc1", 1, (), ())


def rendered(sockets: int, *, live: DeploymentFacts | None = None, knobs: ShardKnobs = KNOBS) -> dict[str, Any]:
    account = an_account("acc1", sockets=sockets)
    return render_shard(account, knobs=knobs, namespace="pool", table=TableView(), live=live).deployment


def running(sockets: int, *, knobs: ShardKnobs = KNOBS, **facts: Any) -> DeploymentFacts:
    """A Deployment of so many sockets whose roll-out is over."""
    body = rendered(sockets, knobs=knobs)
    read = deployment_facts({"metadata": {**body["metadata"], "uid": "d", "generation": 1}, "spec": body["spec"]}, [])
    settled = replace(read, observed_generation=1, pods_updated=1, pods_ready=1, pods_available=1, pods_total=1)
    return replace(settled, progressing_reason="NewReplicaSetAvailable", **facts)


def decided(
    live: DeploymentFacts, *, sockets: int, knobs: ShardKnobs = KNOBS
) -> tuple[dict[str, Any], RolloutDecision]:
    """The rendered strategy, and the decision."""
    pods = PodsView(alive=live.pods_total, ready=live.pods_ready)
    record = RolloutRecord(applied=live.release_hash, history=(live.release_hash,))
    shard = a_shard("acc1", TABLE, deployment=live, pods=pods, rollout=record)
    snapshot = PoolSnapshot(
        namespace="pool",
        accounts=(an_account("acc1", sockets=sockets),),
        shards={"acc1": shard},
        tables={"acc1": TableView("1", TABLE)},
    )
    decisions = decide(snapshot, policy=Policy(knobs=knobs), previous={}, moves_max=1)
    return decisions.shards["acc1"].deployment["spec"]["strategy"], decisions.rollouts["acc1"]


@pytest.mark.parametrize("serving", [1, 2, 3])
@pytest.mark.parametrize("coming", [1, 2, 3])
def test_a_change_of_sockets_overlaps_where_both_pods_fit(serving: int, coming: int) -> None:
    strategy, decision = decided(running(serving), sockets=coming)

    fits = serving + coming <= 3 or serving == coming == 2
    if serving != coming:
        assert strategy == (SURGE if fits else RECREATE)
        assert decision.writes_template
    else:
        assert running(serving).strategy == (SURGE if fits else RECREATE)
        assert not decision.writes_template
        assert not decision.strategy, "it is at rest"


@pytest.mark.parametrize(
    ("sockets", "written", "rest"), [(3, SURGE, RECREATE), (2, RECREATE, SURGE), (1, RECREATE, SURGE)]
)
def test_the_strategy_comes_to_rest_when_no_old_pod_is_left(
    sockets: int, written: dict[str, Any], rest: dict[str, Any]
) -> None:
    rolled = running(sockets, strategy=written)

    assert decided(replace(rolled, pods_total=2), sockets=sockets)[1].strategy == {}, "the old pod is there still"
    assert decided(replace(rolled, pods_terminating=1), sockets=sockets)[1].strategy == {}, "it is on its way out"
    assert decided(replace(rolled, observed_generation=0), sockets=sockets)[1].strategy == {}, "not seen yet"
    decision = decided(rolled, sockets=sockets)[1]
    assert (decision.outcome, decision.strategy) == (Rollout.CONFIRM, rest)


def test_a_paused_deployment_keeps_its_strategy() -> None:
    decision = decided(running(3, strategy=SURGE, paused=True), sockets=3)[1]

    assert (decision.outcome, decision.strategy) == (Rollout.PAUSED, {})


def test_beside_a_pod_that_does_not_wait_for_its_successor_none_of_its_like_starts() -> None:
    """A template of a release before: two sockets, handed over all at once."""
    hasty = running(2, knobs=replace(KNOBS, drain_deadline_s=HAND_OVER_S), strategy=RECREATE)

    assert not decided(hasty, sockets=2, knobs=replace(KNOBS, drain_deadline_s=HAND_OVER_S))[1].strategy, "at rest"
    strategy, decision = decided(hasty, sockets=2)
    assert (strategy, decision.writes_template) == (RECREATE, True)
    assert decided(hasty, sockets=1)[0] == SURGE, "three places are enough for both"


def test_a_held_release_rests_by_what_runs_not_by_what_waits() -> None:
    live = running(2)
    new = replace(KNOBS, image="tickershard:2")
    undone = rendered(1, knobs=new)["metadata"]["annotations"]["tickershard.io/release-hash"]
    record = RolloutRecord(applied=undone, history=(live.release_hash, undone))
    shard = a_shard("acc1", TABLE, deployment=live, pods=PodsView(alive=1, ready=1), rollout=record)
    snapshot = PoolSnapshot(
        accounts=(an_account("acc1", sockets=1),), shards={"acc1": shard}, tables={"acc1": TableView("1", TABLE)}
    )

    decision = decide(snapshot, policy=Policy(knobs=new), previous={}, moves_max=1).rollouts["acc1"]

    assert (decision.outcome, decision.strategy) == (Rollout.HOLD, {})


def test_a_repaired_release_finds_room_beside_the_pod_that_serves() -> None:
    hangs = running(
        2,
        replica_sets=(
            ReplicaSetView("serves", 1, "v1", sockets=1, replicas=1, pods_ready=1),
            ReplicaSetView("hangs", 2, "v2", sockets=2, replicas=1, pods_ready=0),
        ),
    )

    assert serving_sockets(hangs) == 1
    assert rendered(2, live=hangs, knobs=replace(KNOBS, image="tickershard:3"))["spec"]["strategy"] == SURGE


def test_a_template_of_another_release_says_its_sockets_or_has_one() -> None:
    owner = {"ownerReferences": [{"uid": "d"}], "annotations": {}}
    sets = [
        {"metadata": {"name": name, **owner}, "spec": {"template": template}, "status": {"readyReplicas": 1}}
        for name, template in (("two", rendered(2)["spec"]["template"]), ("none", {"spec": {"containers": [{}]}}))
    ]

    facts = deployment_facts({"metadata": {"uid": "d"}, "spec": {}}, sets)

    assert {entry.name: (entry.sockets, entry.pods_ready) for entry in facts.replica_sets} == {
        "two": (2, 1),
        "none": (1, 1),
    }
