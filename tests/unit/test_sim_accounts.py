"""Who may connect, how often, and what the past looks like: the pure rules behind the simulator's REST API."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_sim.accounts import Account, Accounts, SessionRefusedError, session_checksum, token_dies_ns
from ticker_sim.credentials import CredentialsRefusedError, read_credentials
from ticker_sim.historical import INTERVALS, RangeRefusedError, candles
from ticker_sim.history import History
from ticker_sim.rates import LIMITS, Group, RateLimits, group_of
from ticker_sim.trading_days import IST, epoch_seconds

S = 1_000_000_000
NOON_NS = epoch_seconds(dt.date(2026, 11, 20), dt.time(12)) * S
MIDNIGHT_NS = epoch_seconds(dt.date(2026, 11, 21), dt.time(0)) * S


def an_accounts(**options: Any) -> Accounts:
    accounts = Accounts(**options)
    accounts.register(Account("key", "sec", "SIM001"), access_token="token", now_ns=NOON_NS)
    return accounts


def test_the_checksum_is_the_documented_one() -> None:
    wanted = "e527c3f602010d1c045a863d2857aecf6ed755faf71f4b5984b76441448a2ef2"

    assert session_checksum("key", "req", "sec") == wanted


def test_a_token_dies_at_six_in_the_morning() -> None:
    accounts = an_accounts()
    six_ns = MIDNIGHT_NS + 6 * 3_600 * S

    assert accounts.is_good("key", "token", now_ns=six_ns - 1)
    assert not accounts.is_good("key", "token", now_ns=six_ns)


@given(issued_s=st.integers(1_700_000_000, 1_900_000_000), at=st.times().map(lambda t: t.replace(microsecond=0)))
def test_a_token_lives_at_most_a_day_and_dies_at_the_given_time(issued_s: int, at: dt.time) -> None:
    dies_s = token_dies_ns(issued_s * S, at=at) // S

    assert issued_s < dies_s <= issued_s + 86_400
    assert dt.datetime.fromtimestamp(dies_s, IST).time() == at


def test_a_request_token_is_good_once_for_its_key_and_for_minutes() -> None:
    accounts = an_accounts()
    accounts.register(Account("other", "sec", "SIM002"), access_token=None, now_ns=NOON_NS)

    def exchange(token: str, *, key: str = "key", later_s: int = 1) -> str:
        checksum = session_checksum(key, token, "sec")
        return accounts.exchange(key, token, checksum, now_ns=NOON_NS + later_s * S)[1]

    token, stolen, old = (accounts.issue_request_token("key", now_ns=NOON_NS) for _ in range(3))
    assert accounts.is_good("key", exchange(token), now_ns=NOON_NS + 2 * S)
    for call in (lambda: exchange(token), lambda: exchange(stolen, key="other"), lambda: exchange(old, later_s=301)):
        with pytest.raises(SessionRefusedError, match="invalid or has expired"):
            call()


@pytest.mark.parametrize("replaces", [False, True])
def test_whether_a_second_login_kills_the_first_token_is_an_option(replaces: bool) -> None:
    accounts = an_accounts(login_replaces=replaces)
    token = accounts.issue_request_token("key", now_ns=NOON_NS)

    accounts.exchange("key", token, session_checksum("key", token, "sec"), now_ns=NOON_NS)

    assert accounts.is_good("key", "token", now_ns=NOON_NS) is not replaces


def test_granting_a_token_leaves_no_other_and_revoking_leaves_none() -> None:
    accounts = an_accounts()

    accounts.grant("key", "fresh", now_ns=NOON_NS, only=True)
    assert [accounts.is_good("key", token, now_ns=NOON_NS) for token in ("token", "fresh")] == [False, True]

    assert accounts.revoke("key") == 1
    assert not accounts.is_good("key", "fresh", now_ns=NOON_NS)
    assert accounts.revoke("nobody") == 0


def test_unknown_keys_are_good_only_where_any_is() -> None:
    assert not an_accounts().is_good("new", "x", now_ns=NOON_NS)
    assert an_accounts(accept_any=True).is_good("new", "x", now_ns=NOON_NS)
    assert not an_accounts(accept_any=True).is_good("new", "", now_ns=NOON_NS)


def test_limits_count_per_key_group_and_second() -> None:
    limits = RateLimits()

    def allowed(key: str, path: str, now_ns: int) -> int:
        return sum(limits.allow(key, path, now_ns=now_ns) for _ in range(20))

    assert allowed("a", "/quote", 0) == LIMITS[Group.QUOTE] == 1
    assert allowed("a", "/quote/ltp", S - 1) == 0
    assert allowed("a", "/instruments/historical/1/day", 0) == LIMITS[Group.HISTORICAL] == 3
    assert allowed("a", "/user/profile", 0) == LIMITS[Group.OTHER] == 10
    assert allowed("b", "/quote", 0) == 1
    assert allowed("a", "/quote", S) == 1


def test_limits_can_be_switched_off() -> None:
    limits = RateLimits(enabled=False)

    assert all(limits.allow("a", "/quote", now_ns=0) for _ in range(50))


def test_the_dump_is_not_counted_as_historical() -> None:
    assert group_of("/instruments/NFO") is Group.OTHER


def the_past(interval: str, start: str, end: str, **options: Any) -> list[list[Any]]:
    return candles(
        token=738561,
        level=1545.0,
        tick=0.1,
        interval=interval,
        start=dt.datetime.fromisoformat(start),
        end=dt.datetime.fromisoformat(end),
        not_after=dt.datetime.fromisoformat("2026-11-20 12:00"),
        with_oi=False,
        seed=1,
        **options,
    )


@pytest.mark.parametrize("interval", INTERVALS)
def test_candles_are_stamped_at_their_opening_inside_the_range(interval: str) -> None:
    stamps = [row[0] for row in the_past(interval, "2026-11-16 00:00", "2026-11-20 10:00")]

    assert stamps == sorted(set(stamps))
    assert stamps[0] == ("2026-11-16T00:00:00+0530" if interval == "day" else "2026-11-16T09:15:00+0530")
    assert all(stamp[:19] <= "2026-11-20T10:00:00" for stamp in stamps)


def test_candles_hold_open_and_close_between_low_and_high() -> None:
    for _, opened, high, low, closed, volume in the_past("5minute", "2026-11-16 00:00", "2026-11-20 10:00"):
        assert low <= min(opened, closed) <= max(opened, closed) <= high
        assert volume > 0


def test_there_are_no_candles_of_closed_days_or_after_the_present() -> None:
    assert the_past("day", "2026-11-14 00:00", "2026-11-15 23:59") == []
    assert the_past("minute", "2026-11-20 11:59", "2026-11-20 15:00")[-1][0] == "2026-11-20T12:00:00+0530"


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [("2day", "2026-11-19", "2026-11-20"), ("day", "2026-11-20", "2026-11-19"), ("minute", "2026-01-01", "2026-11-19")],
)
def test_ranges_that_make_no_sense_are_refused(interval: str, start: str, end: str) -> None:
    with pytest.raises(RangeRefusedError):
        the_past(interval, start, end)


DOCUMENTED = {"minute": 60, "3minute": 100, "5minute": 100, "10minute": 100}
DOCUMENTED |= {"15minute": 200, "30minute": 200, "60minute": 400, "day": 2000}


@pytest.mark.parametrize(("interval", "days"), DOCUMENTED.items())
def test_the_longest_range_of_an_interval_is_the_documented_one(interval: str, days: int) -> None:
    end = dt.datetime.fromisoformat("2026-11-20 00:00")
    longest = end - dt.timedelta(days=days)

    assert the_past(interval, str(longest), str(longest + dt.timedelta(days=7)))
    with pytest.raises(RangeRefusedError, match=f"exceeds max limit: {days} days"):
        the_past(interval, str(longest - dt.timedelta(days=1)), str(end))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a JSON list"),
        ("[]", "at least one"),
        ('[{"api_secret": "hush-hush"}]', "entry 1 has no api_key"),
        ('[{"api_key": "k", "api_secret": 77}]', "entry 1 has a value that is no string"),
        ('[{"api_key": "k"}, {"api_key": "k"}]', "entry 2 repeats"),
    ],
)
def test_a_wrong_file_of_accounts_is_refused_without_repeating_a_value(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(content)

    with pytest.raises(CredentialsRefusedError, match=message) as refused:
        read_credentials(path)

    assert "hush-hush" not in str(refused.value)


def test_a_file_of_accounts_needs_only_keys(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps([{"api_key": "k1", "access_token": "t1"}, {"api_key": "k2", "user_id": "AB12"}]))

    assert read_credentials(path) == [("k1", "", "t1", "SIM001"), ("k2", "", "", "AB12")]


def test_history_is_numbered_and_says_what_it_forgot() -> None:
    history = History(lambda: 0, events_max=3)

    for number in range(5):
        history.add("thing", number=number)

    assert (history.first, history.last) == (3, 5)
    assert [event["number"] for event in history.since(3)] == [3, 4]
