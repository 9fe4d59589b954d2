"""Frames become columns: known vectors, random frames as the official parser reads them, and any bytes at all.

The official parser (kiteconnect 5.2.2) is the oracle. Where we differ on purpose the difference is written down here:
signed prices, faults reported instead of raised or swallowed, zero as "no time".
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from ticker_shard.ticks import FrameFault, PacketKind, Word, decode_frame, divisor_of, segment_of
from ticker_shard.ticks.decode import PACKET_BYTES, DecodedFrame

Tick = dict[str, Any]

V1 = "0003000800063a010002668300080004d203351f655000080007d106000d9972"
V2 = (
    "0002001c0003e9090027f74f00280ca80027cd2e0027d3550027c6df00003070"
    "00200003e9090027f74f00280ca80027cd2e0027d3550027c6df00003070691fe05a"
)
QUOTE = "002c000be50100017efd0000001900017e29003fd2cd00095862000b302200017cdc0001805600017bc400017d4a"
FULL = (
    "00b800b8d9020000494d0000004b000044b60145b540001ca1c900173ff400003a9800004da80000378200003a84691fe0590085bfd80089844c"
    "007bf408691fe05a000002ee0000494800040000000005dc0000494300070000000008ca0000493e000b0000000003cf00004939000300000000"
    "0ce40000493400090000000002a30000495200030000000004fb0000495700060000000007080000495c00080000000001c20000496100020000"
    "00000ad70000496600460000"
)
V3 = "0001" + QUOTE
V4 = "0001" + FULL
V5 = "000100b806fd8b07007015c000000001006fffec000004d20000023000000262006fb1c000704e00006f8ab0006fd8d0" + "00" * 140
V6 = "0004000800063a010002668300200000010900820d89008228500081b3200081da30008339c0fffed3c9691fe05a" + QUOTE + FULL


def official() -> KiteTicker:
    """The official parser without a connection."""
    return KiteTicker.__new__(KiteTicker)


def naive_local(seconds: int) -> datetime:
    """The official client's kind of time: naive, in the host's zone."""
    return datetime.fromtimestamp(seconds)  # noqa: DTZ006


def as_official(decoded: DecodedFrame) -> list[Tick]:
    """Our rows in the official client's words, by the official arithmetic."""
    ticks = []
    signed = decoded.words.view(np.int32)
    for row, signed_row, kind in zip(decoded.words.tolist(), signed.tolist(), decoded.kind.tolist(), strict=True):
        token = row[Word.TOKEN]
        divisor = float(divisor_of(token))
        price = {word: signed_row[word] / divisor for word in Word if word < Word.DEPTH}
        mode = {0: "ltp", 1: "quote", 2: "full", 3: "quote", 4: "full"}[kind]
        tick: Tick = {
            "tradable": segment_of(token) != 9,
            "mode": mode,
            "instrument_token": token,
            "last_price": price[Word.LAST_PRICE],
        }
        if kind != PacketKind.LTP:
            ohlc = {"open": Word.OPEN, "high": Word.HIGH, "low": Word.LOW, "close": Word.CLOSE}
            tick["ohlc"] = {name: price[word] for name, word in ohlc.items()}
            last, close = tick["last_price"], tick["ohlc"]["close"]
            tick["change"] = (last - close) * 100 / close if close else 0
        if kind in (PacketKind.QUOTE, PacketKind.FULL):
            tick["average_traded_price"] = price[Word.AVERAGE_TRADED_PRICE]
            for name in ("last_traded_quantity", "volume_traded", "total_buy_quantity", "total_sell_quantity"):
                tick[name] = row[Word[name.upper()]]
        if kind in (PacketKind.FULL, PacketKind.INDEX_FULL):
            tick["exchange_timestamp"] = naive_local(row[Word.EXCHANGE_TIMESTAMP])
        if kind == PacketKind.FULL:
            tick["last_trade_time"] = naive_local(row[Word.LAST_TRADE_TIME])
            for name in ("oi", "oi_day_high", "oi_day_low"):
                tick[name] = row[Word[name.upper()]]
            entries = [
                {
                    "quantity": row[place],
                    "price": signed_row[place + 1] / divisor,
                    "orders": row[place + 2] >> 16,
                }
                for place in range(Word.DEPTH, 46, 3)
            ]
            tick["depth"] = {"buy": entries[:5], "sell": entries[5:]}
        ticks.append(tick)
    return ticks


