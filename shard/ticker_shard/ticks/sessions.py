"""When a segment trades: weekly hours, and from which day they are kept, as data. Pure; holidays are unknown.

Who asks is told a *phase*: which segments are open, and how long this answer holds. So the path of a frame compares
two integers, and only a change of phase costs a computation. Times are those of continuous trading, half-open: a
segment is open from its first second up to, not including, its closing second. The pre-open auction and the closing
session send packets too, but whether they do proves nothing about a connection.

====================  =========================================  =================================================
market                segments (last byte of the token)          Monday–Friday, IST
====================  =========================================  =================================================
equity                1, 4, 8, 9 (indices) and unknown ones      09:15–15:30
equity derivatives    2, 5                                       09:15–15:40; before 3 August 2026 to 15:30
currency              3, 6                                       09:00–17:00
commodity             7, 12                                      09:00–23:30, or to 23:55 while New York has winter
                                                                 time
====================  =========================================  =================================================

Sources: NSE's and BSE's circulars on the closing auction session (derivatives trade on while the shares' auction goes
on); MCX's circulars each March and November. The table is the only one: when an option ends on its expiry day
(`ticker_shard.ticks.contracts`) is read from it too.

Since the closing auction, shares with derivatives trade continuously to 15:15 only, and a segment does not tell which
those are: equity counts as open to 15:30.

An exchange holiday looks like an open day here, a special session like a shut one. A clock that is not the market's
(a simulated day, a replay) must not be judged by this table at all: that is what `MarketHours` other than
``schedule`` are for.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE_S: Final = 60
DAY_S: Final = 86_400
IST_OFFSET_S: Final = 19_800  # no daylight saving
TRADING_WEEKDAYS: Final = frozenset(range(5))  # Monday is 0
SEGMENTS: Final = 256  # a token's last byte
NS_PER_S: Final = 1_000_000_000
_EPOCH: Final = dt.date(1970, 1, 1)
EVER_NS: Final = np.iinfo(np.int64).max


class MarketHours(StrEnum):
    """Whose word is taken for whether the market is open."""

    SCHEDULE = "schedule"  # the weekly table, by the wall clock
    ALWAYS = "always"  # open: a simulated day, at whatever hour it is run
    NEVER = "never"  # shut: nothing is expected to come


@dataclass(frozen=True, slots=True)
class Session:
    """Trading hours, in seconds of the day in India."""

    opens_s: int
    closes_s: int

    def __post_init__(self) -> None:
        assert 0 <= self.opens_s < self.closes_s <= DAY_S, self


def _session(opens: str, closes: str) -> Session:
    hours = [
        int(hour) * 60 * MINUTE_S + int(minute) * MINUTE_S for hour, minute in (opens.split(":"), closes.split(":"))
    ]
    return Session(*hours)


class Market(StrEnum):
    """Segments that keep the same hours."""

    EQUITY = "equity"
    EQUITY_DERIVATIVES = "equity-derivatives"
    CURRENCY = "currency"
    COMMODITY = "commodity"


MARKETS: Final[dict[int, Market]] = {
    2: Market.EQUITY_DERIVATIVES,
    5: Market.EQUITY_DERIVATIVES,
    3: Market.CURRENCY,
    6: Market.CURRENCY,
    7: Market.COMMODITY,
    12: Market.COMMODITY,
}  # by segment; rest: EQUITY
_ALWAYS: Final = dt.date.min
# The first day on which a session is kept; the newest first.
SESSIONS: Final[dict[Market, tuple[tuple[dt.date, Session], ...]]] = {
    Market.EQUITY: ((_ALWAYS, _session("09:15", "15:30")),),
    Market.EQUITY_DERIVATIVES: (
        (dt.date(2026, 8, 3), _session("09:15", "15:40")),
        (_ALWAYS, _session("09:15", "15:30")),
    ),
    Market.CURRENCY: ((_ALWAYS, _session("09:00", "17:00")),),
    Market.COMMODITY: ((_ALWAYS, _session("09:00", "23:30")),),
}
COMMODITY_WINTER: Final = _session("09:00", "23:55")


def session_on(market: Market, day: dt.date) -> Session:
    """The hours of a market on a trading day.

    Parameters
    ----------
    market
        Whose.
    day
        In India.
    """
    if market is Market.COMMODITY and not new_york_summer(day):
        return COMMODITY_WINTER
    return next(session for since, session in SESSIONS[market] if day >= since)


def new_york_summer(day: dt.date) -> bool:
    """Whether New York has daylight saving time: from the second Sunday of March to the first of November."""
    return _sunday(day.year, 3, 2) <= day < _sunday(day.year, 11, 1)


def _sunday(year: int, month: int, number: int) -> dt.date:
    first = dt.date(year, month, 1)
    return first + dt.timedelta(days=(6 - first.weekday()) % 7 + 7 * (number - 1))


@dataclass(frozen=True, slots=True)
class MarketPhase:
    """Which segments are open, from one change to the next.

    Attributes
    ----------
    open
        (256,) bool by segment; read-only.
    from_ns, until_ns
        Wall clock nanoseconds, half-open: when the answer holds.
    """

    open: NDArray[np.bool_] = field(repr=False)
    from_ns: int
    until_ns: int

    def holds(self, wall_ns: int) -> bool:
        """Whether this is still (or, after a clock was set back, already) the phase."""
        return self.from_ns <= wall_ns < self.until_ns


def phase_at(wall_ns: int, *, hours: MarketHours = MarketHours.SCHEDULE) -> MarketPhase:
    """The phase at a moment.

    Parameters
    ----------
    wall_ns
        Unix nanoseconds, of whatever time zone the host is in.
    hours
        Whether the schedule is asked.
    """
    if hours is not MarketHours.SCHEDULE:
        return MarketPhase(_frozen(np.full(SEGMENTS, hours is MarketHours.ALWAYS)), -EVER_NS, EVER_NS)
    local_s = wall_ns // NS_PER_S + IST_OFFSET_S
    day, second = divmod(local_s, DAY_S)
    sessions = _sessions_on(day)
    is_open = np.full(SEGMENTS, _is_open(sessions, Market.EQUITY, second))
    for segment, market in MARKETS.items():
        is_open[segment] = _is_open(sessions, market, second)
    changes = {0, DAY_S} | {edge for session in sessions.values() for edge in (session.opens_s, session.closes_s)}
    midnight_s = day * DAY_S - IST_OFFSET_S
    return MarketPhase(
        _frozen(is_open),
        from_ns=(midnight_s + max(change for change in changes if change <= second)) * NS_PER_S,
        until_ns=(midnight_s + min(change for change in changes if change > second)) * NS_PER_S,
    )


def _sessions_on(day: int) -> dict[Market, Session]:
    """Of a day since 1970; none at a weekend."""
    date = _EPOCH + dt.timedelta(days=day)
    if date.weekday() not in TRADING_WEEKDAYS:
        return {}
    return {market: session_on(market, date) for market in Market}


def _is_open(sessions: dict[Market, Session], market: Market, second: int) -> bool:
    return market in sessions and sessions[market].opens_s <= second < sessions[market].closes_s


def _frozen(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    values.flags.writeable = False
    return values
