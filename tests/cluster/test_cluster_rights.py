"""Rights are exactly enough, and no secret is anywhere but in its Secret: judged on everything the pool did so far."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tests.support.cluster_pool import OPERATOR, TEST_S, Pool
from tests.support.require import unavailable
from ticker_crds.names import shard_name

pytestmark = pytest.mark.timeout(TEST_S)

Right = tuple[str, str, str]  # API group, resource (with subresource), verb
OWN_REVIEWS = "authorization.k8s.io"  # everybody may ask what they may do


@pytest.fixture(scope="module")
def audited(pool: Pool) -> list[dict[str, Any]]:
    """What the pool's own pods asked of the API server."""
    if pool.cluster.own is None:
        unavailable("somebody else's cluster: its audit log is not ours to read")
    prefix = f"system:serviceaccount:{pool.client.namespace}:"
    # A cluster that is kept (`make cluster-up`) has seen earlier pools of this name, and their rights taken away.
    since = pool.client.get("namespace", pool.client.namespace)["metadata"]["creationTimestamp"]
    return [
        each
        for each in pool.cluster.own.audited()
        if each["user"]["username"].startswith(prefix) and each["requestReceivedTimestamp"] >= since
    ]


def rights_of(role: dict[str, Any]) -> Iterator[Right]:
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield group, resource, verb


def rights_used(requests: Iterable[dict[str, Any]]) -> set[Right]:
    """What was asked for. An apply or a PUT that made the object needed the right to create as well."""
    used = set()
    for request in requests:
        about = request.get("objectRef", {})
        resource = "/".join(about[part] for part in ("resource", "subresource") if part in about)
        group = about.get("apiGroup", "")
        used.add((group, resource, request["verb"]))
        if request["responseStatus"]["code"] == 201:
            used.add((group, resource, "create"))
    return used


def asked_by(audited: list[dict[str, Any]], account: str) -> list[dict[str, Any]]:
    return [each for each in audited if each["user"]["username"].endswith(f":{account}")]


def test_nothing_was_ever_forbidden(audited: list[dict[str, Any]]) -> None:
    forbidden = {
        (each["user"]["username"], each["verb"], each["requestURI"])
        for each in audited
        if each["responseStatus"]["code"] == 403
    }

    assert audited
    assert forbidden == set()


def test_no_log_line_tells_of_a_refusal(streaming: Pool) -> None:
    for pod in streaming.client.items("pods"):
        said = streaming.client.kubectl("logs", pod["metadata"]["name"])
        assert "is forbidden" not in said, pod["metadata"]["name"]  # the API server's words


def test_every_right_of_the_operator_is_used_or_granted(pool: Pool, audited: list[dict[str, Any]]) -> None:
    held = set(rights_of(pool.client.get("role", OPERATOR)))
    used = rights_used(asked_by(audited, OPERATOR))
    granted = {
        right for account in pool.accounts() for right in rights_of(pool.client.get("role", shard_name(account)))
    }
    # Owner references that block a deletion are checked against it; no request shows it.
    implied = {("tickershard.io", f"{plural}/finalizers", "update") for plural in ("kiteaccounts", "tickershards")}

    assert held - used - granted - implied == set()


def test_every_right_of_a_shard_is_used(pool: Pool, audited: list[dict[str, Any]]) -> None:
    for account in pool.accounts():
        held = set(rights_of(pool.client.get("role", shard_name(account))))
        used = rights_used(asked_by(audited, shard_name(account)))
        assert held - used == set(), account


def test_a_shard_asks_for_its_own_objects_alone(pool: Pool, audited: list[dict[str, Any]]) -> None:
    for account in pool.accounts():
        own = {shard_name(account), f"{shard_name(account)}-assignment", f"kite-{account}"}
        named = {
            each["objectRef"].get("name")
            for each in asked_by(audited, shard_name(account))
            if each.get("objectRef", {}).get("apiGroup") != OWN_REVIEWS
        }
        assert named <= own, account


def test_no_secret_shows_anywhere(streaming: Pool) -> None:
    password = streaming.redis.connection_pool.connection_kwargs["password"]
    canaries = {*streaming.tokens.values(), password}
    client = streaming.client
    listed = client.kubectl(
        *("get", "kiteaccounts,tickersubscriptions,tickershards,deployments,replicasets,pods,configmaps,leases,events"),
        *("--show-managed-fields", "-o", "json"),
    )
    places = {"objects": listed}
    for pod in client.items("pods"):
        name = pod["metadata"]["name"]
        places[f"log of {name}"] = client.kubectl("logs", name, "--all-containers")
    for account in streaming.accounts():
        pod = streaming.shard_pod(account)["metadata"]["name"]
        path = f"/api/v1/namespaces/{client.namespace}/pods/{pod}:8080/proxy/metrics"
        places[f"metrics of {pod}"] = client.kubectl("get", "--raw", path)

    found = {(place, canary) for place, text in places.items() for canary in canaries if canary in text}
    assert canaries
    assert found == set()
    assert json.loads(listed)["items"]
