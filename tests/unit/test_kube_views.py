"""Live objects as facts, and whether a live object still says what was applied."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_operator.kube.matching import holds
from ticker_operator.kube.views import deployment_facts, pods_view


def a_pod(phase: str = "Running", *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    metadata = {"name": "p"} | ({"deletionTimestamp": "2026-11-20T04:00:00Z"} if terminating else {})
    return {"metadata": metadata, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": str(ready)}]}}


def test_pod_that_is_terminating_still_counts_as_alive() -> None:
    view = pods_view([a_pod(), a_pod(terminating=True, ready=False), a_pod("Succeeded"), a_pod("Failed")])

    assert (view.alive, view.ready, view.terminating, view.ends) == (2, 1, 1, "2026-11-20T04:00:00Z")


def test_no_pods_is_known_to_be_none() -> None:
    assert (pods_view([]).alive, pods_view([]).ends) == (0, "")


def test_fresh_deployment_without_status_is_not_current() -> None:
    facts = deployment_facts({"metadata": {"name": "d", "generation": 1, "resourceVersion": "4"}}, [])

    assert not facts.current
    assert (facts.version, facts.revision, facts.replicas) == ("4", 0, 1)


def test_replica_sets_of_another_deployment_of_the_same_name_do_not_count() -> None:
    body = {"metadata": {"name": "d", "uid": "new"}, "spec": {"replicas": 0}}
    sets = [
        {"metadata": {"name": f"d-{owner}-{revision}", "ownerReferences": [{"uid": owner}],
                      "annotations": {"deployment.kubernetes.io/revision": str(revision)}}}
        for owner, revision in (("new", 2), ("old", 7), ("new", 1))
    ]  # fmt: skip

    facts = deployment_facts(body, sets)

    assert [one.revision for one in facts.replica_sets] == [1, 2]
    assert facts.replicas == 0


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 2}, {"a": 1}, False),
        ({}, {"a": 1}, False),
        ({"rules": [{"verbs": ["get"]}, {"verbs": ["list"]}]}, {"rules": [{"verbs": ["get"]}]}, False),
        ({"rules": [{"verbs": ["get"], "x": 1}]}, {"rules": [{"verbs": ["get"]}]}, True),
        ({"ownerReferences": [{"uid": "z"}, {"uid": "a"}]}, {"ownerReferences": [{"uid": "a"}]}, True),
        ({"ownerReferences": [{"uid": "z"}]}, {"ownerReferences": [{"uid": "a"}]}, False),
        ("text", {"a": 1}, False),
    ],
    ids=["API added", "changed", "removed", "rule added", "default added", "owner beside", "owner gone", "nonsense"],
)
def test_drift_is_what_is_not_there_any_more(live: Any, applied: Any, expected: bool) -> None:
    assert holds(live, applied) is expected


@given(st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_everything_holds_itself(value: Any) -> None:
    assert holds(value, value)
