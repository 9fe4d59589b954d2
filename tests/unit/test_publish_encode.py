"""Rows as json: exact decimals, members by packet, UTC times; messages reuse the rows' bytes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_client import Message, Source, decode_message, decode_row
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Encoding, Mode, Role
from ticker_shard.publish.encode import Head, make_encoders
from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.instruments import build_instruments
from ticker_shard.ticks.rows import PacketKind, PricingOutcome, Word

REFERENCE = make_encoders(native=False)
NS = 1_763_696_730_123_456_789  # 2025-11-21 03:45:30.123456789 UTC
HEAD = Head(shard="pool.acc1", process='i"1/r', epoch=1_763_700_000_123, seq=7, source="live", sent_ns=NS)
ALWAYS = {"instrument_token", "symbol", "last_price", "received_at"}
INDEX = ALWAYS | {"ohlc", "change"}
QUOTE = INDEX | {
    "last_traded_quantity",
    "average_traded_price",
    "volume_traded",
    "total_buy_quantity",
    "total_sell_quantity",
}
FULL = QUOTE | {"last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp", "depth"}


def one_token(token: int):
    row = AssignedInstrument(token, "NSE", "INFY", Mode.FULL, (CHANNEL,))
    return build_instruments(AssignmentTable("a", 1, (Channel(CHANNEL),), (row,)))


def payloads(table, rows, encoding=Encoding.JSON) -> list[bytes]:
    """What lies in the hash, row by row."""
    return [row for _, row in REFERENCE[encoding].encode(HEAD, rows, book=SymbolBook(table), gaps=[])[1]]


def encoded(table, rows) -> dict:
    return json.loads(payloads(table, rows)[0], parse_float=Decimal)


@pytest.mark.parametrize(
    ("token", "scaled", "price"),
    [
        (408065, 157_315, "1573.15"),
        (315907, 891_250_000, "89.125"),  # segment 3: ten million
        (512262, 891_250, "89.125"),  # segment 6: ten thousand
        (512268, 891_250, "89.125"),  # segment 12
        (47879, -3_763, "-37.63"),  # commodities can be negative
        (408065, 5, "0.05"),
        (315907, 2_147_483_647, "214.7483647"),
    ],
)
def test_a_price_is_the_exact_decimal(token, scaled, price):
    table = one_token(token)
    rows = some_rows(table, [0], kind=PacketKind.LTP)
    rows.words.view(np.int32)[0, Word.LAST_PRICE] = scaled

    assert encoded(table, rows)["last_price"] == Decimal(price)


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([(408065, 100), (315907, 10_000_000), (512262, 10_000)]))
def test_every_scaled_price_is_written_exactly(scaled, segment):
    token, divisor = segment
    table = one_token(token)
    rows = some_rows(table, [0], kind=PacketKind.LTP)
    rows.words.view(np.int32)[0, Word.LAST_PRICE] = scaled

    assert encoded(table, rows)["last_price"] == Decimal(scaled) / divisor


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (PacketKind.LTP, ALWAYS),
        (PacketKind.INDEX_QUOTE, INDEX),
        (PacketKind.INDEX_FULL, INDEX | {"exchange_timestamp"}),
        (PacketKind.QUOTE, QUOTE),
        (PacketKind.FULL, FULL),
    ],
    ids=[kind.name for kind in PacketKind],
)
def test_a_row_has_the_members_of_its_packet(kind, members):
    table = a_table(1)

    assert set(encoded(table, some_rows(table, [0], kind=kind))) == members


def test_a_full_row_says_what_the_packet_said():
    table = one_token(12_114_178)
    rows = some_rows(table, [0], received_ns=NS)
    words = rows.words[0]
    words[Word.LAST_PRICE], words[Word.CLOSE], words[Word.OPEN] = 18_765, 14_980, 15_000
    words[Word.HIGH], words[Word.LOW], words[Word.AVERAGE_TRADED_PRICE] = 19_880, 14_210, 17_590
    words[Word.VOLUME_TRADED], words[Word.OI] = 21_345_600, 8_765_400
    words[Word.LAST_TRADE_TIME], words[Word.EXCHANGE_TIMESTAMP] = 1_763_696_729, 1_763_696_730
    words[Word.DEPTH : Word.DEPTH + 3] = (750, 18_760, 4 << 16)
    words[Word.DEPTH + 15 : Word.DEPTH + 18] = (675, 18_770, 3 << 16)

    row = decode_row(payloads(table, rows)[0])

    assert (row.last_price, row.average_traded_price, row.volume_traded, row.oi) == (
        187.65,
        175.9,
        21_345_600,
        8_765_400,
    )
    assert (row.ohlc.open, row.ohlc.high, row.ohlc.low, row.ohlc.close) == (150.0, 198.8, 142.1, 149.8)
    assert row.change == 25.2670227  # 25.267022696929…, to 1e-8
    assert row.last_trade_time == datetime(2025, 11, 21, 3, 45, 29, tzinfo=UTC)
    assert row.exchange_timestamp == datetime(2025, 11, 21, 3, 45, 30, tzinfo=UTC)
    assert row.received_at == datetime(2025, 11, 21, 3, 45, 30, 123_456, tzinfo=UTC)
    assert (len(row.depth.buy), len(row.depth.sell)) == (5, 5)
    assert (row.depth.buy[0].quantity, row.depth.buy[0].price, row.depth.buy[0].orders) == (750, 187.6, 4)
    assert (row.depth.sell[0].quantity, row.depth.sell[0].price, row.depth.sell[0].orders) == (675, 187.7, 3)


GREEKS = {"iv": 0.1875, "delta": 0.5, "gamma": 0.0007, "theta": -12.5, "vega": 21.25, "underlying_price": 26050.4}


def a_priced_row(table, outcome: PricingOutcome, *greeks: float, priced_ns: int = NS):
    rows = some_rows(table, [0], received_ns=NS)
    rows.outcome[:], rows.priced_ns[:] = outcome, priced_ns
    rows.greeks[0] = greeks
    return rows


def test_a_priced_option_has_its_greeks():
    table = a_table(1)

    payload = payloads(table, a_priced_row(table, PricingOutcome.PRICED, *GREEKS.values()))[0]

    assert {key: json.loads(payload)[key] for key in GREEKS} == GREEKS
    assert set(json.loads(payload)) == FULL | set(GREEKS)
    assert (decode_row(payload).iv, decode_row(payload).vega) == (0.1875, 21.25)


@pytest.mark.parametrize("outcome", [outcome for outcome in PricingOutcome if outcome > PricingOutcome.PRICED])
def test_an_option_that_could_not_be_priced_says_why(outcome):
    table = a_table(1)

    payload = payloads(table, a_priced_row(table, outcome, *[np.nan] * 6))[0]

    assert set(json.loads(payload)) == FULL | {"no_greeks"}
    assert decode_row(payload).no_greeks == outcome.name.lower()


def test_what_an_option_would_have_been_priced_on_is_told():
    table = a_table(1)

    row = a_priced_row(table, PricingOutcome.BELOW_INTRINSIC, *[np.nan] * 5, 26_050.4)

    assert decode_row(payloads(table, row)[0]).underlying_price == 26_050.4


def test_only_a_row_priced_again_says_when():
    table = a_table(1)

    rows = [
        decode_row(payloads(table, a_priced_row(table, outcome, *GREEKS.values(), priced_ns=NS + later))[0])
        for outcome, later in (
            (PricingOutcome.PRICED, 0),
            (PricingOutcome.PRICED, 7_000),
            (PricingOutcome.NO_PRICE, 7_000),
        )
    ]

    again = datetime(2025, 11, 21, 3, 45, 30, 123_463, tzinfo=UTC)
    assert [row.priced_at for row in rows] == [None, again, again]
    assert {row.received_at for row in rows} == {again - timedelta(microseconds=7)}


def test_a_time_of_zero_and_a_change_without_a_close_are_null():
    table = a_table(1)

    row = encoded(table, some_rows(table, [0]))

    assert row["exchange_timestamp"] is row["last_trade_time"] is row["change"] is None


def test_the_latest_time_of_the_wire_is_written():
    table = a_table(1)
    rows = some_rows(table, [0])
    rows.words[0, Word.EXCHANGE_TIMESTAMP] = 2**32 - 1

    assert encoded(table, rows)["exchange_timestamp"] == "2106-02-07T06:28:15Z"


def test_only_rows_of_a_settling_instrument_say_so():
    table = a_table({"X0": Role.OWNER, "X1": Role.SETTLING})

    rows = [json.loads(row) for row in payloads(table, some_rows(table, [0, 1]))]

    assert [row.get("settling") for row in rows] == [None, True]


def test_a_message_is_its_rows_bytes_in_an_envelope():
    table = a_table(2)

    payload, rows = REFERENCE[Encoding.JSON].encode(HEAD, some_rows(table, [0, 1]), book=SymbolBook(table), gaps=[])

    assert list(json.loads(payload)) == ["v", "shard", "process", "epoch", "seq", "source", "sent_at", "ticks"]
    assert [field for field, _ in rows] == [b"NFO:X0", b"NFO:X1"]
    assert all(row in payload for _, row in rows)
    message = decode_message(payload)
    assert isinstance(message, Message)
    assert message.source == Source("pool.acc1", 'i"1/r', 1_763_700_000_123)
    assert (message.seq, message.kind, len(message.ticks)) == (7, "live", 2)


def test_wall_clock_times_are_utc_with_microseconds():
    assert iso_utc(NS) == "2025-11-21T03:45:30.123456Z"
