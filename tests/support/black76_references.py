"""Options inverted in forty digits: what the pricers are judged by, kept as data in ``tests/data/black76.npz``.

The doubles of each option are taken as exact numbers and the model is solved for them with mpmath, by bisection and
then Newton, until a change of sign encloses the volatility within 1e-40 of itself. Greeks are numerical derivatives of
the price function in 70 digits, no formula of theirs. Nothing here is shared with what it judges.

``universe``
    3,000 options as a morning brings them: 8 underlyings, 5 expiries of which one is two hours out, prices on the 0.05
    tick, the far ones at the floor of 0.05, some forty more than a tick below intrinsic value.
``stress``
    1,430 options off the tick: 5 minutes to 2 years, volatility 5–200 %, up to 8 deviations in and out of the money.

Written anew by ``python -m tests.support.black76_references`` (some minutes); the seed makes it the same again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mpmath as mp
import numpy as np

from ticker_shard.ticks.black76_terms import OptionColumns, Priced

DATA: Final = Path(__file__).parents[1] / "data" / "black76.npz"
SEED: Final = 20
DIGITS: Final = 70
ENCLOSED: Final = mp.mpf(10) ** -40
TICK: Final = 0.05
YEAR_S: Final = 365 * 86_400

COLUMNS: Final = ("price", "underlying", "strike", "years", "discount", "growth", "rate", "carry", "is_call")
ANSWERS: Final = ("iv", "delta", "gamma", "theta", "vega")


@dataclass(frozen=True)
class References:
    """A set of options with exact answers.

    Attributes
    ----------
    options
        Without a warm start.
    side
        (n,) int8: 0 where a volatility exists, -1 where the price is too low for any, 1 where too high.
    iv, delta, gamma, theta, vega
        (n,) correctly rounded; NaN where there is none. Units of `ticker_shard.ticks.black76.Priced`.
    """

    options: OptionColumns
    side: np.ndarray
    iv: np.ndarray
    delta: np.ndarray
    gamma: np.ndarray
    theta: np.ndarray
    vega: np.ndarray

    def noise(self) -> np.ndarray:
        """(n,) by how much one unit in the last place of the larger leg moves the volatility."""
        larger = np.maximum(self.options.underlying * self.options.growth, self.options.strike)
        return 2.0**-52 * self.options.discount * larger / (100.0 * self.vega)


def load(name: str) -> References:
    """The set `name` from the data file."""
    with np.load(DATA) as data:
        columns = {column: data[f"{name}_{column}"] for column in (*COLUMNS, "side", *ANSWERS)}
    asked = {column: columns[column] for column in COLUMNS}
    options = OptionColumns(**asked, warm=np.full(len(columns["price"]), np.nan))
    return References(options, columns["side"], *(columns[answer] for answer in ANSWERS))


def worst(found: Priced, references: References) -> float:
    """The largest error of a volatility among those found where one exists."""
    return float(np.nanmax(np.abs(found.iv - references.iv)))


# -- the exact answers


@dataclass(frozen=True)
class Exact:
    """One option's numbers, as they stand in the doubles."""

    underlying: mp.mpf
    strike: mp.mpf
    years: mp.mpf
    discount: mp.mpf
    growth: mp.mpf
    rate: mp.mpf
    carry: mp.mpf
    is_call: bool

    def worth(self, volatility: mp.mpf, *, moved: mp.mpf | int = 0, passed: mp.mpf | int = 0) -> mp.mpf:
        """Price at a volatility, the underlying `moved` rupees away and `passed` years later."""
        years = self.years - passed
        discount = self.discount * mp.exp(self.rate * passed)
        forward = (self.underlying + moved) * self.growth * mp.exp(-self.carry * passed)
        total = volatility * mp.sqrt(years)
        d1 = mp.log(forward / self.strike) / total + total / 2
        sign = 1 if self.is_call else -1
        return discount * sign * (forward * normal(sign * d1) - self.strike * normal(sign * (d1 - total)))

    def other_side(self) -> Exact:
        """The same strike's put of a call, and call of a put."""
        return Exact(**{**self.__dict__, "is_call": not self.is_call})


