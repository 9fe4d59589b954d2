"""The broker's dump: somebody else's bytes, judged as a whole before they replace the last good ones."""

from __future__ import annotations

import gzip
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pool import HEADER, a_catalog, a_dump, an_option, option_symbol
from ticker_operator.planning import DumpError, parse_dump
from ticker_operator.planning import dump as dump_module


def test_rows_are_sorted_and_found_again() -> None:
    rows = [an_option(index) for index in (3, 1, 2)]
    catalog = parse_dump(a_dump("265,1,SENSEX,SENSEX,0,,0,0,0,EQ,INDICES,BSE", *rows), endpoint="e")

    assert [catalog.row(position).symbol for position in range(len(catalog))] == [
        "BSE:SENSEX",
        *(option_symbol(index) for index in (1, 2, 3)),
    ]
    assert catalog.positions([option_symbol(2), "NFO:NONE", "BSE:SENSEX", "nothing"]).tolist() == [2, -1, 0, -1]
    assert catalog.position(option_symbol(2)) == 2
    assert catalog.position("NFO:ZZZ") is None
    assert catalog.row(2).expiry == date(2026, 11, 24)


def test_a_packed_dump_is_read_like_a_plain_one() -> None:
    raw = a_dump(an_option(1))

    assert parse_dump(gzip.compress(raw), endpoint="e").version == parse_dump(raw, endpoint="e").version


def test_columns_may_come_in_another_order_with_others_beside_them() -> None:
    raw = (
        b"exchange,extra,instrument_token,tradingsymbol,name,expiry,strike,tick_size,lot_size,instrument_type,segment\n"
    )
    raw += b'NSE,x,1,INFY,"INFOSYS, LTD",,0,0.1,1,EQ,NSE\n'

    row = parse_dump(raw, endpoint="e").row(0)

    assert (row.symbol, row.name, row.token) == ("NSE:INFY", "INFOSYS, LTD", 1)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "no column instrument_token"),
        (b"<html><body>502 Bad Gateway</body></html>", "not an instrument dump"),
        (HEADER.encode(), "0 rows, at least 1 are expected"),
        (b"\x1f\x8bgarbage", "cannot be unpacked"),
        (a_dump(*["x,1,BAD,BAD,0,,0,0,0,EQ,NSE,NSE"] * 3, an_option(1)), "3 of 4 rows are malformed (the first: row 1"),
    ],
)
def test_what_is_no_dump_is_refused_with_the_broken_rule(raw: bytes, said: str) -> None:
    with pytest.raises(DumpError) as refused:
        parse_dump(raw, endpoint="https://api.example")

    assert said in str(refused.value)
    assert "https://api.example" in str(refused.value)


def test_a_truncated_dump_does_not_replace_the_last_good_one() -> None:
    good = a_catalog(100)

    with pytest.raises(DumpError, match="has 11 rows, the last good one had 101; truncated"):
        parse_dump(a_dump(*map(an_option, range(11))), endpoint="test", previous=good)
    assert len(parse_dump(a_dump(*map(an_option, range(60))), endpoint="test", previous=good)) == 60


def test_a_single_bad_row_is_skipped_and_counted() -> None:
    rows = [*map(an_option, range(200)), "77,1,,NAME,0,,0,0,0,EQ,NSE,NSE"]

    catalog = parse_dump(a_dump(*rows), endpoint="e")

    assert (len(catalog), catalog.skipped) == (200, 1)


def test_of_a_symbol_that_is_listed_twice_the_row_that_expires_last_stays() -> None:
    raw = a_dump(an_option(1, expiry="2026-11-24"), an_option(1, expiry="2026-12-29").replace("1001", "2001", 1))

    catalog = parse_dump(raw, endpoint="e")

    assert (len(catalog), catalog.duplicates) == (1, 1)
    assert catalog.row(0).token == 2001


@given(st.binary(max_size=300))
def test_any_bytes_are_answered_by_a_catalog_or_a_named_refusal(raw: bytes) -> None:
    try:
        catalog = parse_dump(HEADER.encode() + b"\n" + raw, endpoint="e")
    except DumpError:
        return
    assert all(catalog.row(position).symbol for position in range(len(catalog)))


def test_a_bomb_is_not_unpacked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_module, "DUMP_BYTES_MAX", 10_000)

    with pytest.raises(DumpError, match="more than 10,000 bytes"):
        parse_dump(gzip.compress(b"0" * 1_000_000), endpoint="e")


def test_a_full_days_dump_takes_little_memory() -> None:
    catalog = parse_dump(a_dump(*map(an_option, range(86_500))), endpoint="e")

    assert catalog.memory_bytes() < 6 * 1024 * 1024
