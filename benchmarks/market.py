"""The market that the load comes from: futures and their option chains, priced so that volatility can be found again.

Groups of 300 instruments: one future and 299 options on it, calls and puts alternating over strikes within a tenth of
its price. Prices follow Black-76 with a smile, rounded to the exchange's tick, in `VARIATIONS` states of the market:
from one to the next every future moves, and every option with it. So a frame never repeats the one before, implied
volatilities exist, and whoever prices has to solve for them anew.

Everything is a pure function of (number of instruments, day).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

GROUP: Final = 300
VARIATIONS: Final = 8
EXPIRY_DAYS: Final = 28
RATE: Final = 0.065  # the shard's own default
TICK: Final = 5  # paise
SEGMENT_NFO: Final = 2
FIRST_EXCHANGE_TOKEN: Final = 40_000
STRIKE_STEP: Final = 25
DAYS_PER_YEAR: Final = 365.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Market:
    """Contracts as columns, and their prices.

    Attributes
    ----------
    tokens
        (n,) uint32.
    future
        (n,) int64: position of the future that an option is on; its own of a future.
    is_option, is_call
        (n,) bool.
    strike
        (n,) float64, rupees; 0 for futures.
    expiry
        Of all contracts.
    price
        (VARIATIONS, n) int64, paise.
    """

    tokens: NDArray[np.uint32]
    future: NDArray[np.int64]
    is_option: NDArray[np.bool_]
    is_call: NDArray[np.bool_]
    strike: Floats
    expiry: dt.date
    price: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of instruments."""
        return len(self.tokens)

    def symbol(self, position: int) -> str:
        """Trading symbol of one contract."""
        name = f"BENCH{position // GROUP:02}{self.expiry:%d%b%y}".upper()
        if not self.is_option[position]:
            return f"{name}FUT"
        return f"{name}{self.strike[position]:.0f}{'CE' if self.is_call[position] else 'PE'}"


def make_market(instruments: int, *, today: dt.date) -> Market:
    """The market of `instruments` contracts, seen from `today`.

    Parameters
    ----------
    instruments
        How many; the last group may be cut short.
    today
        Contracts expire `EXPIRY_DAYS` later.
    """
    position = np.arange(instruments)
    group, member = position // GROUP, position % GROUP
    is_option = member > 0
    is_call = is_option & (member % 2 == 1)
    forward = 20_000.0 + 500.0 * group
    rank = (member - 1) // 2 - GROUP // 4
    strike = np.where(is_option, forward + STRIKE_STEP * rank, 0.0)
    years = EXPIRY_DAYS / DAYS_PER_YEAR
    prices = []
    for variation in range(VARIATIONS):
        moved = forward * (1 + 0.0005 * np.sin(2 * np.pi * (variation / VARIATIONS + group / 10)))
        option = black76(moved, np.where(is_option, strike, moved), years, is_call=is_call)
        rupees = np.where(is_option, option, moved)
        prices.append(np.maximum(TICK, np.rint(rupees * 100 / TICK).astype(np.int64) * TICK))
    return Market(
        tokens=((position + FIRST_EXCHANGE_TOKEN) << 8 | SEGMENT_NFO).astype(np.uint32),
        future=group * GROUP,
        is_option=is_option,
        is_call=is_call,
        strike=strike,
        expiry=today + dt.timedelta(days=EXPIRY_DAYS),
        price=np.array(prices),
    )


def black76(forward: Floats, strike: Floats, years: float, *, is_call: NDArray[np.bool_]) -> Floats:
    """Prices under a smile; the plain formula, because only the market is made with it."""
    moneyness = np.log(forward / strike)
    deviation = (0.12 + 0.8 * moneyness**2) * np.sqrt(years)
    d1 = moneyness / deviation + deviation / 2
    sign = np.where(is_call, 1.0, -1.0)
    value = sign * (forward * ndtr(sign * d1) - strike * ndtr(sign * (d1 - deviation)))
    found: Floats = np.exp(-RATE * years) * value
    return found
