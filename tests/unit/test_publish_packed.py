"""Packed rows: the documented layout byte by byte, the same rows as in JSON, columns without a copy, foreign bytes."""

from __future__ import annotations

import struct

import numpy as np
import ormsgpack
import pytest
from hypothesis import given

from tests.support.ticks import a_table, some_rows
from tests.support.wild_rows import a_wild_table, wild_rows
from ticker_client import Message, Source, Undecodable, decode_message, decode_row
from ticker_client.columns import Columns, decode_columns
from ticker_client.packed import OUTCOMES
from ticker_crds import Encoding, Role
from ticker_shard.publish.encode import Encoder, Head, make_encoders
from ticker_shard.publish.gaps import GapRecord
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import PacketKind, PricingOutcome, TickRows, Word

REFERENCE = make_encoders(native=False)
NS = 1_763_696_730_123_456_789
HEAD = Head(shard="pool.acc1", process="i/r", epoch=1_763_700_000_123, seq=7, source="live", sent_ns=NS)
JSON, MSGPACK = Encoding.JSON, Encoding.MSGPACK
WILD = a_wild_table()
BOOK = SymbolBook(WILD)


def an_option(*, kind: PacketKind = PacketKind.FULL, role: Role = Role.OWNER):
    table = a_table({"X0": role})
    rows = some_rows(table, [0], kind=kind, received_ns=NS)
    rows.words[0] = np.arange(1, 47)
    rows.words[0, Word.LAST_PRICE] = np.uint32(2**32 - 5)  # -0.05
    rows.words[0, Word.DEPTH + 2 :: 3] = np.arange(10) << 16
    return table, rows


def hash_rows(encoder: Encoder, rows: TickRows, book: SymbolBook) -> dict[bytes, bytes]:
    return dict(encoder.encode(HEAD, rows, book=book, gaps=[])[1])


def test_a_row_lies_as_documented():
    table, rows = an_option(role=Role.SETTLING)
    rows.outcome[:], rows.greeks[0], rows.priced_ns[:] = PricingOutcome.BELOW_INTRINSIC, [np.nan] * 5 + [260.5], NS + 9

    row = hash_rows(REFERENCE[MSGPACK], rows, SymbolBook(table))[b"NFO:X0"]

    assert len(row) == 256
    assert struct.unpack_from("<BBBBIq", row) == (0x13, 4, 1, 6, 100, NS)
    assert struct.unpack_from("<IiIi", row, 16) == (1, -5, 3, 4)
    assert struct.unpack_from("<IIIiiiiIIIII", row, 32) == tuple(range(5, 17))
    depth = struct.unpack_from("<" + "IiHH" * 10, row, 80)
    assert depth[:4] == (17, 18, 0, 0)
    assert depth[-4:] == (44, 45, 0, 9)
    assert struct.unpack_from("<dq", row, 240) == (260.5, NS + 9)
    assert np.isnan(struct.unpack_from("<ddddd", row, 200)).all()


@pytest.mark.parametrize(
    ("kind", "priced", "size"),
    [
        (PacketKind.LTP, False, 80),
        (PacketKind.INDEX_FULL, False, 80),
        (PacketKind.QUOTE, True, 136),
        (PacketKind.FULL, False, 200),
        (PacketKind.FULL, True, 256),
    ],
)
def test_a_row_is_as_long_as_what_it_carries(kind, priced, size):
    table, rows = an_option(kind=kind)
    rows.outcome[:] = PricingOutcome.PRICED if priced else PricingOutcome.NOT_ASKED

    assert [len(row) for row in hash_rows(REFERENCE[MSGPACK], rows, SymbolBook(table)).values()] == [size]


