"""What ``/metrics`` says of circuit, backpressure and sockets: a state as one series each, changes as counters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from prometheus_client.core import Metric

from ticker_shard.app.metrics import _backpressure, _circuit, _feed
from ticker_shard.feed import FeedSettings, FeedStatus
from ticker_shard.publish.backpressure import BackpressureMonitor, BackpressureSettings, Load
from ticker_shard.publish.breaker import CircuitBreaker, Outcome
from ticker_shard.publish.limits import SECOND_NS


def samples(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    return {
        (sample.name.removeprefix("tickershard_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_the_level_its_changes_and_the_fullest_queue_are_shown() -> None:
    monitor = BackpressureMonitor(BackpressureSettings())
    monitor.observe(Load(away=True), now_ns=0)
    monitor.observe(Load(fill=0.25), now_ns=SECOND_NS)
    monitor.observe(Load(fill=0.25), now_ns=2 * SECOND_NS)

    assert samples(_backpressure(monitor)) == {
        ("backpressure_level", "normal"): 0,
        ("backpressure_level", "conflate"): 1,
        ("backpressure_level", "shed"): 0,
        ("backpressure_transitions_total", "normal", "shed"): 1,
        ("backpressure_transitions_total", "shed", "conflate"): 1,
        ("queue_fill",): 0.25,
    }


def test_the_circuits_state_and_its_changes_are_shown() -> None:
    breaker = CircuitBreaker(jitter=lambda: 1.0)
    for _ in range(2):
        breaker.report(Outcome.FAILURE, now_ns=0)

    assert samples(_circuit(breaker)) == {
        ("redis_circuit_state", "closed"): 0,
        ("redis_circuit_state", "open"): 1,
        ("redis_circuit_state", "half_open"): 0,
        ("redis_circuit_transitions_total", "closed", "open"): 1,
    }


def test_how_many_sockets_fit_is_shown_once_it_is_learnt() -> None:
    feed = FeedStatus(FeedSettings(url="ws://x"), ())

    assert ("sockets_accepted",) not in samples(_feed(feed))
    assert samples(_feed(replace(feed, sockets_accepted=2)))["sockets_accepted",] == 2
