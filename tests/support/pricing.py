"""Options worked out slowly and independently of the shard: the textbook's formulas, and bisection for the volatility.

For judging what the shard publishes, and as the solver of tests that are about something else than solving.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from ticker_shard.ticks.black76_terms import OptionColumns, Priced
from ticker_shard.ticks.rows import PricingOutcome

VOLATILITY_MAX = 20.0
STEPS = 200


@dataclass(frozen=True)
class Answer:
    """Implied volatility and Greeks of the forward; theta a year, vega a unit."""

    iv: float
    delta: float
    gamma: float
    theta: float
    vega: float


def black76(*, call: bool, forward: float, strike: float, years: float, rate: float, volatility: float) -> float:
    """The option's price."""
    sign = 1.0 if call else -1.0
    width = volatility * math.sqrt(years)
    if width == 0.0:
        return math.exp(-rate * years) * max(sign * (forward - strike), 0.0)
    d1 = math.log(forward / strike) / width + width / 2
    value = forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - width))
    return float(math.exp(-rate * years) * sign * value)


def implied(*, call: bool, price: float, forward: float, strike: float, years: float, rate: float) -> Answer | None:
    """Volatility by bisection, Greeks by the textbook; `None` where no volatility gives this price."""
    given = {"call": call, "forward": forward, "strike": strike, "years": years, "rate": rate}
    low, high = 0.0, VOLATILITY_MAX
    if not black76(**given, volatility=low) < price < black76(**given, volatility=high):
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        if black76(**given, volatility=middle) < price:
            low = middle
        else:
            high = middle
    iv, root, discount, sign = (low + high) / 2, math.sqrt(years), math.exp(-rate * years), 1.0 if call else -1.0
    d1 = math.log(forward / strike) / (iv * root) + iv * root / 2
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    return Answer(
        iv=iv,
        delta=discount * sign * float(ndtr(sign * d1)),
        gamma=discount * density / (forward * iv * root),
        theta=rate * price - discount * forward * density * iv / (2 * root),
        vega=discount * forward * density * root,
    )


def published(answer: Answer, *, forward: float, growth: float, carry: float) -> Answer:
    """`answer` in the units of a row: of the underlying price (F = growth·U), a day's theta, a point's vega."""
    return Answer(
        iv=answer.iv,
        delta=answer.delta * growth,
        gamma=answer.gamma * growth**2,
        theta=(answer.theta - answer.delta * forward * carry) / 365,
        vega=answer.vega / 100,
    )


def solve_slowly(options: OptionColumns) -> Priced:
    """A solver for `array_pricer`."""
    columns = np.full((5, len(options.price)), np.nan)
    outcome = np.full(len(options.price), PricingOutcome.PRICED, np.uint8)
    for place, (price, underlying, strike, years, _, growth, rate, carry, call, _) in enumerate(
        zip(*(column.tolist() for column in options), strict=True)
    ):
        forward = underlying * growth
        answer = implied(call=call, price=price, forward=forward, strike=strike, years=years, rate=rate)
        if answer is not None:
            found = published(answer, forward=forward, growth=growth, carry=carry)
            columns[:, place] = (found.iv, found.delta, found.gamma, found.theta, found.vega)
            continue
        below = price <= black76(call=call, forward=forward, strike=strike, years=years, rate=rate, volatility=0.0)
        outcome[place] = PricingOutcome.BELOW_INTRINSIC if below else PricingOutcome.ABOVE_BOUND
    return Priced(outcome, *columns)
