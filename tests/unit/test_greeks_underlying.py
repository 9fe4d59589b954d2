"""Which price an option is priced on: the future, a forward out of a pair, the spot; and how each gives way.

The solver is a slow and independent one (`tests.support.pricing`): here it is about everything around it. Times are
the test's own.
"""

from __future__ import annotations

import math

import pytest

from tests.support.chain import NOON_S, Stage, option
from tests.support.nifty import ALL, CALL, FUTURE, INDEX, PUT, YEARS, Why, greek
from tests.support.pricing import black76, implied
from ticker_crds import AssignedInstrument
from ticker_shard.ticks.rows import Greek
from ticker_shard.ticks.underlying import YEAR_S, PricingRules, Source


def liquid(middle: float, *, half: float = 0.5) -> tuple[float, float]:
    return (middle - half, middle + half)


BOOK = {CALL: liquid(300.0), PUT: liquid(240.0)}


def test_the_future_of_the_same_expiry_comes_first() -> None:
    stage = Stage([CALL, PUT, FUTURE, INDEX])

    rows = stage.tick(ALL, book=BOOK)

    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_050.0
    expected = implied(call=True, price=300.0, forward=26_050.0, strike=26_000.0, years=YEARS, rate=0.065)
    assert expected is not None
    assert greek(rows, Greek.IV) == pytest.approx(expected.iv, rel=1e-9)
    assert greek(rows, Greek.DELTA) == pytest.approx(expected.delta, rel=1e-9)
    assert greek(rows, Greek.GAMMA) == pytest.approx(expected.gamma, rel=1e-9)
    assert greek(rows, Greek.THETA) == pytest.approx(expected.theta / 365, rel=1e-9)
    assert greek(rows, Greek.VEGA) == pytest.approx(expected.vega / 100, rel=1e-9)
    assert rows.priced_ns.tolist() == [0, 0, stage.now_ns, stage.now_ns]


def test_without_a_future_a_liquid_pair_near_the_money_gives_a_forward() -> None:
    stage = Stage([CALL, PUT, INDEX])
    stage.tick(ALL_BUT_FUTURE, book=BOOK)
    stage.now_s += 1

    rows = stage.tick({CALL: 300.0}, book=BOOK)

    years = YEARS - 1 / YEAR_S
    assert stage.greeks.market.source[0] == Source.PAIR
    assert greek(rows, Greek.UNDERLYING_PRICE) == pytest.approx(26_000 + 60.0 * math.exp(0.065 * years), rel=1e-12)


ALL_BUT_FUTURE = {row: price for row, price in ALL.items() if row is not FUTURE}


@pytest.mark.parametrize(
    "book",
    [
        pytest.param({}, id="no depth"),
        pytest.param({CALL: liquid(300.0), PUT: (0.0, 240.0)}, id="one side missing"),
        pytest.param({CALL: liquid(300.0), PUT: liquid(240.0, half=10.0)}, id="spread too wide"),
        pytest.param({CALL: liquid(300.0), PUT: liquid(240.0, half=-0.5)}, id="crossed"),
        pytest.param({CALL: liquid(1_300.0), PUT: liquid(240.0)}, id="far from the money"),
    ],
)
def test_a_pair_that_is_not_liquid_and_near_the_money_gives_none(
    book: dict[AssignedInstrument, tuple[float, float]],
) -> None:
    stage = Stage([CALL, PUT, INDEX])
    stage.tick(ALL_BUT_FUTURE, book=book)
    stage.now_s += 1

    rows = stage.tick({CALL: 300.0}, book=book)

    assert stage.greeks.market.source[0] == Source.SPOT
    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0


def test_of_several_pairs_the_one_nearest_to_the_money_is_taken() -> None:
    near, far = (option(26_050, "CE"), option(26_050, "PE")), (option(25_900, "CE"), option(25_900, "PE"))
    book = {near[0]: liquid(260.0), near[1]: liquid(250.0), far[0]: liquid(355.0), far[1]: liquid(195.0)}
    stage = Stage([*near, *far])
    stage.tick(dict.fromkeys(book, 200.0), book=book)
    stage.now_s += 1

    rows = stage.tick({near[0]: 260.0}, book=book)

    assert greek(rows, Greek.UNDERLYING_PRICE) == pytest.approx(26_050 + 10.0 * math.exp(0.065 * YEARS), abs=1e-3)


