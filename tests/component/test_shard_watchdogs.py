"""One shard as a child process on a broker that says nothing while it looks alive: what is noticed, done and shown.

The limits are far below their defaults and the market is declared open, so that a story takes seconds at any hour.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.shard import (
    ShardFolder,
    ShardProcess,
    a_table,
    free_channels,
    last_rows,
    listed_instruments,
    shard_process,
)
from tests.support.shard_checks import differences
from tests.support.simulator import SimulatorProcess, simulator
from ticker_client.keys import gaps_key
from ticker_crds import AssignmentTable
from ticker_shard.feed.watchdogs import PATIENCE, PRIOR_S

CHANNEL = "ticker:equity"
KEY, TOKEN = "simkey1", "simtoken1"
MUTE_MS = 4_000
LONG_S = 90.0  # far above anything that is waited for: the machine may be busy


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    # Fast enough that a socket with 40 instruments is never quiet for a third of the limit.
    with simulator(seed=12, day="2026-11-20", ticks_per_second=600, heartbeat_ms=300) as running:
        yield running


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        connected.delete(gaps_key(CHANNEL))
        free_channels(connected, (CHANNEL,))
        yield connected


@pytest.fixture
def table(sim: SimulatorProcess) -> AssignmentTable:
    rows = [row for row in listed_instruments(sim) if row.segment == "NSE"][:40]
    return a_table(1, [row.assigned(CHANNEL) for row in rows])


@contextmanager
def a_shard(
    path: Path, sim: SimulatorProcess, redis_url: str, table: AssignmentTable, **more: int
) -> Iterator[ShardProcess]:
    """A shard that has acknowledged `table`."""
    folder = ShardFolder(path / "acc1")
    folder.create()
    folder.give_token(KEY, TOKEN)
    folder.assign(table)
    url_file = path / "redis-url"
    url_file.write_text(redis_url)
    settings = {"mute_ms": MUTE_MS, "market_hours": "always", "drain_deadline_s": 0.5, "confirm_after_s": 3, **more}
    try:
        with shard_process(folder, redis_url_file=url_file, ticker_url=sim.ws, **settings) as running:
            running.await_acknowledged(1, within_s=LONG_S)
            yield running
    finally:
        sim.control.heal()
        sim.control.resume()


@pytest.fixture
def shard(
    tmp_path: Path, sim: SimulatorProcess, redis_url: str, client: redis.Redis, table: AssignmentTable
) -> Iterator[ShardProcess]:
    with a_shard(tmp_path, sim, redis_url, table) as running:
        yield running


def gap_records(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(record[b"gap"]) for _, record in client.xrange(gaps_key(CHANNEL))]


def wrong_rows(sim: SimulatorProcess, client: redis.Redis, table: AssignmentTable) -> list[str]:
    """Every difference between Redis and the simulator's record; missing rows included."""
    sent, rows = sim.control.stats(api_key=KEY).tokens, last_rows(client, CHANNEL)
    return [
        f"{instrument.symbol}: {text}"
        for instrument in table.instruments
        for text in differences(sent[instrument.token].row, rows.get(instrument.symbol, {}))
    ]


def metric(shard: ShardProcess, name: str) -> float:
    """The value of one series; 0 where it is not shown."""
    for line in shard.get("/metrics")[1].splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    return 0.0


def modes_asked(sim: SimulatorProcess) -> int:
    requests = [entry for entry in sim.control.history() if entry["kind"] == "request"]
    return sum(entry["action"] == "mode" for entry in requests)


