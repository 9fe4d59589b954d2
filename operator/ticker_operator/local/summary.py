"""What a run of the pool came to, from the shards' own files. Pure but for reading them.

Latencies of several shards are joined by their histograms: a percentile of percentiles would be nobody's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ticker_operator.local.files import read_json
from ticker_operator.local.layout import STATUS_FILE, Layout

TICK_TERMS: Final = (
    "received",
    "published",
    "conflated",
    "rejected",
    "dropped",
    "withheld",
    "superseded",
    "in_flight",
)


def shard_reports(layout: Layout, accounts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Each account's ``status.json``; an empty one where there is none yet."""
    return {account: read_json(layout.account(account) / STATUS_FILE) for account in accounts}


def summarize(reports: Mapping[str, Mapping[str, Any]], *, accounts: int, assigned: int) -> dict[str, Any]:
    """The one line of JSON that ends a run.

    Parameters
    ----------
    reports
        By account, as of the end.
    accounts
        Declared.
    assigned
        Instruments in all tables.
    """
    ledgers = [report.get("ledger", {}) for report in reports.values()]
    buckets: Counter[float] = Counter()
    for report in reports.values():
        for edge, rows in report.get("latency_ms", {}).get("buckets", {}).items():
            buckets[float(edge)] += rows
    return {
        "shards": len(reports),
        "accounts": accounts,
        "instruments": assigned,
        "confirmed": sum(int(report.get("confirmed", 0)) for report in reports.values()),
        **{f"ticks_{term}": sum(int(ledger.get(term, 0)) for ledger in ledgers) for term in TICK_TERMS},
        "gaps": sum(int(report.get("gaps", 0)) for report in reports.values()),
        "publish_latency_ms": {"p50": quantile(buckets, 0.50), "p99": quantile(buckets, 0.99)},
        "ledger_balanced": bool(ledgers) and all(ledger.get("balanced") is True for ledger in ledgers),
    }


def quantile(buckets: Mapping[float, int], share: float) -> float | None:
    """Upper edge of the bucket that holds the quantile; `None` without any row."""
    place = math.ceil(share * sum(buckets.values()))
    seen = 0
    for edge in sorted(buckets):
        seen += buckets[edge]
        if seen >= place:
            return round(edge, 3)
    return None


def succeeded(summary: Mapping[str, Any]) -> bool:
    """Every assigned instrument was confirmed, and every row is accounted for."""
    confirmed: bool = summary["confirmed"] >= summary["instruments"] > 0
    return confirmed and bool(summary["ledger_balanced"])
