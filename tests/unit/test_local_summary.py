"""The line that ends a run says what was so, and success means everything confirmed and accounted for."""

from __future__ import annotations

from typing import Any

import pytest

from ticker_operator.local.summary import succeeded, summarize


def a_report(*, confirmed: int = 10, balanced: bool = True, buckets: dict[str, int] | None = None) -> dict[str, Any]:
    ledger = {"received": 7, "published": 5, "conflated": 1, "rejected": 1, "balanced": balanced}
    return {
        "confirmed": confirmed,
        "ledger": ledger,
        "gaps": 1,
        "latency_ms": {"buckets": buckets or {"1.0": 99, "8.0": 1}},
    }


def test_counts_of_all_shards_are_added_and_absent_terms_are_zero() -> None:
    summary = summarize({"acc1": a_report(), "acc2": a_report()}, accounts=2, assigned=20)

    assert summary["ticks_received"] == 14
    assert summary["ticks_published"] == 10
    assert summary["ticks_dropped"] == 0
    assert summary["confirmed"] == 20
    assert summary["gaps"] == 2


def test_percentiles_come_from_the_joined_histogram() -> None:
    quick, slow = a_report(buckets={"1.0": 98}), a_report(buckets={"50.0": 2})

    assert summarize({"a": quick, "b": slow}, accounts=2, assigned=20)["publish_latency_ms"] == {
        "p50": 1.0,
        "p99": 50.0,
    }


@pytest.mark.parametrize(
    ("reports", "assigned"),
    [
        pytest.param({"acc1": a_report(confirmed=9)}, 10, id="an instrument was not confirmed"),
        pytest.param({"acc1": a_report(balanced=False)}, 10, id="the ledger does not balance"),
        pytest.param({"acc1": a_report(), "acc2": {}}, 10, id="a shard left no ledger"),
        pytest.param({"acc1": a_report(confirmed=0)}, 0, id="nothing was assigned"),
        pytest.param({}, 0, id="there was no shard"),
    ],
)
def test_a_run_does_not_succeed_when(reports: dict[str, dict[str, Any]], assigned: int) -> None:
    assert not succeeded(summarize(reports, accounts=1, assigned=assigned))


def test_a_run_succeeds_when_all_is_confirmed_and_balanced() -> None:
    assert succeeded(summarize({"acc1": a_report()}, accounts=1, assigned=10))