def test_a_mute_feed_climbs_the_ladder_is_reported_and_forgiven(
    shard: ShardProcess, sim: SimulatorProcess, client: redis.Redis, table: AssignmentTable
) -> None:
    sim.control.fault("mute", api_key=KEY)

    assert "1 of 1 sockets" in shard.await_condition("Degraded", "True", "FeedMute", within_s=LONG_S)
    message = shard.await_condition("Streaming", "False", "FeedMute", within_s=LONG_S)
    assert "although the market is open" in message
    for step in ("resubscribe", "reconnect", "report"):
        assert metric(shard, f'tickershard_feed_events_total{{event="mute_{step}"}}') >= 1, step
    shard.wait_until(lambda: metric(shard, "tickershard_sockets_mute") == 1, "it is shown", within_s=LONG_S)

    sim.control.heal()
    shard.await_condition("Streaming", "True", "Streaming", within_s=LONG_S)
    shard.await_condition("Degraded", "False", "Healthy", within_s=LONG_S)
    shard.wait_until(lambda: metric(shard, "tickershard_sockets_mute") == 0, "it is over", within_s=LONG_S)
    shard.wait_until(lambda: sim.control.pause(finish=True), "the market stands still", within_s=LONG_S)
    shard.wait_until(lambda: not wrong_rows(sim, client, table), "Redis holds what was sent", within_s=LONG_S)
    shard.wait_until(lambda: bool(gap_records(client)), "the hole has a record", within_s=LONG_S)
    assert all(record["cause"].startswith("mute") for record in gap_records(client)), gap_records(client)


def test_two_instruments_in_a_still_market_are_asked_whether_they_answer_and_a_mute_socket_is_told_by_that(
    tmp_path: Path, sim: SimulatorProcess, redis_url: str, client: redis.Redis, table: AssignmentTable
) -> None:
    two = a_table(1, table.instruments[:2])
    with a_shard(tmp_path, sim, redis_url, two) as shard:
        assert sim.control.pause(finish=True)
        asked = modes_asked(sim)
        shard.wait_until(lambda: modes_asked(sim) >= asked + 3, "it is asked again and again", within_s=LONG_S)
        assert metric(shard, 'tickershard_feed_events_total{event="mute_resubscribe"}') == 0, "and it answers"

        sim.control.fault("mute", api_key=KEY)

        # By the rhythm of two instruments nobody would worry before minutes had passed.
        assert LONG_S < PATIENCE * PRIOR_S / 2
        shard.await_condition("Degraded", "True", "FeedMute", within_s=LONG_S)


def test_a_frame_too_large_to_be_held_is_counted_and_its_hole_declared(
    shard: ShardProcess, sim: SimulatorProcess, client: redis.Redis, table: AssignmentTable
) -> None:
    sim.control.fault("malformed", api_key=KEY, how="oversized", count=1)

    shard.wait_until(lambda: bool(gap_records(client)), "the hole has a record", within_s=LONG_S)
    shard.await_condition("Streaming", "True", "Streaming", within_s=LONG_S)
    shard.wait_until(lambda: sim.control.pause(finish=True), "the market stands still", within_s=LONG_S)
    shard.wait_until(lambda: not wrong_rows(sim, client, table), "Redis holds what was sent", within_s=LONG_S)
    assert metric(shard, 'tickershard_feed_events_total{event="closed_protocol_error"}') == 1
    assert {record["cause"] for record in gap_records(client)} == {"protocol_error"}
    assert sum(record["instruments"] for record in gap_records(client)) == len(table.instruments)


def test_a_hole_in_one_of_three_sockets_names_its_instruments_alone(
    tmp_path: Path, sim: SimulatorProcess, redis_url: str, client: redis.Redis, table: AssignmentTable
) -> None:
    with a_shard(tmp_path, sim, redis_url, table, sockets=3, instruments_per_socket=14, mute_ms=60_000) as shard:
        sockets = {entry["socket"]: entry["subscribed"] for entry in sim.control.stats(api_key=KEY).sockets}
        assert sorted(sockets.values()) == [13, 13, 14]
        struck = next(number for number, subscribed in sockets.items() if subscribed == 14)
        sim.control.fault("reset", socket=struck)

        shard.wait_until(lambda: bool(gap_records(client)), "the hole has a record", within_s=LONG_S)
        shard.await_condition("Streaming", "True", "Streaming", within_s=LONG_S)

    (record,) = gap_records(client)
    assert record["instruments"] == len(set(record["symbols"])) == 14
    assert set(record["symbols"]) < {row.symbol for row in table.instruments}
    assert record["start"] < record["end"]
