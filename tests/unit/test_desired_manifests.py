"""A shard's objects: equal input, equal objects; what a release is, what a shard may do, how it is contained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pool import an_account, option_symbol
from ticker_common.settings import load_settings
from ticker_crds import AssignedInstrument, AssignmentTable, Mode
from ticker_crds.constants import ANNOTATION_RELEASE, ANNOTATION_RELEASE_HASH, ANNOTATION_TEMPLATE_HASH, Kind
from ticker_crds.shard import TickerShard
from ticker_operator.desired import ShardKnobs, canonical_hash, owned_by, release_hash, released_knobs, render_shard
from ticker_operator.desired.manifests import carried_sockets
from ticker_operator.model import AccountView, DesiredShard, TableView
from ticker_shard.app.settings import ShardSettings

KNOBS = ShardKnobs(image="tickershard:1", redis_secret="redis")
ROOT = Path(__file__).parents[2]


def rendered(account: AccountView | None = None, knobs: ShardKnobs = KNOBS, **fields: Any) -> DesiredShard:
    fields = {"namespace": "pool", "table": TableView()} | fields
    return render_shard(account or an_account("acc1"), knobs=knobs, **fields)


def pod_of(shard: DesiredShard) -> dict[str, Any]:
    template: dict[str, Any] = shard.deployment["spec"]["template"]
    return template


def container_of(shard: DesiredShard) -> dict[str, Any]:
    (container,) = pod_of(shard)["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def a_table(rows: int) -> TableView:
    instruments = tuple(
        AssignedInstrument(index + 1, "NFO", option_symbol(index).partition(":")[2], Mode.FULL, ())
        for index in range(rows)
    )
    return TableView("1", AssignmentTable("acc1", 7, (), instruments))


# -- the release --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"sockets": 3},
        {"secret": "other"},
        {"ticker_endpoint": "ws://sim:1"},
        {"pod_template": {"labels": {"team": "a"}}},
        {"pod_template": {"resources": {"limits": {"memory": "1Gi"}}}},
    ],
)
def test_what_belongs_to_an_account_changes_the_template_and_not_the_release(change: dict[str, Any]) -> None:
    before, after = rendered(), rendered(replace(an_account("acc1"), **change))

    assert after.release_hash == before.release_hash == release_hash(KNOBS)
    assert after.template_hash != before.template_hash


@pytest.mark.parametrize(
    "change",
    [
        {"image": "tickershard:2"},
        {"prefix": "ticks"},
        {"window_ms": 50},
        {"drain_deadline_s": 60},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"node_selector": {"disk": "ssd"}},
        {"tolerations": ({"key": "x", "operator": "Exists"},)},
    ],
)
def test_every_knob_of_the_operator_is_part_of_the_release(change: dict[str, Any]) -> None:
    assert release_hash(replace(KNOBS, **change)) != release_hash(KNOBS)


def test_hashes_and_knobs_are_annotated_where_an_undo_rewinds_them() -> None:
    shard = rendered()

    annotations = shard.deployment["metadata"]["annotations"]
    assert annotations[ANNOTATION_RELEASE_HASH] == shard.release_hash
    assert annotations[ANNOTATION_TEMPLATE_HASH] == shard.template_hash == canonical_hash(pod_of(shard))
    assert released_knobs(annotations[ANNOTATION_RELEASE], fallback=replace(KNOBS, image="x")) == KNOBS


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"image": 3}', '{"prefix": "x"}'])
def test_knobs_that_cannot_be_read_fall_back(text: str) -> None:
    assert released_knobs(text, fallback=KNOBS) == KNOBS


def test_knobs_of_an_older_operator_keep_what_they_have() -> None:
    text = json.dumps({"image": "old:1", "window_ms": "many", "tolerations": [{"key": "x"}], "unknown": 1})

    knobs = released_knobs(text, fallback=KNOBS)

    assert (knobs.image, knobs.window_ms, knobs.tolerations) == ("old:1", None, ({"key": "x"},))


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=5), st.randoms())
def test_the_order_of_members_does_not_change_a_hash(value: dict[str, Any], chance: Any) -> None:
    items = list(value.items())
    chance.shuffle(items)

    assert canonical_hash(dict(items)) == canonical_hash(value)
    assert canonical_hash(value).startswith("sha256-")
    assert len(canonical_hash(value)) <= 63


# -- the pod ------------------------------------------------------------------------------------------------------


def test_the_command_line_is_one_that_the_shard_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKERSHARD_SHARD_INSTANCE", "uid-of-the-pod")
    knobs = replace(
        KNOBS,
        window_ms=50,
        ticks_max=500,
        silence_ms=8_000,
        mute_ms=9_000,
        market_hours="never",
        confirm_after_s=5.0,
        rate=0.07,
        dividend_yield=0.01,
        underlying_stale_s=30.0,
        reprice_ms=0,
        stream_max=500,
        circuit_failures=3,
        circuit_wait_first_ms=20,
        circuit_wait_max_ms=500,
        backpressure_fill=0.5,
        backpressure_conflate_ms=2_000,
        backpressure_shed_ms=4_000,
        backpressure_calm_ms=3_000,
    )
    verb, *flags = container_of(rendered(an_account("acc1", sockets=2), knobs))["args"]
    given_flags = dict(flag.removeprefix("--").split("=", 1) for flag in flags)

    settings = load_settings(ShardSettings, {name.replace("-", "_"): value for name, value in given_flags.items()})

    assert verb == "shard"
    assert (settings.account, settings.namespace, settings.secret_name) == ("acc1", "pool", "acc1-token")
    assert (settings.sockets, settings.window_ms, settings.confirm_after_s) == (2, 50, 5.0)
    assert (settings.mute_ms, settings.market_hours) == (9_000, "never")
    pricing = (settings.rate, settings.dividend_yield, settings.underlying_stale_s, settings.reprice_ms)
    assert pricing == (0.07, 0.01, 30.0, 0)
    assert settings.stream_max == 500
    circuit = (settings.circuit_failures, settings.circuit_wait_first_ms, settings.circuit_wait_max_ms)
    assert circuit == (3, 20, 500)
    backpressure = (settings.backpressure_conflate_ms, settings.backpressure_shed_ms, settings.backpressure_calm_ms)
    assert (settings.backpressure_fill, *backpressure) == (0.5, 2_000, 4_000, 3_000)


def test_no_secret_and_no_address_of_redis_is_rendered() -> None:
    shard = rendered()

    text = json.dumps(shard.deployment)
    assert "redis://" not in text
    (env,) = container_of(shard)["env"]
    assert env == {"name": "TICKERSHARD_SHARD_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    assert {"name": "redis", "secret": {"secretName": "redis"}} in pod_of(shard)["spec"]["volumes"]


@pytest.mark.parametrize("sockets", [1, 2])
def test_one_socket_or_two_overlap_and_wait_for_their_successor(sockets: int) -> None:
    shard = rendered(an_account("acc1", sockets=sockets))

    assert shard.deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert pod_of(shard)["spec"]["terminationGracePeriodSeconds"] == 120
    assert "--drain-deadline-s=90" in container_of(shard)["args"]


def test_three_sockets_stop_first_and_at_once() -> None:
    three = rendered(an_account("acc1", sockets=3))

    assert three.deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert "--drain-deadline-s=1" in container_of(three)["args"], "its successor comes after its end"
    assert pod_of(three)["spec"]["terminationGracePeriodSeconds"] == 31


def test_the_pod_is_restricted() -> None:
    pod, container = pod_of(rendered())["spec"], container_of(rendered())

    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["terminationGracePeriodSeconds"] == 10


def test_the_accounts_own_template_is_merged_and_ours_wins() -> None:
    own = {
        "labels": {"team": "a", "tickershard.io/account": "stolen"},
        "annotations": {"note": "x"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "b", "operator": "Exists"}],
        "resources": {"limits": {"memory": "1Gi"}, "requests": {}},
        "priorityClassName": "high",
    }
    knobs = replace(KNOBS, node_selector={"zone": "x"}, tolerations=({"key": "a", "operator": "Exists"},))

    pod = pod_of(rendered(an_account("acc1", pod_template=own), knobs))

    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["labels"]["tickershard.io/account"] == "acc1"
    assert pod["metadata"]["annotations"] == {"note": "x"}
    assert pod["spec"]["nodeSelector"] == {"zone": "x", "disk": "ssd"}
    assert [entry["key"] for entry in pod["spec"]["tolerations"]] == ["a", "b"]
    assert pod["spec"]["priorityClassName"] == "high"
    assert pod["spec"]["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}


def test_nothing_empty_and_no_default_of_the_api_is_rendered() -> None:
    defaults = {"restartPolicy", "dnsPolicy", "schedulerName", "protocol", "scheme", "successThreshold", "defaultMode"}

    def members(value: Any) -> list[tuple[str, Any]]:
        if isinstance(value, dict):
            return [*value.items(), *(entry for below in value.values() for entry in members(below))]
        return [entry for below in value for entry in members(below)] if isinstance(value, list) else []

    found = members(pod_of(rendered()))

    assert not defaults & {key for key, _ in found}
    assert [key for key, value in found if value in ({}, [], None, "")] == []
    assert ("periodSeconds", 10) not in found
    assert ("failureThreshold", 3) not in found


# -- the other objects --------------------------------------------------------------------------------------------


def test_the_role_names_exactly_the_shards_own_objects() -> None:
    rules = rendered().role["rules"]

    assert all(len(rule["resourceNames"]) == 1 for rule in rules)
    assert {(rule["resources"][0], rule["resourceNames"][0], tuple(rule["verbs"])) for rule in rules} == {
        ("configmaps", "ticker-acc1-assignment", ("get", "watch")),
        ("secrets", "acc1-token", ("get", "watch")),
        ("leases", "ticker-acc1", ("get", "create", "update")),
        ("tickershards", "ticker-acc1", ("get",)),
        ("tickershards/status", "ticker-acc1", ("patch",)),
    }


def test_the_role_is_the_one_in_the_contracts() -> None:
    contracts = (ROOT / "docs/contracts.md").read_text()

    for rule in rendered().role["rules"]:
        resource = rule["resources"][0]
        line = next(line for line in contracts.splitlines() if f"| `{resource}` |" in line)
        assert [f"`{verb}`" for verb in rule["verbs"]] == line.split("|")[4].strip().split(", ")


def test_a_tickershard_is_valid_and_tells_of_its_table() -> None:
    shard = rendered(table=a_table(3), suspend=True)

    spec = TickerShard.from_manifest(shard.shard).spec

    assert spec.suspend
    assert spec.assignment is not None
    assert (spec.assignment.revision, spec.assignment.instruments) == (7, 3)
    assert spec.assignment.config_map_ref.name == "ticker-acc1-assignment"
    assert shard.deployment["spec"]["replicas"] == 0


def test_an_owner_is_the_one_controller() -> None:
    owned = owned_by(rendered().deployment, kind=Kind.SHARD, name="ticker-acc1", uid="u1")

    (owner,) = owned["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("TickerShard", "u1", True)
    assert "ownerReferences" not in rendered().deployment["metadata"]


@pytest.mark.parametrize(
    ("sockets", "per_socket", "rows", "carried"),
    [(1, 3_000, 3_000, (1, 3_000)), (1, 1_000, 1_500, (1, 1_500)), (1, 3_000, 5_000, (2, 3_000)), (1, 10, 0, (1, 10))],
)
def test_a_smaller_account_carries_its_table_until_the_surplus_has_moved(
    sockets: int, per_socket: int, rows: int, carried: tuple[int, int]
) -> None:
    account = an_account("acc1", sockets=sockets, instruments_per_socket=per_socket)

    assert carried_sockets(account, a_table(rows)) == carried
