"""The kinds on a real API server: what it takes, what it refuses, and in which words."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.controlplane import ControlPlane
from tests.support.kinds_refused import (
    REAL_SYMBOLS,
    REFUSED,
    SYMBOL,
    Refused,
    a_shard,
    a_subscription,
    an_account,
    many_symbols,
)
from ticker_crds.constants import SUBSCRIPTION_INSTRUMENTS_MAX
from ticker_crds.schema import definitions

EXAMPLES_FOLDER = Path(__file__).parents[2] / "docs" / "examples"
EXAMPLES = sorted([*EXAMPLES_FOLDER.glob("*.yaml"), *EXAMPLES_FOLDER.glob("*/*.yaml")])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_in_the_documentation_is_accepted(api_server: ControlPlane, namespace: str, path: Path) -> None:
    said = api_server.kubectl("apply", "--validate=strict", "-f", str(path), namespace=namespace)

    assert said.returncode == 0, said.stderr
    assert "unknown field" not in said.stderr


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.title)
def test_broken_rule_is_refused_with_what_to_do(api_server: ControlPlane, namespace: str, case: Refused) -> None:
    admin = api_server.client()

    answer = admin.create(case.manifest, namespace=namespace)

    assert answer.status == 422
    assert case.api in answer.message


def test_message_reaches_whoever_types_kubectl_apply(api_server: ControlPlane, namespace: str) -> None:
    said = api_server.kubectl("apply", "-f", "-", namespace=namespace, stdin=json.dumps(a_subscription("nse:infy")))

    assert said.returncode == 1
    assert SYMBOL in said.stderr


def test_misspelt_member_is_refused_by_kubectl(api_server: ControlPlane, namespace: str) -> None:
    said = api_server.kubectl("apply", "-f", "-", namespace=namespace, stdin=json.dumps(an_account(socket=2)))

    assert said.returncode == 1
    assert 'unknown field "spec.socket"' in said.stderr


def test_real_symbols_are_accepted(api_server: ControlPlane, namespace: str) -> None:
    stored = api_server.client().create(a_subscription(*REAL_SYMBOLS), namespace=namespace).expect(201)

    assert [entry["symbol"] for entry in stored["spec"]["instruments"]] == list(REAL_SYMBOLS)


def test_account_name_of_40_characters_is_accepted(api_server: ControlPlane, namespace: str) -> None:
    api_server.client().create(an_account(name="a" * 40), namespace=namespace).expect(201)


def test_defaults_are_written_out(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()

    account = admin.create(an_account(), namespace=namespace).expect(201)
    subscription = admin.create(a_subscription("NSE:INFY"), namespace=namespace).expect(201)
    shard = admin.create(a_shard(), namespace=namespace).expect(201)

    assert account["spec"] == {
        "credentialsRef": {"name": "acc1-credentials"},
        "sockets": 1,
        "instrumentsPerSocket": 3000,
        "state": "Active",
        "endpoints": {"ticker": "wss://ws.kite.trade", "api": "https://api.kite.trade"},
    }
    assert subscription["spec"] == {
        "instruments": [{"symbol": "NSE:INFY"}],
        "mode": "full",
        "greeks": True,
        "priority": 0,
        "encoding": "json",
    }
    assert shard["spec"] == {"accountRef": {"name": "acc1"}, "suspend": False}


def test_null_is_the_same_as_absent(api_server: ControlPlane, namespace: str) -> None:
    manifest = a_subscription("NSE:INFY", selector=None, channel=None, mode=None)

    stored = api_server.client().create(manifest, namespace=namespace).expect(201)

    assert "selector" not in stored["spec"]
    assert "channel" not in stored["spec"]
    assert stored["spec"]["mode"] == "full"


def a_table(config_map: str) -> dict[str, Any]:
    return {"revision": 1, "digest": "sha256:0", "instruments": 3, "configMapRef": {"name": config_map}}


@pytest.mark.parametrize(
    ("manifest", "change", "message"),
    [
        pytest.param(
            an_account(),
            {"credentialsRef": {"name": "another"}},
            "credentialsRef is immutable: put a new token into the same Secret",
            id="an account's Secret",
        ),
        pytest.param(
            a_shard(),
            {"accountRef": {"name": "another"}},
            "accountRef is immutable: the operator makes one TickerShard for each KiteAccount",
            id="a shard's account",
        ),
        pytest.param(
            a_shard(assignment=a_table("ticker-acc1-assignment")),
            {"assignment": a_table("another")},
            "configMapRef is immutable: it is derived from the account's name",
            id="a shard's assignment ConfigMap",
        ),
    ],
)
def test_reference_is_immutable(
    api_server: ControlPlane, namespace: str, manifest: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    admin = api_server.client()
    before = admin.create(manifest, namespace=namespace).expect(201)

    answer = admin.merge(manifest, {"spec": change}, namespace=namespace)

    assert answer.status == 422
    assert message in answer.message
    after = admin.get(manifest["kind"], manifest["metadata"]["name"], namespace=namespace)
    assert after["spec"] == before["spec"]


def test_other_members_stay_changeable_beside_an_immutable_one(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()
    admin.create(an_account(), namespace=namespace).expect(201)

    changed = admin.merge(an_account(), {"spec": {"sockets": 3, "state": "Draining"}}, namespace=namespace).expect(200)

    assert (changed["spec"]["sockets"], changed["metadata"]["generation"]) == (3, 2)


@pytest.mark.parametrize("how", ["client-side", "server-side"])
def test_largest_subscription_can_be_applied_and_applied_again(
    api_server: ControlPlane, namespace: str, how: str, tmp_path: Path
) -> None:
    symbols = many_symbols(SUBSCRIPTION_INSTRUMENTS_MAX)
    manifest = a_subscription(*symbols)
    file = tmp_path / "subscription.yaml"
    flags = ["--server-side"] if how == "server-side" else []

    file.write_text(yaml.safe_dump(manifest))
    first = api_server.kubectl("apply", *flags, "-f", str(file), namespace=namespace)
    changed = copy.deepcopy(manifest)
    del changed["spec"]["instruments"][10]
    changed["spec"]["instruments"][0]["mode"] = "ltp"
    file.write_text(yaml.safe_dump(changed))
    second = api_server.kubectl("apply", *flags, "-f", str(file), namespace=namespace)

    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    stored = api_server.client().get("TickerSubscription", "sub", namespace=namespace)
    assert stored["spec"]["instruments"] == changed["spec"]["instruments"]


def test_server_side_appliers_each_keep_their_instruments(api_server: ControlPlane, namespace: str) -> None:
    admin = api_server.client()

    admin.apply(a_subscription("NSE:INFY", "NSE:TCS"), manager="first", namespace=namespace).expect(201)
    admin.apply(a_subscription("NSE:SBIN"), manager="second", namespace=namespace).expect(200)
    merged = admin.apply(a_subscription("NSE:INFY"), manager="first", namespace=namespace).expect(200)

    assert [entry["symbol"] for entry in merged["spec"]["instruments"]] == ["NSE:INFY", "NSE:SBIN"]


def test_definitions_are_taken_without_a_complaint(api_server: ControlPlane) -> None:
    for name in definitions():
        kind = yaml.safe_load(definitions()[name])
        live = api_server.client().get(
            "CustomResourceDefinition", kind["metadata"]["name"], api_version="apiextensions.k8s.io/v1"
        )
        verdicts = {entry["type"]: (entry["status"], entry.get("message")) for entry in live["status"]["conditions"]}
        assert verdicts["NamesAccepted"][0] == "True", verdicts
        assert "NonStructuralSchema" not in verdicts, verdicts
        assert live["spec"]["versions"][0]["schema"] == kind["spec"]["versions"][0]["schema"]
