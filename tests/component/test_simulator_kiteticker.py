"""The vendor's unmodified KiteTicker against the simulator: it decodes what was recorded, and recovers.

The comparison is exact: the market is stopped, every socket is given what it still lacks, and then each field of the
last tick that the package decoded must be the recorded integer divided by the instrument's divisor.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.simulator import Sent, SimulatorProcess, simulator
from tests.support.socket_client import connect

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60  # a bound for busy machines: the package alone takes seconds to load
NIFTY, BANKNIFTY, SENSEX, RELIANCE, INFY, SBIN = 256265, 260105, 265, 738561, 408065, 779521
INDEX_SEGMENT = 9


class Probe:
    """KiteTicker in its own process; its events so far."""

    def __init__(self, sim: SimulatorProcess, *, key: int, modes: dict[str, list[int]]) -> None:
        self.events: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.kite_ticker_probe"],
            cwd=ROOT,
            env={**os.environ, "TZ": "UTC"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        order = {"root": sim.ws, "api_key": f"simkey{key}", "access_token": f"simtoken{key}", "modes": modes}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    def ticks(self) -> list[dict[str, Any]]:
        return [tick for one in self.of("ticks") for tick in one["ticks"]]

    def modes(self, *, since: int) -> set[str]:
        return {tick["mode"] for one in self.events[since:] for tick in one.get("ticks", ())}

    def last(self) -> dict[int, dict[str, Any]]:
        return {tick["instrument_token"]: tick for tick in self.ticks()}

    def wait(self, until: Callable[[], object], what: str) -> None:
        with self.changed:
            if not self.changed.wait_for(until, DEADLINE_S):
                kinds = [one["event"] for one in self.events][-20:]
                raise AssertionError(f"{what}: not within {DEADLINE_S} s; last events {kinds}")

    def stop(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(5)


class StartProbe(Protocol):
    def __call__(self, *, key: int, modes: dict[str, list[int]]) -> Probe: ...


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=5, day="2026-11-20", ticks_per_second=300, rate_limits=False) as running:
        yield running


@pytest.fixture
def start(sim: SimulatorProcess) -> Iterator[StartProbe]:
    probes: list[Probe] = []

    def start_probe(*, key: int, modes: dict[str, list[int]]) -> Probe:
        probes.append(Probe(sim, key=key, modes=modes))
        return probes[-1]

    yield start_probe
    for probe in probes:
        probe.stop()
    sim.control.heal()


def an_option_token(sim: SimulatorProcess) -> int:
    with urllib.request.urlopen(sim.url + "/instruments/NFO") as answer:
        rows = [line.split(",") for line in answer.read().decode().splitlines()]
    return next(int(row[0]) for row in rows if row[2] == "NIFTY26D0126200CE")


def expected_tick(sent: Sent) -> dict[str, Any]:
    """What the package must make of the recorded row (all instruments here have the divisor 100)."""
    row, token = sent.row, sent.row["instrument_token"]
    tick: dict[str, Any] = {
        "tradable": token & 0xFF != INDEX_SEGMENT,
        "mode": sent.mode,
        "instrument_token": token,
        "last_price": row["last_price"] / 100,
    }
    if sent.mode == "ltp":
        return tick
    tick["ohlc"] = {name: row[name] / 100 for name in ("open", "high", "low", "close")}
    tick["change"] = (tick["last_price"] - tick["ohlc"]["close"]) * 100 / tick["ohlc"]["close"]
    if token & 0xFF != INDEX_SEGMENT:
        tick["average_traded_price"] = row["average_traded_price"] / 100
        for name in ("last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity"):
            tick[name] = row[name]
    if sent.mode == "full":
        tick["exchange_timestamp"] = row["exchange_timestamp"]
        if token & 0xFF != INDEX_SEGMENT:
            for name in ("last_trade_time", "oi", "oi_day_high", "oi_day_low"):
                tick[name] = row[name]
            tick["depth"] = {
                side: [{**entry, "price": entry["price"] / 100} for entry in row[side]] for side in ("buy", "sell")
            }
    return tick


def test_ticks_in_three_modes_decode_to_what_was_recorded(sim: SimulatorProcess, start: StartProbe) -> None:
    option = an_option_token(sim)
    modes = {"full": [NIFTY, RELIANCE, option], "quote": [BANKNIFTY, INFY], "ltp": [SENSEX, SBIN]}
    probe = start(key=1, modes=modes)
    probe.wait(lambda: len(probe.ticks()) > 500 and len(probe.last()) == 7, "500 ticks of all seven")

    assert sim.control.pause(finish=True)
    sent = sim.control.stats(api_key="simkey1").tokens
    probe.wait(lambda: len(probe.ticks()) == sum(one.packets for one in sent.values()), "every recorded packet")
    sim.control.resume()

    assert {token: one.mode for token, one in sent.items()} == {t: mode for mode, ts in modes.items() for t in ts}
    assert probe.last() == {token: expected_tick(one) for token, one in sent.items()}


def test_it_reconnects_and_subscribes_again_after_a_drop_and_after_a_reset(
    sim: SimulatorProcess, start: StartProbe
) -> None:
    probe = start(key=2, modes={"full": [RELIANCE], "quote": [INFY]})
    probe.wait(lambda: len(probe.last()) == 2, "first ticks")

    for number, kind in enumerate(("drop", "reset"), 2):
        before = sim.control.history()[-1]["n"]
        sim.control.fault(kind, api_key="simkey2")
        probe.wait(lambda number=number: len(probe.of("connect")) == number, "another connect")
        seen = len(probe.events)
        probe.wait(lambda seen=seen: probe.modes(since=seen) == {"full", "quote"}, "ticks again")

        events = [event["kind"] for event in sim.control.history(since=before)]
        assert events[events.index("opened") :] == ["opened", *["request"] * 4]

    assert [one["code"] for one in probe.of("close")] == [1001, 1006]


async def test_the_fourth_socket_of_a_key_is_refused_with_429(sim: SimulatorProcess, start: StartProbe) -> None:
    async with connect(sim, key=4), connect(sim, key=4), connect(sim, key=4):
        fourth = start(key=4, modes={"ltp": [SBIN]})
        await asyncio.to_thread(fourth.wait, lambda: fourth.of("error"), "an error")

    assert "429" in fourth.of("error")[0]["reason"]
    assert not fourth.of("connect")


def test_accepted_and_dropped_it_comes_back_until_it_may_stay(sim: SimulatorProcess, start: StartProbe) -> None:
    sim.control.fault("accept_then_drop", api_key="simkey6", how="close", count=1)
    sim.control.fault("accept_then_drop", api_key="simkey6", how="reset", count=1)

    probe = start(key=6, modes={"ltp": [SBIN]})
    probe.wait(lambda: probe.last(), "a tick")

    assert len(probe.of("connect")) == 3
    assert sorted(one["code"] for one in probe.of("close")) == [1001, 1006]


def test_refused_with_429_it_comes_back_and_is_let_in(sim: SimulatorProcess, start: StartProbe) -> None:
    sim.control.fault("refuse_upgrade", api_key="simkey7", status=429, count=1)

    probe = start(key=7, modes={"ltp": [SBIN]})
    probe.wait(lambda: probe.last(), "a tick")

    assert "429" in probe.of("error")[0]["reason"]
    assert len(probe.of("connect")) == 1


async def test_the_oldest_socket_is_displaced_by_one_too_many_and_that_one_streams(
    sim: SimulatorProcess, start: StartProbe
) -> None:
    oldest = start(key=8, modes={"ltp": [SBIN]})
    await asyncio.to_thread(oldest.wait, oldest.last, "a tick")
    async with connect(sim, key=8), connect(sim, key=8):
        sim.control.fault("kick_oldest", api_key="simkey8", how="close", count=1)
        newest = start(key=8, modes={"ltp": [SBIN]})
        await asyncio.to_thread(newest.wait, newest.last, "a tick of the newest")
        await asyncio.to_thread(oldest.wait, lambda: oldest.of("close"), "the oldest is thrown out")

    assert not newest.of("error")


def test_a_revoked_token_spares_the_open_socket_only(sim: SimulatorProcess, start: StartProbe) -> None:
    probe = start(key=5, modes={"ltp": [SBIN]})
    probe.wait(lambda: probe.last(), "a tick")

    sim.control.revoke("simkey5")
    seen = len(probe.ticks())
    probe.wait(lambda: len(probe.ticks()) > seen, "ticks after the revocation")
    sim.control.fault("drop", api_key="simkey5")
    probe.wait(lambda: probe.of("error"), "an error")

    assert "403" in probe.of("error")[-1]["reason"]


def test_the_3001st_token_is_refused_with_the_brokers_words(sim: SimulatorProcess, start: StartProbe) -> None:
    tokens = list(range(1_000_000 * 256 + 2, 1_000_000 * 256 + 2 + 3_000 * 256, 256))
    probe = start(key=6, modes={"ltp": [*tokens, RELIANCE]})

    probe.wait(lambda: probe.of("error"), "an error")

    assert probe.of("error")[0] == {
        "event": "error",
        "code": 0,
        "reason": "Can't subscribe to more than 3000 instruments.",
    }
    assert [one["subscribed"] for one in sim.control.stats(api_key="simkey6").sockets] == [3_000]


async def test_order_updates_reach_every_socket_of_the_user(sim: SimulatorProcess, start: StartProbe) -> None:
    probe, order = start(key=7, modes={"ltp": [SBIN]}), {"order_id": "1", "status": "COMPLETE"}
    await asyncio.to_thread(probe.wait, probe.last, "a tick")

    async with connect(sim, key=7) as plain:
        await plain.until(plain.texts)
        await asyncio.to_thread(sim.control.order_update, user_id="SIM007", data=order)
        await asyncio.to_thread(probe.wait, lambda: probe.of("order"), "the order")
        await plain.until(lambda: len(plain.texts()) == 2)

    assert probe.of("order")[0]["data"] == order
    assert json.loads(plain.texts()[1]) == {"type": "order", "data": order}
