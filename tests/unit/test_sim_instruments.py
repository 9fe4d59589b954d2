"""The day's dump: symbols by the exchanges' grammar, expiries by their rules, tokens by the broker's."""

from __future__ import annotations

import csv
import datetime as dt
import io
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticker_sim.contracts import Kind
from ticker_sim.instruments import SEGMENT_CODES, build_dump, contract_symbol, dump_csv
from ticker_sim.trading_days import THURSDAY, TUESDAY, is_trading_day, monthly_expiry, weekly_expiries

DAY = dt.date(2026, 8, 14)
DAYS = st.dates(dt.date(2026, 1, 1), dt.date(2027, 12, 31))


def expiries(name: str, *, day: dt.date, kind: Kind = Kind.CALL) -> list[dt.date]:
    return sorted({row.expiry for row in build_dump(day) if row.name == name and row.kind is kind and row.expiry})


@pytest.mark.parametrize(
    ("name", "expiry", "strike", "weekday", "symbol"),
    [
        ("NIFTY", dt.date(2026, 8, 18), "24350", TUESDAY, "NIFTY2681824350CE"),
        ("NIFTY", dt.date(2025, 11, 11), "24500", TUESDAY, "NIFTY25N1124500CE"),
        ("SENSEX", dt.date(2026, 10, 1), "76200", THURSDAY, "SENSEX26O0176200CE"),
        ("NIFTY", dt.date(2026, 9, 29), "24350", TUESDAY, "NIFTY26SEP24350CE"),
        ("ASHOKLEY", dt.date(2026, 8, 25), "172.5", TUESDAY, "ASHOKLEY26AUG172.5CE"),
        ("SENSEX50", dt.date(2026, 8, 27), "24400", THURSDAY, "SENSEX5026AUG24400CE"),
        ("NIFTY", dt.date(2026, 11, 23), "26000", TUESDAY, "NIFTY26NOV26000CE"),
    ],
)
def test_symbols_that_were_seen_in_real_dumps(
    name: str, expiry: dt.date, strike: str, weekday: int, symbol: str
) -> None:
    assert contract_symbol(name, expiry=expiry, kind=Kind.CALL, strike=Decimal(strike), weekday=weekday) == symbol


def test_nifty_lists_the_eighteen_expiries_of_a_real_day() -> None:
    near = [(8, 18), (8, 25), (9, 1), (9, 8), (9, 15), (9, 29), (10, 27), (12, 29)]
    found = expiries("NIFTY", day=DAY)

    assert found[:8] == [dt.date(2026, month, day) for month, day in near]
    assert [(day.year, day.month) for day in found[8:]] == [
        *((2027, 3), (2027, 6), (2027, 12), (2028, 6), (2028, 12)),
        *((2029, 6), (2029, 12), (2030, 6), (2030, 12), (2031, 6)),
    ]


def test_an_expiry_on_a_holiday_moves_to_the_trading_day_before() -> None:
    assert monthly_expiry(2026, 11, weekday=TUESDAY) == dt.date(2026, 11, 23)
    assert dt.date(2026, 11, 24) not in expiries("NIFTY", day=dt.date(2026, 11, 20))


@given(day=DAYS, weekday=st.sampled_from([TUESDAY, THURSDAY]))
def test_weekly_expiries_are_trading_days_in_order_none_before_the_day(day: dt.date, weekday: int) -> None:
    found = weekly_expiries(day, weekday=weekday, count=5)

    assert found == sorted(set(found))
    assert len(found) == 5
    assert day <= found[0]
    assert all(is_trading_day(expiry) for expiry in found)


@given(day=DAYS)
@settings(max_examples=8, deadline=None)
def test_a_dump_of_any_day_is_consistent(day: dt.date) -> None:
    rows = build_dump(day)

    assert len({row.token for row in rows}) == len({row.key for row in rows}) == len(rows)
    for row in rows:
        segment = SEGMENT_CODES["INDICES" if row.kind is Kind.INDEX else row.exchange]
        assert row.token == row.exchange_token * 256 + segment
        assert row.expiry is None or row.expiry >= day
        assert row.tick > 0 or row.kind is Kind.INDEX
        assert (row.strike > 0) == row.is_option


def test_well_known_tokens_and_contract_data_are_the_real_ones() -> None:
    rows = {row.key: row for row in build_dump(DAY)}

    known = {"NSE:NIFTY 50": 256265, "NSE:NIFTY BANK": 260105, "NSE:NIFTY FIN SERVICE": 257801, "BSE:SENSEX": 265}
    known |= {"NSE:INFY": 408065, "NSE:SBIN": 779521, "NSE:RELIANCE": 738561, "BSE:RELIANCE": 128083204}
    assert {key: rows[key].token for key in known} == known
    lots = {"NIFTY": 65, "BANKNIFTY": 30, "FINNIFTY": 60, "MIDCPNIFTY": 120}
    assert {name: rows[f"NFO:{name}26AUGFUT"].lot for name in lots} == lots
    assert (rows["BFO:SENSEX26AUGFUT"].lot, rows["BFO:SENSEX26AUGFUT"].expiry) == (20, dt.date(2026, 8, 27))
    ticks = {"NFO:NIFTY26AUGFUT": "0.10", "NFO:BANKNIFTY26AUGFUT": "0.20", "NFO:ASHOKLEY26AUG150CE": "0.01"}
    ticks |= {"NSE:MRF": "5", "NSE:IDEA": "0.01", "CDS:USDINR26AUGFUT": "0.0025"}
    assert {key: rows[key].tick for key in ticks} == {key: Decimal(tick) for key, tick in ticks.items()}


def test_weeklies_are_left_to_one_index_of_each_exchange() -> None:
    for name in ("BANKNIFTY", "FINNIFTY", "MIDCPNIFTY", "BANKEX", "RELIANCE"):
        weekday = THURSDAY if name == "BANKEX" else TUESDAY
        assert all(day == monthly_expiry(day.year, day.month, weekday=weekday) for day in expiries(name, day=DAY)), name
    assert len(expiries("SENSEX", day=DAY)) > 3


def test_there_are_enough_shares_and_three_serial_futures() -> None:
    rows = build_dump(DAY)

    assert len([row for row in rows if row.kind is Kind.EQUITY and row.exchange == "NSE"]) >= 60
    assert len(expiries("NIFTY", day=DAY, kind=Kind.FUTURE)) == 3


def test_a_living_contract_keeps_its_token_overnight() -> None:
    today = {row.key: row.token for row in build_dump(DAY)}
    tomorrow = {row.key: row.token for row in build_dump(DAY + dt.timedelta(days=3))}
    both = today.keys() & tomorrow.keys()

    assert len(both) > 8_000
    assert sum(today[key] != tomorrow[key] for key in both) <= len(both) // 100


def test_the_csv_has_the_brokers_columns_and_plain_numbers() -> None:
    text = dump_csv(build_dump(DAY)).decode()
    rows = list(csv.DictReader(io.StringIO(text)))

    assert text.splitlines()[1] == '256265,1001,NIFTY 50,"NIFTY 50",0,,0,0,0,EQ,INDICES,NSE'
    option = next(row for row in rows if row["tradingsymbol"] == "NIFTY26AUG26000PE")
    assert (option["expiry"], option["strike"], option["tick_size"], option["lot_size"]) == (
        *("2026-08-25", "26000"),
        *("0.05", "65"),
    )
    assert {row["instrument_type"] for row in rows} == {"EQ", "FUT", "CE", "PE"}
