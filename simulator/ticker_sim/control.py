"""The control API below ``/_sim/``: how tests look behind the curtain and break things."""

from __future__ import annotations

import time
from typing import Any, Final

import orjson
from aiohttp import web

from ticker_sim import faults, spoil
from ticker_sim.accounts import AccountsFullError
from ticker_sim.faults import FaultRefusedError, fault_json, parse_fault
from ticker_sim.session import text_frame
from ticker_sim.simulator import Simulator
from ticker_sim.tape import ENTRIES_MAX
from ticker_sim.wire import Mode

PAUSE_TIMEOUT_MS: Final = 5_000
PAUSE_TIMEOUT_MS_MAX: Final = 60_000
TAPE_ENTRIES: Final = 500_000
TAPE_READ_MAX: Final = 50_000  # entries in one answer: 3 MB, and the market waits for no longer than a blink


class ControlRefusedError(ValueError):
    """A request that makes no sense; the message names the field."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def refused(error: ControlRefusedError | FaultRefusedError) -> web.Response:
    """The answer to a request that is refused."""
    return _answer({"error": str(error)}, status=getattr(error, "status", 400))


def add_routes(app: web.Application, sim: Simulator) -> None:
    """Every route of the control API."""
    handlers = _Control(sim)
    app.router.add_get("/_sim/stats", handlers.stats)
    app.router.add_get("/_sim/clock", handlers.clock)
    app.router.add_get("/_sim/history", handlers.history)
    app.router.add_get("/_sim/tape", handlers.read_tape)
    app.router.add_post("/_sim/tape", handlers.start_tape)
    app.router.add_delete("/_sim/tape", handlers.stop_tape)
    app.router.add_get("/_sim/faults", handlers.list_faults)
    app.router.add_post("/_sim/faults", handlers.add_fault)
    app.router.add_delete("/_sim/faults", handlers.remove_faults)
    app.router.add_delete("/_sim/faults/{id}", handlers.remove_faults)
    app.router.add_post("/_sim/tokens", handlers.grant_token)
    app.router.add_delete("/_sim/tokens/{api_key}", handlers.revoke_tokens)
    app.router.add_post("/_sim/pause", handlers.pause)
    app.router.add_post("/_sim/resume", handlers.resume)
    app.router.add_post("/_sim/orders", handlers.order_update)


def _answer(value: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json", status=status)


def _number(request: web.Request, name: str, default: int, highest: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdigit() or int(text) > highest:
        raise ControlRefusedError(f"{name}: {text!r} is no number from 0 to {highest}")
    return int(text)


async def _body(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise ControlRefusedError(f"the body is not JSON: {error}") from None


class _Control:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    async def stats(self, request: web.Request) -> web.Response:
        sim, api_key = self._sim, request.query.get("api_key")
        record = sim.record if api_key is None else sim.records.get(api_key)
        tokens = {} if record is None or request.query.get("tokens") == "0" else record.as_json()
        return _answer(
            {
                "paused": sim.paused,
                "seed": sim.settings.seed,
                "changes": sim.changes,
                "totals": {**sim.traffic.as_json(), "sockets_opened": sim.opened, "sockets": len(sim.connections)},
                "refused": {str(status): count for status, count in sorted(sim.refused.items())},
                "sockets": self._sockets(api_key),
                "tokens": tokens,
            }
        )

    def _sockets(self, api_key: str | None) -> list[dict[str, Any]]:
        now_ns = time.monotonic_ns()
        return [
            {
                "socket": number,
                "api_key": one.api_key,
                "age_ms": (now_ns - one.opened_ns) // 1_000_000,
                "subscribed": one.session.subscribed,
                "modes": {
                    mode.name.lower(): int((one.session.modes == mode).sum()) for mode in Mode if mode is not Mode.NONE
                },
                "unsent": one.unsent(),
                **one.traffic.as_json(),
            }
            for number, one in self._sim.connections.items()
            if api_key in (None, one.api_key)
        ]

    async def clock(self, request: web.Request) -> web.Response:
        now_ns = self._sim.clock.now_ns()
        return _answer(
            {
                "now_s": now_ns / 1e9,
                "day": self._sim.day.isoformat(),
                "speed": self._sim.settings.speed,
                "paused": self._sim.paused,
            }
        )

    async def history(self, request: web.Request) -> web.Response:
        history = self._sim.history
        events = history.since(_number(request, "since", 0, 1 << 53))
        return _answer({"first": history.first, "last": history.last, "events": events})

    async def read_tape(self, request: web.Request) -> web.Response:
        since = _number(request, "since", 0, 1 << 53)
        limit = _number(request, "limit", TAPE_READ_MAX, TAPE_READ_MAX)
        return _answer(self._sim.tape.as_json(since=since, limit=limit))

    async def start_tape(self, request: web.Request) -> web.Response:
        entries = _number(request, "entries", TAPE_ENTRIES, ENTRIES_MAX)
        if not entries:
            raise ControlRefusedError("entries: at least 1 is needed")
        self._sim.tape.start(entries)
        return _answer({"entries": entries})

    async def stop_tape(self, request: web.Request) -> web.Response:
        self._sim.tape.stop()
        return _answer({"entries": 0})

    async def list_faults(self, request: web.Request) -> web.Response:
        return _answer(self._sim.faults.as_json(now_ns=time.monotonic_ns()))

    async def add_fault(self, request: web.Request) -> web.Response:
        sim, fault = self._sim, parse_fault(await _body(request))
        fault_id = sim.faults.add(fault, now_ns=time.monotonic_ns(), sockets_before=sim.opened)
        sim.history.add("fault_set", id=fault_id, fault=fault_json(fault))
        struck = await self._strike_now(fault) if isinstance(fault, faults.MOMENTARY) else []
        for connection in list(sim.connections.values()):
            connection.wake()
        return _answer({"id": fault_id, "struck": struck})

    async def _strike_now(self, fault: faults.Fault) -> list[int]:
        sim = self._sim
        open_ = [
            number
            for number, one in sim.connections.items()
            if fault.api_key in (None, one.api_key) and fault.socket in (None, number)
        ]
        struck = sim.faults.struck(fault, open_)
        for number in struck:
            connection = sim.connections[number]
            sim.history.add("fault", socket=number, fault=fault.kind)
            match fault:
                case faults.Drop(code=code):
                    await connection.close(code=code, reason="going away")
                case faults.Reset():
                    connection.reset()
                case faults.SendText():
                    connection.say(spoil.unexpected_text(fault))
        return struck

    async def remove_faults(self, request: web.Request) -> web.Response:
        sim, text = self._sim, request.match_info.get("id")
        if text is not None and not text.isdigit():
            raise ControlRefusedError(f"id: {text!r} is no number")
        removed = sim.faults.remove(None if text is None else int(text))
        if text is not None and not removed:
            raise ControlRefusedError(f"id: no fault {text} is in force", status=404)
        sim.history.add("faults_removed", removed=removed)
        for connection in list(sim.connections.values()):
            connection.wake()
        return _answer({"removed": removed})

    async def grant_token(self, request: web.Request) -> web.Response:
        body = await _body(request)
        names = ("api_key", "access_token")
        if not isinstance(body, dict) or not all(isinstance(body.get(name), str) and body[name] for name in names):
            raise ControlRefusedError("api_key and access_token are needed, both strings")
        try:
            self._sim.accounts.grant(body["api_key"], body["access_token"], now_ns=self._sim.clock.now_ns(), only=True)
        except AccountsFullError as error:
            raise ControlRefusedError(str(error), status=409) from None
        self._sim.history.add("token_granted", api_key=body["api_key"])
        return _answer({"granted": True})

    async def revoke_tokens(self, request: web.Request) -> web.Response:
        api_key = request.match_info["api_key"]
        revoked = self._sim.accounts.revoke(api_key)
        self._sim.history.add("token_revoked", api_key=api_key, tokens=revoked)
        return _answer({"revoked": revoked})

    async def pause(self, request: web.Request) -> web.Response:
        timeout_ms = _number(request, "timeout_ms", PAUSE_TIMEOUT_MS, PAUSE_TIMEOUT_MS_MAX)
        finish = await self._sim.pause(finish=request.query.get("finish") == "1", timeout_s=timeout_ms / 1_000)
        pending = {str(number): left for number, left in finish.pending.items()}
        return _answer({"paused": True, "finished": finish.finished, "pending": pending})

    async def resume(self, request: web.Request) -> web.Response:
        self._sim.resume()
        return _answer({"paused": False})

    async def order_update(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if not isinstance(body, dict) or not isinstance(body.get("user_id"), str) or "data" not in body:
            raise ControlRefusedError("user_id (a string) and data are needed")
        reached = [one for one in self._sim.connections.values() if one.user_id == body["user_id"]]
        for one in reached:
            one.say(text_frame("order", body["data"]))
        return _answer({"sockets": [one.number for one in reached]})
