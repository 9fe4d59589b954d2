"""The pricers keep the properties of the model, the two agree, and no input makes them raise or invent."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from ticker_shard.ticks import black76, black76_native
from ticker_shard.ticks.black76_terms import OptionColumns, Priced
from ticker_shard.ticks.rows import PricingOutcome

PRICERS: Final = (black76.price_options, black76_native.price_options)
BOTH: Final = pytest.mark.parametrize("price_options", PRICERS, ids=("reference", "native"))

AWKWARD: Final = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1.0, 5e-324, 1e-300, 1e-12, 0.05, 1.0, 25_000.0, 1e300)
ANSWERS: Final = {
    PricingOutcome.PRICED,
    PricingOutcome.NO_PRICE,
    PricingOutcome.NO_UNDERLYING,
    PricingOutcome.EXPIRED,
    PricingOutcome.BELOW_INTRINSIC,
    PricingOutcome.ABOVE_BOUND,
    PricingOutcome.NOT_DETERMINED,
    PricingOutcome.NO_CONTRACT,
}


def columns(
    *,
    price: object,
    underlying: object = 25_000.0,
    strike: object = 25_000.0,
    years: object = 7 / 365,
    rate: object = 0.065,
    carry: object = 0.0,
    is_call: object = True,
    warm: object = math.nan,
) -> OptionColumns:
    """Columns of one length from what is given, discount and growth from rate, carry and years."""
    given_columns = np.broadcast_arrays(price, underlying, strike, years, rate, carry, warm, is_call)
    *floats, calls = (np.atleast_1d(column) for column in given_columns)
    price, underlying, strike, years, rate, carry, warm = (np.array(column, float) for column in floats)
    with np.errstate(all="ignore"):
        discount, growth = np.exp(-rate * years), np.exp(carry * years)
    return OptionColumns(
        price, underlying, strike, years, discount, growth, rate, carry, np.array(calls, bool), warm
    )  # fmt: skip


def worth(options: OptionColumns, volatility: np.ndarray | float) -> np.ndarray:
    """The model's price."""
    forward, total = options.underlying * options.growth, volatility * np.sqrt(options.years)
    d1 = np.log(forward / options.strike) / total + total / 2
    sign = np.where(options.is_call, 1.0, -1.0)
    return options.discount * sign * (forward * ndtr(sign * d1) - options.strike * ndtr(sign * (d1 - total)))


def assert_alike(found: Priced, wanted: Priced, *, strike: np.ndarray) -> None:
    assert found.outcome.tolist() == wanted.outcome.tolist()
    np.testing.assert_allclose(found.iv, wanted.iv, rtol=1e-12, atol=1e-12)
    for name in ("delta", "gamma", "vega"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-10, atol=0, err_msg=name)
    # Theta is a difference of what decay and what interest bring, and may be far smaller than both.
    assert np.nanmax(np.abs(found.theta - wanted.theta) / (np.abs(wanted.theta) + 1e-3 * strike), initial=0) < 1e-10


@st.composite
def markets(draw: st.DrawFn) -> OptionColumns:
    """Thirty options of one underlying: five minutes to two years, 5–200 %, up to six deviations from the forward."""
    count = 30
    uniform = st.floats(0, 1, exclude_max=True)
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    underlying = 10 ** (1 + 4 * draw(uniform))
    years = 300 / 31_536_000 * (2 / (300 / 31_536_000)) ** chance.random(count)
    volatility = 0.05 * 40 ** chance.random(count)
    carry, rate = 0.2 * draw(uniform) - 0.05, 0.15 * draw(uniform) - 0.02
    forward = underlying * np.exp(carry * years)
    strike = forward * np.exp(volatility * np.sqrt(years) * chance.uniform(-6, 6, count))
    options = columns(
        price=1.0,
        underlying=underlying,
        strike=strike,
        years=years,
        rate=rate,
        carry=carry,
        is_call=chance.random(count) < 0.5,
    )
    return options._replace(price=worth(options, volatility))


@given(markets(), st.sampled_from((0.5, 0.9, 0.99, 1.0, 1.01, 1.2, 3.0, math.nan)))
def test_the_two_pricers_agree(options: OptionColumns, start: float) -> None:
    cold = black76.price_options(options)
    native = black76_native.price_options(options._replace(warm=cold.iv * start))
    assert_alike(native, cold, strike=options.strike)


@BOTH
@given(options=markets(), start=st.sampled_from((1e-9, 1e-3, 0.1, 0.8, 1.3, 7.0, 1e3, 1e12, -1.0, 0.0, math.inf)))
def test_a_wrong_start_gives_the_same_answer(price_options, options: OptionColumns, start: float) -> None:
    cold = price_options(options)
    assert_alike(price_options(options._replace(warm=np.full(30, start))), cold, strike=options.strike)


@BOTH
@given(
    price=st.sampled_from(AWKWARD),
    underlying=st.sampled_from(AWKWARD),
    strike=st.sampled_from(AWKWARD),
    years=st.sampled_from(AWKWARD),
    rate=st.sampled_from(AWKWARD),
    carry=st.sampled_from(AWKWARD),
    is_call=st.booleans(),
    warm=st.sampled_from(AWKWARD),
)
@settings(max_examples=500)
def test_no_number_makes_it_raise_or_invent(price_options, **numbers: float) -> None:
    found = price_options(columns(**numbers))
    outcome, *values = (column[0] for column in found)

    assert outcome in ANSWERS
    if outcome == PricingOutcome.PRICED:
        assert values[0] > 0
        assert np.isfinite(values).all()
    else:
        assert np.isnan(values).all()


