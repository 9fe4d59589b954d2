"""What is asked of Black-76, what it answers, and its bounds: common to its two twins.

`black76` computes in numpy and scipy, `black76_native` as machine code; a shard that has the one need not load what
the other stands on.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.rows import Outcomes

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

IV_ERROR_MAX: Final = 1e-6  # what a volatility may depend on rounding, or it is not determined
SIZE_MIN: Final = 1e-100  # of strike, underlying, discount, growth, √T: no product of a few leaves the doubles
SIZE_MAX: Final = 1e100
SHARE_MIN: Final = 1e-290  # of the time value in √(DF·DK): below, exp underflows
DEVIATIONS_MAX: Final = 38.0  # no price above SHARE_MIN is further out: no start beyond it
ROUNDING: Final = 2.0**-52
EVALUATIONS_MAX: Final = 24  # a start within a per cent needs 2, a cold one 3 or 4; the bracket bounds the rest
STEP_LAST: Final = 1e-5  # relative: what is left after such a step is its fourth power
START_MISS_MAX: Final = 0.25  # a first Newton step longer than this share of its start (at most half): begin cold
DAYS_PER_YEAR: Final = 365.0


class OptionColumns(NamedTuple):
    """What is asked: one entry an option, all (n,) and float64 but for `is_call`."""

    price: Floats  # rupees
    underlying: Floats  # rupees; future or spot
    strike: Floats  # rupees
    years: Floats  # to expiry
    discount: Floats  # exp(−rate · years)
    growth: Floats  # exp(carry · years)
    rate: Floats  # a year, continuous; for theta only
    carry: Floats  # a year, continuous; for theta only
    is_call: Flags
    warm: Floats  # where to start: the last volatility, NaN without one; a wrong one costs time only


class Priced(NamedTuple):
    """What is answered, (n,) each; NaN wherever the outcome is not `PricingOutcome.PRICED`."""

    outcome: Outcomes  # PRICED, NO_CONTRACT, EXPIRED, NO_UNDERLYING, NO_PRICE, BELOW_…, ABOVE_…, NOT_DETERMINED
    iv: Floats  # a year, as a fraction
    delta: Floats  # of the underlying
    gamma: Floats
    theta: Floats  # a calendar day
    vega: Floats  # a percentage point of volatility