# -- vectors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [V1, V2, V3, V4, V5, V6], ids=["three ltp", "index", "quote", "full", "empty book", "four lengths"]
)
def test_well_formed_vectors_decode_as_the_official_parser_does(frame: str) -> None:
    data = bytes.fromhex(frame)

    decoded = decode_frame(data)

    assert as_official(decoded) == official()._parse_binary(data)
    assert decoded.report.faults == {}
    assert decoded.report.accepted == decoded.report.declared


def test_known_values_independent_of_any_parser() -> None:
    decoded = decode_frame(bytes.fromhex(V6))
    words = decoded.words

    assert decoded.kind.tolist() == [PacketKind.LTP, PacketKind.INDEX_FULL, PacketKind.QUOTE, PacketKind.FULL]
    assert words[:, Word.TOKEN].tolist() == [408065, 265, 779521, 12114178]
    assert words[:, Word.LAST_PRICE].tolist() == [157315, 8523145, 98045, 18765]
    assert words[1, Word.OPEN : Word.CLOSE + 1].tolist() == [8510000, 8530000, 8500000, 8600000]
    assert words[2, Word.OPEN : Word.CLOSE + 1].tolist() == [97500, 98390, 97220, 97610]
    assert words[1:, Word.EXCHANGE_TIMESTAMP].tolist() == [1763696730, 0, 1763696730]
    assert words[3, [Word.OI, Word.OI_DAY_HIGH, Word.OI_DAY_LOW]].tolist() == [8765400, 9012300, 8123400]
    assert words[3, Word.DEPTH : Word.DEPTH + 3].tolist() == [750, 18760, 4 << 16]
    assert words[3, -3:].tolist() == [2775, 18790, 70 << 16]