@BOTH
@given(options=markets())
def test_call_and_put_of_one_volatility_keep_parity(price_options, options: OptionColumns) -> None:
    """Of the Greeks too: deltas differ by D·growth, gammas and vegas are one, thetas differ by that of a forward."""
    found = price_options(options)
    # The twin's price is rounded on the way, by units in the last place of the larger leg.
    larger = options.discount * np.maximum(options.underlying * options.growth, options.strike)
    near = 2.0**-51 * larger / (100 * found.vega) < 1e-12  # false for NaN
    assume(near.any())
    some = OptionColumns._make(column[near] for column in options)
    sign = np.where(some.is_call, 1.0, -1.0)
    forward = some.underlying * some.growth
    other = some._replace(price=some.price - sign * some.discount * (forward - some.strike), is_call=~some.is_call)
    twin = price_options(other)
    ours = Priced._make(column[near] for column in found)

    assert (twin.outcome == PricingOutcome.PRICED).all()
    np.testing.assert_allclose(twin.iv, ours.iv, rtol=0, atol=2e-12)
    np.testing.assert_allclose(sign * (ours.delta - twin.delta), some.discount * some.growth, rtol=1e-9)
    np.testing.assert_allclose(twin.gamma, ours.gamma, rtol=1e-8)
    np.testing.assert_allclose(twin.vega, ours.vega, rtol=1e-8)
    drift = some.discount * ((some.carry - some.rate) * forward + some.rate * some.strike) / 365
    size = some.discount * (forward + some.strike)
    assert (np.abs(sign * (ours.theta - twin.theta) + drift) <= 1e-9 * (size + np.abs(ours.theta))).all()


@BOTH
@given(options=markets(), power=st.integers(-8, 8), factor=st.floats(0.5, 2))
def test_rupees_have_no_unit(price_options, options: OptionColumns, power: int, factor: float) -> None:
    """Price, underlying and strike times a power of two: the same doubles come out, gamma divided by it."""
    times = 2.0**power
    money = {name: getattr(options, name) * times for name in ("price", "underlying", "strike")}
    found, scaled = price_options(options), price_options(options._replace(**money))
    np.testing.assert_array_equal(scaled.outcome, found.outcome)
    for name, scale in {"iv": 1.0, "delta": 1.0, "gamma": 1 / times, "theta": times, "vega": times}.items():
        np.testing.assert_allclose(getattr(scaled, name), getattr(found, name) * scale, rtol=1e-10, err_msg=name)


@BOTH
@given(options=markets())
def test_the_answer_reprices_the_option(price_options, options: OptionColumns) -> None:
    found = price_options(options)
    priced = found.outcome == PricingOutcome.PRICED
    assert priced.any()
    some = OptionColumns._make(column[priced] for column in options)
    size = some.discount * np.maximum(some.underlying * some.growth, some.strike)
    assert (np.abs(worth(some, found.iv[priced]) - some.price) <= 1e-13 * size + 1e-10 * some.price).all()


@BOTH
def test_a_column_of_trouble_costs_its_neighbours_nothing(price_options) -> None:
    prices = np.array([300.0, math.nan, -5.0, 300.0, 40_000.0, 300.0])
    strikes = np.array([25_000.0, 25_000.0, 25_000.0, math.nan, 25_000.0, 24_000.0])
    found = price_options(columns(price=prices, strike=strikes))
    assert found.outcome.tolist() == [
        PricingOutcome.PRICED,
        PricingOutcome.NO_PRICE,
        PricingOutcome.NO_PRICE,
        PricingOutcome.NO_CONTRACT,
        PricingOutcome.ABOVE_BOUND,
        PricingOutcome.BELOW_INTRINSIC,
    ]
    alone = price_options(columns(price=300.0))
    assert [column[0] for column in found] == [column[0] for column in alone]


@BOTH
def test_nothing_to_price_is_no_trouble(price_options) -> None:
    assert [len(column) for column in price_options(columns(price=np.empty(0)))] == [0] * 6


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({"years": 0.0}, PricingOutcome.EXPIRED),
        ({"years": -1.0}, PricingOutcome.EXPIRED),
        ({"years": math.nan}, PricingOutcome.NO_CONTRACT),
        ({"underlying": 0.0}, PricingOutcome.NO_UNDERLYING),
        ({"strike": 0.0}, PricingOutcome.NO_CONTRACT),
        ({"rate": math.inf}, PricingOutcome.NO_CONTRACT),
        ({"price": 0.0}, PricingOutcome.NO_PRICE),
        ({"price": math.inf}, PricingOutcome.NO_PRICE),
        ({"price": 1e-289 * 25_000}, PricingOutcome.PRICED),
        ({"price": 1e-291 * 25_000}, PricingOutcome.NOT_DETERMINED),
        # At the money the square of so small a volatility is zero.
        ({"price": 1e-300, "underlying": 1e-12, "strike": 1e-12}, PricingOutcome.NOT_DETERMINED),
    ],
    ids=str,
)
@BOTH
def test_why_there_is_no_answer(price_options, changed: dict[str, float], outcome: PricingOutcome) -> None:
    years = changed.get("years", 7 / 365)
    option = columns(**{"price": 300.0, "strike": 30_000.0} | changed)
    discount = np.ones(1) if not math.isfinite(years) else option.discount
    assert price_options(option._replace(discount=discount, growth=np.ones(1))).outcome[0] == outcome
