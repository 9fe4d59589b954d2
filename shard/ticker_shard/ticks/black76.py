"""Implied volatility and Greeks in numpy: the reference, and the solver where machine code is not wanted.

The model is the generalised Black–Scholes–Merton formula (E. G. Haug, "The Complete Guide to Option Pricing Formulas",
2nd ed., 1.1.6), which serves a future and a spot alike. With the forward F = S·growth, growth = exp(carry · T),
discount D = exp(−rate · T), total volatility s = σ√T, d1 = ln(F/K)/s + s/2 and d2 = d1 − s::

    call = D·F·N(d1) − D·K·N(d2)            put = D·K·N(−d2) − D·F·N(−d1)

A future has carry 0 (Black-76), a spot carry = rate − dividend yield. Delta and gamma are those of S.

When there is a volatility
--------------------------
The doubles handed over are taken as exact numbers; what they were rounded from is not asked. Parity turns an option in
the money into the one out of the money, whose price is the *time value*: price − D·|F − K|. A volatility exists if the
time value is above zero and the price below its bound (D·F for a call, D·K for a put). Both differences are taken in
twice the working precision (Dekker's exact products, Knuth's exact sums), so their sign is that of the exact numbers:

``BELOW_INTRINSIC``   the time value is zero or less.
``ABOVE_BOUND``       the price is the bound or more.
``NOT_DETERMINED``    a volatility exists, but says nothing: a change of one unit in the last place of the larger leg,
                      2⁻⁵²·D·max(F, K), would move it by more than `IV_ERROR_MAX`. So it is only where the price is
                      far in the money or next to its bound and what is left is rounding noise. Also where a number
                      leaves the range in which doubles keep their digits (`SIZE_MIN`, `SIZE_MAX`, `SHARE_MIN`),
                      or doubles cannot resolve σ√T (below 1e-10 at the money: microseconds before expiry).

Anything else is answered, as exactly as if the time value had been handed over itself: volatility within 1e-12 for five
minutes or more to expiry (the error grows like 2e-16/√T, as the effect of one rounding of F does).

How it is solved
----------------
With x = −|ln F/K|, h = x/s, t = s/2 and √(DF·DK) as the unit of money, price b and what it lacks to its bound are

    b = ½ exp(−½(h² + t²)) (erfcx(−(h + t)/√2) − erfcx((t − h)/√2))                 h + t ≤ 0
    bound − b = ½ exp(−½(h² + t²)) (erfcx((h + t)/√2) + erfcx((t − h)/√2))          h + t ≥ 0

where nothing cancels that matters and nothing overflows. h + t = 0 is the inflection s = √(2|x|): below it ln b, above
it ln(bound − b) is nearly a parabola or flatter, and concave. Householder's step of third order on these (P. Jäckel,
"Let's Be Rational", Wilmott 2015) multiplies the exact digits by four. The start is the last volatility, else the
larger of two closed-form lower bounds. A bracket catches any start; a start that was far off is replaced by the cold
one.

`ticker_shard.ticks.black76_native` is the same in machine code; the tests compare both with inversions in forty digits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

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
from ticker_shard.ticks.rows import Outcomes, PricingOutcome

_SPLITTER: Final = 2.0**27 + 1.0
_ROOT_TWO_PI: Final = np.sqrt(2.0 * np.pi)


class _Legs(NamedTuple):
    """Options normalised to the out-of-the-money side."""

    forward_now: Floats  # D·F
    strike_now: Floats  # D·K
    inside: Flags  # in the money, so that parity was used
    x: Floats  # −|ln F/K|
    time_value: Floats
    room: Floats  # what the price lacks to its bound


def price_options(options: OptionColumns) -> Priced:
    """Implied volatility and Greeks; numbers that make no sense have an outcome that says so, and never raise."""
    outcome = _unanswerable(options)
    iv = np.full(len(outcome), np.nan)
    greeks = np.full((4, len(outcome)), np.nan)
    with np.errstate(all="ignore"):
        asked = np.flatnonzero(outcome == PricingOutcome.PRICED)
        some = _take(options, asked)
        legs = _normalise(some)
        outcome[asked] = _impossible(legs)
        good = outcome[asked] == PricingOutcome.PRICED
        asked, some, legs = asked[good], _take(some, good), _Legs(*(column[good] for column in legs))
        total, solved = _total_volatility(legs, some.warm * np.sqrt(some.years))
        iv[asked] = total / np.sqrt(some.years)
        found = _greeks(some, legs, iv[asked])
        good = solved & _determined(some, legs, total, vega=found[3])
        greeks[:, asked] = found
        lost = asked[~good]
        outcome[lost], iv[lost], greeks[:, lost] = PricingOutcome.NOT_DETERMINED, np.nan, np.nan
    delta, gamma, theta, vega = greeks
    return Priced(outcome, iv, delta, gamma, theta / DAYS_PER_YEAR, vega / 100.0)


def _take(options: OptionColumns, places: NDArray[np.intp] | Flags) -> OptionColumns:
    return OptionColumns._make(column[places] for column in options)


def _unanswerable(options: OptionColumns) -> Outcomes:
    """The first thing that is missing, else PRICED."""
    root_years = np.sqrt(np.maximum(options.years, 0.0))
    sizes = (options.strike, options.discount, options.growth)
    contract = np.logical_and.reduce([(size > SIZE_MIN) & (size < SIZE_MAX) for size in sizes])
    contract &= np.isfinite(options.rate) & np.isfinite(options.carry) & (root_years < SIZE_MAX)
    return _first(
        (~contract, PricingOutcome.NO_CONTRACT),
        (~(root_years > SIZE_MIN), PricingOutcome.EXPIRED),
        (~((options.underlying > SIZE_MIN) & (options.underlying < SIZE_MAX)), PricingOutcome.NO_UNDERLYING),
        (~((options.price > 0.0) & (options.price < np.inf)), PricingOutcome.NO_PRICE),
    )


def _first(*reasons: tuple[Flags, PricingOutcome]) -> Outcomes:
    """Each option's first reason that holds, else PRICED."""
    outcome = np.full(len(reasons[0][0]), PricingOutcome.PRICED, np.uint8)
    for holds, reason in reversed(reasons):
        outcome[holds] = reason
    return outcome


