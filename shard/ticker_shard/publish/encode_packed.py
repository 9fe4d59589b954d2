"""Rows of a msgpack channel: the packed layout of `ticker_client.packed`, written column by column: the reference."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_client.columns import row_dtype
from ticker_client.packed import DEPTH_AT, SETTLING, VERSION_BITS, WITH_DEPTH, WITH_GREEKS
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import GREEKS, WORDS, PacketKind, PricingOutcome, TickRows, Word

HEAD_WORDS: Final = 4
# As plain numbers: to look a member of an enumeration up, and to compare an array with it, costs a microsecond each.
_FULL, _NOT_ASKED, _DEPTH = int(PacketKind.FULL), int(PricingOutcome.NOT_ASKED), int(Word.DEPTH)
assert (HEAD_WORDS + Word.DEPTH) * 4 == DEPTH_AT, "a row's words are the layout's, in the same order"
assert sys.byteorder == "little", "words and Greeks are copied as they lie in memory"


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows of one message as bytes.

    Attributes
    ----------
    layout, size
        Of every row; bytes.
    rows
        One behind the other; good until the writer is used again.
    symbols
        Their names, with a line's end between.
    fields
        Their fields of the last values, each a packed argument.
    """

    layout: int
    size: int
    rows: memoryview
    symbols: bytes
    fields: bytes


class PackedRows:
    """Writes rows by array operations."""

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Packed:
        """The rows, in the one layout that has room for each of them."""
        layout = layout_of(rows)
        packed = pack_rows(rows, book=book, layout=layout)
        slots = rows.slot.tolist()
        return Packed(
            layout=layout,
            size=packed.shape[1],
            rows=packed.reshape(-1).data,
            symbols=b"\n".join(map(book.encoded.__getitem__, slots)),
            fields=b"".join(map(book.fields.__getitem__, slots)),
        )


def layout_of(rows: TickRows) -> int:
    """The one layout that has room for each of these rows."""
    layout = VERSION_BITS
    if (rows.kind == _FULL).any():
        layout |= WITH_DEPTH
    if (rows.outcome != _NOT_ASKED).any():
        layout |= WITH_GREEKS
    return layout


def pack_rows(rows: TickRows, *, book: SymbolBook, layout: int) -> NDArray[np.uint8]:
    """The rows in `layout`, (n, `row_bytes`)."""
    packed = np.zeros(len(rows), row_dtype(layout))
    packed["layout"], packed["kind"], packed["outcome"] = layout, rows.kind, rows.outcome
    packed["flags"] = book.settling[rows.slot] * np.uint8(SETTLING)
    packed["divisor"], packed["received_ns"] = book.divisor[rows.slot], rows.received_ns
    count = WORDS if layout & WITH_DEPTH else _DEPTH
    size = packed.itemsize
    words = packed.view(np.uint32).reshape(-1, size // 4)
    words[:, HEAD_WORDS : HEAD_WORDS + count] = rows.words[:, :count]
    if layout & WITH_GREEKS:
        greeks = packed.view(np.float64).reshape(-1, size // 8)
        greeks[:, -GREEKS - 1 : -1] = rows.greeks
        packed["priced_ns"] = rows.priced_ns
    return packed.view(np.uint8).reshape(-1, size)
