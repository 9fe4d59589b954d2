"""The simulator's encoder against documented bytes, and against the vendor's own parser on arbitrary rows."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from ticker_sim import wire
from ticker_sim.wire import Mode

# Frames that the vendor's parser decodes to known ticks; what each holds is spelled out in the builders below.
V1 = "0003000800063a010002668300080004d203351f655000080007d106000d9972"
V2 = (
    "0002001c0003e9090027f74f00280ca80027cd2e0027d3550027c6df00003070"
    "00200003e9090027f74f00280ca80027cd2e0027d3550027c6df00003070691fe05a"
)
V3 = "0001002c000be50100017efd0000001900017e29003fd2cd00095862000b302200017cdc0001805600017bc400017d4a"
FULL_OPTION = (
    "00b8d9020000494d0000004b000044b60145b540001ca1c900173ff400003a9800004da80000378200003a84691fe0590085bfd8"
    "0089844c007bf408691fe05a000002ee0000494800040000000005dc0000494300070000000008ca0000493e000b0000000003cf"
    "000049390003000000000ce40000493400090000000002a30000495200030000000004fb0000495700060000000007080000495c"
    "00080000000001c2000049610002000000000ad70000496600460000"
)
V4 = "000100b8" + FULL_OPTION
V5 = "000100b806fd8b07007015c000000001006fffec000004d20000023000000262006fb1c000704e00006f8ab0006fd8d0" + "00" * 140
V6 = (
    "0004000800063a010002668300200000010900820d89008228500081b3200081da30008339c0fffed3c9691fe05a"
    "002c000be50100017efd0000001900017e29003fd2cd00095862000b302200017cdc0001805600017bc400017d4a"
    "00b8" + FULL_OPTION
)
EXCHANGE_TIME = 0x691FE05A


def a_row(token: int, last_price: int, **fields: Any) -> np.ndarray[Any, Any]:
    row = wire.empty_rows(1)
    row["instrument_token"], row["last_price"] = token, last_price
    for name, value in fields.items():
        row[name] = value
    return row


def joined(rows: list[Any]) -> np.ndarray[Any, Any]:
    return np.concatenate(rows, dtype=wire.ROW)


def an_infy() -> np.ndarray[Any, Any]:
    return a_row(408065, 157315)


def a_nifty() -> np.ndarray[Any, Any]:
    prices = {"open": 2610005, "high": 2624680, "low": 2608430, "close": 2606815}
    return a_row(256265, 2619215, **prices, exchange_timestamp=EXCHANGE_TIME)


def a_sensex() -> np.ndarray[Any, Any]:
    prices = {"open": 8510000, "high": 8530000, "low": 8500000, "close": 8600000}
    return a_row(265, 8523145, **prices, exchange_timestamp=EXCHANGE_TIME)


def a_sbin() -> np.ndarray[Any, Any]:
    return a_row(
        *(779521, 98045),
        last_traded_quantity=25,
        average_traded_price=97833,
        volume_traded=4182733,
        total_buy_quantity=612450,
        total_sell_quantity=733218,
        open=97500,
        high=98390,
        low=97220,
        close=97610,
    )


def an_option() -> np.ndarray[Any, Any]:
    row = a_row(
        *(12114178, 18765),
        last_traded_quantity=75,
        average_traded_price=17590,
        volume_traded=21345600,
        total_buy_quantity=1876425,
        total_sell_quantity=1523700,
        open=15000,
        high=19880,
        low=14210,
        close=14980,
        last_trade_time=EXCHANGE_TIME - 1,
        oi=8765400,
        oi_day_high=9012300,
        oi_day_low=8123400,
        exchange_timestamp=EXCHANGE_TIME,
    )
    bids = [(750, 18760, 4), (1500, 18755, 7), (2250, 18750, 11), (975, 18745, 3), (3300, 18740, 9)]
    asks = [(675, 18770, 3), (1275, 18775, 6), (1800, 18780, 8), (450, 18785, 2), (2775, 18790, 70)]
    for side, levels in (("buy", bids), ("sell", asks)):
        for place, (quantity, price, orders) in enumerate(levels):
            row[side][0, place] = (quantity, price, orders, 0)
    return row


def a_metal() -> np.ndarray[Any, Any]:
    return a_row(
        *(117279495, 7345600),
        last_traded_quantity=1,
        average_traded_price=7340012,
        volume_traded=1234,
        total_buy_quantity=560,
        total_sell_quantity=610,
        open=7320000,
        high=7360000,
        low=7310000,
        close=7330000,
    )


CASES = {
    "three ltp packets of three divisors": (
        V1,
        [an_infy(), a_row(315907, 891250000), a_row(512262, 891250)],
        [Mode.LTP] * 3,
    ),
    "an index as quote and as full": (V2, [a_nifty(), a_nifty()], [Mode.QUOTE, Mode.FULL]),
    "a quote": (V3, [a_sbin()], [Mode.QUOTE]),
    "a full option with its book": (V4, [an_option()], [Mode.FULL]),
    "a full commodity without times or book": (V5, [a_metal()], [Mode.FULL]),
    "four lengths in one frame": (
        V6,
        [an_infy(), a_sensex(), a_sbin(), an_option()],
        [Mode.LTP, Mode.FULL, Mode.QUOTE, Mode.FULL],
    ),
}


@pytest.mark.parametrize(("frame", "rows", "modes"), CASES.values(), ids=CASES)
def test_documented_frames_are_encoded_to_the_byte(frame: str, rows: list[Any], modes: list[Mode]) -> None:
    assert wire.encode_frame(joined(rows), np.array(modes, np.uint8)).hex() == frame


def test_shorter_packets_come_first_whatever_the_order_of_rows() -> None:
    rows, modes = [an_option(), a_sbin(), an_infy()], [Mode.FULL, Mode.QUOTE, Mode.LTP]

    frame = wire.encode_frame(joined(rows), np.array(modes, np.uint8))

    assert frame == wire.encode_frame(joined(rows[::-1]), np.array(modes[::-1], np.uint8))


def test_rows_that_lost_the_wires_byte_order_are_not_encoded() -> None:
    native = np.concatenate([an_infy(), an_infy()])

    with pytest.raises(AssertionError):
        wire.encode_frame(native, np.array([Mode.LTP] * 2, np.uint8))


TOKENS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 9, 12]).flatmap(
    lambda segment: st.integers(1, 2**24 - 1).map(lambda number: number * 256 + segment)
)
PRICES = st.integers(1, wire.PRICE_MAX)
QUANTITIES = st.integers(0, wire.QUANTITY_MAX)
TIMES = st.integers(1_000_000_000, 2_000_000_000)


@st.composite
def rows(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    prices = {name: draw(PRICES) for name in ("average_traded_price", "open", "high", "low", "close")}
    quantities = ("last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity", "oi")
    row = a_row(
        draw(TOKENS),
        draw(PRICES),
        **prices,
        **{name: draw(QUANTITIES) for name in quantities},
        last_trade_time=draw(TIMES),
        exchange_timestamp=draw(TIMES),
    )
    for side in ("buy", "sell"):
        for place in range(5):
            row[side][0, place] = (draw(QUANTITIES), draw(PRICES), draw(st.integers(0, 0xFFFF)), 0)
    return row


@given(row=rows(), mode=st.sampled_from([Mode.LTP, Mode.QUOTE, Mode.FULL]))
def test_the_vendors_parser_reads_back_what_was_encoded(row: np.ndarray[Any, Any], mode: Mode) -> None:
    parser = KiteTicker("key", "token")

    (tick,) = parser._parse_binary(wire.encode_frame(row, np.array([mode], np.uint8)))

    fields, token = wire.row_fields(row[0], mode=mode), int(row["instrument_token"][0])
    divisor = wire.divisor_of(token)
    assert (tick["instrument_token"], tick["mode"]) == (token, mode.name.lower())
    assert tick["last_price"] == fields["last_price"] / divisor
    for name in ("last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity", "oi"):
        assert tick.get(name) == fields.get(name)
    if mode is not Mode.LTP:
        assert tick["ohlc"] == {name: fields[name] / divisor for name in ("open", "high", "low", "close")}
    if mode is Mode.FULL:
        assert tick["exchange_timestamp"] == dt.datetime.fromtimestamp(fields["exchange_timestamp"])  # noqa: DTZ006
        for side in ("buy", "sell"):
            wanted = [{**entry, "price": entry["price"] / divisor} for entry in fields.get(side, [])]
            assert tick.get("depth", {}).get(side, []) == wanted


@given(before=rows(), after=rows(), mode=st.sampled_from([Mode.LTP, Mode.QUOTE, Mode.FULL]))
def test_octets_differ_exactly_when_the_packets_do(before: Any, after: Any, mode: Mode) -> None:
    after["instrument_token"] = before["instrument_token"]
    modes = np.array([mode], np.uint8)

    same = (wire.visible_octets(before, modes) == wire.visible_octets(after, modes)).all()

    assert bool(same) == (wire.encode_frame(before, modes) == wire.encode_frame(after, modes))