def _normalise(options: OptionColumns) -> _Legs:
    price, strike, discount, is_call = options.price, options.strike, options.discount, options.is_call
    forward, forward_rest = _product(options.underlying, options.growth)
    over, over_rest = _sum(forward, -strike)
    over_rest = over_rest + forward_rest
    above = (over > 0.0) | ((over == 0.0) & (over_rest > 0.0))
    inside = (above == is_call) & ((over != 0.0) | (over_rest != 0.0))
    sign = np.where(is_call, 1.0, -1.0)
    intrinsic, intrinsic_rest = _product(discount, over)
    intrinsic_rest = intrinsic_rest + discount * over_rest
    time_value = np.where(inside, price - sign * intrinsic - sign * intrinsic_rest, price)
    forward_now, forward_now_rest = _product(discount, forward)
    strike_now, strike_now_rest = _product(discount, strike)
    bound = np.where(is_call, forward_now, strike_now)
    room = bound - price + np.where(is_call, forward_now_rest + discount * forward_rest, strike_now_rest)
    # The logarithm of the exact quotient: near the money its last digits are the volatility's.
    quotient = forward / strike
    back, back_rest = _product(quotient, strike)
    x = np.log(quotient) + ((forward - back) - back_rest + forward_rest) / forward
    return _Legs(forward_now, strike_now, inside, -np.abs(x), time_value, room)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """a·b as an unevaluated sum of two doubles (Dekker)."""
    product = a * b
    a_high, b_high = _high(a), _high(b)
    a_low, b_low = a - a_high, b - b_high
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _high(a: Floats) -> Floats:
    """The upper half of the digits (Veltkamp)."""
    spread = _SPLITTER * a
    high: Floats = spread - (spread - a)
    return high


