"""What can be scraped: counters that grow where things happen, and gauges read off the loop at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ticker_operator.model import Health
from ticker_operator.reconcile.loop import PoolLoop

PREFIX: Final = "tickershard_operator"


class Metrics:
    """The operator's metrics; `scrape` renders them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._api = Counter(
            f"{PREFIX}_api_requests", "Requests to the API server", ["verb", "resource", "code"], registry=self.registry
        )
        self._events = Counter(
            f"{PREFIX}_watch_events", "Events of the watch", ["kind", "type"], registry=self.registry
        )
        self._seen_at: dict[str, float] = {}

    def api_request(self, verb: str, plural: str, status: int) -> None:
        """One request; status 0 = no answer."""
        self._api.labels(verb, plural, str(status) if status else "none").inc()

    def watch_event(self, kind: str, event_type: str) -> None:
        """One event."""
        self._events.labels(kind, event_type or "LISTED").inc()
        self._seen_at[kind] = time.monotonic()

    def follow(self, loop: PoolLoop, *, leads: Callable[[], bool]) -> None:
        """Read this loop's vitals at each scrape."""
        self.registry.register(_Vitals(loop, self._seen_at, leads=leads))

    def scrape(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)


class _Vitals(Collector):
    def __init__(self, loop: PoolLoop, seen_at: dict[str, float], *, leads: Callable[[], bool]) -> None:
        self._loop = loop
        self._seen_at = seen_at
        self._leads = leads

    def collect(self) -> Iterator[Metric]:
        loop, vitals, now = self._loop, self._loop.vitals, time.monotonic()
        yield GaugeMetricFamily(f"{PREFIX}_leader", "Whether this process holds the Lease", value=float(self._leads()))
        passes = GaugeMetricFamily(f"{PREFIX}_passes", "Passes ended", labels=["outcome"])
        for outcome, count in sorted(vitals.outcomes.items()):
            passes.add_metric([outcome], count)
        yield passes
        yield GaugeMetricFamily(f"{PREFIX}_pass_duration_seconds", "Of the last pass", value=vitals.duration_s)
        if vitals.finished_at:
            yield GaugeMetricFamily(
                f"{PREFIX}_pass_age_seconds", "Since the last pass ended", value=now - vitals.finished_at
            )
        if vitals.listed_at:
            yield GaugeMetricFamily(
                f"{PREFIX}_list_age_seconds", "Since the last complete list", value=now - vitals.listed_at
            )
        seen = GaugeMetricFamily(f"{PREFIX}_watch_event_age_seconds", "Since the last event", labels=["kind"])
        for kind, at in sorted(self._seen_at.items()):
            seen.add_metric([kind], now - at)
        yield seen
        yield GaugeMetricFamily(f"{PREFIX}_backoff_waiting", "Steps that wait after a failure", value=loop.waiting)
        yield from self._pool()

    def _pool(self) -> Iterator[Metric]:
        decisions = self._loop.decisions
        if decisions is None:
            return
        healths = [verdict.health for verdict in decisions.verdicts.values()]
        accounts = GaugeMetricFamily(f"{PREFIX}_accounts", "Accounts by health", labels=["health"])
        for health in Health:
            accounts.add_metric([health.value], healths.count(health))
        yield accounts
        yield GaugeMetricFamily(
            f"{PREFIX}_instruments_wanted", "Instruments wanted", value=len(decisions.resolution.wanted)
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_instruments_unassigned", "Wanted, streamed by nobody", value=len(decisions.plan.unassigned)
        )
        yield GaugeMetricFamily(
            f"{PREFIX}_instruments_moving", "On their way to another account", value=decisions.tables.moving
        )
