"""Restarts and races: the same placement, one writer at a time, an API server that goes away and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.operator import Pool, RunningOperator, broker, eventually, operator_identity, operator_settings
from tests.support.operator_stage import Stage
from ticker_crds.constants import API_VERSION, Kind
from ticker_operator.app.settings import OperatorSettings

SYMBOLS = [f"NSE:EQ{number:03}" for number in range(1, 13)]
MORE = [f"NSE:EQ{number:03}" for number in range(13, 20)]
LEASES = "coordination.k8s.io/v1"


@pytest.fixture
def pool(api_server: ControlPlane, namespace: str) -> Iterator[Pool]:
    with broker() as kite:
        pool = Pool(api_server.client(), namespace, kite)
        for account in ("acc1", "acc2"):
            pool.account(account)
        pool.subscription("equities", SYMBOLS)
        yield pool


@pytest.fixture
def stage(pool: Pool) -> Iterator[Stage]:
    playing = Stage(pool)
    playing.start()
    yield playing
    playing.stop()


@pytest.fixture
def settings(api_server: ControlPlane, pool: Pool) -> OperatorSettings:
    user = operator_identity(api_server, pool.namespace)
    allowed = (pool.broker.url, pool.broker.url.replace("http", "ws"))
    return operator_settings(api_server.kubeconfig(user, namespace=pool.namespace), pool.namespace, endpoints=allowed)


def streams(pool: Pool, subscription: str, count: int) -> bool:
    return bool(pool.status(Kind.SUBSCRIPTION, subscription).get("streaming") == count)


def get(port: int, path: str) -> str:
    """The body, whatever the status."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = opener.open(f"http://127.0.0.1:{port}{path}", timeout=5)
    except urllib.error.HTTPError as refused:
        answer = refused
    with answer:
        content: str = answer.read().decode()
        return content


def test_restarted_operator_finds_the_same_placement_and_writes_nothing(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    first = RunningOperator(settings).start()
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
    before = {account: pool.table(account) for account in ("acc1", "acc2")}
    assert first.stop() == 0

    second = RunningOperator(settings).start()
    pool.subscription("more", MORE)
    eventually(lambda: streams(pool, "more", len(MORE)))

    after = pool.owners()
    for account, table in before.items():
        assert all(after[row.symbol] == account for row in table.instruments), "what was placed did not move"
    assert second.stop() == 0


KINDS = (
    (Kind.ACCOUNT, API_VERSION),
    (Kind.SUBSCRIPTION, API_VERSION),
    (Kind.SHARD, API_VERSION),
    ("ConfigMap", "v1"),
    ("Role", "rbac.authorization.k8s.io/v1"),
    ("Deployment", "apps/v1"),
)


def versions(pool: Pool) -> dict[str, str]:
    """The version of every object that the operator writes."""
    listed = [item for kind, api_version in KINDS for item in pool.list(kind, api_version)]
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in listed}


def passes(operator: RunningOperator) -> float:
    lines = get(operator.port, "/metrics").splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tickershard_operator_passes{"))


def unchanged_over_passes(pool: Pool, operator: RunningOperator, count: int) -> bool:
    before, begun = versions(pool), passes(operator)
    eventually(lambda: passes(operator) >= begun + count)
    return versions(pool) == before


def test_idle_operator_writes_nothing(pool: Pool, stage: Stage, settings: OperatorSettings) -> None:
    operator = RunningOperator(settings.model_copy(update={"resync_s": 1.0})).start()
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    eventually(lambda: unchanged_over_passes(pool, operator, 2))
    before = versions(pool)
    unchanged_over_passes(pool, operator, 4)

    assert versions(pool) == before
    assert 'code="403"' not in get(operator.port, "/metrics"), "the Role holds all it needs"
    assert operator.stop() == 0


def test_second_operator_waits_ready_and_takes_over_at_once_when_the_first_ends(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    first = RunningOperator(settings).start()
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
    second = RunningOperator(settings).start()
    eventually(lambda: get(second.port, "/readyz") == "ok\n")
    holder = pool.get("Lease", settings.lease_name, LEASES)["spec"]["holderIdentity"]

    assert "tickershard_operator_leader" not in get(second.port, "/metrics")
    assert "tickershard_operator_leader 1.0" in get(first.port, "/metrics")
    assert first.stop() == 0
    pool.subscription("more", MORE)
    eventually(lambda: streams(pool, "more", len(MORE)), within_s=10)

    assert pool.get("Lease", settings.lease_name, LEASES)["spec"]["holderIdentity"] != holder
    assert second.stop() == 0


def test_operator_whose_lease_is_taken_ends_with_an_error_and_writes_no_more(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    operator = RunningOperator(settings).start()
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
    lease = pool.get("Lease", settings.lease_name, LEASES)

    pool.client.merge(lease, {"spec": {"holderIdentity": "somebody else"}}, namespace=pool.namespace).expect(200)

    eventually(lambda: not operator.alive)
    assert operator.stop() == 1
    assert pool.get("Lease", settings.lease_name, LEASES)["spec"]["holderIdentity"] == "somebody else"


def test_operator_survives_a_restart_of_the_api_server(
    pool: Pool, stage: Stage, settings: OperatorSettings, api_server: ControlPlane
) -> None:
    operator = RunningOperator(settings).start()
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
    before = pool.owners()

    api_server.stop_apiserver()
    try:
        failed = 'tickershard_operator_passes{outcome="retry"}'
        eventually(lambda: failed in get(operator.port, "/metrics"), within_s=40)
    finally:
        api_server.start_apiserver()
    pool.subscription("more", MORE)

    eventually(lambda: streams(pool, "more", len(MORE)), within_s=40)
    assert operator.alive
    assert {symbol: account for symbol, account in pool.owners().items() if symbol in before} == before
    assert operator.stop() == 0


def test_process_starts_serves_probes_and_ends_in_order_on_sigterm(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    command = [
        *(sys.executable, "-m", "ticker_operator.app", "operator"),
        *(
            "--namespace",
            pool.namespace,
            "--kubeconfig",
            str(settings.kubeconfig),
            "--host",
            "127.0.0.1",
            "--port",
            "0",
        ),
        *(
            "--shard-image",
            "tickershard:test",
            "--quiet-ms",
            "100",
            "--shard-resources",
            '{"requests": {"cpu": "10m"}}',
        ),
        *(part for url in settings.endpoints_allowed for part in ("--endpoints-allowed", url)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
        assert get(port, "/healthz") == "ok\n"
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 0, logged
    assert pool.get("Lease", settings.lease_name, LEASES)["spec"]["holderIdentity"] == ""
    lines = [json.loads(line) for line in logged.splitlines()]
    passes = [line for line in lines if line["message"] == "pass"]
    assert [line["pass"] for line in passes] == list(range(1, len(passes) + 1))
    assert "access_token of" not in logged