@pytest.mark.parametrize(
    ("frame", "prices", "faults"),
    [
        pytest.param("00", [], {}, id="E1 heartbeat"),
        pytest.param("", [], {}, id="no byte"),
        pytest.param("0000", [], {}, id="E2 no packets"),
        pytest.param(
            "0002001000063a01000000010000000200000003000800063a0100026683", [157315],
            {FrameFault.UNKNOWN_LENGTH: 1}, id="E3 unknown packet, then a good one",
        ),
        pytest.param(
            "0002000800063a0100026683", [157315], {FrameFault.MISSING_PACKETS: 1}, id="E4 one packet missing"
        ),
        pytest.param(V3[:80], [], {FrameFault.TRUNCATED_BODY: 1}, id="E5 body cut off"),
        pytest.param("00010000", [], {FrameFault.ZERO_LENGTH: 1}, id="E6 length zero"),
        pytest.param("000100020006", [], {FrameFault.UNKNOWN_LENGTH: 1}, id="E6 length two"),
        pytest.param("0001000800bb8007fffff14d", [-3763], {}, id="E7 negative price"),
        pytest.param(
            "0001002000063a0100026683000266d800026548000265ac000264e40000019f691fe05a", [157315], {},
            id="E8 index form for a stock",
        ),
        pytest.param("0001002c0003e909" + QUOTE[12:], [98045], {}, id="E9 quote form for an index"),
        pytest.param("0001" + QUOTE[:-8] + "00000000", [98045], {}, id="E10 close zero"),
        pytest.param("000100080007d00c000d9972", [891250], {}, id="E11 segment 12"),
        pytest.param("000100080007d000000d9972", [891250], {}, id="E11 segment 0"),
        pytest.param("0001000800063a0100026683dead", [157315], {FrameFault.TRAILING_BYTES: 1}, id="E12 two bytes more"),
        pytest.param(
            "0001000800063a0100026683000800063a0100026683", [157315], {FrameFault.TRAILING_BYTES: 1},
            id="E13 one packet more than declared",
        ),
        pytest.param(
            "000100200003e9090027f74f00280ca80027cd2e0027d3550027c6df00003070ffffffff", [2619215], {},
            id="E14 time in 2106",
        ),
        pytest.param("0001", [], {FrameFault.MISSING_PACKETS: 1}, id="count only"),
        pytest.param("000100", [], {FrameFault.TRUNCATED_HEADER: 1}, id="half a length"),
        pytest.param(
            "0003000800063a010002668300", [157315], {FrameFault.TRUNCATED_HEADER: 1, FrameFault.MISSING_PACKETS: 1},
            id="half a length, one more declared",
        ),
        pytest.param("0000ff", [], {FrameFault.TRAILING_BYTES: 1}, id="no packets, one byte"),
        pytest.param(
            "0002010800063a01" + "00" * 260 + "000800063a0100026683", [157315], {FrameFault.UNKNOWN_LENGTH: 1},
            id="length 264, whose low byte is 8",
        ),
        pytest.param(
            "0003" + FULL + "01b8" + "00" * 440 + FULL, [18765, 18765], {FrameFault.UNKNOWN_LENGTH: 1},
            id="length 440 among full packets, whose low byte is 184",
        ),
        pytest.param("0003" + FULL * 3 + "00b8", [18765] * 3, {FrameFault.TRAILING_BYTES: 1},
                     id="a run, and half a head of one more"),
        pytest.param("0004" + FULL * 3 + "00b8ffff", [18765] * 3, {FrameFault.TRUNCATED_BODY: 1},
                     id="a run whose last packet is cut off"),
        pytest.param("ffff" + "0000" * 3, [], {FrameFault.ZERO_LENGTH: 3, FrameFault.MISSING_PACKETS: 65532},
                     id="65,535 declared"),
    ],
)  # fmt: skip
def test_edge_vectors(frame: str, prices: list[int], faults: dict[FrameFault, int]) -> None:
    data = bytes.fromhex(frame)

    decoded = decode_frame(data)

    assert decoded.words.view(np.int32)[:, Word.LAST_PRICE].tolist() == prices
    assert decoded.report.faults == faults
    assert decoded.report.declared == decoded.report.accepted + decoded.report.faulty_packets
    assert decoded.report.size == len(data)


@pytest.mark.parametrize("frame", ["0002000800063a0100026683", "00010000", "000100020006"])
def test_where_the_official_parser_raises_we_report(frame: str) -> None:
    with pytest.raises(struct.error):
        official()._parse_binary(bytes.fromhex(frame))

    assert decode_frame(bytes.fromhex(frame)).report.faulty_packets == 1


def test_a_negative_price_is_negative_and_theirs_is_not() -> None:
    data = bytes.fromhex("0001000800bb8007fffff14d")

    assert as_official(decode_frame(data))[0]["last_price"] == -37.63
    assert official()._parse_binary(data)[0]["last_price"] == 42949635.33


@pytest.mark.parametrize(
    "frame",
    ["0001002000063a0100026683000266d800026548000265ac000264e40000019f691fe05a", "0001002c0003e909" + QUOTE[12:]],
)
def test_unexpected_forms_decode_as_the_official_parser_does(frame: str) -> None:
    data = bytes.fromhex(frame)

    assert as_official(decode_frame(data)) == official()._parse_binary(data)


# -- random frames -----------------------------------------------------------------------------------------------------

