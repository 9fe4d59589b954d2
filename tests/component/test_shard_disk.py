"""A disk that is full, or a folder that cannot be written to any more: what is lost is the report, never a tick.

For the full disk the account's folder, with the shard's log in it, lies on a small file system of the test's own (root
only). A folder that refuses is made by a directory where the shard writes its temporary file: a file system with open
files cannot be made read-only under them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from tests.support.require import unavailable
from tests.support.shard import ShardFolder, ShardProcess, a_table, free_channels, last_rows, listed_instruments
from tests.support.shard import shard_process as a_process
from tests.support.simulator import SimulatorProcess, simulator

CHANNEL = "ticker:equity"
LONG_S = 40.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=14, day="2026-11-20", ticks_per_second=500) as running:
        yield running


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        unavailable("mounting a file system needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0755", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode:
        unavailable(f"no tmpfs can be mounted: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4_096)
        except OSError:
            return ballast


def streams_on(shard: ShardProcess, client: redis.Redis) -> None:
    """Each instrument gets a newer value."""
    before = {symbol: row["received_at"] for symbol, row in last_rows(client, CHANNEL).items()}
    assert len(before) == 20
    shard.wait_until(
        lambda: all(row["received_at"] > before[symbol] for symbol, row in last_rows(client, CHANNEL).items()),
        "every value moves on",
        within_s=LONG_S,
    )


@contextmanager
def streaming_shard(path: Path, sim: SimulatorProcess, redis_url: str) -> Iterator[tuple[ShardProcess, redis.Redis]]:
    """A shard whose folder is `path`, with twenty instruments, all acknowledged."""
    folder = ShardFolder(path)
    folder.create()
    folder.give_token("simkey1", "simtoken1")
    rows = [row for row in listed_instruments(sim) if row.segment == "NSE"][:20]
    folder.assign(a_table(1, [row.assigned(CHANNEL) for row in rows]))
    url_file = path / "redis-url"
    url_file.write_text(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        free_channels(client, (CHANNEL,))
        with a_process(folder, redis_url_file=url_file, ticker_url=sim.ws, drain_deadline_s=0.5) as shard:
            shard.await_acknowledged(1, within_s=LONG_S)
            shard.listening()
            yield shard, client


def refused_writes(shard: ShardProcess) -> bool:
    return 'status_writes_total{outcome="unknown"}' in shard.get("/metrics")[1]


def reports_again(shard: ShardProcess, *, after_ns: int) -> None:
    shard.wait_until(
        lambda: shard.folder.status().get("heartbeat_ns", 0) > after_ns, "it reports again", within_s=LONG_S
    )


def test_a_full_disk_costs_reports_and_no_tick(disk: Path, sim: SimulatorProcess, redis_url: str) -> None:
    with streaming_shard(disk / "acc1", sim, redis_url) as (shard, client):
        ballast = fill(disk)
        shard.wait_until(lambda: refused_writes(shard), "a report fails", within_s=LONG_S)
        told_ns = shard.folder.status()["heartbeat_ns"]
        streams_on(shard, client)
        streams_on(shard, client)
        assert shard.get("/livez")[0] == 200
        assert shard.folder.status()["heartbeat_ns"] == told_ns, "the last report stands, whole"

        ballast.unlink()
        reports_again(shard, after_ns=told_ns)


def test_a_folder_that_refuses_costs_reports_and_no_tick(tmp_path: Path, sim: SimulatorProcess, redis_url: str) -> None:
    with streaming_shard(tmp_path / "acc1", sim, redis_url) as (shard, client):
        obstacle = shard.folder.path / f".status.json.{shard.process.pid}.tmp"
        block(shard, obstacle)
        shard.wait_until(lambda: refused_writes(shard), "a report fails", within_s=LONG_S)
        told_ns = shard.folder.status()["heartbeat_ns"]
        streams_on(shard, client)
        assert shard.get("/livez")[0] == 200

        obstacle.rmdir()
        reports_again(shard, after_ns=told_ns)


def block(shard: ShardProcess, obstacle: Path) -> None:
    """Between two of its writes there is no such file: then a directory takes its name."""

    def made() -> bool:
        try:
            obstacle.mkdir()
        except FileExistsError:
            return False
        return True

    shard.wait_until(made, "the obstacle stands", within_s=LONG_S)