def _sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """A + b as an unevaluated sum of two doubles (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _impossible(legs: _Legs) -> Outcomes:
    share = legs.time_value / np.sqrt(legs.forward_now * legs.strike_now)
    return _first(
        (~(legs.time_value > 0.0), PricingOutcome.BELOW_INTRINSIC),
        (~(legs.room > 0.0), PricingOutcome.ABOVE_BOUND),
        (~(share > SHARE_MIN), PricingOutcome.NOT_DETERMINED),
    )


def _total_volatility(legs: _Legs, warm: Floats) -> tuple[Floats, Flags]:
    """σ√T, and where it was found."""
    middle = np.sqrt(legs.forward_now) * np.sqrt(legs.strike_now)
    share, share_room, x = legs.time_value / middle, legs.room / middle, legs.x
    cold = _cold_start(x, share)
    warm_start = (-x < DEVIATIONS_MAX * warm) & (warm > 0.0) & (warm < 2.0 * DEVIATIONS_MAX)
    s = np.where(warm_start, warm, cold)
    low, high = np.zeros_like(s), np.full_like(s, np.inf)
    found, solved = np.full_like(s, np.nan), np.zeros(len(s), bool)
    at = np.arange(len(s))  # of those still on their way; the columns below shrink with it
    for _ in range(EVALUATIONS_MAX):
        if not len(at):
            break
        step, newton, curvature, too_high = _step(x, s, share, share_room)
        high, low = np.where(too_high, np.minimum(high, s), high), np.where(too_high, low, np.maximum(low, s))
        arrived = np.abs(newton) * (np.abs(curvature) + 1.0 / s) < STEP_LAST
        found[at[arrived]] = (s + step)[arrived]
        solved[at[arrived]] = (np.abs(step) < s)[arrived]  # false where s² underflows
        following = s + step
        following = np.where(following <= low, 0.5 * (s + low), following)
        following = np.where(
            ~(following < high), np.where(high < np.inf, 0.5 * (s + np.minimum(high, SIZE_MAX)), 2.0 * s), following
        )
        astray = warm_start & ~(np.abs(newton) < START_MISS_MAX * s)
        s = np.where(astray, cold, following)
        low, high = np.where(astray, 0.0, low), np.where(astray, np.inf, high)
        warm_start = np.zeros_like(warm_start)
        goes = ~arrived
        at, x, s, cold, low, high = at[goes], x[goes], s[goes], cold[goes], low[goes], high[goes]
        share, share_room, warm_start = share[goes], share_room[goes], warm_start[goes]
    return found, solved


def _cold_start(x: Floats, share: Floats) -> Floats:
    """The larger of two lower bounds: from b ≤ s/√2π, and below the inflection from b ≤ ½ exp(−½(h² + t²))."""
    flat = _ROOT_TWO_PI * share
    depth = np.maximum(-2.0 * np.log(2.0 * share), -x)
    wing = -x * np.sqrt(2.0 / (depth + np.sqrt(depth * depth - x * x)))
    start: Floats = np.fmax(flat, wing)
    return start  # 0/0 at x = 0 and a price of half the bound or more: there is no wing


def _step(x: Floats, s: Floats, share: Floats, share_room: Floats) -> tuple[Floats, Floats, Floats, Flags]:
    """Householder's step from s, Newton's, b″/b′ there, and whether s is too high."""
    h, t = x / s, 0.5 * s
    below = s * s < -2.0 * x
    e1 = erfcx(np.abs(h + t) * np.sqrt(0.5))
    e2 = erfcx((t - h) * np.sqrt(0.5))
    half = 0.5 * np.where(below, e1 - e2, e1 + e2)
    miss = np.log(half / np.where(below, share, share_room)) - 0.5 * (h * h + t * t)
    slope = np.where(below, 1.0, -1.0) / (_ROOT_TWO_PI * half)
    curvature = (h * h - t * t) / s
    third = curvature * curvature - (3.0 * h * h + t * t) / (s * s)  # b‴/b′
    newton = -miss / slope
    f2 = curvature - slope
    f3 = third - 3.0 * slope * curvature + 2.0 * slope * slope
    step = newton * (1.0 + 0.5 * f2 * newton) / (1.0 + newton * (f2 + f3 * newton / 6.0))
    return step, newton, curvature, below == (miss > 0.0)


def _determined(options: OptionColumns, legs: _Legs, total: Floats, *, vega: Floats) -> Flags:
    """Whether the volatility withstands a rounding of the larger leg, where one entered it."""
    subtracted = legs.inside | (total * total >= -2.0 * legs.x)
    noise = ROUNDING * np.maximum(legs.forward_now, legs.strike_now)
    return ~subtracted | (noise <= IV_ERROR_MAX * vega)


def _greeks(options: OptionColumns, legs: _Legs, iv: Floats) -> Floats:
    """(4, n) delta, gamma, theta a year, vega a unit: the textbook's formulas at the volatility found."""
    root_years = np.sqrt(options.years)
    total = iv * root_years
    sign = np.where(options.is_call, 1.0, -1.0)
    x = np.where(legs.forward_now < legs.strike_now, legs.x, -legs.x)
    d1 = x / total + 0.5 * total
    d2 = x / total - 0.5 * total
    forward_leg = legs.forward_now * ndtr(sign * d1)
    strike_leg = legs.strike_now * ndtr(sign * d2)
    density = legs.forward_now * np.exp(-0.5 * d1 * d1) / _ROOT_TWO_PI
    delta = sign * forward_leg / options.underlying
    gamma = density / (options.underlying**2 * total)
    theta = -0.5 * density * iv / root_years
    theta -= sign * ((options.carry - options.rate) * forward_leg + options.rate * strike_leg)
    return np.stack([delta, gamma, theta, density * root_years])