positive = st.integers(0, 2**31 - 1)
word = st.integers(0, 2**32 - 1)
PRICES = {
    8: [1], 28: [1, 2, 3, 4, 5, 6], 32: [1, 2, 3, 4, 5, 6], 44: [1, 3, 7, 8, 9, 10],
    184: [1, 3, 7, 8, 9, 10, *range(17, 46, 3)],
}  # fmt: skip


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    length = draw(st.sampled_from([8, 28, 32, 44, 184]))
    # Prices below 2**31: above, the two parsers differ on purpose.
    words = [draw(positive if place in PRICES[length] else word) for place in range(length // 4)]
    segment = draw(st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 200]))
    words[0] = (words[0] & 0xFFFFFF00) | segment
    return struct.pack(f">{length // 4}I", *words)


def frame_of(bodies: list[bytes]) -> bytes:
    return struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


@settings(max_examples=150, deadline=None)
@given(st.lists(packets(), max_size=12))
def test_any_mix_of_packets_decodes_as_the_official_parser_does(bodies: list[bytes]) -> None:
    data = frame_of(bodies)

    decoded = decode_frame(data)

    assert as_official(decoded) == official()._parse_binary(data)
    assert decoded.report.accepted == len(bodies)
    assert decoded.report.faults == {}


@settings(max_examples=60, deadline=None)
@given(packets(), st.integers(1, 300))
def test_a_uniform_frame_gives_what_its_packets_give_alone(body: bytes, count: int) -> None:
    decoded = decode_frame(frame_of([body] * count))
    alone = decode_frame(frame_of([body]))

    assert len(decoded.words) == count
    assert (decoded.words == alone.words).all()
    assert (decoded.kind == alone.kind).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(packets(), min_size=1, max_size=8), st.integers(0, 200))
def test_packets_before_a_cut_survive_it(bodies: list[bytes], cut: int) -> None:
    data = frame_of(bodies)
    data = data[: max(2, len(data) - cut)]

    decoded = decode_frame(data)

    whole, size = 0, 2
    for body in bodies:
        size += 2 + len(body)
        whole += size <= len(data)
    assert decoded.report.accepted == whole
    assert (decoded.words == decode_frame(frame_of(bodies)).words[:whole]).all()
    assert decoded.report.declared == decoded.report.accepted + decoded.report.faulty_packets


def reference(data: bytes) -> list[tuple[int, bytes]]:
    """The same walk, obviously: kind and body of each good packet."""
    kinds = {length: kind for kind, length in PACKET_BYTES.items()}
    good = []
    position = 2
    for _ in range(int.from_bytes(data[:2])):
        if position + 2 > len(data):
            break
        length = int.from_bytes(data[position : position + 2])
        body = data[position + 2 : position + 2 + length]
        position += 2 + length
        if len(body) == length and length in kinds:
            good.append((kinds[length], body))
    return good


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Mostly good frames with bytes changed, cut out or put in."""
    data = bytearray(frame_of(draw(st.lists(packets(), max_size=6))))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "insert"])):
            case "change" if place < len(data):
                data[place] = draw(st.integers(0, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 40))]
            case _:
                data[place:place] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=400), damaged()))
@example(b"\x00\x01\x00\x08" + b"\x00" * 7)
def test_any_bytes_are_answered_and_counted(data: bytes) -> None:
    for frame in (data, memoryview(data), bytearray(data)):
        decoded = decode_frame(frame)
        report = decoded.report

        good = reference(data)
        assert decoded.kind.tolist() == [kind for kind, _ in good]
        assert decoded.words[:, 0].tolist() == [int.from_bytes(body[:4]) for _, body in good]
        assert report.accepted == len(good)
        assert report.declared == report.accepted + report.faulty_packets
        assert report.trailing_bytes <= max(0, len(data) - 2)
        assert (FrameFault.TRAILING_BYTES in report.faults) == (report.trailing_bytes > 0)


def test_rows_are_copies_of_the_frame() -> None:
    for frame in (V4, V6):
        data = bytearray.fromhex(frame)
        decoded = decode_frame(memoryview(data))
        before = decoded.words.copy()
        data[:] = bytes(len(data))

        assert (decoded.words == before).all()
