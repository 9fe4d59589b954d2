"""Resident memory of one shard: 9,000 instruments in full mode on three sockets, streaming into a local Redis.

A real child process against the simulator: the whole account (3 sockets × 3,000), every instrument confirmed, rows
flowing for a while, because what counts is what a pod's limit has to cover. The highest resident set ever reached
(``VmHWM``) is reported beside the one at the end (``VmRSS``).
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from benchmarks.results import Result, at_most
from tests.support.redis_server import redis_server
from tests.support.shard import ShardFolder, a_table, free_channels, listed_instruments, shard_process
from tests.support.simulator import simulator
from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX

INSTRUMENTS: Final = SOCKETS_MAX * INSTRUMENTS_PER_SOCKET_MAX
GOAL_MIB: Final = 200
GATE_MIB: Final = 260
CHANNELS: Final = 16
WARM_S: Final = 120.0


def results(*, quick: bool = False) -> list[Result]:
    """Measure one process; `quick` streams for 5 s instead of 60 s."""
    stream_s = 5.0 if quick else 60.0
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(redis_server())
        sim = stack.enter_context(simulator(seed=1, day="2026-11-20", ticks_per_second=9_000))
        (work / "redis-url").write_text(server.url)
        rows = [row.assigned(f"ticker:c{number % CHANNELS}") for number, row in enumerate(listed_instruments(sim))]
        assert len(rows) >= INSTRUMENTS, f"the simulator lists {len(rows):,} instruments, {INSTRUMENTS:,} are needed"
        table = a_table(1, rows[:INSTRUMENTS])
        with server.client() as client:
            free_channels(client, [channel.name for channel in table.channels])
        folder = ShardFolder(work / "acc1")
        folder.create()
        folder.assign(table)
        folder.give_token("simkey1", "simtoken1")
        shard = stack.enter_context(
            shard_process(
                folder, redis_url_file=work / "redis-url", ticker_url=sim.ws, sockets=SOCKETS_MAX, drain_deadline_s=0
            )
        )
        shard.await_acknowledged(1, within_s=WARM_S)
        before = folder.status()["ledger"]["published"]
        time.sleep(stream_s)  # the measurement itself
        shard.wait_until(lambda: folder.status()["ledger"]["published"] > before, "rows flow")
        status = folder.status()
        assert status["confirmed"] == INSTRUMENTS, status["confirmed"]
        memory = _memory_mib(shard.process.pid)
    return [
        _row("shard, 9,000 instruments in full mode: highest resident set", memory["VmHWM"]),
        _row("shard, 9,000 instruments in full mode: resident set while streaming", memory["VmRSS"]),
    ]


def _row(name: str, value: float) -> Result:
    return Result(name=name, value=value, unit="MiB", goal=at_most(GOAL_MIB, "MiB"), gate=at_most(GATE_MIB, "MiB"))


def _memory_mib(pid: int) -> dict[str, float]:
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) / 1_024 for line in lines if line and line[0] in ("VmHWM:", "VmRSS:")}
