"""The simulator as a program: how it starts, refuses to start and ends, and how its control API says no."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.simulator import SimulatorProcess, simulator, start_simulator
from tests.support.socket_client import connect, refusal
from ticker_operator.app.cli import main
from ticker_sim.settings import SimulatorSettings

RELIANCE = 738561


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=2, day="2026-11-20") as running:
        yield running


def answer(sim: SimulatorProcess, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    headers = {"Authorization": "token simkey1:simtoken1"}
    request = urllib.request.Request(sim.url + path, data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


async def test_sigterm_closes_sockets_as_a_server_that_goes_away_and_ends_with_0() -> None:
    sim = start_simulator(seed=2, day="2026-11-20")

    async with connect(sim) as client:
        await client.subscribe(RELIANCE)
        await client.until(client.packets)
        sim.process.terminate()
        await client.until(lambda: client.close_code is not None)

    assert client.close_code == 1001
    assert sim.wait_for_exit() == 0


def test_help_documents_every_setting_with_its_variable() -> None:
    shown = CliRunner().invoke(main, ["simulator", "--help"]).output

    for name in SimulatorSettings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown
        assert f"TICKERSHARD_SIMULATOR_{name.upper()}" in "".join(shown.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "70000"], "--port (TICKERSHARD_SIMULATOR_PORT)"),
        (["--day", "someday"], "--day (TICKERSHARD_SIMULATOR_DAY)"),
        (["--credentials-file", "/nowhere/accounts.json"], "/nowhere/accounts.json: FileNotFoundError"),
    ],
)
def test_wrong_settings_are_refused_with_the_name_of_what_is_wrong(flags: list[str], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ticker_sim", *flags], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_a_taken_port_is_refused_with_its_name(sim: SimulatorProcess) -> None:
    taken = sim.url.rpartition(":")[2]

    refused = CliRunner().invoke(main, ["simulator", "--port", taken])

    assert refused.exit_code == 2
    assert f"--port (TICKERSHARD_SIMULATOR_PORT): cannot listen on 127.0.0.1 port {taken}" in refused.stderr


async def test_accounts_come_from_a_file_and_leave_no_trace_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps([{"api_key": "mykey99", "api_secret": "mysecret99", "access_token": "mytoken99"}]))
    sim = start_simulator(credentials_file=path, log_level="debug", stderr=subprocess.PIPE)

    assert await refusal(sim, "api_key=simkey1&access_token=simtoken1") == 403
    assert await refusal(sim, "api_key=mykey99&access_token=mysecret99") == 403
    assert answer(sim, "GET", "/_sim/stats")[1]["refused"] == {"403": 2}
    sim.process.terminate()
    _, logged = await asyncio.to_thread(sim.process.communicate, timeout=10)

    assert '"listening"' in logged
    assert not any(secret in logged for secret in ("mykey99", "mysecret99", "mytoken99"))


async def test_a_finish_that_cannot_be_says_so_and_how_much_waits(sim: SimulatorProcess) -> None:
    async with connect(sim) as client:
        await client.subscribe(RELIANCE)
        await client.until(client.packets)
        await sim.async_control.fault("mute")
        mark = client.mark
        await client.until(lambda: client.heartbeats(since=mark))

        status, said = answer(sim, "POST", "/_sim/pause?finish=1&timeout_ms=100")

    sim.control.heal()
    sim.control.resume()
    assert (status, said["finished"], list(said["pending"].values())) == (200, False, [1])


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error"),
    [
        ("POST", "/_sim/faults", b"{", 400, "the body is not JSON"),
        ("POST", "/_sim/faults", b"[]", 400, "a fault is an object"),
        ("DELETE", "/_sim/faults/x", None, 400, "id: 'x' is no number"),
        ("GET", "/_sim/history?since=-1", None, 400, "since: '-1' is no number"),
        ("POST", "/_sim/pause?finish=1&timeout_ms=999999", None, 400, "timeout_ms: '999999' is no number"),
        ("POST", "/_sim/tokens", b'{"api_key": "k"}', 400, "api_key and access_token are needed"),
        ("POST", "/_sim/orders", b"{}", 400, "user_id"),
    ],
)
def test_the_control_api_names_what_is_wrong(
    sim: SimulatorProcess, method: str, path: str, body: bytes | None, status: int, error: str
) -> None:
    answered, said = answer(sim, method, path, body)

    assert answered == status
    assert error in said["error"]


def test_the_clock_starts_at_the_opening_of_the_day(sim: SimulatorProcess) -> None:
    _, clock = answer(sim, "GET", "/_sim/clock")

    assert clock["day"] == "2026-11-20"
    assert 0 <= clock["now_s"] - 1_795_146_300 < 600  # 09:15 in India


def test_an_unknown_path_is_a_404_in_the_envelope(sim: SimulatorProcess) -> None:
    status, said = answer(sim, "GET", "/portfolio/holdings")

    assert (status, said["status"], said["error_type"]) == (404, "error", "GeneralException")


def test_more_than_one_quote_in_a_second_is_429_in_the_documented_body(sim: SimulatorProcess) -> None:
    answers: list[tuple[int, Any]] = []
    deadline = time.monotonic() + 20
    while not answers or answers[-1][0] == 200:  # two requests may lie in two windows
        assert time.monotonic() < deadline
        answers.append(answer(sim, "GET", "/quote/ltp?i=NSE:INFY"))

    status, body = answers[-1]
    assert answers[0][0] == 200
    assert status == 429
    assert (body["status"], body["message"], body["error_type"]) == ("error", "Too many requests", "NetworkException")
