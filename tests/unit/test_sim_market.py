"""The market: the same seed gives the same bytes, and no price could be traded against another for a sure profit."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ticker_sim import pricing, wire
from ticker_sim.contracts import Kind
from ticker_sim.instruments import Instrument, build_dump
from ticker_sim.market import Market

DAY = dt.date(2026, 11, 20)
DUMP = build_dump(DAY)
MS = 1_000_000


# Shrinking would only look for a prettier seed.
NO_SHRINKING = tuple(phase for phase in Phase if phase is not Phase.shrink)


def a_market(*, seed: int = 1, instruments: tuple[Instrument, ...] = DUMP) -> Market:
    return Market(instruments, day=DAY, open_at=dt.time(9, 15), seed=seed)


def walked(market: Market, *, steps: int, count: int = 800, step_ms: int = 500) -> Market:
    everything = np.arange(len(market))
    for number in range(1, steps + 1):
        market.step(everything, count=count, now_ns=market.opened_ns + number * step_ms * MS)
    return market


def some(*names: str, kinds: tuple[Kind, ...] = tuple(Kind)) -> tuple[Instrument, ...]:
    return tuple(row for row in DUMP if row.name in names and row.kind in kinds)


def test_the_same_seed_and_calls_give_the_same_bytes() -> None:
    first, second, other = (walked(a_market(seed=seed), steps=5) for seed in (7, 7, 8))

    assert first.rows.tobytes() == second.rows.tobytes()
    assert first.rows.tobytes() != other.rows.tobytes()


def test_a_step_changes_what_it_says_and_nothing_else() -> None:
    market = a_market()
    before, watched = market.rows.copy(), np.arange(0, 3_000)

    changed = market.step(watched, count=200, now_ns=market.opened_ns + 1_000 * MS)

    assert len(changed) == 200
    assert set(changed) <= set(watched)
    differs = (wire.octets_of(before) != wire.octets_of(market.rows)).any(axis=1)
    assert set(np.flatnonzero(differs)) <= set(changed)
    assert differs.sum() > 190


@pytest.mark.parametrize("count", [0, -1])
def test_a_step_of_nothing_changes_nothing(count: int) -> None:
    market = a_market(instruments=some("NIFTY 50", "NIFTY"))
    before = market.rows.copy()

    assert not len(market.step(np.arange(len(market)), count=count, now_ns=market.opened_ns + MS))

    assert before.tobytes() == market.rows.tobytes()


@given(seed=st.integers(0, 2**32), step_ms=st.integers(20, 5_000))
@settings(max_examples=8, deadline=None, phases=NO_SHRINKING)
def test_no_option_is_set_below_what_is_certain_or_above_its_forward(seed: int, step_ms: int) -> None:
    market = a_market(seed=seed, instruments=some("NIFTY 50", "NIFTY", "SENSEX", "RELIANCE", "ASHOKLEY"))
    options = np.flatnonzero([row.is_option for row in market.instruments])

    changed = market.step(options, count=len(options), now_ns=market.opened_ns + step_ms * MS)

    floor, forward = market.bounds(changed)
    strikes = np.array([float(market.instruments[place].strike) for place in changed])
    calls = np.array([market.instruments[place].kind is Kind.CALL for place in changed])
    last = market.rows["last_price"][changed] / 100
    assert (last >= floor - 1e-9).all()
    tick = np.array([float(market.instruments[place].tick) for place in changed])
    assert (last <= np.where(calls, forward, strikes) + 2 * tick).all()


def test_option_values_are_monotonic_in_the_strike_and_obey_parity() -> None:
    strikes = np.arange(20_000.0, 32_000.0, 50.0)
    forward, years = np.full(len(strikes), 26_260.0), np.full(len(strikes), 0.02)
    volatility = pricing.smile_volatility(np.full(len(strikes), 0.13), forward, strikes)

    def value(call: bool) -> pricing.Floats:
        calls = np.full(len(strikes), call)
        return pricing.option_price(forward=forward, strike=strikes, years=years, volatility=volatility, call=calls)

    call, put = value(True), value(False)
    assert (np.diff(call) <= 1e-6).all()
    assert (np.diff(put) >= -1e-6).all()
    assert np.allclose(call - put, (forward - strikes) * np.exp(-pricing.RATE * 0.02), atol=1e-6)


def test_black_76_matches_a_known_value() -> None:
    """Hull, Options, Futures and Other Derivatives: put on a future at 60, strike 60, 4 months, 9 %, 25 % → 3.35."""
    one = np.array([60.0])

    value = _with_rate(0.09, one, np.array([4 / 12]), np.array([0.25]))

    assert value == pytest.approx(3.35, abs=0.005)


def _with_rate(rate: float, price: pricing.Floats, years: pricing.Floats, volatility: pricing.Floats) -> float:
    # The module's rate is a constant; at the money the discount factor is all that depends on it.
    value = pricing.option_price(
        forward=price, strike=price, years=years, volatility=volatility, call=np.array([False])
    )
    return float(value[0] * np.exp((pricing.RATE - rate) * years[0]))


def test_chains_traded_at_one_moment_fall_with_the_strike_within_the_spread() -> None:
    market = a_market(instruments=some("NIFTY 50", "NIFTY"))
    everything = np.arange(len(market))

    market.step(everything, count=len(market), now_ns=market.opened_ns + 1_000 * MS)

    for expiry in {row.expiry for row in market.instruments if row.is_option}:
        for kind, sign in ((Kind.CALL, -1), (Kind.PUT, 1)):
            chain = [p for p, row in enumerate(market.instruments) if row.kind is kind and row.expiry == expiry]
            chain.sort(key=lambda place: market.instruments[place].strike)
            fresh = [p for p in chain if market.rows["last_trade_time"][p] == market.opened_ns // 10**9 + 1]
            prices = market.rows["last_price"][fresh].astype(np.int64)
            assert (sign * np.diff(prices) >= -2 * 5).all(), (expiry, kind)


def test_prices_lie_on_the_grid_and_the_book_does_not_cross() -> None:
    market = walked(a_market(), steps=10, count=4_000)
    rows = market.rows
    indices = wire.is_index(market.tokens)

    for place in np.random.default_rng(0).choice(len(market), 500, replace=False):
        row, instrument = rows[place], market.instruments[place]
        if instrument.kind is Kind.INDEX:
            continue
        tick = round(float(instrument.tick) * wire.divisor_of(instrument.token))
        assert int(row["last_price"]) % tick == 0, instrument
        assert row["low"] <= row["last_price"] <= row["high"]
        bids, asks = row["buy"], row["sell"]
        assert bids["price"][0] < asks["price"][0]
        assert (np.diff(bids["price"].astype(np.int64)) <= 0).all()
        assert (np.diff(asks["price"].astype(np.int64)) > 0).all()
        assert all(int(level["quantity"]) % instrument.lot == 0 for level in (*bids, *asks))
        assert all((level["price"] == 0) == (level["quantity"] == 0) for level in bids)
    assert not rows["buy"]["quantity"][indices].any()
    assert not rows["volume_traded"][indices].any()


def test_volume_never_falls_and_open_interest_stays_within_its_day_range() -> None:
    market = a_market()
    everything = np.arange(len(market))
    before = market.rows["volume_traded"].astype(np.int64)

    for number in range(1, 20):
        market.step(everything, count=2_000, now_ns=market.opened_ns + number * 100 * MS)
        after = market.rows["volume_traded"].astype(np.int64)
        assert (after >= before).all()
        before = after

    assert (market.rows["oi_day_low"] <= market.rows["oi"]).all()
    assert (market.rows["oi"] <= market.rows["oi_day_high"]).all()


def test_futures_stand_above_their_index_by_the_carry() -> None:
    market = a_market(instruments=some("NIFTY 50", "NIFTY", kinds=(Kind.INDEX, Kind.FUTURE)))
    last = {row.symbol: market.rows["last_price"][place] / 100 for place, row in enumerate(market.instruments)}

    spot = last.pop("NIFTY 50")

    assert spot < last["NIFTY26NOVFUT"] < last["NIFTY26DECFUT"] < last["NIFTY27JANFUT"] < spot * 1.02


def test_refresh_brings_unwatched_options_to_the_present_price() -> None:
    market = a_market(instruments=some("NIFTY 50", "NIFTY"))
    hour_ns = market.opened_ns + 3_600_000 * MS

    market.refresh(np.arange(len(market)), now_ns=hour_ns)

    options = np.flatnonzero([row.is_option for row in market.instruments])
    floor, _ = market.bounds(options)
    assert (market.rows["last_price"][options] / 100 >= floor - 1e-9).all()
    assert (market.rows["exchange_timestamp"] == hour_ns // 10**9).all()
