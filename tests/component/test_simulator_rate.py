"""Under load: 50,000 packets for each second of one core, and a slow reader gets newer snapshots, never a backlog.

Cost is counted in the process's own CPU time, so that a busy machine does not matter.
"""

from __future__ import annotations

import asyncio
import os
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import SimulatorProcess, simulator
from tests.support.socket_client import DEADLINE_S, connect

INSTRUMENTS = 3_000
PACKETS = 60_000
PACKETS_PER_CPU_S = 50_000


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=1, day="2026-11-20", ticks_per_second=50_000) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(sim: SimulatorProcess) -> list[int]:
    with urllib.request.urlopen(sim.url + "/instruments/NFO") as dump:
        return [int(line.split(b",")[0]) for line in dump.read().splitlines()[1 : INSTRUMENTS + 1]]


def cpu_s(sim: SimulatorProcess) -> float:
    """User and system time of the simulator so far."""
    fields = Path(f"/proc/{sim.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def count(frames: list[bytes]) -> int:
    return sum(struct.unpack_from(">H", frame)[0] for frame in frames)


async def test_fifty_thousand_full_packets_cost_at_most_a_second_of_one_core(
    sim: SimulatorProcess, tokens: list[int]
) -> None:
    async with connect(sim) as client:
        await client.subscribe(*tokens, mode="full")
        await client.until(lambda: count(client.frames()) >= INSTRUMENTS)
        before_s, before = cpu_s(sim), count(client.frames())
        await client.until(lambda: count(client.frames()) >= before + PACKETS)
        spent_s, sent = cpu_s(sim) - before_s, count(client.frames()) - before

    assert sent / spent_s >= PACKETS_PER_CPU_S, f"{sent:,} packets took {spent_s:.2f} s"


async def test_a_reader_that_stalls_gets_each_instrument_once_afterwards(
    sim: SimulatorProcess, tokens: list[int]
) -> None:
    async with connect(sim, key=2) as client:
        await client.subscribe(*tokens, mode="full")
        await client.until(client.packets)
        await client.stall()
        stalled = await packets_when_stuck(sim, "simkey2")
        await sim.async_control.pause(finish=False)

        client.read_on()
        assert await sim.async_control.pause()
        stats = await sim.async_control.stats(api_key="simkey2")
        await sim.async_control.resume()
        recorded = sum(sent.packets for sent in stats.tokens.values())
        await client.until(lambda: count(client.frames()) >= recorded)

    assert recorded - stalled <= 2 * INSTRUMENTS, "what was being sent when it stuck, and what had changed since"


async def packets_when_stuck(sim: SimulatorProcess, api_key: str) -> int:
    """Wait until the market went on a good while without a packet for this key; how many it had got."""
    packets, changes = -1, 0
    async with asyncio.timeout(DEADLINE_S):
        while True:
            stats = await sim.async_control.stats(api_key=api_key, tokens=False)
            (socket,) = stats.sockets
            if socket["packets"] != packets:
                packets, changes = socket["packets"], stats.changes
            elif stats.changes - changes > 5 * INSTRUMENTS:
                return packets
            await asyncio.sleep(0.02)
