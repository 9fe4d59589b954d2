"""Rows of a msgpack channel by native code: rows, names and Redis's field arguments in one pass over one array.

`encode_packed.PackedRows` says what is to be written and stays the reference; tests compare. Every part of a row lies
on a multiple of its own width, so the array is written through views of all four widths.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_client.packed import DEPTH_AT, DEPTH_BYTES, GREEKS_BYTES, SETTLING, VERSION_BITS, WITH_DEPTH, WITH_GREEKS
from ticker_shard.publish.encode_packed import HEAD_WORDS, Packed
from ticker_shard.publish.native_text import Bytes, Int, put_slice
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.rows import GREEKS, WORDS, PacketKind, PricingOutcome, TickRows, Word

_FULL, _NOT_ASKED, _DEPTH = int(PacketKind.FULL), int(PricingOutcome.NOT_ASKED), int(Word.DEPTH)
_ROW_BYTES_MAX: Final = DEPTH_AT + DEPTH_BYTES + GREEKS_BYTES
_NEWLINE: Final = ord("\n")
assert DEPTH_AT % 8 == DEPTH_BYTES % 8 == GREEKS_BYTES % 8 == 0, "every row begins on a multiple of eight"


class _Room:
    """One array to write into, as large as the largest call so far, and its views."""

    def __init__(self) -> None:
        self._grow(0)

    def fit(self, size: int) -> None:
        """At least `size` bytes."""
        if len(self.bytes) < size:
            self._grow(size)

    def _grow(self, size: int) -> None:
        self.doubles: NDArray[np.float64] = np.empty(-(-size // 8), np.float64)
        self.longs: NDArray[np.int64] = self.doubles.view(np.int64)
        self.words: NDArray[np.uint32] = self.doubles.view(np.uint32)
        self.bytes: Bytes = self.doubles.view(np.uint8)


@kernel
def _write_packed(
    room: tuple[Bytes, NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]],
    words: NDArray[np.uint32],
    kind: NDArray[np.uint8],
    slot: NDArray[np.int32],
    received_ns: NDArray[np.int64],
    greeks: NDArray[np.float64],
    outcome: NDArray[np.uint8],
    priced_ns: NDArray[np.int64],
    divisor: NDArray[np.int64],
    settling: NDArray[np.bool_],
    names: Bytes,
    names_at: NDArray[np.int64],
    fields: Bytes,
    fields_at: NDArray[np.int64],
) -> tuple[Int, Int, Int, Int]:
    """Rows, names with a line's end between, field arguments; the layout, and the place behind each of the three."""
    out, out_words, out_longs, out_doubles = room
    with_depth = with_greeks = 0
    for place in range(len(kind)):
        with_depth |= int(kind[place] == _FULL)
        with_greeks |= int(outcome[place] != _NOT_ASKED)
    layout = VERSION_BITS | WITH_DEPTH * with_depth | WITH_GREEKS * with_greeks
    size = DEPTH_AT + DEPTH_BYTES * with_depth + GREEKS_BYTES * with_greeks
    count = WORDS if with_depth else _DEPTH
    for place in range(len(kind)):
        mine, first = slot[place], place * size
        out[first], out[first + 1] = layout, kind[place]
        out[first + 2], out[first + 3] = SETTLING * settling[mine], outcome[place]
        out_words[first // 4 + 1] = divisor[mine]
        out_longs[first // 8 + 1] = received_ns[place]
        for word in range(count):
            # Without a sign, or each index is looked at for being negative, and the row is not copied in one go.
            out_words[np.uintp(first // 4 + HEAD_WORDS + word)] = words[place, np.uintp(word)]
        if with_greeks:
            behind = (first + size) // 8
            for greek in range(GREEKS):
                out_doubles[np.uintp(behind - 1 - GREEKS + greek)] = greeks[place, np.uintp(greek)]
            out_longs[behind - 1] = priced_ns[place]
    rows_end = len(kind) * size
    at: Int = rows_end
    for place in range(len(kind)):
        if place:
            out[at] = _NEWLINE
            at += 1
        at = put_slice(out, at, names, names_at[slot[place]], names_at[slot[place] + 1])
    names_end = at
    for place in range(len(kind)):
        at = put_slice(out, at, fields, fields_at[slot[place]], fields_at[slot[place] + 1])
    return layout, rows_end, names_end, at


class NativePackedRows:
    """`encode_packed.PackedRows` by native code."""

    def __init__(self) -> None:
        self._room = _Room()

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Packed:
        """The rows, in the one layout that has room for each of them."""
        room, count = self._room, len(rows)
        room.fit(count * (_ROW_BYTES_MAX + book.names.longest + 1 + book.arguments.longest))
        layout, rows_end, names_end, end = _write_packed(
            (room.bytes, room.words, room.longs, room.doubles),
            np.ascontiguousarray(rows.words),
            np.ascontiguousarray(rows.kind),
            np.ascontiguousarray(rows.slot),
            np.ascontiguousarray(rows.received_ns),
            np.ascontiguousarray(rows.greeks),
            np.ascontiguousarray(rows.outcome),
            np.ascontiguousarray(rows.priced_ns),
            book.divisor,
            book.settling,
            book.names.bytes,
            book.names.start,
            book.arguments.bytes,
            book.arguments.start,
        )
        written = room.bytes.data
        return Packed(
            layout=int(layout),
            size=int(rows_end) // max(count, 1),
            rows=written[:rows_end],
            symbols=bytes(written[rows_end:names_end]),
            fields=bytes(written[names_end:end]),
        )