def test_a_moving_leg_moves_the_forward_at_once() -> None:
    stage = Stage([CALL, PUT])
    stage.tick({CALL: 300.0, PUT: 240.0}, book=BOOK)
    stage.now_s += 1
    before = greek(stage.tick({CALL: 300.0}, book=BOOK), Greek.UNDERLYING_PRICE)

    after = greek(stage.tick({CALL: 310.0}, book={CALL: liquid(310.0)}), Greek.UNDERLYING_PRICE)

    assert after == pytest.approx(before + 10.0, abs=0.05)


def test_the_spot_carries_rate_and_dividends_to_the_forward_and_greeks_are_the_spot_s() -> None:
    rules = PricingRules(rate=0.07, dividend_yield=0.012)
    stage = Stage([CALL, INDEX], rules=rules)

    rows = stage.tick({INDEX: 26_000.0, CALL: 300.0})

    def value(spot: float, years: float) -> float:
        forward = spot * math.exp((0.07 - 0.012) * years)
        return black(forward, years, greek(rows, Greek.IV))

    def black(forward: float, years: float, volatility: float) -> float:
        return black76(call=True, forward=forward, strike=26_000.0, years=years, rate=0.07, volatility=volatility)

    step, day = 1.0, 1 / 365 / 1_000
    up, here, down = value(26_001.0, YEARS), value(26_000.0, YEARS), value(25_999.0, YEARS)
    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0
    assert here == pytest.approx(300.0, abs=1e-6)
    assert greek(rows, Greek.DELTA) == pytest.approx((up - down) / (2 * step), rel=1e-6)
    assert greek(rows, Greek.GAMMA) == pytest.approx((up - 2 * here + down) / step**2, rel=1e-3)
    later, earlier = value(26_000.0, YEARS - day), value(26_000.0, YEARS + day)
    assert greek(rows, Greek.THETA) == pytest.approx((later - earlier) / 2 * 1_000, rel=1e-4)


def test_a_future_that_falls_silent_gives_way_and_takes_over_again() -> None:
    stage = Stage([CALL, FUTURE, INDEX])
    stage.tick({FUTURE: 26_050.0, INDEX: 26_000.0})
    used = []
    for seconds in (14, 2, 1):
        stage.now_s += seconds
        used.append(greek(stage.tick({INDEX: 26_000.0, CALL: 300.0}), Greek.UNDERLYING_PRICE))
    stage.tick({FUTURE: 26_060.0})

    used.append(greek(stage.tick({CALL: 300.0}), Greek.UNDERLYING_PRICE))

    assert used == [26_050.0, 26_000.0, 26_000.0, 26_060.0]


def test_yesterday_s_cached_future_is_stale_at_the_opening_although_it_came_a_moment_ago() -> None:
    stage = Stage([CALL, FUTURE, INDEX])
    stage.tick({FUTURE: 26_400.0}, at_s=NOON_S - 70_000)

    rows = stage.tick({INDEX: 26_000.0, CALL: 300.0})

    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0


def test_an_underlying_in_the_same_block_counts_wherever_it_stands_there() -> None:
    stage = Stage([CALL, FUTURE])

    rows = stage.tick({CALL: 300.0, FUTURE: 26_050.0})

    assert greek(rows, Greek.UNDERLYING_PRICE, 0) == 26_050.0


def test_a_price_of_the_currency_segment_is_scaled_by_its_own_divisor() -> None:
    dollar = AssignedInstrument(
        token=1_000 * 256 + 3, exchange="CDS", tradingsymbol="USDINR26NOV89CE", mode=CALL.mode, channels=CALL.channels,
        expiry="2026-11-26", strike="89", instrument_type="CE", underlying="usdinr", greeks=True,
    )  # fmt: skip
    its_future = AssignedInstrument(
        token=1_001 * 256 + 3, exchange="CDS", tradingsymbol="USDINR26NOVFUT", mode=CALL.mode, channels=CALL.channels,
        expiry="2026-11-26", instrument_type="FUT", underlying="usdinr",
    )  # fmt: skip
    stage = Stage([dollar, its_future])
    scale = 100_000  # the builder writes hundredths, this segment has ten millionths

    rows = stage.tick({its_future: 89.25 * scale, dollar: 0.5 * scale})

    assert greek(rows, Greek.UNDERLYING_PRICE) == 89.25
    assert rows.outcome[-1] == Why.PRICED
