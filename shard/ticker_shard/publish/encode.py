"""Rows and messages as bytes: an encoder for each `ticker_crds.Encoding`, each with a quick and a plain writer of rows.

A row is encoded once: its bytes in the message are what the call writes into the last-value hash. What a row says is
decided in `encode_json` (the reference) and in `ticker_client.packed` (the layout of msgpack channels); the native
writers give the same, only sooner.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Final, Protocol

import numpy as np
import orjson
import ormsgpack

from ticker_client import SCHEMA_VERSION
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Encoding, Mode
from ticker_shard.publish.encode_json import JsonRows, Written
from ticker_shard.publish.encode_packed import Packed, PackedRows
from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.resp import NO_ROWS, CallRows
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.instruments import build_instruments
from ticker_shard.ticks.rows import WORDS, PacketKind, TickRows, unpriced_rows

_NO_TEXT: Final = Written(b"", b"", b"")


@dataclass(frozen=True, slots=True)
class Head:
    """What a message says about itself."""

    shard: str
    process: str
    epoch: int
    seq: int
    source: str
    sent_ns: int

    def numbers(self) -> bytes:
        """Process, epoch and number alone, as kept beside the last values."""
        return orjson.dumps({"process": self.process, "epoch": self.epoch, "seq": self.seq})


class Encoder(Protocol):
    """Writes a message, and says where its rows are."""

    def encode(self, head: Head, rows: TickRows, *, book: SymbolBook, gaps: Sequence[bytes]) -> tuple[bytes, CallRows]:
        """One message with these rows (which may be none) and gap records."""
        ...


class JsonWriter(Protocol):
    """`encode_json.JsonRows`, or what writes the same sooner."""

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Written:
        """The rows, and what is told of them."""
        ...


class PackedWriter(Protocol):
    """`encode_packed.PackedRows`, or what writes the same sooner."""

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Packed:
        """The rows, in the one layout that has room for each of them."""
        ...


class JsonEncoder:
    """The default: for people, and for any language.

    Parameters
    ----------
    rows
        Writes the rows.
    """

    def __init__(self, rows: JsonWriter) -> None:
        self._rows = rows

    def encode(self, head: Head, rows: TickRows, *, book: SymbolBook, gaps: Sequence[bytes]) -> tuple[bytes, CallRows]:
        """One message; ``gaps`` is there only when there are some."""
        written = self._rows.encode(rows, book=book) if len(rows) else _NO_TEXT
        opening = b'%b"epoch":%d,"seq":%d,"source":"%b","sent_at":"%b","ticks":[' % (
            _opening(head.shard, head.process),
            head.epoch,
            head.seq,
            head.source.encode(),
            iso_utc(head.sent_ns).encode(),
        )
        tail = b'],"gaps":[%b]}' % b",".join(gaps) if gaps else b"]}"
        message = b"".join((opening, written.rows, tail))
        return message, _rows_at(message, len(opening), len(rows), written.fields, between=1, sizes=written.sizes)


class MsgpackEncoder:
    """For programs: a sixth of the size and of the work.

    Parameters
    ----------
    rows
        Writes the rows.
    """

    def __init__(self, rows: PackedWriter) -> None:
        self._rows = rows

    def encode(self, head: Head, rows: TickRows, *, book: SymbolBook, gaps: Sequence[bytes]) -> tuple[bytes, CallRows]:
        """One message; ``gaps`` is there only when there are some."""
        packed = self._rows.encode(rows, book=book)
        envelope = {
            "v": SCHEMA_VERSION,
            "shard": head.shard,
            "process": head.process,
            "epoch": head.epoch,
            "seq": head.seq,
            "source": head.source,
            "sent_at": iso_utc(head.sent_ns),
            **({"gaps": [orjson.loads(gap) for gap in gaps]} if gaps else {}),
            "layout": packed.layout,
            "rows": packed.rows,
            "symbols": packed.symbols,
        }
        message = ormsgpack.packb(envelope)
        behind = len(ormsgpack.packb({"symbols": packed.symbols})) - 1  # without the map's own byte
        at = len(message) - behind - len(packed.rows)
        return message, _rows_at(message, at, len(rows), packed.fields, between=0, sizes=ormsgpack.packb(packed.size))


def _rows_at(message: bytes, at: int, count: int, fields: bytes, *, between: int, sizes: bytes) -> CallRows:
    """So many rows, which stand in `message` from `at` on."""
    return CallRows(message, count, fields, at, between, sizes) if count else NO_ROWS


@lru_cache(maxsize=16)
def _opening(shard: str, process: str) -> bytes:
    return orjson.dumps({"v": SCHEMA_VERSION, "shard": shard, "process": process})[:-1] + b","


def make_encoders(*, native: bool | None = None) -> dict[Encoding, Encoder]:
    """An encoder for each encoding; they keep room to write in, so each writer of calls has its own.

    Parameters
    ----------
    native
        Whether rows are written by compiled code; `None`: where numba can be imported.
    """
    if native is None:
        native = find_spec("numba") is not None
    if not native:
        return {Encoding.JSON: JsonEncoder(JsonRows()), Encoding.MSGPACK: MsgpackEncoder(PackedRows())}
    # Here, because it takes a while and is not wanted everywhere.
    from ticker_shard.publish.native import NativeJsonRows
    from ticker_shard.publish.native_packed import NativePackedRows

    return {Encoding.JSON: JsonEncoder(NativeJsonRows()), Encoding.MSGPACK: MsgpackEncoder(NativePackedRows())}


def warm_up(encoders: Iterable[Encoder]) -> None:
    """Write one row by each encoder, so that whatever is compiled is compiled before the first live frame."""
    row = AssignedInstrument(1, "NSE", "WARM-UP", Mode.FULL, ("warm-up",))
    table = build_instruments(AssignmentTable("", 1, (Channel("warm-up"),), (row,)))
    rows = unpriced_rows(
        np.zeros((1, WORDS), np.uint32),
        np.full(1, PacketKind.FULL, np.uint8),
        np.zeros(1, np.int32),
        np.zeros(1, np.int64),
    )
    head = Head(shard="", process="", epoch=0, seq=0, source="live", sent_ns=0)
    for encoder in encoders:
        encoder.encode(head, rows, book=SymbolBook(table), gaps=())
