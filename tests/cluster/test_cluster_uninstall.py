"""`helm uninstall` takes the operator and leaves what was declared, what runs, and nothing that hangs."""

from __future__ import annotations

import time

import pytest

from tests.support.cluster_client import CommandError, eventually
from tests.support.cluster_pool import OPERATOR, RELEASE, SYMBOLS, TEST_S, Pool
from tests.support.cluster_tape import silences
from ticker_crds.constants import FINALIZER_DRAIN

pytestmark = pytest.mark.timeout(TEST_S)

UNBROKEN_S = 3.0
WATCHED_S = 10.0


def test_uninstalling_takes_the_operator_and_leaves_the_accounts_streaming(streaming: Pool) -> None:
    client = streaming.client
    start_s = time.monotonic()

    client.helm("uninstall", RELEASE, "--wait", "--timeout=120s", "--ignore-not-found")  # gone, at a second try

    end_s = time.monotonic() + WATCHED_S
    eventually(
        lambda: streaming.tape.heard[-1].at_s,
        until=lambda at_s: at_s >= end_s,
        timeout_s=2 * WATCHED_S,
        what="messages after the uninstall",
    )
    with pytest.raises(CommandError):
        client.get("deployment", OPERATOR)
    assert streaming.accounts() == ["acc1", "acc2"]
    assert client.items("tickersubscriptions")
    found = silences(streaming.tape.since(0), SYMBOLS, start_s=start_s, end_s=end_s, ran_s=streaming.ran_s)
    assert {symbol: silence for symbol, silence in found.items() if silence > UNBROKEN_S} == {}


def test_it_leaves_no_rights_and_no_jobs_of_its_own(pool: Pool) -> None:
    left = pool.client.kubectl(
        *("get", "serviceaccounts,roles,rolebindings,jobs,configmaps", "-o", "name"),
        *("-l", f"app.kubernetes.io/instance={RELEASE}"),
    )

    assert left == ""


def test_no_account_waits_for_an_operator_that_is_gone(pool: Pool) -> None:
    for account in pool.client.items("kiteaccounts"):
        assert FINALIZER_DRAIN not in account["metadata"].get("finalizers", [])

    pool.client.kubectl("delete", "kiteaccounts,tickersubscriptions", "--all", "--timeout=60s")

    left = eventually(
        lambda: pool.client.kubectl("get", "tickershards,deployments", "-l", "tickershard.io/account", "-o", "name"),
        until=lambda left: not left,
        timeout_s=60,
        what="the cluster removes what belonged to the accounts",
    )
    assert left == ""
