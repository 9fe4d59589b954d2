"""The one port: WebSocket upgrades on ``/``, REST beside it, the control API below ``/_sim/``."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from typing import Any, Final

from aiohttp import web

from ticker_common.listening import listen
from ticker_sim import control, faults, rest
from ticker_sim.accounts import Account
from ticker_sim.connection import Connection
from ticker_sim.session import text_frame
from ticker_sim.settings import SimulatorSettings
from ticker_sim.simulator import Simulator

log = logging.getLogger(__name__)

REQUEST_BYTES_MAX: Final = 4 << 20
CLOSE_HANDSHAKE_S: Final = 1.0
URL_BYTES_MAX: Final = 24_000  # users report 400 from about 825 instruments in one quote request


def build_app(sim: Simulator) -> web.Application:
    """The application with every route."""
    app = web.Application(middlewares=[rest.envelope(sim)], client_max_size=REQUEST_BYTES_MAX)
    app.router.add_get("/", lambda request: upgrade(sim, request))
    rest.add_routes(app, sim)
    control.add_routes(app, sim)
    return app


async def upgrade(sim: Simulator, request: web.Request) -> web.StreamResponse:
    """Decide about one upgrade and, when it is granted, serve the socket until it ends."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.json_response({"status": "success", "data": "tickershard simulator"})
    api_key, token = request.query.get("api_key", ""), request.query.get("access_token", "")
    if slow := sim.faults.strike(faults.SlowUpgrade, now_ns=time.monotonic_ns(), api_key=api_key):
        sim.history.add("fault", fault=slow.kind)
        await asyncio.sleep(slow.delay_ms / 1_000)
    status = _refusal(sim, api_key, token)
    if status == 429 and await _kicked_oldest(sim, api_key):
        status = None
    if status is not None:
        sim.refused[status] = sim.refused.get(status, 0) + 1
        sim.history.add("refused", status=status, api_key=api_key)
        return rest.refused_upgrade(status, with_body=sim.settings.refused_body)
    account = sim.accounts.find(api_key)
    assert account is not None
    account.sockets += 1
    number = sim.next_socket()
    ws = web.WebSocketResponse(compress=False, timeout=CLOSE_HANDSHAKE_S, max_msg_size=REQUEST_BYTES_MAX)
    reason = "lost while opening"
    try:
        await ws.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return ws
        connection = Connection(
            number=number, api_key=api_key, user_id=account.user_id, sim=sim, ws=ws, transport=transport
        )
        sim.connections[number] = connection
        sim.history.add("opened", socket=number, api_key=api_key)
        if sim.settings.greeting:
            connection.say(text_frame("instruments_meta", _dump_hint(sim)))
        reason = await _serve(sim, connection)
    finally:
        sim.connections.pop(number, None)
        _free_slot(sim, account, number)
        sim.history.add("closed", socket=number, api_key=api_key, reason=reason)
    return ws


async def _kicked_oldest(sim: Simulator, api_key: str) -> bool:
    """Whether a fault has made room for one socket too many."""
    standing = [one for one in sim.connections.values() if one.api_key == api_key]
    fault = sim.faults.strike(faults.KickOldest, now_ns=time.monotonic_ns(), api_key=api_key) if standing else None
    if fault is None:
        return False
    oldest = min(standing, key=lambda one: one.number)
    sim.history.add("fault", socket=oldest.number, fault=fault.kind)
    if fault.how == "close":
        await oldest.close(code=1001, reason="replaced")
    else:
        oldest.reset()
    return True


def _free_slot(sim: Simulator, account: Account, number: int) -> None:
    """The socket is not counted any more: at once, or when a fault lets go."""

    def free() -> None:
        account.sockets -= 1

    linger = sim.faults.strike(faults.Linger, now_ns=time.monotonic_ns(), api_key=account.api_key, socket=number)
    if linger is None:
        free()
    else:
        sim.history.add("fault", socket=number, fault=linger.kind)
        asyncio.get_running_loop().call_later(linger.linger_ms / 1_000, free)


async def _serve(sim: Simulator, connection: Connection) -> str:
    brief = sim.faults.strike(
        faults.AcceptThenDrop, now_ns=time.monotonic_ns(), api_key=connection.api_key, socket=connection.number
    )
    if brief is None:
        return await connection.serve()
    sim.history.add("fault", socket=connection.number, fault=brief.kind)
    try:
        async with asyncio.timeout(brief.after_ms / 1_000):
            return await connection.serve()
    except TimeoutError:
        if brief.how == "close":
            await connection.close(code=1001, reason="going away")
        else:
            connection.reset()
        return "dropped by a fault"


def _refusal(sim: Simulator, api_key: str, token: str) -> int | None:
    """The status with which to refuse, or none."""
    now_ns = time.monotonic_ns()
    if refused := sim.faults.strike(faults.RefuseUpgrade, now_ns=now_ns, api_key=api_key):
        return refused.status
    if not api_key or not token:
        return 400
    if not sim.accounts.is_good(api_key, token, now_ns=sim.clock.now_ns()):
        return 403
    if sim.faults.strike(faults.TokenDead, now_ns=now_ns, api_key=api_key):
        return 403
    account = sim.accounts.find(api_key)
    if account is not None and account.sockets >= sim.accounts.sockets_per_key:
        return 429
    return None


def _dump_hint(sim: Simulator) -> dict[str, Any]:
    return {"count": len(sim.instruments), "etag": f'W/"{sim.day:%y%m%d}-{len(sim.dump):x}"'}


async def serve(settings: SimulatorSettings) -> None:
    """Listen, say where on standard output, and run until SIGTERM or SIGINT.

    Raises
    ------
    PortUnusableError
        When nobody can listen there.
    """
    sim = Simulator(settings)
    runner = web.AppRunner(
        build_app(sim),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=CLOSE_HANDSHAKE_S,
        max_line_size=URL_BYTES_MAX,
    )
    port = await listen(runner, settings.host, settings.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = {"listening": f"http://{host}:{port}", "ws": f"ws://{host}:{port}"}
    sys.stdout.write(json.dumps({**where, "seed": settings.seed, "day": sim.day.isoformat()}) + "\n")
    sys.stdout.flush()
    log.info("listening", extra={**where, "instruments": len(sim.instruments), "seed": settings.seed})
    market = asyncio.create_task(sim.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait({market, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if market in done:
            market.result()
    finally:
        market.cancel()
        stopped.cancel()
        await asyncio.gather(market, stopped, return_exceptions=True)
        await sim.close()
        await runner.cleanup()
