"""Native writers against the reference: the same messages and arguments, computed values to the decimals stated."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import ormsgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.ticks import a_table, some_rows
from tests.support.wild_rows import a_wild_table, wild_rows
from ticker_client.packed import change_of
from ticker_crds import Encoding
from ticker_shard.publish.encode import Encoder, Head, make_encoders, warm_up
from ticker_shard.publish.native import LITERAL_BYTES, ROW_BYTES_MAX
from ticker_shard.publish.native_text import (
    FIXED_MAX,
    put_array,
    put_change,
    put_digits,
    put_fixed,
    put_moment,
    put_price,
    put_size,
    put_time,
    put_unsigned,
    second_text,
)
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import PacketKind, PricingOutcome, TickRows

NATIVE, REFERENCE = make_encoders(native=True), make_encoders(native=False)
HEAD = Head(shard="pool.acc1", process="i/r", epoch=5, seq=7, source="live", sent_ns=1_763_696_730_123_456_789)
WILD = a_wild_table()
BOOK = SymbolBook(WILD)
DECIMALS = {"iv": 10, "delta": 10, "gamma": 12, "theta": 8, "vega": 8, "underlying_price": 8}


def ticks_of(message: bytes) -> list[dict[str, Any]]:
    return list(json.loads(message, parse_float=Decimal)["ticks"])


def written(write: Any, *values: Any) -> str:
    room = np.full(64, ord("?"), np.uint8)
    end = write(room, 1, *values)
    assert room[0] == ord("?"), "wrote before its place"
    return room[1:end].tobytes().decode()


@settings(max_examples=300)
@given(wild_rows(WILD))
def test_json_by_native_code_says_what_the_reference_says(rows):
    message, arguments = NATIVE[Encoding.JSON].encode(HEAD, rows, book=BOOK, gaps=[])
    expected, _ = REFERENCE[Encoding.JSON].encode(HEAD, rows, book=BOOK, gaps=[])

    for tick, wanted in zip(ticks_of(message), ticks_of(expected), strict=True):
        assert list(tick) == list(wanted)  # order too
        for member, value in wanted.items():
            if member in DECIMALS and value is not None:
                half = Decimal("0.5002") / 10 ** DECIMALS[member] + Decimal(math.ulp(value))
                assert abs(tick[member] - value) <= half, member
            elif member == "change" and value is not None:
                assert float(tick[member]) == float(value)  # the same double; the shortest text may name it too
            else:
                assert tick[member] == value, member
    assert b",".join(row for _, row in arguments) in message
    assert [field.decode() for field, _ in arguments] == [tick["symbol"] for tick in ticks_of(message)]


@settings(max_examples=300)
@given(wild_rows(WILD))
def test_msgpack_by_native_code_is_the_reference_byte_by_byte(rows):
    found = NATIVE[Encoding.MSGPACK].encode(HEAD, rows, book=BOOK, gaps=[])

    assert found == REFERENCE[Encoding.MSGPACK].encode(HEAD, rows, book=BOOK, gaps=[])


def test_a_small_call_after_a_large_one_has_nothing_of_it():
    table = a_table(200)
    for slots in (range(200), range(3), range(0)):
        rows = some_rows(table, slots)
        for encoding in Encoding:
            found = NATIVE[encoding].encode(HEAD, rows, book=SymbolBook(table), gaps=[b"{}"])
            assert found == REFERENCE[encoding].encode(HEAD, rows, book=SymbolBook(table), gaps=[b"{}"])


def test_rows_that_do_not_lie_in_order_in_memory_are_written_too():
    table = a_table(6)
    rows = some_rows(table, range(6))
    every_other = rows.take(slice(None, None, 2))
    assert not every_other.words.flags.c_contiguous

    for encoding in Encoding:
        found = NATIVE[encoding].encode(HEAD, every_other, book=SymbolBook(table), gaps=[])
        assert found == REFERENCE[encoding].encode(HEAD, every_other, book=SymbolBook(table), gaps=[])


def the_widest_row() -> TickRows:
    """Each number with as many characters as it can have."""
    table = a_table(1)
    rows = some_rows(table, [0], kind=PacketKind.FULL, received_ns=4_102_444_799_999_999_999)
    rows.words[:] = 2**31 + 1
    rows.outcome[:], rows.priced_ns[:] = PricingOutcome.PRICED, 1
    rows.greeks[:] = -(FIXED_MAX - 1) + 0.123456789
    return rows


def test_the_widest_row_fits_its_room():
    table = a_table(1)
    table = replace(table, divisor=np.full(1, 10_000_000, np.int64))

    message, arguments = NATIVE[Encoding.JSON].encode(HEAD, the_widest_row(), book=SymbolBook(table), gaps=[])

    ((_, row),) = arguments
    assert len(row) + LITERAL_BYTES <= ROW_BYTES_MAX
    assert row in message


def test_a_writer_can_be_used_again_for_fewer_rows():
    table = a_table(4)
    book, encoders = SymbolBook(table), make_encoders(native=True)
    many, few = some_rows(table, range(4)), some_rows(table, [2], kind=PacketKind.LTP)

    for encoding in Encoding:
        encoders[encoding].encode(HEAD, many, book=book, gaps=[])
        assert encoders[encoding].encode(HEAD, few, book=book, gaps=[]) == REFERENCE[encoding].encode(
            HEAD, few, book=book, gaps=[]
        )


def test_warming_up_writes_by_every_encoder_and_asks_for_nothing():
    asked: list[str] = []

    class Noting:
        def __init__(self, encoder: Encoder) -> None:
            self._encoder = encoder

        def encode(self, *given: Any, **named: Any) -> Any:
            message, rows = self._encoder.encode(*given, **named)
            asked.append(message.decode("utf-8", "replace"))
            assert len(rows) == 1
            return message, rows

    encoders = make_encoders()
    warm_up(Noting(encoder) for encoder in encoders.values())

    assert len(asked) == len(encoders) == len(Encoding)
    assert all("WARM-UP" in message for message in asked)


@given(st.integers(0, 10**16 - 1), st.integers(1, 16))
@example(10**8, 16)
@example(10**8 - 1, 8)
@example(10**16 - 1, 9)
@example(0, 1)
def test_a_number_has_the_digits_that_it_has_or_is_given(value, count):
    assert written(put_unsigned, value) == str(value)
    assert written(put_digits, value % 10**count, count) == f"{value % 10**count:0{count}}"


def test_every_four_digits_are_right_in_either_half_of_eight():
    for value in range(10_000):
        assert written(put_digits, value * 10_001, 8) == f"{value:04}" * 2


@pytest.mark.parametrize("count", [0, 15, 16, 65_535, 65_536])
def test_sizes_are_a_msgpack_array(count):
    room = np.zeros(8, np.uint8)
    packed = ormsgpack.packb([0] * count)

    assert room[: put_array(room, 0, count)].tobytes() == packed[: len(packed) - count]
    for size in (0, 127, 128, 255, 256, 65_535):
        assert room[: put_size(room, 0, size)].tobytes() == ormsgpack.packb(size)


@given(st.integers(-(2**31), 2**31 - 1), st.sampled_from([(100, 2), (10_000, 4), (10_000_000, 7)]))
def test_a_price_is_the_exact_decimal(scaled, scale):
    divisor, digits = scale

    text = written(put_price, scaled, divisor, digits)

    assert Decimal(text) == Decimal(scaled) / divisor
    assert text.count(".") == 1
    assert float(text) == scaled / divisor


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
@example(2**31 - 1, 1)
@example(-(2**31), 1)
@example(-(2**31), -1)
@example(1, 3)
@example(0, 2**31 - 1)
def test_a_change_is_what_every_other_writer_has(last, close):
    text = written(put_change, last, close)

    assert (None if text == "null" else float(text)) == change_of(last, close)


@given(st.floats(-1e15, 1e15), st.integers(1, 12))
@example(0.9999999999999999, 10)
@example(-0.0, 8)
@example(-1e-13, 12)
def test_a_computed_value_is_rounded_to_its_decimals(value, digits):
    text = written(put_fixed, value, digits)

    assert abs(Decimal(text) - Decimal(value)) <= Decimal("0.5002") / 10**digits
    assert len(text.split(".")[1]) <= digits
    assert text not in ("-0.0", "-0")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, FIXED_MAX, -1e300])
def test_what_is_no_number_is_null(value):
    assert written(put_fixed, value, 8) == "null"


@given(st.integers(1, 2**32 - 1))
@example(951_782_399)  # the end of 28 February 2000
@example(951_868_799)
@example(1_709_164_800)  # 29 February 2024
@example(4_107_542_399)  # 2100 has none
@example(4_107_542_400)
def test_a_time_is_the_calendars(seconds):
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)

    assert written(put_time, seconds, second_text(seconds)) == expected.strftime('"%Y-%m-%dT%H:%M:%SZ"')


@given(st.integers(0, 4_102_444_799_999_999_999))
def test_a_moment_has_microseconds(wall_ns):
    expected = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall_ns // 1_000)

    assert written(put_moment, wall_ns, second_text(wall_ns // 10**9)) == expected.strftime('"%Y-%m-%dT%H:%M:%S.%fZ"')
