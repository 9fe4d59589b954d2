"""What derivatives are worth: futures by carry, options by Black-76 on that future, vectorised.

One constant rate carries the spot to the forward and discounts the pay-off, so with F = S·e^{rT}:

* call = e^{-rT} (F·N(d1) − K·N(d2)),  put = e^{-rT} (K·N(−d2) − F·N(−d1)),
* d1 = (ln(F/K) + σ²T/2) / (σ√T),  d2 = d1 − σ√T,

years T are calendar years of 365 days to 15:30 in India on the expiry day. Volatility is a gentle function of
moneyness that is the same for call and put, so put-call parity holds and prices are monotonic in the strike.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

RATE: Final = 0.065
YEAR_S: Final = 365 * 86_400
YEARS_MIN: Final = 60.0 / YEAR_S  # a minute before expiry the formula is still defined
SKEW: Final = 0.25  # puts are dearer: volatility rises by this share of itself for a moneyness of −100 %
SMILE: Final = 1.5


def normal_cdf(x: Floats) -> Floats:
    """The standard normal distribution, exact to the last digits (the C library's erfc)."""
    return 0.5 * np.fromiter(map(math.erfc, (x * -math.sqrt(0.5)).tolist()), np.float64, len(x))


def forward_price(spot: Floats, years: Floats) -> Floats:
    """What a future that expires in `years` is worth."""
    return np.asarray(spot * np.exp(RATE * years))


def smile_volatility(base: Floats, forward: Floats, strike: Floats) -> Floats:
    """Volatility at a strike."""
    moneyness = np.clip(np.log(strike / forward), -1.0, 1.0)
    return np.asarray(base * np.clip(1.0 - SKEW * moneyness + SMILE * moneyness**2, 0.8, 2.0))


def option_price(
    *, forward: Floats, strike: Floats, years: Floats, volatility: Floats, call: NDArray[np.bool_]
) -> Floats:
    """Black-76 prices, never below `discounted_intrinsic`."""
    years = np.maximum(years, YEARS_MIN)
    width = volatility * np.sqrt(years)
    d1 = np.log(forward / strike) / width + width / 2
    sign = np.where(call, 1.0, -1.0)
    value = sign * (forward * normal_cdf(sign * d1) - strike * normal_cdf(sign * (d1 - width)))
    floor = discounted_intrinsic(forward=forward, strike=strike, years=years, call=call)
    return np.maximum(value * np.exp(-RATE * years), floor)


def discounted_intrinsic(*, forward: Floats, strike: Floats, years: Floats, call: NDArray[np.bool_]) -> Floats:
    """What is certain already: below it somebody could buy and be sure of a profit."""
    return np.maximum(np.where(call, forward - strike, strike - forward), 0.0) * np.exp(-RATE * years)
