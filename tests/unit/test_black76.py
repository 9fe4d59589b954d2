"""The pricers keep the properties of the model, the two agree, and no input makes them raise or invent."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from ticker_shard.ticks import black76, black76_native
from ticker_shard.ticks.black76 import OptionColumns, Priced
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


def assert_alike(found: Priced, wanted: Priced, *, iv: float, greeks: float) -> None:
    assert found.outcome.tolist() == wanted.outcome.tolist()
    np.testing.assert_allclose(found.iv, wanted.iv, rtol=iv, atol=iv)
    for name in ("delta", "gamma", "theta", "vega"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=greeks, atol=1e-300, err_msg=name)


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
    assert_alike(native, cold, iv=1e-12, greeks=1e-10)


@BOTH
@given(options=markets(), start=st.sampled_from((1e-9, 1e-3, 0.1, 0.8, 1.3, 7.0, 1e3, 1e12, -1.0, 0.0, math.inf)))
def test_a_wrong_start_gives_the_same_answer(price_options, options: OptionColumns, start: float) -> None:
    cold = price_options(options)
    assert_alike(price_options(options._replace(warm=np.full(30, start))), cold, iv=1e-12, greeks=1e-10)


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
