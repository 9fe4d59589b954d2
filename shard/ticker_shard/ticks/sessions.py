"""When a segment trades: a plain weekly schedule, as data. Pure: the wall clock is an argument, holidays are unknown.

Who asks is told a *phase*: which segments are open, and how long this answer holds. So the path of a frame compares
two integers, and only a change of phase costs a computation. Times are those of continuous trading, half-open: a
segment is open from its first second up to, not including, its closing second. The pre-open auction and the closing
session send packets too, but whether they do proves nothing about a connection.

======================  =====================================  ==================
session                 segments (last byte of the token)      Monday–Friday, IST
======================  =====================================  ==================
equity and derivatives  1, 2, 4, 5, 8, 9 and unknown ones      09:15–15:30
currency                3, 6                                   09:00–17:00
commodity               7, 12                                  09:00–23:30
======================  =====================================  ==================

An exchange holiday looks like an open day here, a special session like a shut one. A clock that is not the market's
(a simulated day, a replay) must not be judged by this table at all: that is what `MarketHours` other than
``schedule`` are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

MINUTE_S: Final = 60
DAY_S: Final = 86_400
IST_OFFSET_S: Final = 19_800  # no daylight saving
TRADING_WEEKDAYS: Final = frozenset(range(5))  # Monday is 0
EPOCH_WEEKDAY: Final = 3  # 1 January 1970 was a Thursday
SEGMENTS: Final = 256  # a token's last byte
NS_PER_S: Final = 1_000_000_000
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


EQUITY: Final = _session("09:15", "15:30")
CURRENCY: Final = _session("09:00", "17:00")
COMMODITY: Final = _session("09:00", "23:30")
SESSIONS: Final[dict[int, Session]] = {
    3: CURRENCY,
    6: CURRENCY,
    7: COMMODITY,
    12: COMMODITY,
}  # by segment; rest: EQUITY


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
    trading = (day + EPOCH_WEEKDAY) % 7 in TRADING_WEEKDAYS
    is_open = np.full(SEGMENTS, trading and _is_open(EQUITY, second))
    for segment, session in SESSIONS.items():
        is_open[segment] = trading and _is_open(session, second)
    changes = (0, *_CHANGES, DAY_S) if trading else (0, DAY_S)
    midnight_s = day * DAY_S - IST_OFFSET_S
    return MarketPhase(
        _frozen(is_open),
        from_ns=(midnight_s + max(change for change in changes if change <= second)) * NS_PER_S,
        until_ns=(midnight_s + min(change for change in changes if change > second)) * NS_PER_S,
    )


_CHANGES: Final = tuple(
    sorted({change for session in (EQUITY, *SESSIONS.values()) for change in (session.opens_s, session.closes_s)})
)


def _is_open(session: Session, second: int) -> bool:
    return session.opens_s <= second < session.closes_s


def _frozen(values: NDArray[np.bool_]) -> NDArray[np.bool_]:
    values.flags.writeable = False
    return values