@given(wild_rows(WILD))
def test_a_reader_of_either_encoding_has_the_same_rows(rows):
    read = []
    for encoding in (JSON, MSGPACK):
        message, arguments = REFERENCE[encoding].encode(HEAD, rows, book=BOOK, gaps=[])
        decoded = decode_message(message)
        assert isinstance(decoded, Message)
        stored = tuple(decode_row(row, symbol=field.decode()) for field, row in arguments)
        assert stored == decoded.ticks
        read.append(decoded)

    assert read[0] == read[1]


def test_the_envelope_is_that_of_json():
    table, rows = an_option()
    gap = GapRecord("s", 1, ("NFO:X0",), NS, NS + 1, "silent").encode()

    message = decode_message(REFERENCE[MSGPACK].encode(HEAD, rows, book=SymbolBook(table), gaps=[gap])[0])

    assert isinstance(message, Message)
    assert (message.source, message.seq, message.kind) == (Source("pool.acc1", "i/r", 1_763_700_000_123), 7, "live")
    assert [(found.cause, found.symbols) for found in message.gaps] == [("silent", ("NFO:X0",))]
    assert message == decode_message(REFERENCE[JSON].encode(HEAD, rows, book=SymbolBook(table), gaps=[gap])[0])


def test_a_message_of_gap_records_alone_has_no_rows():
    table, rows = an_option()

    for encoding in (JSON, MSGPACK):
        payload, arguments = REFERENCE[encoding].encode(HEAD, rows.take(slice(0)), book=SymbolBook(table), gaps=[])
        assert (decode_message(payload).ticks, list(arguments)) == ((), [])


def test_columns_are_the_messages_own_bytes():
    table = a_table(3)
    rows = some_rows(table, [0, 1, 2], price=18_765)
    rows.words[:, Word.DEPTH + 1 :: 3] = np.arange(10) * 5

    columns = decode_columns(REFERENCE[MSGPACK].encode(HEAD, rows, book=SymbolBook(table), gaps=[])[0])

    assert isinstance(columns, Columns)
    assert columns.symbols == ["NFO:X0", "NFO:X1", "NFO:X2"]
    assert columns.price("last_price").tolist() == [187.65] * 3
    assert columns.price("depth")[2].tolist() == [level * 5 / 100 for level in range(10)]
    assert columns.rows["last_price"].base is not None
    assert not columns.rows.flags.writeable


def an_envelope(**members) -> bytes:
    head = {"v": 1, "shard": "s", "process": "i/r", "epoch": 1, "seq": 1, "sent_at": "2025-11-21T03:45:30Z"}
    return ormsgpack.packb({**head, "layout": 0x10, "rows": b"", "symbols": b"", **members})


@pytest.mark.parametrize(
    "payload",
    [
        an_envelope(v=2),
        an_envelope(layout=0x20),
        an_envelope(layout=0x14),
        an_envelope(rows=b"x" * 79, symbols=b"NSE:A"),
        an_envelope(rows=b"\x10" + bytes(79), symbols=b"NSE:A\nNSE:B"),
        an_envelope(rows=b"\x10" + bytes(79), symbols=b"NSE:A"),  # a divisor of zero
        an_envelope(rows=1),
        an_envelope()[:-1],
        ormsgpack.packb([1]),
        b"\xc1",
        b"",
    ],
    ids=repr,
)
def test_bytes_of_another_kind_are_named_and_no_error(payload):
    assert isinstance(decode_message(payload), Undecodable)
    # Columns leave the division to whoever asks for a price.
    assert isinstance(decode_columns(payload), Undecodable) or b"\x10" + bytes(79) in payload


@pytest.mark.parametrize("payload", [b"\x10", b"\x11" + bytes(79), b"\x1f" + bytes(79), b"\x10" + bytes(79)], ids=len)
def test_a_packed_row_of_another_length_or_layout_is_named_and_no_error(payload):
    assert isinstance(decode_row(payload, symbol="NSE:A"), Undecodable)


def test_the_client_and_the_shard_name_outcomes_alike():
    assert tuple(outcome.name.lower() for outcome in PricingOutcome) == OUTCOMES
