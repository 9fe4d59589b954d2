"""The simulator's sockets, seen by a plain client: documented behaviour, and what is sent is what is recorded."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.support.simulator import SimulatorProcess, put_right, simulator
from tests.support.socket_client import HEARTBEAT, connect, gone, refusal

NIFTY, RELIANCE, INFY, SBIN = 256265, 738561, 408065, 779521


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorProcess]:
    settings = {"seed": 11, "day": "2026-11-20", "ticks_per_second": 500, "heartbeat_ms": 200}
    with simulator(rate_limits=False, **settings) as running:
        yield running


@pytest.fixture
def sim(shared: SimulatorProcess) -> Iterator[SimulatorProcess]:
    with put_right(shared) as running:
        yield running


async def test_what_a_client_received_last_is_what_the_record_says(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(NIFTY, RELIANCE, mode="full")
        await client.ask("subscribe", [INFY])
        await client.until(lambda: len(client.packets()) > 200)
        assert await sim.async_control.pause()
        stats = await sim.async_control.stats(api_key="simkey1")
        recorded = sum(sent.packets for sent in stats.tokens.values())
        await client.until(lambda: len(client.packets()) == recorded)

    last = {struct.unpack_from(">I", packet)[0]: packet for packet in client.packets()}
    assert {token: len(packet) for token, packet in last.items()} == {NIFTY: 32, RELIANCE: 184, INFY: 44}
    assert {token: sent.mode for token, sent in stats.tokens.items()} == {
        NIFTY: "full",
        RELIANCE: "full",
        INFY: "quote",
    }
    assert sum(sent.bytes for sent in stats.tokens.values()) == sum(len(frame) - 2 for frame in client.frames())
    assert struct.unpack_from(">7i", last[NIFTY], 4) == tuple(
        stats.tokens[NIFTY].row[name]
        for name in ("last_price", "high", "low", "open", "close", "price_change", "exchange_timestamp")
    )
    row = stats.tokens[RELIANCE].row
    assert struct.unpack_from(">II", last[RELIANCE], 16) == (row["volume_traded"], row["total_buy_quantity"])
    assert struct.unpack_from(">IiHH", last[RELIANCE], 124) == (*row["sell"][0].values(), 0)


async def test_a_paused_market_still_answers_and_beats_and_goes_on_afterwards(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE, mode="full")
        await client.until(client.packets)
        assert await sim.async_control.pause()
        mark = client.mark
        await client.subscribe(SBIN, mode="full")
        await client.until(lambda: client.heartbeats(since=mark) >= 3)
        assert client.tokens(since=mark) == {SBIN}

        await sim.async_control.resume()
        mark = client.mark
        await client.until(lambda: client.tokens(since=mark) == {RELIANCE, SBIN})


async def test_a_heartbeat_comes_whenever_nothing_else_did(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.until(lambda: client.heartbeats() >= 6)

    beats = [at for at, data in client.received if data == HEARTBEAT]
    gaps = [later - sooner for sooner, later in pairwise(beats)]
    assert 0.15 < sorted(gaps)[len(gaps) // 2] < 0.4


async def test_the_greeting_hints_at_the_dump(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.until(client.texts)

    greeting = json.loads(client.texts()[0])
    assert greeting["type"] == "instruments_meta"
    assert greeting["data"]["count"] > 5_000


async def test_upgrades_are_refused_as_documented(sim: SimulatorProcess) -> None:
    assert await refusal(sim, "api_key=simkey1&access_token=guessed") == 403
    assert await refusal(sim, "api_key=nobody&access_token=simtoken1") == 403
    assert await refusal(sim, "api_key=simkey1") == 400
    assert await refusal(sim, "access_token=simtoken1") == 400


async def test_a_fourth_socket_is_refused_and_a_closed_one_makes_room(sim: SimulatorProcess) -> None:
    good = "api_key=simkey2&access_token=simtoken2"
    async with connect(sim, key=2), connect(sim, key=2):
        async with connect(sim, key=2):
            assert await refusal(sim, good) == 429
        await gone(sim, "simkey2", left=2)
        async with connect(sim, key=2) as client:
            await client.until(client.heartbeats)


async def test_a_rotated_token_is_good_at_once_and_the_old_one_dead(sim: SimulatorProcess) -> None:
    async with connect(sim, key=3) as old:
        await sim.async_control.grant("simkey3", "rotated")
        assert await refusal(sim, "api_key=simkey3&access_token=simtoken3") == 403
        async with connect(sim, key=3, token="rotated") as fresh:
            await fresh.until(fresh.heartbeats)
        mark = old.mark
        await old.until(lambda: old.heartbeats(since=mark))


async def test_the_history_tells_the_story_in_order(sim: SimulatorProcess) -> None:
    start = (await sim.async_control.history())[-1]["n"]

    async with connect(sim, key=4) as client:
        await client.subscribe(RELIANCE)
        await client.until(client.packets)
        await sim.async_control.fault("drop", api_key="simkey4")
        await client.until(lambda: client.close_code is not None)
    await gone(sim, "simkey4", left=0)

    events = await sim.async_control.history(since=start)
    assert [event["kind"] for event in events] == [
        *("opened", "request", "request", "fault_set", "fault", "closing", "closed")
    ]
    assert [event["n"] for event in events] == list(range(start + 1, start + 8))
    assert events[1] | {"action": "subscribe", "accepted": 1, "subscribed": 1} == events[1]
