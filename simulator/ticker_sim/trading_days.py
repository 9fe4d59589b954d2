"""Which days the exchanges trade, and on which days contracts expire.

Rules in force since 1 September 2025: NSE derivatives expire on Tuesdays, BSE derivatives on Thursdays, the month's
contract on the last such day; a holiday moves the expiry to the trading day before it. The rules are applied to every
day one may choose, earlier ones included: the simulator needs a plausible calendar, not a historical one.
"""

from __future__ import annotations

import datetime as dt
from typing import Final

TUESDAY: Final = 1
THURSDAY: Final = 3
IST: Final = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")

# Exchange circulars; years that are not listed use the fixed national holidays.
HOLIDAYS: Final[dict[int, frozenset[tuple[int, int]]]] = {
    2025: frozenset(
        {(2, 26), (3, 14), (3, 31), (4, 10), (4, 14), (4, 18), (5, 1), (8, 15), (8, 27), (10, 2), (10, 21), (10, 22)}
        | {(11, 5), (12, 25)}
    ),
    2026: frozenset(
        {(1, 15), (1, 26), (3, 3), (3, 26), (3, 31), (4, 3), (4, 14), (5, 1), (5, 28), (6, 26), (9, 14), (10, 2)}
        | {(10, 20), (11, 10), (11, 24), (12, 25)}
    ),
}
FIXED_HOLIDAYS: Final = frozenset({(1, 26), (5, 1), (8, 15), (10, 2), (12, 25)})


def is_trading_day(day: dt.date) -> bool:
    """Whether the exchanges hold a normal session on `day`."""
    return day.weekday() < 5 and (day.month, day.day) not in HOLIDAYS.get(day.year, FIXED_HOLIDAYS)


def trading_day_on_or_before(day: dt.date) -> dt.date:
    """The last trading day that is not after `day`."""
    while not is_trading_day(day):
        day -= dt.timedelta(days=1)
    return day


def monthly_expiry(year: int, month: int, *, weekday: int) -> dt.date:
    """The last `weekday` of the month, moved before holidays."""
    after = dt.date(year + month // 12, month % 12 + 1, 1)
    last = after - dt.timedelta(days=1)
    last -= dt.timedelta(days=(last.weekday() - weekday) % 7)
    return trading_day_on_or_before(last)


def weekly_expiries(day: dt.date, *, weekday: int, count: int) -> list[dt.date]:
    """The next `count` weekly expiries that are not before `day`, monthly ones included."""
    nominal = day - dt.timedelta(days=7)
    nominal += dt.timedelta(days=(weekday - nominal.weekday()) % 7)
    found: list[dt.date] = []
    while len(found) < count:
        expiry = trading_day_on_or_before(nominal)
        if expiry >= day and expiry not in found:
            found.append(expiry)
        nominal += dt.timedelta(days=7)
    return found


def monthly_expiries(
    day: dt.date, *, weekday: int, count: int, months: frozenset[int] = frozenset(range(1, 13))
) -> list[dt.date]:
    """The next `count` monthly expiries in the given calendar months that are not before `day`."""
    found: list[dt.date] = []
    year, month = day.year, day.month
    while len(found) < count:
        if month in months:
            expiry = monthly_expiry(year, month, weekday=weekday)
            if expiry >= day:
                found.append(expiry)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    return found


def is_monthly(expiry: dt.date, *, weekday: int) -> bool:
    """Whether the expiry is its month's last: its symbols then have the monthly form.

    A weekly expiry that a holiday moved into the month before (1st → 31st) still belongs to its own, next month.
    """
    return expiry == monthly_expiry(expiry.year, expiry.month, weekday=weekday)


def epoch_seconds(day: dt.date, at: dt.time) -> int:
    """Unix seconds of a time of day in India."""
    return int(dt.datetime.combine(day, at, IST).timestamp())
