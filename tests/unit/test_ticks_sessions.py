"""The weekly schedule: who is open when, and for how long an answer holds."""

from __future__ import annotations

import datetime as dt
import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ticker_shard.ticks.contracts import expiry_instant_s
from ticker_shard.ticks.sessions import SEGMENTS, Market, MarketHours, phase_at, session_on

IST = dt.timezone(dt.timedelta(hours=5, minutes=30))
NSE, NFO, CDS, BSE, BFO, BCD, MCX, INDICES, NCO = 1, 2, 3, 4, 5, 6, 7, 9, 12
MONDAY = dt.date(2026, 11, 23)
WEEK_NS = 7 * 86_400 * 10**9
moments = st.integers(min_value=1_600_000_000 * 10**9, max_value=2_000_000_000 * 10**9)


def at(clock: str, *, day: dt.date = MONDAY) -> int:
    return int(dt.datetime.combine(day, dt.time.fromisoformat(clock), IST).timestamp()) * 10**9


def open_at(wall_ns: int) -> set[int]:
    phase = phase_at(wall_ns)
    return {segment for segment in (NSE, NFO, CDS, BSE, BFO, BCD, MCX, INDICES, NCO) if phase.open[segment]}


EQUITY, DERIVATIVES, CURRENCY, COMMODITY = {NSE, BSE, INDICES}, {NFO, BFO}, {CDS, BCD}, {MCX, NCO}
SUMMER, BEFORE_THE_AUCTION = dt.date(2026, 8, 3), dt.date(2026, 7, 31)


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ("08:59:59", set()),
        ("09:00:00", CURRENCY | COMMODITY),
        ("09:14:59", CURRENCY | COMMODITY),
        ("09:15:00", EQUITY | DERIVATIVES | CURRENCY | COMMODITY),
        ("15:29:59", EQUITY | DERIVATIVES | CURRENCY | COMMODITY),
        ("15:30:00", DERIVATIVES | CURRENCY | COMMODITY),
        ("15:39:59", DERIVATIVES | CURRENCY | COMMODITY),
        ("15:40:00", CURRENCY | COMMODITY),
        ("16:59:59", CURRENCY | COMMODITY),
        ("17:00:00", COMMODITY),
        ("23:54:59", COMMODITY),
        ("23:55:00", set()),
    ],
)
def test_each_segment_keeps_its_hours_to_the_second(clock: str, expected: set[int]) -> None:
    assert open_at(at(clock)) == expected


@pytest.mark.parametrize(
    ("clock", "day", "expected"),
    [
        pytest.param("15:35:00", SUMMER, DERIVATIVES | CURRENCY | COMMODITY, id="from the day of the closing auction"),
        pytest.param("15:35:00", BEFORE_THE_AUCTION, CURRENCY | COMMODITY, id="and before it"),
        pytest.param("23:40:00", SUMMER, set(), id="commodities in New York's summer"),
        pytest.param("23:40:00", dt.date(2026, 10, 30), set(), id="to its last day"),
        pytest.param("23:40:00", dt.date(2026, 11, 2), COMMODITY, id="and in its winter"),
    ],
)
def test_hours_change_on_their_day(clock: str, day: dt.date, expected: set[int]) -> None:
    assert open_at(at(clock, day=day)) == expected


@pytest.mark.parametrize(("exchange", "segment"), [("NFO", NFO), ("BFO", BFO), ("MCX", MCX), ("NCO", NCO)])
@given(day=st.dates(dt.date(2024, 1, 1), dt.date(2030, 12, 31)))
def test_an_option_ends_when_its_market_shuts(exchange: str, segment: int, day: dt.date) -> None:
    assume(day.weekday() < 5)

    end_ns = expiry_instant_s(exchange, day) * 10**9

    assert phase_at(end_ns - 1).open[segment]
    assert not phase_at(end_ns).open[segment]


def test_every_weekday_trades_and_no_weekend_does() -> None:
    week = [MONDAY + dt.timedelta(days=number) for number in range(7)]

    assert [bool(open_at(at("12:00:00", day=day))) for day in week] == [True] * 5 + [False] * 2


@given(moments)
def test_an_answer_holds_exactly_until_it_changes(wall_ns: int) -> None:
    phase = phase_at(wall_ns)
    after = phase_at(phase.until_ns)

    assert phase.holds(wall_ns)
    assert not phase.holds(phase.until_ns)
    assert not phase.holds(phase.from_ns - 1)
    for moment in (phase.from_ns, (phase.from_ns + phase.until_ns) // 2, phase.until_ns - 1):
        assert np.array_equal(phase_at(moment).open, phase.open)
    assert after.from_ns == phase.until_ns


@given(moments)
def test_weeks_are_alike_unless_hours_change_between_them(wall_ns: int) -> None:
    day = dt.datetime.fromtimestamp(wall_ns // 10**9, IST).date()
    assume(all(session_on(market, day) == session_on(market, day + dt.timedelta(7)) for market in Market))

    assert np.array_equal(phase_at(wall_ns + WEEK_NS).open, phase_at(wall_ns).open)


def test_what_is_shared_cannot_be_written_to() -> None:
    phase = phase_at(at("12:00:00"))

    with pytest.raises(ValueError, match="read-only"):
        phase.open[NSE] = False


@pytest.mark.parametrize(("hours", "expected"), [(MarketHours.ALWAYS, SEGMENTS), (MarketHours.NEVER, 0)])
@given(wall_ns=moments)
def test_a_clock_that_is_not_the_markets_is_not_judged_by_the_schedule(
    hours: MarketHours, expected: int, wall_ns: int
) -> None:
    phase = phase_at(wall_ns, hours=hours)

    assert np.count_nonzero(phase.open) == expected
    assert phase.holds(wall_ns)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_the_hosts_time_zone_changes_nothing(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert open_at(at("09:15:00")) == EQUITY | DERIVATIVES | CURRENCY | COMMODITY
        assert open_at(at("23:55:00")) == set()
    finally:
        monkeypatch.undo()
        time.tzset()
