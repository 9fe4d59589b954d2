"""When an option is not priced, and why; and by whose time.

The solver is a slow and independent one (`tests.support.pricing`): here it is about everything around it. Times are
the test's own.
"""

from __future__ import annotations

import datetime as dt
import math

import pytest

from tests.support.chain import MONTHLY, NOON_S, Stage, option
from tests.support.nifty import CALL, FUTURE, INDEX, YEARS, Why, greek
from tests.support.pricing import solve_slowly
from ticker_shard.ticks.black76_terms import OptionColumns, Priced
from ticker_shard.ticks.contracts import expiry_instant_s
from ticker_shard.ticks.greeks_arrays import array_pricer
from ticker_shard.ticks.rows import Greek, PacketKind, PricingOutcome, TickRows
from ticker_shard.ticks.underlying import YEAR_S, PricingRules


def priced_once(price: float, *, strike: int = 26_000, kind: str = "CE", underlying: float = 26_050.0) -> TickRows:
    asked = option(strike, kind)
    return Stage([asked, FUTURE]).tick({FUTURE: underlying, asked: price})


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(lambda: priced_once(300.0), Why.PRICED, id="an ordinary option"),
        pytest.param(lambda: priced_once(0.05, strike=30_000), Why.PRICED, id="at the smallest tick"),
        pytest.param(lambda: priced_once(0.0), Why.NO_PRICE, id="never traded"),
        pytest.param(lambda: priced_once(-1.0), Why.NO_PRICE, id="a price below zero"),
        pytest.param(lambda: priced_once(20.0), Why.BELOW_INTRINSIC, id="below what is certain"),
        pytest.param(lambda: priced_once(26_060.0), Why.ABOVE_BOUND, id="dearer than its underlying"),
        pytest.param(lambda: priced_once(300.0, underlying=0.0), Why.NO_UNDERLYING, id="an underlying of zero"),
        pytest.param(lambda: Stage([CALL]).tick({CALL: 300.0}), Why.NO_UNDERLYING, id="no underlying here"),
        pytest.param(
            lambda: Stage([CALL, FUTURE]).tick({CALL: 300.0}), Why.NO_UNDERLYING, id="one that has not come yet"
        ),
        pytest.param(lambda: broken_contract(strike=""), Why.NO_CONTRACT, id="no strike"),
        pytest.param(lambda: broken_contract(strike="0"), Why.NO_CONTRACT, id="a strike of zero"),
        pytest.param(lambda: broken_contract(expiry=""), Why.NO_CONTRACT, id="no expiry"),
        pytest.param(lambda: not_asked(), Why.NOT_ASKED, id="Greeks not wanted"),
    ],
)  # fmt: skip
def test_every_option_says_why_it_has_no_greeks(rows, reason: PricingOutcome) -> None:  # type: ignore[no-untyped-def]
    block = rows()

    assert PricingOutcome(int(block.outcome[-1])) is reason
    assert math.isfinite(greek(block, Greek.IV)) is (reason is Why.PRICED)
    assert math.isfinite(greek(block, Greek.VEGA)) is (reason is Why.PRICED)
    assert bool(block.priced_ns[-1]) is (reason is not Why.NOT_ASKED)


def broken_contract(*, strike: str = "26000", expiry: str = MONTHLY) -> TickRows:
    asked = option(strike, "CE", expiry)
    return Stage([asked, FUTURE]).tick({FUTURE: 26_050.0, asked: 300.0})


def not_asked() -> TickRows:
    silent = option(26_000, "CE", greeks=False)
    return Stage([silent, option(25_000, "CE"), FUTURE]).tick({FUTURE: 26_050.0, silent: 300.0})


def test_an_underlying_that_fell_silent_is_named_as_stale() -> None:
    stage = Stage([CALL, FUTURE], rules=PricingRules(stale_s=5.0))
    stage.tick({FUTURE: 26_050.0})
    stage.now_s += 6

    rows = stage.tick({CALL: 300.0})

    assert rows.outcome.tolist() == [Why.STALE_UNDERLYING]
    assert stage.greeks.outcomes[Why.STALE_UNDERLYING] == 1