def normal(x: mp.mpf) -> mp.mpf:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def solve(option: Exact, price: mp.mpf) -> tuple[int, mp.mpf | None]:
    """On which side of the possible prices this one is, and its volatility where one exists."""
    forward_now, strike_now = option.discount * option.underlying * option.growth, option.discount * option.strike
    intrinsic = forward_now - strike_now if option.is_call else strike_now - forward_now
    bound = forward_now if option.is_call else strike_now
    if price <= max(intrinsic, 0):
        return -1, None
    if price >= bound:
        return 1, None
    out = option.other_side() if intrinsic > 0 else option
    return 0, enclose(out, price - max(intrinsic, 0))


def enclose(option: Exact, time_value: mp.mpf) -> mp.mpf:
    """Bisection of the logarithm, then Newton on the logarithm of the price, then the proof by a change of sign."""
    low, high = mp.mpf("1e-4"), mp.mpf("1")
    while option.worth(low) > time_value:
        low /= 4
    while option.worth(high) < time_value:
        high *= 4
    for _ in range(16):
        middle = mp.sqrt(low * high)
        low, high = (middle, high) if option.worth(middle) < time_value else (low, middle)
    volatility = mp.sqrt(low * high)
    for _ in range(12):
        worth = option.worth(volatility)
        move = mp.log(worth / time_value) * worth / density(option, volatility)
        volatility -= move
        if abs(move) < ENCLOSED**1.2 * volatility:
            break
    below, above = option.worth(volatility * (1 - ENCLOSED)), option.worth(volatility * (1 + ENCLOSED))
    assert below < time_value < above, (option, time_value)
    return volatility


def density(option: Exact, volatility: mp.mpf) -> mp.mpf:
    """What the price gains with the volatility; only Newton's pace depends on it."""
    total = volatility * mp.sqrt(option.years)
    forward = option.underlying * option.growth
    d1 = mp.log(forward / option.strike) / total + total / 2
    return option.discount * forward * mp.npdf(d1) * mp.sqrt(option.years)


def derivatives(option: Exact, volatility: mp.mpf) -> tuple[mp.mpf, mp.mpf, mp.mpf, mp.mpf]:
    """Delta, gamma, theta a calendar day, vega a percentage point."""
    delta = mp.diff(lambda moved: option.worth(volatility, moved=moved), 0)
    gamma = mp.diff(lambda moved: option.worth(volatility, moved=moved), 0, 2)
    theta = mp.diff(lambda passed: option.worth(volatility, passed=passed), 0) / 365
    vega = mp.diff(option.worth, volatility) / 100
    return delta, gamma, theta, vega


def answers(options: OptionColumns) -> dict[str, np.ndarray]:
    """Side and answers, as the data file keeps them."""
    sides = np.zeros(len(options.price), np.int8)
    found = np.full((5, len(options.price)), np.nan)
    with mp.workdps(DIGITS):
        for place, (price, *numbers, is_call, _) in enumerate(zip(*options, strict=True)):
            option = Exact(*(mp.mpf(float(number)) for number in numbers), is_call=bool(is_call))
            sides[place], volatility = solve(option, mp.mpf(float(price)))
            if volatility is not None:
                found[:, place] = [float(value) for value in (volatility, *derivatives(option, volatility))]
    return {"side": sides, **dict(zip(ANSWERS, found, strict=True))}


# -- the two sets


