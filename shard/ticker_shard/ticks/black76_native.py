"""`ticker_shard.ticks.black76` as machine code: one option at a time, for use inside a pass over a frame, or a batch.

Same question, same rules, same answers: `black76` states the model, when there is no volatility and why, and is the
twin that tests compare with (volatility within 1e-12). What differs is how it is computed here:

*   Products whose rounding error matters are taken with a fused multiply–add, which is exact by definition; where the
    processor has none, the C library's is called. Nothing else is fused, and there is no fast-math: both would make
    the sign of a remaining time value a matter of luck.
*   One evaluation of the model is two `erfcx`, one logarithm and a few divisions; the density is not needed until the
    Greeks. A warm start one per cent off takes two evaluations, a cold one three, rarely four.
*   What an evaluation waits for is divisions and its own last result, so reciprocals are shared and the polynomial is
    four chains. The loop over a batch stays scalar: options branch and stop at different evaluations. Lanes of a
    branch-free form would be several times faster still; `_erfcx` alone is, where LLVM can vectorise it.
*   The last step is so short (`STEP_LAST`) that the Greeks at the solution follow from the evaluation before it by a
    Taylor step of second order; what is left out is below rounding.

``erfcx(y) = exp(y²) erfc(y)`` for y ≥ 0 is Shepherd and Laframboise's expansion (Math. Comp. 36 (1981) 249–253): the
slowly varying (1 + 2y) erfcx(y) as a polynomial in (y − 3.75)/(y + 3.75), here of degree 24, whose truncation is
below 1e-17. No branch, no table.

From other compiled code call `price_option`; from Python `price_options`. Compiling takes seconds and loading what was
compiled a fraction of one (`compiled`); numba and LLVM themselves cost some 50 MB, the kernels as much again. numba
compiles anew for each layout of the arrays: hand over contiguous ones, and call once before the first live frame.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import float64
from numba.extending import intrinsic

from ticker_shard.ticks.black76_terms import (
    DAYS_PER_YEAR,
    DEVIATIONS_MAX,
    EVALUATIONS_MAX,
    IV_ERROR_MAX,
    ROUNDING,
    SHARE_MIN,
    SIZE_MAX,
    SIZE_MIN,
    START_MISS_MAX,
    STEP_LAST,
    Flags,
    Floats,
    OptionColumns,
    Priced,
)
from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.rows import Outcomes, PricingOutcome

_PRICED: Final = int(PricingOutcome.PRICED)
_NO_PRICE: Final = int(PricingOutcome.NO_PRICE)
_NO_UNDERLYING: Final = int(PricingOutcome.NO_UNDERLYING)
_EXPIRED: Final = int(PricingOutcome.EXPIRED)
_BELOW_INTRINSIC: Final = int(PricingOutcome.BELOW_INTRINSIC)
_ABOVE_BOUND: Final = int(PricingOutcome.ABOVE_BOUND)
_NOT_DETERMINED: Final = int(PricingOutcome.NOT_DETERMINED)
_NO_CONTRACT: Final = int(PricingOutcome.NO_CONTRACT)

_ROOT_HALF: Final = math.sqrt(0.5)
_ROOT_TWO_PI: Final = math.sqrt(2 * math.pi)
_PER_ROOT_TWO_PI: Final = 1 / math.sqrt(2 * math.pi)


def _fma_typed(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(float64, float64, float64), generate


_fma: Any = intrinsic(_fma_typed)


@kernel
def _erfcx(y: float) -> float:
    # Four chains of six, because one chain of twenty-four waits for each of its own results.
    one, linear = y + 3.75, 1.0 + 2.0 * y
    over = 1.0 / (one * linear)  # one division instead of two
    t = (y - 3.75) * linear * over
    t2 = t * t
    t4 = t2 * t2
    a = 4.2514714447963895e-10
    a = _fma(a, t4, 3.8675334242222354e-08)
    a = _fma(a, t4, 1.751637648849062e-06)
    a = _fma(a, t4, 5.164909889268241e-05)
    a = _fma(a, t4, -0.009746579558029276)
    a = _fma(a, t4, -0.10880393014174886)
    a = _fma(a, t4, 1.2375126308378275)
    b = -3.744210080962018e-09
    b = _fma(b, t4, -5.7218230603224086e-08)
    b = _fma(b, t4, 2.238423915508223e-05)
    b = _fma(b, t4, 0.0017556258528952954)
    b = _fma(b, t4, 0.09230432116037748)
    b = _fma(b, t4, -0.14024059858554697)
    c = -5.1739902140113095e-09
    c = _fma(c, t4, -2.5866850716155884e-07)
    c = _fma(c, t4, -1.1444146237700524e-05)
    c = _fma(c, t4, 0.0002937136655913448)
    c = _fma(c, t4, -0.05869339858963677)
    c = _fma(c, t4, 0.0035854154854644293)
    d = 3.1114333809799254e-10
    d = _fma(d, t4, 2.3263508708859124e-08)
    d = _fma(d, t4, -9.73559896736775e-07)
    d = _fma(d, t4, -0.0002901540805408417)
    d = _fma(d, t4, 0.028362277418956406)
    d = _fma(d, t4, 0.0822767384901452)
    value: float = _fma(t2, _fma(t, d, c), _fma(t, b, a)) * (one * over)
    return value


@kernel
def _cold_start(x: float, share: float) -> float:
    """The larger of two lower bounds of the total volatility: b(x, s) ≤ s/√2π, and b ≤ ½ exp(−½(h² + t²))."""
    flat = _ROOT_TWO_PI * share
    bound = -2.0 * math.log(2.0 * share)
    if bound <= -x:
        return max(flat, math.sqrt(-2.0 * x))
    return max(flat, -x * math.sqrt(2.0 / (bound + math.sqrt(bound * bound - x * x))))


@kernel
def price_option(
    price: float,
    underlying: float,
    strike: float,
    root_years: float,
    discount: float,
    growth: float,
    rate: float,
    carry: float,
    is_call: bool,
    warm: float,
) -> tuple[int, float, float, float, float, float]:
    """Implied volatility and Greeks of one option; never raises.

    Parameters
    ----------
    price, underlying, strike
        Rupees.
    root_years
        Square root of the years to expiry.
    discount
        exp(−rate · years).
    growth
        exp(carry · years): underlying · growth is the forward.
    rate, carry
        A year, continuous; for theta only. Carry is 0 for a future, rate − dividend yield for a spot.
    is_call
        Call or put.
    warm
        Where to start: the last implied volatility. NaN: cold. A wrong one costs time, nothing else.

    Returns
    -------
    outcome, iv, delta, gamma, theta, vega
        `PricingOutcome` as an integer; volatility as a fraction a year; delta and gamma of the underlying, theta a
        calendar day, vega a percentage point. All NaN unless PRICED.
    """
    nan = np.nan
    if not (SIZE_MIN < strike < SIZE_MAX and SIZE_MIN < discount < SIZE_MAX and SIZE_MIN < growth < SIZE_MAX):
        return _NO_CONTRACT, nan, nan, nan, nan, nan
    if not (math.isfinite(rate) and math.isfinite(carry) and root_years < SIZE_MAX):
        return _NO_CONTRACT, nan, nan, nan, nan, nan
    if not root_years > SIZE_MIN:
        return _EXPIRED, nan, nan, nan, nan, nan
    if not SIZE_MIN < underlying < SIZE_MAX:
        return _NO_UNDERLYING, nan, nan, nan, nan, nan
    if not 0.0 < price < math.inf:
        return _NO_PRICE, nan, nan, nan, nan, nan

    # Forward and intrinsic value as unevaluated sums of two doubles: what is left of the price is exact.
    forward = underlying * growth
    forward_rest = _fma(underlying, growth, -forward)
    over = forward - strike
    part = over - forward
    over_rest = (forward - (over - part)) - (strike + part) + forward_rest
    above = over > 0.0 or (over == 0.0 and over_rest > 0.0)
    in_the_money = above == is_call and (over != 0.0 or over_rest != 0.0)
    time_value = price
    if in_the_money:
        intrinsic_value = discount * over
        intrinsic_rest = _fma(discount, over, -intrinsic_value) + discount * over_rest
        time_value = price - intrinsic_value - intrinsic_rest if is_call else price + intrinsic_value + intrinsic_rest
        if not time_value > 0.0:
            return _BELOW_INTRINSIC, nan, nan, nan, nan, nan
    forward_now = discount * forward
    strike_now = discount * strike
    if is_call:
        room = forward_now - price + (_fma(discount, forward, -forward_now) + discount * forward_rest)
    else:
        room = strike_now - price + _fma(discount, strike, -strike_now)
    if not room > 0.0:
        return _ABOVE_BOUND, nan, nan, nan, nan, nan

    # Normalised: x = −|ln F/K|; shares of the time value, and of what is left to the bound, in √(DF·DK).
    quotient = forward / strike
    x = math.log(quotient) + (_fma(-quotient, strike, forward) + forward_rest) / forward
    x = -abs(x)
    middle = discount * math.sqrt(forward * strike)
    share = time_value / middle
    share_room = room / middle
    if not share > SHARE_MIN:
        return _NOT_DETERMINED, nan, nan, nan, nan, nan

    bend = -2.0 * x  # the square of the total volatility at the inflection point
    s = warm * root_years
    warm_start = -x < DEVIATIONS_MAX * s and 0.0 < s < 2.0 * DEVIATIONS_MAX
    if not warm_start:
        s = _cold_start(x, share)
    low, high = 0.0, math.inf
    solved = False
    for _ in range(EVALUATIONS_MAX):
        per_s = 1.0 / s
        h = x * per_s
        t = 0.5 * s
        exponent = -0.5 * (h * h + t * t)
        y1 = abs(h + t) * _ROOT_HALF
        y2 = (t - h) * _ROOT_HALF
        e1 = _erfcx(y1)
        e2 = _erfcx(y2)
        # Below the inflection the logarithm of the price, above it that of what is missing to the bound.
        below = s * s < bend
        if below:
            half = 0.5 * (e1 - e2)
            weight = half * _ROOT_TWO_PI
            miss = math.log(half / share) + exponent
        else:
            half = 0.5 * (e1 + e2)
            weight = -half * _ROOT_TWO_PI
            miss = math.log(half / share_room) + exponent
        if below == (miss > 0.0):
            high = min(high, s)
        else:
            low = max(low, s)
        q = (h * h - t * t) * per_s
        curve = q * q - (3.0 * h * h + t * t) * per_s * per_s
        slope = 1.0 / weight
        newton = -miss * weight
        second = q - slope
        third = curve - 3.0 * slope * q + 2.0 * slope * slope
        step = newton * (1.0 + 0.5 * second * newton) / (1.0 + newton * (second + third * newton * (1.0 / 6.0)))
        if abs(newton) * (abs(q) + per_s) < STEP_LAST:
            solved = abs(step) < s  # false where s² underflows
            break
        if warm_start and not abs(newton) < START_MISS_MAX * s:
            s = _cold_start(x, share)
            low, high = 0.0, math.inf
        else:
            following = s + step
            if following <= low:
                following = 0.5 * (s + low)
            elif not following < high:
                following = 0.5 * (s + high) if high < math.inf else 2.0 * s
            s = following
        warm_start = False
    if not solved:
        return _NOT_DETERMINED, nan, nan, nan, nan, nan

    total = s + step
    iv = total / root_years
    scale = middle * math.exp(exponent)
    density = scale * _PER_ROOT_TWO_PI * (1.0 + step * (q + 0.5 * step * curve))  # D·F·φ(d1) = D·K·φ(d2)
    if in_the_money or not below:
        noise = ROUNDING * max(forward_now, strike_now)
        if not noise <= IV_ERROR_MAX * density * root_years:
            return _NOT_DETERMINED, nan, nan, nan, nan, nan

    # The two legs of the out-of-the-money option, D·F·N and D·K·N, moved on from s to s + step.
    call_out = is_call != in_the_money
    turn = 2.0 * x / (s * s * s)
    ahead = 0.5 - x / (s * s)
    behind = ahead - 1.0
    unit = scale * _PER_ROOT_TWO_PI * step
    leg_1 = 0.5 * scale * e1
    if not below:
        leg_1 = (forward_now if call_out else strike_now) - leg_1
    leg_1 += unit * (ahead + 0.5 * step * (q * ahead + turn))
    leg_2 = 0.5 * scale * e2 + unit * (behind + 0.5 * step * (q * behind + turn))
    forward_leg, strike_leg = (leg_1, leg_2) if call_out else (leg_2, leg_1)
    if in_the_money:
        forward_leg = forward_now - forward_leg
        strike_leg = strike_now - strike_leg
    sign = 1.0 if is_call else -1.0
    delta = sign * forward_leg / underlying
    gamma = density / (underlying * underlying * total)
    theta = -0.5 * density * iv / root_years - sign * ((carry - rate) * forward_leg + rate * strike_leg)
    vega = 0.01 * density * root_years
    return _PRICED, iv, delta, gamma, theta / DAYS_PER_YEAR, vega


@kernel
def _price_into(
    values: Floats,
    outcome: Outcomes,
    price: Floats,
    underlying: Floats,
    strike: Floats,
    years: Floats,
    discount: Floats,
    growth: Floats,
    rate: Floats,
    carry: Floats,
    is_call: Flags,
    warm: Floats,
) -> None:
    for i in range(len(price)):
        root_years = math.sqrt(max(years[i], 0.0)) if years[i] == years[i] else np.nan
        outcome[i], values[0, i], values[1, i], values[2, i], values[3, i], values[4, i] = price_option(
            price[i],
            underlying[i],
            strike[i],
            root_years,
            discount[i],
            growth[i],
            rate[i],
            carry[i],
            is_call[i],
            warm[i],
        )


def price_options(options: OptionColumns) -> Priced:
    """What `ticker_shard.ticks.black76.price_options` answers; columns are to be contiguous."""
    values = np.empty((5, len(options.price)))
    outcome = np.empty(len(options.price), np.uint8)
    _price_into(values, outcome, *options)
    return Priced(outcome, *values)
