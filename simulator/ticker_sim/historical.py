"""Candles of the past, made up but repeatable. Pure.

Each trading day's minutes are a bridge from that day's opening level to its close, both drawn from (seed, token,
day); longer candles are made of those minutes, so any two requests agree where they overlap. They are *not* the
ticks that the socket sent: the simulator keeps no history of its market.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ticker_sim.trading_days import IST, is_trading_day

SESSION_OPEN: Final = dt.time(9, 15)
SESSION_MINUTES: Final = 375
DAY_MINUTES: Final = SESSION_MINUTES  # one candle a day
DAILY_SIGMA: Final = 0.011
BRIDGE_SIGMA: Final = 0.0004  # of a minute


@dataclass(frozen=True, slots=True)
class Interval:
    """A candle's width and the longest range of one request."""

    minutes: int
    days_max: int


INTERVALS: Final[dict[str, Interval]] = {
    "minute": Interval(1, 60),
    "3minute": Interval(3, 100),
    "5minute": Interval(5, 100),
    "10minute": Interval(10, 100),
    "15minute": Interval(15, 200),
    "30minute": Interval(30, 200),
    "60minute": Interval(60, 400),
    "day": Interval(DAY_MINUTES, 2_000),
}


class RangeRefusedError(ValueError):
    """The text is the broker's."""


def candles(
    *,
    token: int,
    level: float,
    tick: float,
    interval: str,
    start: dt.datetime,
    end: dt.datetime,
    not_after: dt.datetime,
    with_oi: bool,
    seed: int,
) -> list[list[Any]]:
    """Candles stamped from `start` to `end`, both included, oldest first.

    Parameters
    ----------
    level, tick
        The price that the days wander around, and its grid.
    start, end
        Naive times in India.
    not_after
        The simulated present: nothing later exists.

    Raises
    ------
    RangeRefusedError
        Unknown interval, an end before the start, or a range above the interval's cap.
    """
    width = INTERVALS.get(interval)
    if width is None:
        raise RangeRefusedError("invalid interval")
    if end < start:
        raise RangeRefusedError("invalid from or to date")
    if (end - start).days > width.days_max:
        raise RangeRefusedError(f"interval exceeds max limit: {width.days_max} days")
    end = min(end, not_after)
    found: list[list[Any]] = []
    day = start.date()
    while day <= end.date():
        if is_trading_day(day):
            found += _day_candles(day, token, level, tick, width.minutes, start, end, with_oi, seed)
        day += dt.timedelta(days=1)
    return found


def _day_candles(
    day: dt.date,
    token: int,
    level: float,
    tick: float,
    minutes: int,
    start: dt.datetime,
    end: dt.datetime,
    with_oi: bool,
    seed: int,
) -> list[list[Any]]:
    midnight = dt.datetime.combine(day, dt.time())
    opened = dt.datetime.combine(day, SESSION_OPEN)
    stamps = (
        [midnight]
        if minutes == DAY_MINUTES
        else [opened + dt.timedelta(minutes=first) for first in range(0, SESSION_MINUTES, minutes)]
    )
    wanted = [number for number, stamp in enumerate(stamps) if start <= stamp <= end]
    if not wanted:
        return []
    chance = np.random.default_rng((seed, token, day.toordinal()))
    first, last = level * np.exp(DAILY_SIGMA * chance.standard_normal(2))
    noise = np.cumsum(chance.normal(0.0, BRIDGE_SIGMA, SESSION_MINUTES + 1))
    share = np.linspace(0.0, 1.0, SESSION_MINUTES + 1)
    bridge = noise - noise[0] - share * (noise[-1] - noise[0])
    path = np.maximum(np.rint((first + share * (last - first)) * np.exp(bridge) / tick), 1) * tick
    volumes = chance.integers(100, 20_000, SESSION_MINUTES)
    oi = int(chance.integers(10_000, 1_000_000))
    out: list[list[Any]] = []
    for number in wanted:
        low = number * minutes
        high = min(low + minutes, SESSION_MINUTES)
        part = path[low : high + 1]
        prices = [round(float(price), 4) for price in (part[0], part.max(), part.min(), part[-1])]
        stamp = stamps[number].replace(tzinfo=IST).strftime("%Y-%m-%dT%H:%M:%S%z")
        out.append([stamp, *prices, int(volumes[low:high].sum()), *([oi] if with_oi else [])])
    return out