def universe(chance: np.random.Generator) -> OptionColumns:
    """Eight chains of underlyings, priced with a smile and put on the tick."""
    underlyings = np.array([26_192.15, 58_867.7, 27_405.9, 85_231.9, 1_546.6, 3_150.45, 998.2, 412.35])
    seconds = np.array([2 * 3_600, 2 * 86_400 + 9_000, 9 * 86_400 + 9_000, 33 * 86_400 + 9_000, 89 * 86_400 + 9_000])
    place = np.arange(3_000)
    which, years = place % 8, (seconds / YEAR_S)[(place // 8) % 5]
    underlying = underlyings[which]
    rate = np.full(3_000, 0.065)
    carry = np.where(which % 2 == 0, 0.0, 0.065 - 0.012)  # futures and spots by turns
    discount, growth = np.exp(-rate * years), np.exp(carry * years)
    forward = underlying * growth
    at_the_money = np.where(which < 4, 0.13, 0.28)
    deviations = chance.normal(0, 2.8, 3_000)
    step = np.where(underlying > 20_000, 50.0, np.where(underlying > 1_000, 20.0, 5.0))
    strike = np.maximum(np.round(forward * np.exp(at_the_money * np.sqrt(years) * deviations) / step), 1) * step
    volatility = at_the_money * (1 + 0.03 * np.minimum(deviations**2, 9) - 0.03 * deviations)
    is_call = chance.random(3_000) < 0.5
    worth = model(forward, strike, years, discount, volatility, is_call)
    intrinsic = discount * np.where(is_call, forward - strike, strike - forward)
    below = (intrinsic > 20 * TICK) & (np.cumsum(intrinsic > 20 * TICK) % 24 == 0)
    worth = np.where(below, intrinsic - TICK * (1 + chance.integers(0, 12, 3_000)), worth)
    price = np.maximum(np.round(worth / TICK), 1) * TICK
    return OptionColumns(
        price, underlying, strike, years, discount, growth, rate, carry, is_call, np.full(3_000, np.nan)
    )


def stress(chance: np.random.Generator) -> OptionColumns:
    """Prices at full precision over everything that a market could be; some at and beyond the bounds."""
    count = 1_430
    years = 300 / YEAR_S * (2 * YEAR_S / 300) ** chance.random(count)
    volatility = 0.05 * 40 ** chance.random(count)
    underlying = 10 ** chance.uniform(1, 5, count)
    rate, carry = chance.uniform(0, 0.12, count), chance.uniform(-0.03, 0.12, count) * (chance.random(count) < 0.5)
    discount, growth = np.exp(-rate * years), np.exp(carry * years)
    forward = underlying * growth
    strike = forward * np.exp(volatility * np.sqrt(years) * chance.uniform(-8, 8, count))
    is_call = chance.random(count) < 0.5
    price = model(forward, strike, years, discount, volatility, is_call)
    edge = np.arange(count) % 20 == 0  # next to both bounds: the last places decide
    bound = discount * np.where(is_call, forward, strike)
    intrinsic = discount * np.maximum(np.where(is_call, forward - strike, strike - forward), 0.0)
    limit = np.where((np.arange(count) % 40 == 0) | (intrinsic == 0), bound, intrinsic)
    price = np.where(edge, limit * (1 + 2.0**-52 * chance.integers(-4, 5, count)), price)
    return OptionColumns(
        price, underlying, strike, years, discount, growth, rate, carry, is_call, np.full(count, np.nan)
    )


def model(
    forward: np.ndarray,
    strike: np.ndarray,
    years: np.ndarray,
    discount: np.ndarray,
    volatility: np.ndarray,
    is_call: np.ndarray,
) -> np.ndarray:
    """The price in doubles."""
    total = volatility * np.sqrt(years)
    d1 = np.log(forward / strike) / total + total / 2
    sign = np.where(is_call, 1.0, -1.0)
    cumulative = np.vectorize(lambda x: math.erfc(-x / math.sqrt(2)) / 2)
    return discount * sign * (forward * cumulative(sign * d1) - strike * cumulative(sign * (d1 - total)))


def main() -> None:
    chance = np.random.default_rng(SEED)
    columns: dict[str, np.ndarray] = {}
    for name, options in {"universe": universe(chance), "stress": stress(chance)}.items():
        asked = {column: getattr(options, column) for column in COLUMNS}
        columns |= {f"{name}_{key}": column for key, column in {**asked, **answers(options)}.items()}
    DATA.parent.mkdir(exist_ok=True)
    np.savez_compressed(DATA, **columns)
    print(f"{DATA.name}: {DATA.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
