"""The REST API, as far as clients of market data use it.

Documented: the envelopes, the error types with their statuses, the limits per key, the caps of a quote request, unknown
instruments being absent rather than refused, the dump as CSV in gzip without a check of credentials, the login page
that redirects with a request token. Reported by users: the texts of the errors.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ticker_sim import control, faults, historical, quotes
from ticker_sim.accounts import Account, SessionRefusedError
from ticker_sim.contracts import Kind
from ticker_sim.historical import RangeRefusedError
from ticker_sim.instruments import dump_csv
from ticker_sim.simulator import Simulator
from ticker_sim.trading_days import IST

INCORRECT: Final = "Incorrect `api_key` or `access_token`."
ERROR_TYPES: Final[dict[int, str]] = {
    400: "InputException",
    403: "TokenException",
    429: "NetworkException",
    502: "DataException",
    503: "NetworkException",
}
TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class RestRefusedError(Exception):
    """An answer in the error envelope."""

    def __init__(self, status: int, message: str, *, error_type: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type = error_type or ERROR_TYPES.get(status, "GeneralException")


def success(data: Any) -> web.Response:
    """The envelope of an answer."""
    return web.Response(body=orjson.dumps({"status": "success", "data": data}), content_type="application/json")


def failure(error: RestRefusedError) -> web.Response:
    """The envelope of an error."""
    body = {"status": "error", "message": error.message, "data": None, "error_type": error.error_type}
    return web.Response(body=orjson.dumps(body), content_type="application/json", status=error.status)


def refused_upgrade(status: int, *, with_body: bool) -> web.Response:
    """The answer to an upgrade that is not granted; what its body is, is not documented."""
    if not with_body:
        return web.Response(status=status)
    return failure(RestRefusedError(status, INCORRECT if status == 403 else HTTPStatus(status).phrase))


def add_routes(app: web.Application, sim: Simulator) -> None:
    """Every route of the REST API."""
    rest = _Rest(sim)
    app.router.add_get("/connect/login", rest.login)
    app.router.add_post("/session/token", rest.create_session)
    app.router.add_delete("/session/token", rest.end_session)
    app.router.add_get("/user/profile", rest.profile)
    app.router.add_get("/instruments", rest.instruments)
    app.router.add_get("/instruments/{exchange}", rest.instruments)
    app.router.add_get("/instruments/historical/{token}/{interval}", rest.historical)
    for path in quotes.QUOTE_KEYS_MAX:
        app.router.add_get(path, rest.quote)


def envelope(sim: Simulator) -> Middleware:
    """The middleware around everything: faults, rate limits, errors in their envelope."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path != "/" and not request.path.startswith("/_sim/"):
                strange = _before_rest(sim, request)
                if strange is not None:
                    return strange
            return await handler(request)
        except RestRefusedError as error:
            return failure(error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return failure(RestRefusedError(error.status, error.reason, error_type="GeneralException"))
        except (control.ControlRefusedError, faults.FaultRefusedError) as error:
            return control.refused(error)

    return around


def credentials(request: web.Request) -> tuple[str, str]:
    """(api_key, access_token) of the header or of the query; empty where there are none."""
    scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "token":
        api_key, _, token = pair.strip().partition(":")
        return api_key, token
    return request.query.get("api_key", ""), request.query.get("access_token", "")


def _before_rest(sim: Simulator, request: web.Request) -> web.Response | None:
    api_key, now_ns = credentials(request)[0], time.monotonic_ns()
    for fault in sim.faults.in_force(faults.RestError, now_ns=now_ns, api_key=api_key):
        if not request.path.startswith(fault.path):
            continue
        struck = sim.faults.strike_one(fault, now_ns=now_ns)
        if not struck:
            continue
        sim.history.add("fault", fault=fault.kind, path=request.path)
        if fault.html:
            page = f"<html><body><h1>{fault.status}</h1></body></html>"
            return web.Response(text=page, content_type="text/html", status=fault.status)
        raise RestRefusedError(fault.status, HTTPStatus(fault.status).phrase)
    if not sim.limits.allow(api_key or str(request.remote), request.path, now_ns=now_ns):
        raise RestRefusedError(429, "Too many requests")
    return None


class _Rest:
    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    def _account(self, request: web.Request) -> Account:
        api_key, token = credentials(request)
        sim = self._sim
        dead = sim.faults.strike(faults.TokenDead, now_ns=time.monotonic_ns(), api_key=api_key)
        account = sim.accounts.find(api_key)
        if dead or account is None or not sim.accounts.is_good(api_key, token, now_ns=sim.clock.now_ns()):
            raise RestRefusedError(403, INCORRECT)
        return account

    async def login(self, request: web.Request) -> web.StreamResponse:
        """The login page, for a user who is already logged in: a redirect with a request token."""
        account = self._sim.accounts.find(request.query.get("api_key", ""))
        if account is None:
            raise RestRefusedError(400, "Invalid `api_key`.")
        token = self._sim.accounts.issue_request_token(account.api_key, now_ns=self._sim.clock.now_ns())
        self._sim.history.add("login", api_key=account.api_key)
        url = urlsplit(account.redirect_url)
        extra = parse_qsl(request.query.get("redirect_params", ""))
        query = urlencode([*parse_qsl(url.query), *extra, ("status", "success"), ("request_token", token)])
        raise web.HTTPFound(urlunsplit(url._replace(query=query)))

    async def create_session(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        given = [str(form.get(name, "")) for name in ("api_key", "request_token", "checksum")]
        if not all(given):
            raise RestRefusedError(400, "Missing or empty field `checksum`.")
        now_ns = self._sim.clock.now_ns()
        try:
            account, token = self._sim.accounts.exchange(*given, now_ns=now_ns)
        except SessionRefusedError as error:
            raise RestRefusedError(403, str(error)) from None
        self._sim.history.add("session", api_key=account.api_key)
        login_time = quotes.ist_text(now_ns // 1_000_000_000)
        return success(
            {
                **_profile(account),
                "user_id": account.user_id,
                "api_key": account.api_key,
                "access_token": token,
                "public_token": token[::-1],
                "enctoken": "",
                "refresh_token": "",
                "silo": "",
                "login_time": login_time,
            }
        )

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        account = self._account(request)
        self._sim.accounts.revoke(account.api_key, credentials(request)[1])
        self._sim.history.add("session_ended", api_key=account.api_key)
        return success(True)

    async def profile(self, request: web.Request) -> web.StreamResponse:
        account = self._account(request)
        return success({"user_id": account.user_id, **_profile(account)})

    async def instruments(self, request: web.Request) -> web.StreamResponse:
        """The dump; the broker does not look at credentials here."""
        sim, exchange = self._sim, request.match_info.get("exchange")
        body = sim.dump
        if exchange is not None:
            body = dump_csv(row for row in sim.instruments if row.exchange == exchange)
        api_key = credentials(request)[0]
        if cut := sim.faults.strike(faults.TruncatedDump, now_ns=time.monotonic_ns(), api_key=api_key):
            body = body[: cut.keep_bytes]
        headers = {"Content-Type": "text/csv"}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, 6)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    async def quote(self, request: web.Request) -> web.StreamResponse:
        self._account(request)
        keys, most = request.query.getall("i", []), quotes.QUOTE_KEYS_MAX[request.path]
        if not keys:
            raise RestRefusedError(400, "Missing or empty field `i`.")
        if len(keys) > most:
            raise RestRefusedError(400, f"Maximum number of instruments per request is {most}.")
        shape = {"/quote": quotes.quote, "/quote/ohlc": quotes.ohlc, "/quote/ltp": quotes.ltp}[request.path]
        market = self._sim.market
        found: dict[str, Any] = {}
        for key in keys:
            place = market.place_of_key.get(key)
            if place is None and key.isdigit():
                place = market.place_of.get(int(key))
            if place is not None:
                found[key] = shape(market.instruments[place], market.rows[place])
        return success(found)

    async def historical(self, request: web.Request) -> web.StreamResponse:
        self._account(request)
        market, token = self._sim.market, request.match_info["token"]
        place = market.place_of.get(int(token)) if token.isdigit() else None
        if place is None:
            raise RestRefusedError(400, "invalid token")
        try:
            start, end = (_naive_time(request.query.get(name, "")) for name in ("from", "to"))
        except ValueError:
            raise RestRefusedError(400, "invalid from or to date") from None
        now = dt.datetime.fromtimestamp(self._sim.clock.now_ns() // 1_000_000_000, IST).replace(tzinfo=None)
        instrument = market.instruments[place]
        if request.query.get("continuous") == "1" and request.match_info["interval"] != "day":
            raise RestRefusedError(400, "invalid interval for continuous data")
        level = market.rows[place]["close"] / self._sim.market.divisor_of(place)
        try:
            found = await asyncio.to_thread(
                historical.candles,
                token=instrument.token,
                level=float(level),
                tick=0.05 if instrument.kind is Kind.INDEX else float(instrument.tick),
                interval=request.match_info["interval"],
                start=start,
                end=end,
                not_after=now,
                with_oi=request.query.get("oi") == "1",
                seed=self._sim.settings.seed,
            )
        except RangeRefusedError as error:
            raise RestRefusedError(400, str(error)) from None
        return success({"candles": found})


def _naive_time(text: str) -> dt.datetime:
    """A time of the API, in India: with seconds, or only a date."""
    try:
        return dt.datetime.strptime(text, TIME_FORMAT)  # noqa: DTZ007 - the API's times carry no zone
    except ValueError:
        return dt.datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007


def _profile(account: Account) -> dict[str, Any]:
    return {
        "user_type": "individual",
        "email": f"{account.user_id.lower()}@example.invalid",
        "user_name": f"Simulated {account.user_id}",
        "user_shortname": account.user_id,
        "broker": "ZERODHA",
        "exchanges": ["NSE", "NFO", "BFO", "CDS", "BSE", "BCD", "MCX"],
        "products": ["CNC", "NRML", "MIS", "BO", "CO"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "physical"},
    }
