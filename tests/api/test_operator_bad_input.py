"""Bad input never ends the operator and never stops another account: each says what is wrong, the good one streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.controlplane_client import kind_manifest
from tests.support.operator import Pool, RunningOperator, broker, eventually, operator_identity, operator_settings
from tests.support.operator_stage import Stage
from ticker_crds.constants import Condition, Kind, Reason
from ticker_operator.app.settings import OperatorSettings

GOOD = ["NSE:EQ001", "NSE:EQ002"]


@pytest.fixture
def pool(api_server: ControlPlane, namespace: str) -> Iterator[Pool]:
    with broker() as kite:
        yield Pool(api_server.client(), namespace, kite)


@pytest.fixture
def settings(api_server: ControlPlane, pool: Pool) -> OperatorSettings:
    user = operator_identity(api_server, pool.namespace)
    allowed = (pool.broker.url, pool.broker.url.replace("http", "ws"))
    return operator_settings(api_server.kubeconfig(user, namespace=pool.namespace), pool.namespace, endpoints=allowed)


@pytest.fixture
def operator(pool: Pool, settings: OperatorSettings) -> Iterator[RunningOperator]:
    """A pool with one good account that streams."""
    stage = Stage(pool)
    stage.start()
    running = RunningOperator(settings).start()
    pool.account("good")
    pool.subscription("plain", GOOD)
    eventually(lambda: pool.status(Kind.SUBSCRIPTION, "plain")["streaming"] == len(GOOD))
    yield running
    assert running.alive
    assert running.stop() == 0
    stage.stop()


def still_streams(pool: Pool) -> bool:
    return bool(pool.status(Kind.SUBSCRIPTION, "plain")["streaming"] == len(GOOD)) and set(pool.owners()) >= set(GOOD)


def reason(pool: Pool, kind: Kind, name: str, condition: Condition) -> tuple[str, str]:
    found = pool.condition(kind, name, condition)
    return found["status"], found["reason"]


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        (None, Reason.SECRET_MISSING),
        ({"labelled": False}, Reason.SECRET_NOT_LABELLED),
        ({"keys": ("api_key",)}, Reason.SECRET_KEY_MISSING),
    ],
    ids=["no Secret", "not labelled", "no access_token"],
)
def test_account_without_usable_secret_says_so_until_it_is_mended(
    pool: Pool, operator: RunningOperator, secret: dict[str, Any] | None, expected: Reason
) -> None:
    if secret is not None:
        pool.secret("bad-kite", **secret)
    pool.account("bad", secret=False)

    eventually(lambda: reason(pool, Kind.ACCOUNT, "bad", Condition.CREDENTIALS_VALID) == ("False", expected))
    assert still_streams(pool)
    assert "ticker-bad" not in pool.names("Deployment", "apps/v1")

    if secret is not None:
        path = f"/api/v1/namespaces/{pool.namespace}/secrets/bad-kite"
        pool.client.request("DELETE", path).expect(200)
    pool.secret("bad-kite")
    eventually(lambda: reason(pool, Kind.ACCOUNT, "bad", Condition.READY)[0] == "True")


def test_token_never_goes_to_an_endpoint_that_is_not_allowed(pool: Pool, operator: RunningOperator) -> None:
    pool.account("bad", endpoints={"api": "https://evil.example", "ticker": "wss://evil.example"})

    eventually(lambda: reason(pool, Kind.ACCOUNT, "bad", Condition.READY) == ("False", Reason.ENDPOINT_NOT_ALLOWED))
    assert "ticker-bad" not in pool.names("Deployment", "apps/v1")
    assert still_streams(pool)


def test_unreachable_endpoint_is_named_and_the_other_account_goes_on(pool: Pool, settings: OperatorSettings) -> None:
    nowhere = "http://127.0.0.1:9"
    allowed = (*settings.endpoints_allowed, nowhere, nowhere.replace("http", "ws"))
    stage = Stage(pool)
    stage.start()
    running = RunningOperator(settings.model_copy(update={"endpoints_allowed": allowed})).start()

    pool.account("a-bad", endpoints={"api": nowhere, "ticker": nowhere.replace("http", "ws")})
    pool.account("good")
    pool.subscription("plain", GOOD)

    eventually(lambda: pool.status(Kind.SUBSCRIPTION, "plain")["streaming"] == len(GOOD))
    assert running.stop() == 0
    stage.stop()


def test_no_list_of_instruments_is_a_condition_and_heals_by_itself(pool: Pool, settings: OperatorSettings) -> None:
    pool.broker.answer = 503
    stage = Stage(pool)
    stage.start()
    running = RunningOperator(settings).start()
    pool.account("good")
    pool.subscription("plain", GOOD)

    eventually(
        lambda: reason(pool, Kind.SUBSCRIPTION, "plain", Condition.RESOLVED) == ("False", Reason.NO_INSTRUMENT_DUMP)
    )
    pool.broker.answer = 200

    eventually(lambda: pool.status(Kind.SUBSCRIPTION, "plain")["streaming"] == len(GOOD))
    assert running.stop() == 0
    stage.stop()


def test_unknown_and_expired_symbols_are_named_and_the_rest_streams(pool: Pool, operator: RunningOperator) -> None:
    pool.subscription("mixed", ["NSE:EQ003", "NSE:NOSUCH", "NFO:GONEFUT"])

    eventually(lambda: pool.status(Kind.SUBSCRIPTION, "mixed")["streaming"] == 1)
    named = {entry["symbol"]: entry["reason"] for entry in pool.status(Kind.SUBSCRIPTION, "mixed")["unresolved"]}
    assert named == {"NSE:NOSUCH": "SymbolUnknown", "NFO:GONEFUT": "Expired"}
    assert reason(pool, Kind.SUBSCRIPTION, "mixed", Condition.RESOLVED) == ("False", Reason.PARTLY_RESOLVED)


def test_subscription_above_capacity_streams_what_fits_and_names_the_rest(
    pool: Pool, settings: OperatorSettings
) -> None:
    stage = Stage(pool)
    stage.start()
    running = RunningOperator(settings).start()
    pool.account("small", instrumentsPerSocket=3)
    pool.subscription("large", [f"NSE:EQ{number:03}" for number in range(1, 9)])

    eventually(lambda: pool.status(Kind.SUBSCRIPTION, "large")["streaming"] == 3)
    assigned = eventually(lambda: pool.condition(Kind.SUBSCRIPTION, "large", Condition.ASSIGNED))
    assert (assigned["status"], assigned["reason"]) == ("False", Reason.CAPACITY_EXCEEDED)
    assert "5" in assigned["message"]
    assert running.stop() == 0
    stage.stop()


def test_object_that_an_older_schema_let_in_hurts_nobody(
    pool: Pool, operator: RunningOperator, api_server: ControlPlane
) -> None:
    """A selector is served by the schema and not by this operator; a bare account lacks nothing but sense."""
    selector = {"selector": {"underlying": "NIFTY", "kinds": ["options"]}}
    pool.create(kind_manifest(Kind.SUBSCRIPTION, "selects", selector))

    eventually(lambda: reason(pool, Kind.SUBSCRIPTION, "selects", Condition.RESOLVED)[0] == "False")
    assert still_streams(pool)
