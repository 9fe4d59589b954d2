"""Every fault bites: what a plain client sees of it, and that it heals.

Waiting is for a condition with a deadline; a time is measured only where the fault is one of time.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.support.simulator import ControlError, SimulatorProcess, put_right, simulator
from tests.support.socket_client import connect, refusal

NIFTY, SENSEX, RELIANCE, INFY, SBIN = 256265, 265, 738561, 408065, 779521


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorProcess]:
    settings = {"seed": 11, "day": "2026-11-20", "ticks_per_second": 500, "heartbeat_ms": 200}
    with simulator(rate_limits=False, **settings) as running:
        yield running


@pytest.fixture
def sim(shared: SimulatorProcess) -> Iterator[SimulatorProcess]:
    with put_right(shared) as running:
        yield running


async def test_a_dead_token_fault_refuses_and_heals(sim: SimulatorProcess) -> None:
    fault = await sim.async_control.fault("token_dead", api_key="simkey1")

    assert await refusal(sim, "api_key=simkey1&access_token=simtoken1") == 403
    await sim.async_control.heal(fault)
    async with connect(sim) as client:
        await client.until(client.heartbeats)


@pytest.mark.parametrize("status", [400, 403, 429, 500, 503])
async def test_an_upgrade_can_be_refused_with_any_status(sim: SimulatorProcess, status: int) -> None:
    await sim.async_control.fault("refuse_upgrade", status=status, count=1)

    assert await refusal(sim, "api_key=simkey1&access_token=simtoken1") == status
    async with connect(sim) as client:
        await client.until(client.heartbeats)


async def test_a_slow_upgrade_waits(sim: SimulatorProcess) -> None:
    await sim.async_control.fault("slow_upgrade", delay_ms=300)

    started = time.monotonic()
    async with connect(sim):
        assert time.monotonic() - started >= 0.3


@pytest.mark.parametrize(("how", "code"), [("reset", 1006), ("close", 1001)])
async def test_accept_then_drop_lets_in_and_throws_out(sim: SimulatorProcess, how: str, code: int) -> None:
    await sim.async_control.fault("accept_then_drop", how=how, after_ms=50, count=1)

    async with connect(sim) as client:
        await client.until(lambda: client.close_code is not None)

    assert client.close_code == code


@pytest.mark.parametrize(("kind", "code"), [("drop", 1001), ("reset", 1006)])
async def test_open_sockets_of_one_key_are_dropped_and_others_are_not(
    sim: SimulatorProcess, kind: str, code: int
) -> None:
    async with connect(sim, key=1) as struck, connect(sim, key=2) as spared:
        await struck.until(struck.heartbeats)
        await sim.async_control.fault(kind, api_key="simkey1")
        await struck.until(lambda: struck.close_code is not None)
        mark = spared.mark
        await spared.until(lambda: spared.heartbeats(since=mark) >= 2)

    assert struck.close_code == code


async def test_half_open_neither_reads_nor_writes_and_spares_new_sockets(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.until(client.heartbeats)
        fault = await sim.async_control.fault("half_open", api_key="simkey1")
        async with connect(sim) as later:
            mark = client.mark
            await client.subscribe(RELIANCE)
            await client.ws.ping()
            await later.until(lambda: later.heartbeats() >= 5)
            assert client.mark == mark
            assert client.close_code is None

        await sim.async_control.heal(fault)
        await client.until(lambda: RELIANCE in client.tokens(since=mark))


async def test_silence_sends_nothing_but_reads(sim: SimulatorProcess) -> None:
    async with connect(sim, key=1) as client, connect(sim, key=2) as other:
        await client.until(client.heartbeats)
        await sim.async_control.fault("silence", api_key="simkey1")
        mark = client.mark
        await client.subscribe(RELIANCE)
        await other.until(lambda: other.heartbeats() >= 5)
        assert client.mark == mark
        (socket,) = (await sim.async_control.stats(api_key="simkey1", tokens=False)).sockets
        assert socket["subscribed"] == 1


async def test_mute_leaves_the_heartbeats(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE)
        await client.until(client.packets)
        await sim.async_control.fault("mute", for_ms=1_000)
        mark = client.mark
        await client.until(lambda: client.heartbeats(since=mark) >= 3)
        assert not client.frames(since=mark)
        await client.until(lambda: client.frames(since=mark))


async def test_muted_tokens_are_missing_and_do_not_hold_up_a_finish(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, INFY)
        await client.until(lambda: client.tokens() == {RELIANCE, INFY})
        await sim.async_control.fault("mute_tokens", tokens=[INFY])
        mark = client.mark
        await client.until(lambda: len(client.packets(since=mark)) > 20)
        assert await sim.async_control.pause()
        assert client.tokens(since=mark) == {RELIANCE}

        await sim.async_control.heal()
        await client.until(lambda: INFY in client.tokens(since=mark))


async def test_malformed_frames_are_counted_apart_from_good_ones(sim: SimulatorProcess) -> None:
    before = (await sim.async_control.stats(tokens=False)).totals["spoiled_frames"]
    async with connect(sim) as client:
        await client.subscribe(RELIANCE)
        await client.until(client.packets)
        await sim.async_control.fault("malformed", how="two_bytes", count=3)
        await client.until(lambda: sum(len(frame) == 2 for frame in client.frames()) == 3)

    assert (await sim.async_control.stats(tokens=False)).totals["spoiled_frames"] == before + 3


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"what": "junk"}, "\x00{not json"),
        ({"what": "non_object"}, '["not", "an", "object"]'),
        ({"what": "given", "text": "hello"}, "hello"),
    ],
)
async def test_texts_that_no_client_expects_are_sent(sim: SimulatorProcess, fields: Any, text: str) -> None:
    async with connect(sim) as client:
        await client.until(client.texts)
        await sim.async_control.fault("send_text", **fields)
        await client.until(lambda: len(client.texts()) == 2)

    assert client.texts()[1] == text


async def test_slow_frames_are_conflated_not_queued(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, mode="full")
        await client.until(client.packets)
        await sim.async_control.fault("slow_frames", delay_ms=300, count=3)
        mark = client.mark
        await client.until(lambda: len(client.packets(since=mark)) >= 3)

    slow = [at for at, data in client.received[mark:] if isinstance(data, bytes) and len(data) > 1][:3]
    assert slow[2] - slow[0] >= 0.5


async def test_wrong_times_and_values_are_recorded_as_they_were_sent(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, mode="full")
        await client.until(client.packets)
        await sim.async_control.fault("timestamps", zero=True)
        await sim.async_control.fault("distort", how="negative_price")
        mark = client.mark
        await client.until(lambda: len(client.packets(since=mark)) > 3)
        assert await sim.async_control.pause()
        stats = await sim.async_control.stats(api_key="simkey1")

    assert struct.unpack_from(">i", client.packets()[-1], 4)[0] < 0
    row = stats.tokens[RELIANCE].row
    assert row["last_price"] < 0
    assert row["exchange_timestamp"] == row["last_trade_time"] == 0


async def test_duplicate_frames_come_twice(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await sim.async_control.fault("duplicate_frames", count=2)
        await client.subscribe(RELIANCE, mode="full")
        await client.until(lambda: len(client.frames()) >= 4)

    frames = client.frames()
    assert frames[0] == frames[1]
    assert frames[2] == frames[3]


async def test_frames_that_are_out_of_order_come_after_their_successors(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, mode="quote")
        await client.until(lambda: len(client.packets()) > 20)
        in_order = client.mark
        await sim.async_control.fault("out_of_order", probability=0.5)
        await client.until(lambda: falls(client.packets(since=in_order)) >= 3)

    assert falls(client.packets(until=in_order)) == 0


def falls(packets: list[bytes]) -> int:
    """How often the volume of the day went down from one packet to the next."""
    volumes = [struct.unpack_from(">I", packet, 16)[0] for packet in packets]
    return sum(later < sooner for sooner, later in pairwise(volumes))


async def test_quote_first_precedes_the_mode_that_was_asked_for(sim: SimulatorProcess) -> None:
    await sim.async_control.fault("quote_first")
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, mode="full")
        await client.until(lambda: len(client.packets()) >= 2)

    assert [len(packet) for packet in client.packets()[:2]] == [44, 184]


async def test_a_partial_subscribe_forgets_silently(sim: SimulatorProcess) -> None:
    await sim.async_control.fault("partial_subscribe", keep=1, count=1)
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, INFY)
        await client.until(lambda: len(client.packets()) > 20)

    assert client.tokens() == {RELIANCE}
    assert len(client.texts()) == 1, "the greeting only"


async def test_a_burst_multiplies_the_changes(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(NIFTY, SENSEX, RELIANCE, INFY, SBIN, mode="full")

        async def changes_in_half_a_second() -> int:
            before = (await sim.async_control.stats(tokens=False)).changes
            await asyncio.sleep(0.5)  # a rate has to be measured over some time
            return (await sim.async_control.stats(tokens=False)).changes - before

        normal = await changes_in_half_a_second()
        await sim.async_control.fault("burst", factor=4)
        windows = [await changes_in_half_a_second() for _ in range(6)]  # a busy machine starves some of them
        assert max(windows) > 2 * normal


async def test_what_cannot_be_a_fault_is_refused_by_the_api(sim: SimulatorProcess) -> None:
    with pytest.raises(ControlError, match="status: 200 is not between 400 and 599"):
        await sim.async_control.fault("refuse_upgrade", status=200)
    with pytest.raises(ControlError, match="no fault 999999"):
        await sim.async_control.heal(999_999)

    assert await sim.async_control.faults() == []
