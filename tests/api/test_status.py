"""Status on a real API server: who may write what, what `kubectl` shows, and what it waits for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.controlplane_client import ApiClient
from tests.support.kinds_refused import a_shard, a_subscription, an_account
from ticker_crds.conditions import Finding, Truth, merge_conditions
from ticker_crds.constants import MANAGER_OPERATOR, MANAGER_ROLLOUT, MANAGER_SHARD, Condition, Reason
from ticker_crds.shard import TickerShard

NOW = "2026-11-21T09:15:00Z"
LATER = "2026-11-21T09:16:00Z"


def entries(
    *findings: tuple[Condition, Truth, Reason], previous: Any = (), generation: int = 1, now: str = NOW
) -> list[dict[str, Any]]:
    made = [Finding(kind, truth, reason, "in words") for kind, truth, reason in findings]
    return merge_conditions(made, previous=previous, generation=generation, now=now)


def apply_status(
    admin: ApiClient, manifest: dict[str, Any], status: dict[str, Any], *, manager: str, namespace: str
) -> dict[str, Any]:
    body = {key: value for key, value in manifest.items() if key != "spec"} | {"status": status}
    return admin.apply(body, manager=manager, namespace=namespace, subresource="status").expect(200)


SHARD_SAYS: dict[str, Any] = {
    "acknowledged": {"revision": 12, "digest": "sha256:ab", "process": "pod-1/x", "unconfirmed": ["NFO:NIFTY26NOVFUT"]},
    "confirmed": 2999,
    "sockets": "1/1",
    "epoch": 1_763_700_000_123,
    "conditions": entries(
        (Condition.CONNECTED, "True", Reason.CONNECTED),
        (Condition.CREDENTIALS_VALID, "True", Reason.ACCEPTED),
        (Condition.STREAMING, "True", Reason.STREAMING),
        (Condition.DEGRADED, "False", Reason.HEALTHY),
    ),
}
OPERATOR_SAYS: dict[str, Any] = {
    "observedGeneration": 1,
    "appliedRevision": 12,
    "assigned": 3000,
    "capacity": 6000,
    "image": "registry.example/tickershard:1.2.3",
    "conditions": entries(
        (Condition.READY, "True", Reason.STREAMING),
        (Condition.PROGRESSING, "False", Reason.CURRENT),
        (Condition.ROLLED_BACK, "False", Reason.CURRENT),
        (Condition.PAUSED, "False", Reason.NOT_PAUSED),
        (Condition.CAPACITY_EXCEEDED, "False", Reason.WITHIN_CAPACITY),
        (Condition.ZERO_GAP, "True", Reason.SURGE),
    ),
}
ROLLOUT_SAYS: dict[str, Any] = {
    "rollout": {"applied": "v1:aa", "blocked": "v1:bb", "intent": "v1:cc", "intentRevision": 4, "history": ["v1:aa"]}
}


def report_all(admin: ApiClient, manifest: dict[str, Any], namespace: str) -> dict[str, Any]:
    apply_status(admin, manifest, SHARD_SAYS, manager=MANAGER_SHARD, namespace=namespace)
    apply_status(admin, manifest, OPERATOR_SAYS, manager=MANAGER_OPERATOR, namespace=namespace)
    return apply_status(admin, manifest, ROLLOUT_SAYS, manager=MANAGER_ROLLOUT, namespace=namespace)


# ---------------------------------------------------------------------------------------------------------------
# Two doors: the object and its status
# ---------------------------------------------------------------------------------------------------------------


def test_status_is_ignored_where_the_spec_is_written(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()

    created = admin.create({**an_account(), "status": {"capacity": 5}}, namespace=namespace).expect(201)
    patched = admin.merge(an_account(), {"status": {"capacity": 5}}, namespace=namespace).expect(200)

    assert "status" not in created
    assert "status" not in patched


def test_spec_is_ignored_where_the_status_is_written(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(an_account(), namespace=namespace).expect(201)

    change = {"spec": {"sockets": 3}, "status": {"capacity": 3000}}
    patched = admin.merge(an_account(), change, namespace=namespace, subresource="status").expect(200)

    assert patched["spec"]["sockets"] == 1
    assert patched["status"]["capacity"] == 3000
    assert patched["metadata"]["generation"] == 1


def test_whoever_may_only_write_the_status_cannot_write_the_spec(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    reporter = api_server.client(api_server.service_account(namespace, "reporter"))
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "reporter"}}
    rule = {
        "apiGroups": ["tickershard.io"],
        "resources": ["tickershards/status"],
        "resourceNames": ["ticker-acc1"],
        "verbs": ["patch"],
    }
    admin.create({**rbac, "kind": "Role", "rules": [rule]}, namespace=namespace).expect(201)
    admin.create(
        {
            **rbac,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reporter"},
            "subjects": [{"kind": "ServiceAccount", "name": "reporter", "namespace": namespace}],
        },
        namespace=namespace,
    ).expect(201)

    written = apply_status(reporter, a_shard(), SHARD_SAYS, manager=MANAGER_SHARD, namespace=namespace)

    assert written["status"]["confirmed"] == 2999
    assert reporter.merge(a_shard(), {"spec": {"suspend": True}}, namespace=namespace).status == 403
    other = a_shard(name="ticker-acc2")
    body = {key: value for key, value in other.items() if key != "spec"} | {"status": {"confirmed": 1}}
    refused = reporter.apply(body, manager=MANAGER_SHARD, namespace=namespace, subresource="status")
    assert refused.status == 403


# ---------------------------------------------------------------------------------------------------------------
# Three writers
# ---------------------------------------------------------------------------------------------------------------


def test_three_managers_never_drop_each_others_fields(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)

    report_all(admin, a_shard(), namespace)
    apply_status(admin, a_shard(), {**SHARD_SAYS, "confirmed": 3000}, manager=MANAGER_SHARD, namespace=namespace)
    apply_status(admin, a_shard(), {**OPERATOR_SAYS, "assigned": 3001}, manager=MANAGER_OPERATOR, namespace=namespace)
    stored = apply_status(
        admin, a_shard(), {"rollout": {"applied": "v1:cc"}}, manager=MANAGER_ROLLOUT, namespace=namespace
    )

    status = stored["status"]
    wanted = {**SHARD_SAYS, **OPERATOR_SAYS, "confirmed": 3000, "assigned": 3001, "rollout": {"applied": "v1:cc"}}
    both = SHARD_SAYS["conditions"] + OPERATOR_SAYS["conditions"]
    assert {key: value for key, value in status.items() if key != "conditions"} == {
        key: value for key, value in wanted.items() if key != "conditions"
    }
    assert {entry["type"]: entry for entry in status["conditions"]} == {entry["type"]: entry for entry in both}


def test_what_a_manager_omits_is_gone(api_server: ControlPlane, namespace: str) -> None:
    """Why every writer always sends its complete set."""
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    report_all(admin, a_shard(), namespace)

    less = {"confirmed": 3000, "conditions": SHARD_SAYS["conditions"][:1]}
    stored = apply_status(admin, a_shard(), less, manager=MANAGER_SHARD, namespace=namespace)

    assert "acknowledged" not in stored["status"]
    assert {entry["type"] for entry in stored["status"]["conditions"]} == {
        "Connected",
        *(entry["type"] for entry in OPERATOR_SAYS["conditions"]),
    }


def test_one_writer_for_each_condition(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    report_all(admin, a_shard(), namespace)

    intruder = {key: value for key, value in a_shard().items() if key != "spec"}
    intruder["status"] = {"conditions": entries((Condition.READY, "False", Reason.SHARD_SILENT))}
    answer = admin.apply(intruder, manager=MANAGER_SHARD, namespace=namespace, subresource="status")

    assert answer.status == 409
    assert MANAGER_OPERATOR in answer.message
    assert 'k:{"type":"Ready"}' in answer.message or ".status.conditions" in answer.message


def test_repeating_a_report_writes_nothing(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    before = report_all(admin, a_shard(), namespace)
    found = before["status"]["conditions"]

    again = entries((Condition.READY, "True", Reason.STREAMING), previous=found, now=LATER)
    ready = [*again, *(entry for entry in OPERATOR_SAYS["conditions"] if entry["type"] != "Ready")]
    after = apply_status(
        admin, a_shard(), {**OPERATOR_SAYS, "conditions": ready}, manager=MANAGER_OPERATOR, namespace=namespace
    )

    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_rollout_members_of_a_newer_operator_survive(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    newer = {"rollout": {"applied": "v1:aa", "canary": {"weight": 10}}}

    stored = apply_status(admin, a_shard(), newer, manager=MANAGER_ROLLOUT, namespace=namespace)

    read = TickerShard.from_manifest(stored)
    assert read.status.rollout is not None
    assert read.status.rollout.to_manifest()["canary"] == {"weight": 10}


# ---------------------------------------------------------------------------------------------------------------
# Conditions as a map
# ---------------------------------------------------------------------------------------------------------------


def test_condition_type_stands_once(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(an_account(), namespace=namespace).expect(201)
    twice = entries((Condition.READY, "True", Reason.STREAMING)) * 2

    answer = admin.merge(an_account(), {"status": {"conditions": twice}}, namespace=namespace, subresource="status")

    assert answer.status == 422
    assert 'Duplicate value: {"type":"Ready"}' in answer.message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"status": "Maybe"}, 'Unsupported value: "Maybe"', id="a third truth"),
        pytest.param({"message": "x" * 1_025}, "Too long: may not be more than 1024", id="a message without end"),
        pytest.param({"lastTransitionTime": "yesterday"}, "must be of type date-time", id="a time in words"),
        pytest.param({"reason": ""}, "should be at least 1 chars long", id="no reason"),
    ],
)
def test_malformed_condition_is_refused(
    api_server: ControlPlane, namespace: str, change: dict[str, str], message: str
) -> None:
    admin = api_server.client()
    admin.create(an_account(), namespace=namespace).expect(201)
    entry = {**entries((Condition.READY, "True", Reason.STREAMING))[0], **change}

    answer = admin.merge(an_account(), {"status": {"conditions": [entry]}}, namespace=namespace, subresource="status")

    assert answer.status == 422
    assert message in answer.message


# ---------------------------------------------------------------------------------------------------------------
# What people see and wait for
# ---------------------------------------------------------------------------------------------------------------


def table(text: str) -> tuple[list[str], list[str]]:
    """Header and the one row that follows."""
    header, row = text.splitlines()
    return header.split(), row.split()


def test_columns_of_shards(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(a_shard(), namespace=namespace).expect(201)
    report_all(admin, a_shard(), namespace)

    header, row = table(api_server.kubectl("get", "tickershards", namespace=namespace).stdout)
    wide_header, wide_row = table(api_server.kubectl("get", "tsh", "-o", "wide", namespace=namespace).stdout)

    assert " ".join(header) == "NAME ACCOUNT ASSIGNED CONFIRMED CAPACITY SOCKETS READY STATUS AGE"
    assert row[:-1] == ["ticker-acc1", "acc1", "3000", "2999", "6000", "1/1", "True", "Streaming"]
    assert wide_header == [*header, "EPOCH", "REVISION", "IMAGE"]
    assert wide_row[-3:] == ["1763700000123", "12", "registry.example/tickershard:1.2.3"]


def test_columns_of_accounts_and_subscriptions(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    ready = entries((Condition.READY, "False", Reason.TOKEN_REJECTED))
    partly = entries((Condition.READY, "False", Reason.PARTLY_ASSIGNED))
    admin.create(an_account(), namespace=namespace).expect(201)
    admin.create(a_subscription("NSE:INFY", channel="desk"), namespace=namespace).expect(201)
    account_says = {
        "capacity": 3000, "assigned": 7, "shardRef": {"name": "ticker-acc1"}, "tokenIssuedAt": NOW, "conditions": ready,
    }  # fmt: skip
    subscription_says = {"resolved": 9, "assigned": 8, "streaming": 7, "conditions": partly}
    apply_status(admin, an_account(), account_says, manager=MANAGER_OPERATOR, namespace=namespace)
    apply_status(admin, a_subscription("NSE:INFY"), subscription_says, manager=MANAGER_OPERATOR, namespace=namespace)

    header, row = table(api_server.kubectl("get", "kacc", "-o", "wide", namespace=namespace).stdout)
    assert " ".join(header) == "NAME STATE ASSIGNED CAPACITY READY STATUS AGE SHARD SECRET TOKEN"
    assert row[:6] == ["acc1", "Active", "7", "3000", "False", "TokenRejected"]
    assert row[7:9] == ["ticker-acc1", "acc1-credentials"]

    header, row = table(api_server.kubectl("get", "tsub", "-o", "wide", namespace=namespace).stdout)
    assert " ".join(header) == "NAME RESOLVED ASSIGNED STREAMING READY STATUS AGE MODE CHANNEL PRIORITY"
    assert row[:6] == ["sub", "9", "8", "7", "False", "PartlyAssigned"]
    assert row[7:] == ["full", "desk", "0"]


def test_category_shows_all_three(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    for manifest in (an_account(), a_subscription("NSE:INFY"), a_shard()):
        admin.create(manifest, namespace=namespace).expect(201)

    names = api_server.kubectl("get", "ticker", "-o", "name", namespace=namespace).stdout.split()

    assert sorted(names) == [
        "kiteaccount.tickershard.io/acc1",
        "tickershard.tickershard.io/ticker-acc1",
        "tickersubscription.tickershard.io/sub",
    ]


@pytest.mark.parametrize("manifest", [an_account(), a_subscription("NSE:INFY"), a_shard()], ids=lambda m: m["kind"])
def test_kubectl_wait_sees_readiness(api_server: ControlPlane, namespace: str, manifest: dict[str, Any]) -> None:
    admin = api_server.client()
    admin.create(manifest, namespace=namespace).expect(201)
    target = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"

    def wait(timeout: str) -> int:
        command = ("wait", "--for=condition=Ready", target, f"--timeout={timeout}")
        return api_server.kubectl(*command, namespace=namespace).returncode

    assert wait("100ms") == 1, "nobody has said anything yet"
    not_ready = {"conditions": entries((Condition.READY, "False", Reason.STARTING))}
    apply_status(admin, manifest, not_ready, manager=MANAGER_OPERATOR, namespace=namespace)
    assert wait("100ms") == 1, "it is not ready"
    ready = {"conditions": entries((Condition.READY, "True", Reason.STREAMING))}
    apply_status(admin, manifest, ready, manager=MANAGER_OPERATOR, namespace=namespace)
    assert wait("20s") == 0


def test_kubectl_wait_does_not_take_readiness_of_an_older_spec(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(an_account(), namespace=namespace).expect(201)
    ready: tuple[Condition, Truth, Reason] = (Condition.READY, "True", Reason.STREAMING)
    first: Any = {"conditions": entries(ready)}
    apply_status(admin, an_account(), first, manager=MANAGER_OPERATOR, namespace=namespace)
    admin.merge(an_account(), {"spec": {"sockets": 2}}, namespace=namespace).expect(200)
    command = ("wait", "--for=condition=Ready", "kacc/acc1")

    early = api_server.kubectl(*command, "--timeout=100ms", namespace=namespace)
    second: Any = {"conditions": entries(ready, generation=2)}
    apply_status(admin, an_account(), second, manager=MANAGER_OPERATOR, namespace=namespace)
    late = api_server.kubectl(*command, "--timeout=20s", namespace=namespace)

    assert (early.returncode, late.returncode) == (1, 0), json.dumps([early.stderr, late.stderr])
