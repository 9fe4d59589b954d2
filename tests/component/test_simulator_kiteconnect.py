"""The vendor's unmodified KiteConnect against the simulator's REST API, and the limits it hides."""

from __future__ import annotations

import datetime as dt
import gzip
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from kiteconnect import KiteConnect
from kiteconnect.exceptions import DataException, InputException, NetworkException, TokenException

from tests.support.simulator import SimulatorProcess, simulator

DAY = dt.date(2026, 11, 20)


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=3, day=DAY.isoformat(), ticks_per_second=200, rate_limits=False) as running:
        yield running


@pytest.fixture
def kite(sim: SimulatorProcess) -> Iterator[KiteConnect]:
    yield KiteConnect("simkey1", access_token="simtoken1", root=sim.url)
    sim.control.heal()
    sim.control.grant("simkey1", "simtoken1")


def at(text: str) -> dt.datetime:
    """A time as the package wants it: naive, in India."""
    return dt.datetime.fromisoformat(text)


def request_token(sim: SimulatorProcess, api_key: str) -> str:
    """Log in as a browser would, up to the redirect."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as redirect:
        urllib.request.build_opener(Stay).open(f"{sim.url}/connect/login?v=3&api_key={api_key}")
    assert redirect.value.code == 302
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(redirect.value.headers["Location"]).query)
    assert query["status"] == ["success"]
    return query["request_token"][0]


def test_login_exchange_gives_a_token_that_works_and_is_good_once(sim: SimulatorProcess) -> None:
    kite, token = KiteConnect("simkey2", root=sim.url), request_token(sim, "simkey2")

    session = kite.generate_session(token, api_secret="simsecret2")

    assert session["user_id"] == "SIM002"
    assert isinstance(session["login_time"], dt.datetime)
    kite.set_access_token(session["access_token"])
    assert kite.profile()["user_id"] == "SIM002"
    with pytest.raises(TokenException, match="invalid or has expired"):
        kite.generate_session(token, api_secret="simsecret2")


def test_login_exchange_with_a_wrong_secret_is_refused(sim: SimulatorProcess) -> None:
    kite = KiteConnect("simkey3", root=sim.url)

    with pytest.raises(TokenException):
        kite.generate_session(request_token(sim, "simkey3"), api_secret="guessed")


def test_logout_ends_the_token(kite: KiteConnect) -> None:
    assert kite.invalidate_access_token() is True

    with pytest.raises(TokenException):
        kite.profile()


def test_a_wrong_token_is_a_token_exception_and_runs_the_expiry_hook(sim: SimulatorProcess) -> None:
    kite, expired = KiteConnect("simkey1", access_token="guessed", root=sim.url), []
    kite.set_session_expiry_hook(lambda: expired.append(True))

    with pytest.raises(TokenException, match="api_key"):
        kite.profile()

    assert expired == [True]


def test_instruments_read_as_the_package_reads_the_real_dump(kite: KiteConnect) -> None:
    everything, nfo = kite.instruments(), kite.instruments("NFO")

    assert {row["exchange"] for row in everything} == {"NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX"}
    assert [row for row in everything if row["exchange"] == "NFO"] == nfo
    nifty = next(row for row in everything if row["tradingsymbol"] == "NIFTY 50")
    assert (nifty["instrument_token"], nifty["segment"], nifty["instrument_type"]) == (256265, "INDICES", "EQ")
    option = next(row for row in nfo if row["tradingsymbol"] == "NIFTY26NOV26000CE")
    assert (option["expiry"], option["strike"], option["lot_size"], option["tick_size"]) == (
        dt.date(2026, 11, 23),
        26000.0,
        65,
        0.05,
    )


def test_the_dump_is_gzip_for_whom_asks_and_needs_no_credentials(sim: SimulatorProcess) -> None:
    plain = urllib.request.urlopen(sim.url + "/instruments/BFO").read()
    asked = urllib.request.Request(sim.url + "/instruments/BFO", headers={"Accept-Encoding": "gzip"})

    with urllib.request.urlopen(asked) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == plain


def test_quotes_echo_the_keys_and_leave_unknown_ones_out(kite: KiteConnect) -> None:
    keys = ["NSE:RELIANCE", "NSE:NIFTY 50", "NSE:NOSUCH"]

    quote, ohlc, ltp = kite.quote(keys), kite.ohlc(keys), kite.ltp(keys)

    assert set(quote) == set(ohlc) == set(ltp) == {"NSE:RELIANCE", "NSE:NIFTY 50"}
    reliance = quote["NSE:RELIANCE"]
    assert reliance["ohlc"]["low"] <= reliance["last_price"] <= reliance["ohlc"]["high"]
    assert [len(reliance["depth"][side]) for side in ("buy", "sell")] == [5, 5]
    assert reliance["net_change"] == pytest.approx(reliance["last_price"] - reliance["ohlc"]["close"])
    assert "depth" not in quote["NSE:NIFTY 50"]
    assert set(ltp["NSE:RELIANCE"]) == {"instrument_token", "last_price"}


def test_a_quote_takes_500_instruments_and_not_501(kite: KiteConnect) -> None:
    keys = [f"{row['exchange']}:{row['tradingsymbol']}" for row in kite.instruments("NFO")[:501]]

    assert len(kite.quote(keys[:500])) == 500
    with pytest.raises(InputException, match="500"):
        kite.quote(keys)


def test_historical_ranges_are_capped_as_documented(kite: KiteConnect) -> None:
    end = at("2026-11-19 15:30")

    assert kite.historical_data(738561, end - dt.timedelta(days=2_000), end, "day")
    with pytest.raises(InputException, match="exceeds max limit: 2000 days"):
        kite.historical_data(738561, end - dt.timedelta(days=2_001), end, "day")


def test_candles_agree_where_requests_overlap(kite: KiteConnect) -> None:
    start, end = at("2026-11-18 09:15"), at("2026-11-18 15:29")

    minutes = kite.historical_data(738561, start, end, "minute", oi=True)
    fives = kite.historical_data(738561, start, end, "5minute")
    day = kite.historical_data(738561, start.replace(hour=0, minute=0), end, "day")

    assert len(minutes) == 375
    assert len(fives) == 75
    assert fives[0]["open"] == minutes[0]["open"]
    assert fives[0]["volume"] == sum(minute["volume"] for minute in minutes[:5])
    assert day[0]["volume"] == sum(minute["volume"] for minute in minutes)
    assert day[0]["high"] == max(minute["high"] for minute in minutes)
    assert minutes[0]["date"].utcoffset() == dt.timedelta(hours=5, minutes=30)
    assert "oi" in minutes[0]


def test_there_are_no_candles_of_the_future_or_of_unknown_tokens(kite: KiteConnect) -> None:
    later = at("2026-11-25 09:15")

    assert kite.historical_data(738561, later, later + dt.timedelta(days=1), "minute") == []
    with pytest.raises(InputException, match="invalid token"):
        kite.historical_data(1, later, later, "minute")


def test_a_gateway_page_and_a_truncated_dump_reach_the_caller_as_such(sim: SimulatorProcess, kite: KiteConnect) -> None:
    sim.control.fault("rest_error", status=502, html=True, path="/user", count=1)
    with pytest.raises(DataException):
        kite.profile()
    assert kite.profile()["user_id"] == "SIM001"

    sim.control.fault("rest_error", status=503, path="/quote")
    with pytest.raises(NetworkException):
        kite.ltp("NSE:RELIANCE")
    assert kite.profile()["user_id"] == "SIM001"

    sim.control.fault("truncated_dump", keep_bytes=1_000, count=1)
    assert len(urllib.request.urlopen(sim.url + "/instruments").read()) == 1_000
