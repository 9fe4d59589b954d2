"""What somebody changed in a live template, and whose fields they are: ours again, with one patch."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.support.pool import an_account
from ticker_operator.desired import ShardKnobs, drifted_paths, ownership_patch, render_shard
from ticker_operator.model import TableView

OURS = "ticker-operator"


def a_template() -> dict[str, Any]:
    knobs = ShardKnobs(
        image="tickershard:1", redis_secret="redis", resources={"limits": {"memory": "1Gi", "cpu": "0.5"}}
    )
    shard = render_shard(an_account("acc1"), knobs=knobs, namespace="pool", table=TableView())
    return copy.deepcopy(dict(shard.deployment["spec"]["template"]))


def as_the_api_server_stores_it(template: dict[str, Any]) -> dict[str, Any]:
    """With everything it fills in, as a real one was seen to do."""
    live = copy.deepcopy(template)
    live["metadata"]["creationTimestamp"] = None
    live["spec"] |= {
        "restartPolicy": "Always",
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "serviceAccount": live["spec"]["serviceAccountName"],
    }
    (container,) = live["spec"]["containers"]
    container |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    container["ports"][0]["protocol"] = "TCP"
    container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    container["resources"]["limits"]["cpu"] = "500m"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[probe]["httpGet"]["scheme"] = "HTTP"
        container[probe]["successThreshold"] = 1
    container["readinessProbe"]["failureThreshold"] = 3
    live["spec"]["volumes"][0]["secret"]["defaultMode"] = 420
    return live


def container_of(live: dict[str, Any]) -> dict[str, Any]:
    container = live["spec"]["containers"][0]
    assert isinstance(container, dict)
    return container


def test_what_the_api_server_fills_in_is_no_drift() -> None:
    assert drifted_paths(a_template(), as_the_api_server_stores_it(a_template())) == ()


def test_a_restart_is_no_drift() -> None:
    live = as_the_api_server_stores_it(a_template())
    live["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026-11-21T09:00:00Z"}

    assert drifted_paths(a_template(), live) == ()


def edit_image(live: dict[str, Any]) -> None:
    container_of(live)["image"] = "evil:1"


def add_env(live: dict[str, Any]) -> None:
    container_of(live)["env"].append({"name": "DEBUG", "value": "1"})


def drop_argument(live: dict[str, Any]) -> None:
    container_of(live)["args"].pop()


def change_argument(live: dict[str, Any]) -> None:
    container_of(live)["args"][1] = "--account=other"


def raise_memory(live: dict[str, Any]) -> None:
    container_of(live)["resources"]["limits"]["memory"] = "2Gi"


def add_annotation(live: dict[str, Any]) -> None:
    live["metadata"]["annotations"] = {"note": "x", "kubectl.kubernetes.io/restartedAt": "now"}


def change_default(live: dict[str, Any]) -> None:
    live["spec"]["restartPolicy"] = "Never"


def drop_probe(live: dict[str, Any]) -> None:
    del container_of(live)["livenessProbe"]


def add_sidecar(live: dict[str, Any]) -> None:
    live["spec"]["containers"].append({"name": "sidecar", "image": "x"})


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        (edit_image, "spec.containers[shard].image"),
        (add_env, "spec.containers[shard].env[DEBUG]"),
        (drop_argument, "spec.containers[shard].args"),
        (change_argument, "spec.containers[shard].args[1]"),
        (raise_memory, "spec.containers[shard].resources.limits.memory"),
        (add_annotation, "metadata.annotations"),
        (change_default, "spec.restartPolicy"),
        (drop_probe, "spec.containers[shard].livenessProbe"),
        (add_sidecar, "spec.containers[sidecar]"),
    ],
)
def test_an_edit_is_named_by_its_path(edit: Any, path: str) -> None:
    live = as_the_api_server_stores_it(a_template())
    edit(live)

    assert drifted_paths(a_template(), live) == (path,)


def test_a_wholly_different_template_is_not_told_in_full() -> None:
    live = {f"other{index}": index for index in range(100)}

    assert len(drifted_paths(a_template(), live)) == 20


# -- ownership ----------------------------------------------------------------------------------------------------

CONTAINER = 'k:{"name":"shard"}'


def an_entry(manager: str, operation: str, template: dict[str, Any], **more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"f:spec": {"f:template": template}} if template else {}
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": fields | more.pop("fields", {}),
        **more,
    }


def containers(**fields: Any) -> dict[str, Any]:
    return {"f:spec": {"f:containers": {CONTAINER: {f"f:{name}": value for name, value in fields.items()}}}}


def test_what_kubectl_took_over_is_ours_again() -> None:
    ours = an_entry(OURS, "Apply", containers(image={}))
    undo = an_entry(
        "kubectl",
        "Update",
        containers(image={}, env={".": {}, 'k:{"name":"OLD"}': {".": {}, "f:name": {}}}),
        fields={
            "f:metadata": {"f:annotations": {"f:tickershard.io/release-hash": {}, "f:kubernetes.io/change-cause": {}}}
        },
    )

    patch = ownership_patch([ours, undo], version="42", manager=OURS)

    assert patch is not None
    guard, replaced = patch
    assert guard == {"op": "test", "path": "/metadata/resourceVersion", "value": "42"}
    mine, theirs = replaced["value"]
    assert mine["fieldsV1"]["f:spec"]["f:template"] == containers(
        image={}, env={".": {}, 'k:{"name":"OLD"}': {".": {}, "f:name": {}}}
    )
    assert mine["fieldsV1"]["f:metadata"] == {"f:annotations": {"f:tickershard.io/release-hash": {}}}
    assert theirs["fieldsV1"] == {"f:metadata": {"f:annotations": {"f:kubernetes.io/change-cause": {}}}}


def test_a_restart_mark_stays_kubectls_so_that_it_survives_our_apply() -> None:
    mark = {"f:metadata": {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}}
    restart = an_entry("kubectl", "Update", {**mark, **containers(image={})})

    patch = ownership_patch([an_entry(OURS, "Apply", containers(args={})), restart], version="1", manager=OURS)

    assert patch is not None
    mine, theirs = patch[1]["value"]
    assert mine["fieldsV1"]["f:spec"]["f:template"] == containers(args={}, image={})
    assert theirs["fieldsV1"] == {"f:spec": {"f:template": mark}}


def test_entries_that_own_nothing_of_ours_are_left_alone() -> None:
    ours = an_entry(OURS, "Apply", containers(image={}))
    controller = an_entry("kube-controller-manager", "Update", {}, subresource="status", fields={"f:status": {}})
    restarted = an_entry(
        "kubectl", "Update", {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}}
    )

    assert ownership_patch([ours, controller, restarted], version="1", manager=OURS) is None


def test_an_entry_of_our_own_name_that_is_no_apply_is_foreign_too() -> None:
    ours, patched = an_entry(OURS, "Apply", containers(image={})), an_entry(OURS, "Update", containers(env={}))

    patch = ownership_patch([ours, patched], version="1", manager=OURS)

    assert patch is not None
    (mine,) = patch[1]["value"]
    assert (mine["operation"], mine["fieldsV1"]["f:spec"]["f:template"]) == ("Apply", containers(image={}, env={}))


def test_a_strategy_written_beside_the_template_is_ours_to_drop() -> None:
    rolling = {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}}
    patched = an_entry(OURS, "Update", {}, fields={"f:spec": {"f:replicas": {}, "f:strategy": rolling}})

    patch = ownership_patch([an_entry(OURS, "Apply", containers(image={})), patched], version="1", manager=OURS)

    assert patch is not None
    mine, theirs = patch[1]["value"]
    assert mine["fieldsV1"]["f:spec"]["f:strategy"] == rolling, "an apply of Recreate takes rollingUpdate with it"
    assert theirs["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_without_an_entry_of_ours_one_is_made() -> None:
    patch = ownership_patch([an_entry("kubectl", "Update", containers(image={}))], version="1", manager=OURS)

    assert patch is not None
    (mine,) = patch[1]["value"]
    assert (mine["manager"], mine["operation"]) == (OURS, "Apply")


def test_what_was_read_is_not_changed() -> None:
    entries = [an_entry(OURS, "Apply", containers(image={})), an_entry("kubectl", "Update", containers(env={}))]
    before = copy.deepcopy(entries)

    ownership_patch(entries, version="1", manager=OURS)

    assert entries == before
