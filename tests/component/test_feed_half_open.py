"""A connection whose packets vanish both ways: nobody closes it, nothing fails, and it is noticed all the same.

The only sign is silence, so the default limit holds here: no frame for seven seconds, below the ten that are promised.
"""

from __future__ import annotations

import csv
import io
import urllib.request

from tests.support.dropped_network import dropped_network
from tests.support.feed_shard import a_table, streaming
from tests.support.simulator import SimulatorProcess, start_simulator
from ticker_crds import Mode
from ticker_shard.feed import ChangeKind, CloseReason, FeedSettings

SILENCE_MS = FeedSettings(url="ws://x").silence_ms
assert SILENCE_MS < 10_000


def some_instruments(sim: SimulatorProcess) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"{sim.url}/instruments") as answer:
        return list(csv.DictReader(io.StringIO(answer.read().decode())))[:20]


async def test_a_half_open_connection_is_noticed_and_replaced_when_packets_pass_again() -> None:
    with dropped_network() as network:
        sim = start_simulator(prefix=network.prefix, host=network.address, seed=4, rate_limits=False)
        try:
            table = a_table(some_instruments(sim), modes=(Mode.FULL,))
            async with streaming(sim, table, silence_ms=SILENCE_MS, connect_timeout_ms=1_000) as shard:
                await shard.until_all_confirmed()
                network.drop()

                await shard.until(lambda: shard.seen(ChangeKind.CLOSED) >= 1, "noticed")
                (closed,) = [change for change in shard.changes if change.kind is ChangeKind.CLOSED]
                await shard.until(lambda: shard.seen(ChangeKind.FAILED) >= 1, "no way to the broker")
                network.heal()
                await shard.until_all_confirmed()

                assert closed.detail == CloseReason.SILENT
                assert closed.quiet_ns >= SILENCE_MS * 1_000_000
                assert shard.status.sockets[0].counts["connects"] == 2
        finally:
            network.heal()
            sim.stop()
