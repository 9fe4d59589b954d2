"""The host's clock is set by an hour under a running shard: every tick goes on, and nothing lasts a negative time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from tests.support.set_clock import Clock
from tests.support.shard import ShardFolder, a_table, free_channels, listed_instruments, shard_process
from tests.support.simulator import SimulatorProcess, simulator
from ticker_client import Subscriber, Update, decode_gap, gaps_key

CHANNEL = "ticker:equity"
INSTRUMENTS = 20
LONG_S = 60.0
SOON = timedelta(minutes=10)  # far from an hour


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=17, day="2026-11-20", ticks_per_second=1_500) as running:
        yield running


def negative(metrics: str) -> list[str]:
    samples = (sample for family in text_string_to_metric_families(metrics) for sample in family.samples)
    return [f"{sample.name}{sample.labels}: {sample.value}" for sample in samples if sample.value < 0]


def by_the_clock(ticks: Subscriber, *, set_by: timedelta) -> set[str]:
    """Symbols that a consumer hears of, each with a time of receipt by the clock as it goes now."""
    found: set[str] = set()
    deadline = time.monotonic() + LONG_S
    for event in ticks.events():
        assert time.monotonic() < deadline, found
        if isinstance(event, Update) and abs(event.row.received_at - set_by - datetime.now(UTC)) < SOON:
            found.add(event.row.symbol)
        if len(found) == INSTRUMENTS:
            return found
    raise AssertionError("unreachable")


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_disturbs_no_tick(
    tmp_path: Path, sim: SimulatorProcess, redis_url: str, hours: int
) -> None:
    folder, clock = ShardFolder(tmp_path / "acc1"), Clock(tmp_path / "wrong-by")
    folder.create()
    folder.give_token("simkey1", "simtoken1")
    rows = [row for row in listed_instruments(sim) if row.segment == "NSE"][:INSTRUMENTS]
    folder.assign(a_table(1, [row.assigned(CHANNEL) for row in rows]))
    url_file = tmp_path / "redis-url"
    url_file.write_text(redis_url)
    program = ("tests.support.set_clock", clock.file)
    with redis.Redis.from_url(redis_url) as client:
        free_channels(client, (CHANNEL,))
        with (
            shard_process(
                folder, redis_url_file=url_file, ticker_url=sim.ws, program=program, drain_deadline_s=0.5
            ) as shard,
            Subscriber(client, [CHANNEL]) as ticks,
        ):
            shard.await_acknowledged(1, within_s=LONG_S)
            by_the_clock(ticks, set_by=timedelta())

            sim.control.fault("drop", api_key="simkey1")
            clock.set_by(hours * 3_600)
            by_the_clock(ticks, set_by=timedelta(hours=hours))
            shard.wait_until(lambda: client.xlen(gaps_key(CHANNEL)) > 0, "the hole has a record", within_s=LONG_S)

            assert negative(shard.get("/metrics")[1]) == []
            assert shard.get("/readyz")[0] == 200
        (gap,) = [decode_gap(entry[b"gap"]) for _, entry in client.xrange(gaps_key(CHANNEL))]
    assert timedelta() <= gap.end - gap.start < SOON
    status = folder.status()
    assert status["ledger"]["rejected"] == 0
    assert all(float(edge) < SOON.total_seconds() * 1_000 for edge in status["latency_ms"]["buckets"])
    assert "-" not in json.dumps(status["latency_ms"])
