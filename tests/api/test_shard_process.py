"""A shard process with everything real but the broker: API server, Role, ConfigMap, Secret, Lease, status, Redis.

What `test_shard_sources` proves port by port, together: a pod's process finds its table and token, streams, says so in
its TickerShard, follows a new token, and leaves its Lease to the next when it is asked to end.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_shard_sources import SECRET, Pool, pool
from tests.support.redis_server import redis_server
from tests.support.shard import a_table, free_channels, last_rows, listed_instruments
from tests.support.simulator import SimulatorProcess, simulator

__all__ = ["pool"]  # the fixture

CHANNEL = "ticker:equity"
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=5, day="2026-11-20", ticks_per_second=300) as running:
        yield running


def wait_until(holds: Callable[[], Any], what: str, *, log: Path) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}\n{log.read_text()[-4_000:]}"
        time.sleep(0.05)
    return found


def condition(pool: Pool, kind: str) -> tuple[str, str]:
    found = [entry for entry in pool.status().get("conditions", ()) if entry["type"] == kind]
    return (found[0]["status"], found[0]["reason"]) if found else ("", "")


def test_a_shard_pods_process_streams_reports_and_leaves(pool: Pool, sim: SimulatorProcess) -> None:
    table = a_table(3, [row.assigned(CHANNEL) for row in listed_instruments(sim) if row.segment == "NSE"])
    (pool.folder / "ca.crt").write_bytes(pool.plane.ca_file.read_bytes())
    pool.write_table(table=table)
    pool.write_secret("simtoken1", api_key="simkey1")
    log = pool.folder / "shard.log"
    with redis_server() as server, server.client() as client, log.open("wb") as out:
        free_channels(client, [CHANNEL], member=f"{pool.namespace}.acc1")
        (pool.folder / "redis-url").write_text(server.url)
        arguments = {
            "account": "acc1", "namespace": pool.namespace, "secret-name": SECRET, "instance": "pod-uid-1",
            "api-url": pool.plane.url, "service-account-dir": pool.folder, "redis-url-file": pool.folder / "redis-url",
            "ticker-url": sim.ws, "host": "127.0.0.1", "port": 0, "drain-deadline-s": 0.5,
        }  # fmt: skip
        flags = [part for key, value in arguments.items() for part in (f"--{key}", str(value))]
        process = subprocess.Popen([sys.executable, "-m", "ticker_shard.app", *flags], stdout=out, stderr=out)
        try:
            wait_until(lambda: condition(pool, "Streaming") == ("True", "Streaming"), "Streaming", log=log)
            wait_until(lambda: pool.status().get("acknowledged", {}).get("revision") == 3, "acknowledged", log=log)
            status = pool.status()
            assert status["confirmed"] == len(table.instruments)
            assert status["sockets"] == "1/1"
            assert status["acknowledged"]["process"].startswith("pod-uid-1/")
            assert set(last_rows(client, CHANNEL)) == {row.symbol for row in table.instruments}
            assert pool.lease_holder() == status["acknowledged"]["process"]

            sim.control.revoke("simkey1")
            sim.control.fault("drop", api_key="simkey1")
            wait_until(
                lambda: condition(pool, "CredentialsValid") == ("False", "TokenRejected"), "TokenRejected", log=log
            )
            sim.control.grant("simkey1", "tokenOfTheNextDay")
            pool.write_secret("tokenOfTheNextDay", api_key="simkey1")
            rotated = time.monotonic()
            wait_until(lambda: condition(pool, "Streaming") == ("True", "Streaming"), "Streaming again", log=log)
            assert time.monotonic() - rotated < 5

            process.terminate()
            assert process.wait(WITHIN_S) == 0
            assert pool.lease_holder() == ""
            assert "tokenOfTheNextDay" not in log.read_text()
            assert "forbidden" not in log.read_text()  # the Role of the contracts is enough
        finally:
            process.kill()
            process.wait()
