"""The simulator as a child process of the test's own, and a small typed client of its control API.

    with simulator(seed=7, ticks_per_second=2_000) as sim:
        ...connect to sim.ws with simkey1/simtoken1, or sim.url for REST...
        sim.control.fault("drop", api_key="simkey1")
        assert sim.control.pause(finish=True)
        sent = sim.control.stats(api_key="simkey1").tokens[256265]

`AsyncControl` has the same calls for tests that live in an event loop. The process is stopped by its handle.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp

START_S = 30
STOP_S = 20
CALL_S = 70  # longer than the longest pause?finish=1


@dataclass(frozen=True)
class Sent:
    """What the simulator recorded for one instrument: the last row as plain integers (prices scaled)."""

    packets: int
    bytes: int
    mode: str
    row: dict[str, Any]


@dataclass(frozen=True)
class Stats:
    """`GET /_sim/stats`."""

    totals: dict[str, int]
    refused: dict[str, int]
    sockets: list[dict[str, Any]]
    tokens: dict[int, Sent]
    changes: int
    paused: bool


class ControlError(RuntimeError):
    """The control API refused; the text is its own."""


@dataclass(frozen=True)
class _Call:
    method: str
    path: str
    body: Any = None


class _Calls:
    """Requests and answers, without the way between them."""

    @staticmethod
    def stats(api_key: str | None, tokens: bool) -> _Call:
        query = {**({} if api_key is None else {"api_key": api_key}), **({} if tokens else {"tokens": "0"})}
        return _Call("GET", "/_sim/stats?" + urlencode(query))

    @staticmethod
    def fault(kind: str, fields: dict[str, Any]) -> _Call:
        return _Call("POST", "/_sim/faults", {"kind": kind, **fields})

    @staticmethod
    def heal(fault: int | None) -> _Call:
        return _Call("DELETE", "/_sim/faults" if fault is None else f"/_sim/faults/{fault}")

    @staticmethod
    def pause(finish: bool, timeout_ms: int) -> _Call:
        return _Call("POST", "/_sim/pause?" + (f"finish=1&timeout_ms={timeout_ms}" if finish else ""))

    @staticmethod
    def read_stats(answer: Any) -> Stats:
        tokens = {int(token): Sent(**sent) for token, sent in answer["tokens"].items()}
        return Stats(
            answer["totals"], answer["refused"], answer["sockets"], tokens, answer["changes"], answer["paused"]
        )


@dataclass(frozen=True)
class Control:
    """The control API, synchronous."""

    url: str

    def stats(self, *, api_key: str | None = None, tokens: bool = True) -> Stats:
        """What was sent (to one key)."""
        return _Calls.read_stats(self.call(_Calls.stats(api_key, tokens)))

    def fault(self, kind: str, **fields: Any) -> int:
        """Put a fault into force; its id."""
        return int(self.call(_Calls.fault(kind, fields))["id"])

    def faults(self) -> list[dict[str, Any]]:
        """The faults in force."""
        return list(self.call(_Call("GET", "/_sim/faults")))

    def heal(self, fault: int | None = None) -> int:
        """Lift one fault, or all; how many."""
        return int(self.call(_Calls.heal(fault))["removed"])

    def history(self, *, since: int = 0) -> list[dict[str, Any]]:
        """Events with a number above `since`."""
        return list(self.call(_Call("GET", f"/_sim/history?since={since}"))["events"])

    def start_tape(self, entries: int) -> None:
        """Record every packet and every change of the market from now on."""
        self.call(_Call("POST", f"/_sim/tape?entries={entries}"))

    def tape(self, *, since: int = 0) -> dict[str, Any]:
        """Columns of the next entries above `since`, not necessarily all."""
        return dict(self.call(_Call("GET", f"/_sim/tape?since={since}")))

    def grant(self, api_key: str, access_token: str) -> None:
        """The token that is good from now on."""
        self.call(_Call("POST", "/_sim/tokens", {"api_key": api_key, "access_token": access_token}))

    def revoke(self, api_key: str) -> None:
        """No token of this key is good any more; open sockets go on."""
        self.call(_Call("DELETE", f"/_sim/tokens/{api_key}"))

    def pause(self, *, finish: bool = True, timeout_ms: int = 5_000) -> bool:
        """Stop the market; with `finish`, whether every socket has got every change before it."""
        return bool(self.call(_Calls.pause(finish, timeout_ms))["finished"])

    def resume(self) -> None:
        """Let the market go on."""
        self.call(_Call("POST", "/_sim/resume"))

    def order_update(self, *, user_id: str, data: dict[str, Any]) -> list[int]:
        """Send an order update to every socket of the user; which those were."""
        return list(self.call(_Call("POST", "/_sim/orders", {"user_id": user_id, "data": data}))["sockets"])

    def call(self, call: _Call) -> Any:
        body = None if call.body is None else json.dumps(call.body).encode()
        request = urllib.request.Request(self.url + call.path, data=body, method=call.method)
        try:
            with urllib.request.urlopen(request, timeout=CALL_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlError(json.load(error)["error"]) from None


@dataclass(frozen=True)
class AsyncControl:
    """The control API for an event loop."""

    url: str

    async def stats(self, *, api_key: str | None = None, tokens: bool = True) -> Stats:
        return _Calls.read_stats(await self.call(_Calls.stats(api_key, tokens)))

    async def fault(self, kind: str, **fields: Any) -> int:
        return int((await self.call(_Calls.fault(kind, fields)))["id"])

    async def faults(self) -> list[dict[str, Any]]:
        return list(await self.call(_Call("GET", "/_sim/faults")))

    async def heal(self, fault: int | None = None) -> int:
        return int((await self.call(_Calls.heal(fault)))["removed"])

    async def history(self, *, since: int = 0) -> list[dict[str, Any]]:
        return list((await self.call(_Call("GET", f"/_sim/history?since={since}")))["events"])

    async def grant(self, api_key: str, access_token: str) -> None:
        await self.call(_Call("POST", "/_sim/tokens", {"api_key": api_key, "access_token": access_token}))

    async def revoke(self, api_key: str) -> None:
        await self.call(_Call("DELETE", f"/_sim/tokens/{api_key}"))

    async def pause(self, *, finish: bool = True, timeout_ms: int = 5_000) -> bool:
        return bool((await self.call(_Calls.pause(finish, timeout_ms)))["finished"])

    async def resume(self) -> None:
        await self.call(_Call("POST", "/_sim/resume"))

    async def call(self, call: _Call) -> Any:
        timeout = aiohttp.ClientTimeout(total=CALL_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(call.method, self.url + call.path, json=call.body) as answer,
        ):
            value = await answer.json()
            if answer.status >= 400:
                raise ControlError(value["error"])
            return value


@dataclass
class SimulatorProcess:
    """A running simulator."""

    process: subprocess.Popen[str]
    url: str
    ws: str
    control: Control = field(init=False)
    async_control: AsyncControl = field(init=False)

    def __post_init__(self) -> None:
        self.control = Control(self.url)
        self.async_control = AsyncControl(self.url)

    def stop(self) -> int:
        """End it as Kubernetes would; its exit code."""
        self.process.terminate()
        return self.wait_for_exit()

    def wait_for_exit(self) -> int:
        """The exit code of a process that was asked to end; a second SIGTERM would kill it in its last instant."""
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start_simulator(*, stderr: int | None = None, prefix: Sequence[str] = (), **settings: Any) -> SimulatorProcess:
    """Start a simulator on a free port of loopback.

    Parameters
    ----------
    stderr
        `subprocess.PIPE` to read its log.
    prefix
        A command that runs another one: ``("ip", "netns", "exec", "x")``.
    **settings
        Flags by the settings' names: ``seed=7``, ``accept_any=True``, ``day="2026-11-20"``.
    """
    flags = ["--port", "0"]
    for name, value in {"log_level": "warning", **settings}.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags += [f"--{flag}", str(value)]
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "ticker_sim", *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    where = json.loads(_first_line(process))
    return SimulatorProcess(process, where["listening"], where["ws"])


@contextmanager
def put_right(sim: SimulatorProcess, *, keys: int = 9) -> Iterator[SimulatorProcess]:
    """A simulator that several tests share: faults end, the market runs, the first keys have their tokens again."""
    yield sim
    sim.control.heal()
    sim.control.resume()
    for number in range(1, keys + 1):
        sim.control.grant(f"simkey{number}", f"simtoken{number}")


@contextmanager
def simulator(**settings: Any) -> Iterator[SimulatorProcess]:
    """A simulator, gone afterwards."""
    running = start_simulator(**settings)
    try:
        yield running
    finally:
        running.stop()


def _first_line(process: subprocess.Popen[str]) -> str:
    lines: queue.Queue[str] = queue.Queue()
    stdout = process.stdout
    assert stdout is not None
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=START_S)
    except queue.Empty:
        line = ""
    if not line:
        process.kill()
        raise RuntimeError(f"the simulator did not start within {START_S} s (exit code {process.wait()})")
    return line
