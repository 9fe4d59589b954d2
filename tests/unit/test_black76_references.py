"""Both pricers against inversions in forty digits of the very doubles they are given (`black76_references`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import mpmath as mp
import numpy as np
import pytest

from tests.support.black76_references import COLUMNS, References, answers, load
from ticker_shard.ticks import black76, black76_native
from ticker_shard.ticks.black76_terms import IV_ERROR_MAX, OptionColumns, Priced
from ticker_shard.ticks.rows import PricingOutcome

PRICERS: Final = {"reference": black76.price_options, "native": black76_native.price_options}
SETS: Final = {"universe": 3_000, "stress": 1_430}
STARTS: Final = (np.nan, 0.1, 0.5, 0.9, 0.99, 1.0, 1.01, 1.5, 3.0, 50.0)  # times the answer

# The last places of √T and the logarithm reach a volatility as about 1e-15 / √T: 3e-13 at five minutes to go.
IV_ERROR: Final = 1e-12
# A Greek moves with (d² + 1) / IV times the volatility's error, and d reaches eight here.
GREEK_ERROR: Final = 5e-11

FOUND: Final = [
    pytest.param((name, pricer, start), id=f"{name}-{pricer}-start-{start:g}")
    for name in SETS
    for pricer in PRICERS
    for start in STARTS
]


@pytest.fixture(scope="module", params=FOUND)
def case(request) -> tuple[References, Priced]:
    name, pricer, start = request.param
    references = load(name)
    return references, PRICERS[pricer](references.options._replace(warm=references.iv * start))


def test_no_volatility_where_the_exact_inversion_has_none(case: tuple[References, Priced]) -> None:
    references, found = case
    assert (references.side == -1).any()
    assert set(found.outcome[references.side == -1]) == {PricingOutcome.BELOW_INTRINSIC}
    assert (found.outcome[references.side == 1] == PricingOutcome.ABOVE_BOUND).all()
    assert np.isnan(np.stack(found[1:])[:, references.side != 0]).all()


def test_a_volatility_wherever_it_is_determined(case: tuple[References, Priced]) -> None:
    references, found = case
    exists = references.side == 0
    determined = exists & (references.noise() < IV_ERROR_MAX * (1 - 1e-6))
    silent = exists & (found.outcome != PricingOutcome.PRICED)

    assert determined.sum() > len(exists) / 2
    assert not (determined & silent).any()
    assert set(found.outcome[silent]) <= {PricingOutcome.NOT_DETERMINED}


def test_every_volatility_is_exact_in_and_out_of_the_money(case: tuple[References, Priced]) -> None:
    references, found = case
    priced = found.outcome == PricingOutcome.PRICED
    np.testing.assert_allclose(found.iv[priced], references.iv[priced], rtol=0, atol=IV_ERROR)


@pytest.mark.parametrize("greek", ["delta", "gamma", "theta", "vega"])
def test_greeks_are_the_derivatives_of_the_price(case: tuple[References, Priced], greek: str) -> None:
    references, found = case
    priced = found.outcome == PricingOutcome.PRICED
    wanted = getattr(references, greek)[priced]
    # Theta is a difference of two terms that nearly cancel for some puts in the money; rupees a day, then.
    options = references.options
    scale = options.discount * options.strike * options.rate / 365 if greek == "theta" else np.zeros(len(priced))
    error = np.abs(getattr(found, greek)[priced] - wanted) / (np.abs(wanted) + scale[priced])
    assert error.max() < GREEK_ERROR


@pytest.mark.parametrize("name", SETS)
def test_the_sets_hold_what_they_are_for(name: str) -> None:
    references = load(name)
    options = references.options
    assert len(options.price) == SETS[name]
    if name == "universe":
        assert len(np.unique(options.underlying)) == 8
        assert len(np.unique(options.years)) == 5
        assert np.isclose(options.years.min() * 365 * 24, 2)
        assert np.allclose(options.price / 0.05, np.round(options.price / 0.05))
        assert (options.price < 0.051).mean() > 0.05
        assert (references.side == -1).mean() > 0.04
    else:
        assert options.years.min() < 600 / (365 * 86_400) < 1 < options.years.max()
        assert np.nanquantile(references.iv, 0.05) < 0.1 < 1 < np.nanquantile(references.iv, 0.9)
        assert (references.side == 1).sum() > 10
        undetermined = (references.side == 0) & (references.noise() > IV_ERROR_MAX)
        assert undetermined.sum() > 100


@pytest.mark.parametrize("name", SETS)
def test_the_data_file_is_what_its_maker_makes(name: str) -> None:
    references = load(name)
    some = np.arange(0, SETS[name], SETS[name] // 12)
    for column, made in answers(OptionColumns._make(column[some] for column in references.options)).items():
        np.testing.assert_array_equal(made, getattr(references, column)[some], err_msg=column)


def one(price: float, *, underlying: float, strike: float, is_call: bool, growth: float = 1.0) -> OptionColumns:
    """An option ten days out at a discount of 0.75, whose products show what rounding would hide."""
    numbers = {"price": price, "underlying": underlying, "strike": strike, "years": 10 / 365, "discount": 0.75}
    numbers |= {"growth": growth, "rate": 0.05, "carry": 0.0, "warm": np.nan}
    columns = {name: np.array([number]) for name, number in numbers.items()}
    return OptionColumns(**{name: columns[name] for name in COLUMNS if name != "is_call"}, is_call=np.array([is_call]),
                         warm=columns["warm"])  # fmt: skip


@pytest.mark.parametrize("pricer", PRICERS)
@pytest.mark.parametrize("is_call", [True, False], ids=["call", "put"])
def test_the_last_place_decides_whether_there_is_a_volatility(pricer: str, is_call: bool) -> None:
    underlying, strike = (300.1, 100.2) if is_call else (100.2, 300.1)
    with mp.workdps(60):
        intrinsic = mp.mpf(0.75) * abs(mp.mpf(underlying) - mp.mpf(strike))
    nearest = float(intrinsic)
    above = nearest if nearest > intrinsic else np.nextafter(nearest, np.inf)
    below = np.nextafter(above, 0)

    option = one(above, underlying=underlying, strike=strike, is_call=is_call)
    assert PRICERS[pricer](option).outcome[0] == PricingOutcome.NOT_DETERMINED
    assert PRICERS[pricer](option._replace(price=np.array([below]))).outcome[0] == PricingOutcome.BELOW_INTRINSIC


@pytest.mark.parametrize("pricer", PRICERS)
@pytest.mark.parametrize("is_call", [True, False], ids=["call", "put"])
def test_exactly_at_a_bound_there_is_no_volatility(pricer: str, is_call: bool) -> None:
    underlying, strike = (64.0, 32.0) if is_call else (32.0, 64.0)  # every product is exact
    intrinsic = one(24.0, underlying=underlying, strike=strike, is_call=is_call)
    bound = one(48.0, underlying=underlying, strike=strike, is_call=is_call)
    assert PRICERS[pricer](intrinsic).outcome[0] == PricingOutcome.BELOW_INTRINSIC
    assert PRICERS[pricer](bound).outcome[0] == PricingOutcome.ABOVE_BOUND


@pytest.mark.parametrize("pricer", PRICERS)
def test_the_checks_here_can_fail(pricer: str) -> None:
    references = load("universe")
    found = PRICERS[pricer](references.options)
    wrong = (replace(references, iv=references.iv * (1 + 1e-9)), found)
    with pytest.raises(AssertionError):
        test_every_volatility_is_exact_in_and_out_of_the_money(wrong)
    invented = found._replace(outcome=np.full_like(found.outcome, PricingOutcome.PRICED))
    with pytest.raises(AssertionError):
        test_no_volatility_where_the_exact_inversion_has_none((references, invented))
