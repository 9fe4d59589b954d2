"""The kinds as models: what is refused in which words, what is overlooked, what is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.kinds_refused import (
    REAL_SYMBOLS,
    REFUSED,
    Refused,
    a_shard,
    a_subscription,
    an_account,
    many_symbols,
)
from ticker_crds.account import AccountState, KiteAccount
from ticker_crds.assignment import Mode
from ticker_crds.base import InvalidObjectError, KindModel, Rule
from ticker_crds.constants import ANNOTATION_PAUSED, API_VERSION, SUBSCRIPTION_INSTRUMENTS_MAX, Kind
from ticker_crds.schema import MODELS
from ticker_crds.shard import TickerShard
from ticker_crds.subscription import AccountSelector, TickerSubscription

EXAMPLES_FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLES = sorted([*EXAMPLES_FOLDER.glob("*.yaml"), *EXAMPLES_FOLDER.glob("*/*.yaml")])  # not what a demo left behind
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.title)
def test_broken_rule_is_refused_as_the_api_server_refuses_it(case: Refused) -> None:
    model = MODELS[Kind(case.manifest["kind"])]

    with pytest.raises(InvalidObjectError) as refusal:
        model.from_manifest(case.manifest)

    assert case.said_by_python in str(refusal.value)
    assert len(refusal.value.problems) == 1


def test_every_broken_rule_is_named_with_its_place() -> None:
    manifest = an_account(sockets=9, instrumentsPerSocket=0)

    with pytest.raises(InvalidObjectError) as refusal:
        KiteAccount.from_manifest(manifest)

    assert [problem.partition(":")[0] for problem in refusal.value.problems] == [
        "spec.sockets",
        "spec.instrumentsPerSocket",
    ]


def test_refused_object_is_named_without_its_values() -> None:
    manifest = an_account(endpoints={"ticker": "wss://ws.kite.trade/?access_token=secret"})

    with pytest.raises(InvalidObjectError, match="KiteAccount acc1: ") as refusal:
        KiteAccount.from_manifest(manifest)

    assert "secret" not in str(refusal.value)


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "kind"]), ANY_JSON))
def test_no_object_whatsoever_does_more_than_be_refused(manifest: dict[str, Any]) -> None:
    for model in MODELS.values():
        try:
            read = model.from_manifest(manifest)
        except InvalidObjectError:
            continue
        assert read.name == manifest["metadata"]["name"]


def test_real_symbols_are_read() -> None:
    read = TickerSubscription.from_manifest(a_subscription(*REAL_SYMBOLS))

    assert [entry.symbol for entry in read.spec.instruments or ()] == list(REAL_SYMBOLS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_in_the_documentation_is_read(path: Path) -> None:
    ours = [each for each in yaml.safe_load_all(path.read_text()) if each["apiVersion"] == API_VERSION]

    assert ours
    for manifest in ours:
        MODELS[Kind(manifest["kind"])].from_manifest(manifest)


def test_largest_subscription_is_read() -> None:
    read = TickerSubscription.from_manifest(a_subscription(*many_symbols(SUBSCRIPTION_INSTRUMENTS_MAX)))

    assert len(read.spec.instruments or ()) == 2_000


def test_defaults_of_an_account() -> None:
    account = KiteAccount.from_manifest(an_account())

    assert (account.spec.sockets, account.spec.instruments_per_socket, account.spec.capacity) == (1, 3_000, 3_000)
    assert account.spec.state is AccountState.ACTIVE
    assert account.spec.endpoints.ticker == "wss://ws.kite.trade"
    assert account.spec.pod_template is None


def test_capacity_counts_every_socket() -> None:
    assert KiteAccount.from_manifest(an_account(sockets=3, instrumentsPerSocket=2_500)).spec.capacity == 7_500


def test_members_and_versions_we_do_not_know_are_overlooked() -> None:
    newer = a_subscription("NSE:INFY", conflation={"ms": 50})
    newer |= {"apiVersion": "tickershard.io/v2", "status": {"resolved": 1, "mood": "good"}}

    read = TickerSubscription.from_manifest(newer)

    assert read.status.resolved == 1
    assert read.status_faults == ()


def test_unreadable_member_of_a_status_costs_only_itself() -> None:
    older = a_shard() | {"status": {"confirmed": "many", "assigned": 7, "acknowledged": {"revision": 3}}}

    read = TickerShard.from_manifest(older)

    assert (read.status.confirmed, read.status.acknowledged, read.status.assigned) == (None, None, 7)
    assert [fault.partition(":")[0] for fault in read.status_faults] == [
        "status.acknowledged.digest",
        "status.acknowledged.process",
        "status.confirmed",
    ]


@pytest.mark.parametrize("status", [None, "fine", [1], 3])
def test_status_that_is_no_object_counts_as_none(status: object) -> None:
    read = KiteAccount.from_manifest(an_account() | {"status": status})

    assert read.status.capacity is None
    assert read.status_faults


def test_faulty_spec_is_refused_whatever_the_status() -> None:
    with pytest.raises(InvalidObjectError) as refusal:
        KiteAccount.from_manifest(an_account(sockets=4) | {"status": "fine"})

    assert [problem.partition(":")[0] for problem in refusal.value.problems] == ["spec.sockets"]


@pytest.mark.parametrize("manifest", [an_account(), a_subscription("NSE:INFY"), a_shard()], ids=lambda m: m["kind"])
def test_object_survives_being_written_and_read(manifest: dict[str, Any]) -> None:
    model: type[KindModel] = MODELS[Kind(manifest["kind"])]
    read = model.from_manifest(manifest)

    assert model.from_manifest(read.to_manifest()) == read


def test_objects_cannot_be_changed() -> None:
    account = KiteAccount.from_manifest(an_account())

    with pytest.raises(ValidationError, match="frozen"):
        account.spec.sockets = 3  # type: ignore[misc]


@pytest.mark.parametrize(("value", "paused"), [("true", True), ("false", False), ("True", False), (None, False)])
def test_paused_by_its_annotation(value: str | None, paused: bool) -> None:
    manifest = an_account()
    manifest["metadata"]["annotations"] = {} if value is None else {ANNOTATION_PAUSED: value}

    assert KiteAccount.from_manifest(manifest).paused is paused


def test_deleting_once_a_deletion_time_stands_there() -> None:
    manifest = an_account()
    manifest["metadata"]["deletionTimestamp"] = "2026-11-21T09:15:00Z"

    assert KiteAccount.from_manifest(manifest).deleting
    assert not KiteAccount.from_manifest(an_account()).deleting


def test_mode_of_one_instrument_stands_beside_the_subscriptions() -> None:
    listed = [{"symbol": "NSE:INFY", "mode": "ltp"}, {"symbol": "NSE:TCS"}]

    spec = TickerSubscription.from_manifest(a_subscription(instruments=listed, mode="quote")).spec

    assert [entry.mode for entry in spec.instruments or ()] == [Mode.LTP, None]
    assert spec.mode is Mode.QUOTE


def demand(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "a", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("selector", "labels", "chosen"),
    [
        pytest.param({}, {}, True, id="no demand"),
        pytest.param({"matchLabels": {"a": "1"}}, {"a": "1", "x": "y"}, True, id="label as demanded"),
        pytest.param({"matchLabels": {"a": "1"}}, {"a": "2"}, False, id="label with another value"),
        pytest.param({"matchLabels": {"a": ""}}, {}, False, id="an empty value is not absence"),
        pytest.param(demand("In", "1", "2"), {"a": "2"}, True, id="In"),
        pytest.param(demand("In", "1"), {}, False, id="In, but absent"),
        pytest.param(demand("NotIn", "1"), {"a": "1"}, False, id="NotIn"),
        pytest.param(demand("NotIn", "1"), {}, True, id="NotIn, and absent"),
        pytest.param(demand("Exists"), {"a": ""}, True, id="Exists"),
        pytest.param(demand("Exists"), {}, False, id="Exists, but absent"),
        pytest.param(demand("DoesNotExist"), {"a": ""}, False, id="DoesNotExist"),
        pytest.param({"matchLabels": {"b": "1"}, **demand("Exists")}, {"a": "1"}, False, id="every demand must be met"),
    ],
)
def test_accounts_are_selected_by_labels(selector: dict[str, Any], labels: dict[str, str], chosen: bool) -> None:
    assert AccountSelector.model_validate(selector).matches(labels) is chosen


def test_rule_that_only_one_judge_knows_is_about_a_change_or_a_list_key() -> None:
    rules = [rule for model in MODELS.values() for rule in _rules(model)]

    assert len(rules) >= 10
    assert all("oldSelf" in rule.cel for rule in rules if rule.cel is not None and rule.holds is None)
    assert [rule.message for rule in rules if rule.cel is None] == ["instruments: each symbol once"]


def _rules(model: Any) -> list[Rule]:
    found = list(getattr(model, "rules", ()))
    for field in getattr(model, "model_fields", {}).values():
        for part in _models_in(field.annotation):
            found += _rules(part)
    return found


def _models_in(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [each for part in getattr(annotation, "__args__", ()) for each in _models_in(part)]