def test_an_underlying_that_falls_silent_while_the_clock_is_set_back_is_stale_all_the_same() -> None:
    stage = Stage([CALL, FUTURE], rules=PricingRules(stale_s=5.0))
    stage.tick({FUTURE: 26_050.0})
    stage.now_s -= 3_600

    rows = stage.tick({CALL: 300.0}, at_s=NOON_S)
    stage.tick({FUTURE: 26_050.0}, at_s=NOON_S + 1)
    again = stage.tick({CALL: 301.0}, at_s=NOON_S + 1)

    assert [*rows.outcome.tolist(), *again.outcome.tolist()] == [Why.STALE_UNDERLYING, Why.PRICED]


def test_the_last_minute_is_priced_as_a_minute_and_at_the_close_the_option_has_expired() -> None:
    ends_s = expiry_instant_s("NFO", dt.date.fromisoformat(MONTHLY))
    years = {}
    outcomes = {}
    for before in (120, 61, 60, 30, 1, 0, -5):
        stage = Stage([CALL, FUTURE], now_s=ends_s - before)
        rows = stage.tick({FUTURE: 26_050.0, CALL: 52.0})
        years[before], outcomes[before] = stage.greeks.market.years[0] * YEAR_S, rows.outcome[-1]

    assert years == pytest.approx({120: 120, 61: 61, 60: 60, 30: 60, 1: 60, 0: 60, -5: 60})
    assert outcomes == {
        120: Why.PRICED,
        61: Why.PRICED,
        60: Why.PRICED,
        30: Why.PRICED,
        1: Why.PRICED,
        0: Why.EXPIRED,
        -5: Why.EXPIRED,
    }


def test_time_is_the_market_s_not_this_host_s() -> None:
    """A simulated day long past is priced as it was."""
    stage = Stage([CALL, FUTURE])
    stage.now_s += 400 * 86_400

    rows = stage.tick({FUTURE: 26_050.0, CALL: 300.0}, at_s=NOON_S)

    assert rows.outcome[-1] == Why.PRICED
    assert stage.greeks.market.years[0] == pytest.approx(YEARS)


def test_an_exchange_time_far_ahead_of_this_host_is_not_believed() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({FUTURE: 26_050.0})

    stage.tick({CALL: 300.0}, at_s=NOON_S + 5 * 86_400)

    assert stage.greeks.market.clock_s == NOON_S


def test_packets_without_a_time_are_priced_by_this_host_s_clock() -> None:
    stage = Stage([CALL, FUTURE])

    rows = stage.tick({FUTURE: 26_050.0, CALL: 300.0}, kind=PacketKind.LTP)

    assert rows.outcome[-1] == Why.PRICED
    assert stage.greeks.market.years[0] == pytest.approx(YEARS)


def test_an_account_without_options_pays_nothing() -> None:
    stage = Stage([FUTURE, INDEX])

    rows = stage.tick({FUTURE: 26_050.0, INDEX: 26_000.0})

    assert rows.outcome.tolist() == [Why.NOT_ASKED] * 2
    assert stage.greeks.outcomes.sum() == 0
    assert not len(stage.reprice())


def test_the_solver_starts_from_the_last_volatility_also_under_a_new_table() -> None:
    asked_with = []

    def solver(options: OptionColumns) -> Priced:
        asked_with.append(options.warm.tolist())
        return solve_slowly(options)

    stage = Stage([CALL, FUTURE], pricer=array_pricer(solver))
    found = greek(stage.tick({FUTURE: 26_050.0, CALL: 300.0}), Greek.IV)

    stage.configure([option(25_000, "CE"), CALL, FUTURE])
    stage.tick({CALL: 301.0, option(25_000, "CE"): 1_100.0})

    assert asked_with[-1] == [found, pytest.approx(math.nan, nan_ok=True)]
