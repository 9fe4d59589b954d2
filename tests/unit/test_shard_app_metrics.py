"""What ``/metrics`` says of the circuit and of backpressure: the state as one series each, changes as counters."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import Metric

from ticker_shard.app.metrics import _backpressure
from ticker_shard.publish.backpressure import BackpressureMonitor, BackpressureSettings, Load
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
