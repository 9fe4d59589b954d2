"""The broker's binary wire, written down once more and shared with nobody.

A reader of ticks that imported these tables could not disagree with them, so a mistake in them would stay hidden;
therefore the simulator encodes from its own. All integers are big-endian; prices are integers, scaled by the segment.

A frame is a count (u16), then per packet a length (u16) and a body:

======  =====================  ===============================================================
length  packet                 body
======  =====================  ===============================================================
8       ltp                    token, last price
28      index, quote           token, last, high, low, open, close, change in points (signed)
32      index, full            the same, exchange time
44      quote                  the first 44 bytes of full
184     full                   `ROW`
======  =====================  ===============================================================

Because every poorer packet is a prefix of a richer one (of `ROW`, or of `INDEX_ROW` for an index), "did anything that
this mode shows change?" is a comparison of prefixes.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.void]  # of ROW
Octets: TypeAlias = NDArray[np.uint8]
Modes: TypeAlias = NDArray[np.uint8]

DEPTH_LEVELS: Final = 5
DEPTH_ENTRY: Final = np.dtype([("quantity", ">u4"), ("price", ">i4"), ("orders", ">u2"), ("padding", ">u2")])
ROW: Final = np.dtype(
    [
        ("instrument_token", ">u4"),
        ("last_price", ">i4"),
        ("last_traded_quantity", ">u4"),
        ("average_traded_price", ">i4"),
        ("volume_traded", ">u4"),
        ("total_buy_quantity", ">u4"),
        ("total_sell_quantity", ">u4"),
        ("open", ">i4"),
        ("high", ">i4"),
        ("low", ">i4"),
        ("close", ">i4"),
        ("last_trade_time", ">u4"),
        ("oi", ">u4"),
        ("oi_day_high", ">u4"),
        ("oi_day_low", ">u4"),
        ("exchange_timestamp", ">u4"),
        ("buy", DEPTH_ENTRY, (DEPTH_LEVELS,)),
        ("sell", DEPTH_ENTRY, (DEPTH_LEVELS,)),
    ]
)
INDEX_ROW: Final = np.dtype(
    [
        ("instrument_token", ">u4"),
        ("last_price", ">i4"),
        ("high", ">i4"),
        ("low", ">i4"),
        ("open", ">i4"),
        ("close", ">i4"),
        ("change", ">i4"),
        ("exchange_timestamp", ">u4"),
    ]
)
assert ROW.itemsize == 184
assert INDEX_ROW.itemsize == 32

SEGMENT_INDEX: Final = 9
DIVISORS: Final[dict[int, int]] = {3: 10_000_000, 6: 10_000, 12: 10_000}
DIVISOR_DEFAULT: Final = 100

HEARTBEAT: Final = b"\x00"
QUANTITY_MAX: Final = 0xFFFF_FFFF
PRICE_MAX: Final = 0x7FFF_FFFF


class Mode(IntEnum):
    """What a socket wants of an instrument; `NONE` is not subscribed."""

    NONE = 0
    LTP = 1
    QUOTE = 2
    FULL = 3


MODE_BY_NAME: Final[dict[str, Mode]] = {"ltp": Mode.LTP, "quote": Mode.QUOTE, "full": Mode.FULL}

PACKET_LENGTHS: Final = (8, 28, 32, 44, 184)  # also the order of packets inside a frame
BODY_BYTES: Final = np.array([[0, 8, 44, 184], [0, 8, 28, 32]], np.int64)  # by (is it an index, mode)
_INDEX_ONLY_LENGTHS: Final = frozenset({28, 32})
assert set(PACKET_LENGTHS) == set(BODY_BYTES.ravel().tolist()) - {0}


def divisor_of(token: int) -> int:
    """What this instrument's integer prices are divided by: decided by the token's last byte, its segment."""
    return DIVISORS.get(token & 0xFF, DIVISOR_DEFAULT)


def is_index(tokens: NDArray[Any]) -> NDArray[np.bool_]:
    """Which tokens denote an index."""
    return np.asarray((tokens.astype(np.uint32) & 0xFF) == SEGMENT_INDEX)


def empty_rows(count: int) -> Rows:
    """`count` rows of zeros."""
    return np.zeros(count, ROW)


def octets_of(rows: Rows) -> Octets:
    """The same memory as (n, itemsize) bytes."""
    # numpy turns big-endian fields into native ones when arrays are concatenated: such rows must not get here.
    assert rows.dtype in (ROW, INDEX_ROW), rows.dtype
    return rows.view(np.uint8).reshape(len(rows), rows.dtype.itemsize)


def index_rows(rows: Rows) -> NDArray[np.void]:
    """Rows as index packets have them: another order, points of change, no depth."""
    out = np.zeros(len(rows), INDEX_ROW)
    for name in ("instrument_token", "last_price", "high", "low", "open", "close", "exchange_timestamp"):
        out[name] = rows[name]
    out["change"] = rows["last_price"].astype(np.int64) - rows["close"]
    return out


def body_bytes(tokens: NDArray[Any], modes: Modes) -> NDArray[np.int64]:
    """Length of each packet's body."""
    return np.asarray(BODY_BYTES[is_index(tokens).astype(np.intp), modes])


def visible_octets(rows: Rows, modes: Modes) -> Octets:
    """(n, 184) bytes of which everything that a packet of that mode does not show is zero."""
    out = octets_of(np.ascontiguousarray(rows)).copy()
    indices = np.flatnonzero(is_index(rows["instrument_token"]))
    if len(indices):
        out[indices] = 0
        out[indices, : INDEX_ROW.itemsize] = octets_of(index_rows(rows[indices]))
    lengths = body_bytes(rows["instrument_token"], modes)
    for length in np.unique(lengths):
        if length < ROW.itemsize:
            out[lengths == length, length:] = 0
    return out


def encode_packet(row: Rows, *, mode: Mode) -> bytes:
    """The body of one packet, without its length."""
    return encode_frame(row.reshape(1), np.array([mode], np.uint8))[4:]


def encode_frame(rows: Rows, modes: Modes) -> bytes:
    """One binary message with a packet per row; shorter packets come first, equal ones in the order given.

    Parameters
    ----------
    rows
        At most 65,535 rows of `ROW`; an index row uses the same names.
    modes
        A `Mode` other than `NONE` for each row.
    """
    assert len(rows) == len(modes) <= 0xFFFF, (len(rows), len(modes))
    tokens = rows["instrument_token"]
    indices = is_index(tokens)
    lengths = body_bytes(tokens, modes)
    assert lengths.all(), "a row without a mode"
    parts = [len(rows).to_bytes(2, "big")]
    for length in PACKET_LENGTHS:
        chosen = np.flatnonzero(lengths == length)
        if not len(chosen):
            continue
        block = np.empty((len(chosen), 2 + length), np.uint8)
        block[:, 0], block[:, 1] = divmod(length, 256)
        source = rows[chosen]
        if length in _INDEX_ONLY_LENGTHS:
            assert indices[chosen].all()
            block[:, 2:] = octets_of(index_rows(source))[:, :length]
        else:
            block[:, 2:] = octets_of(source)[:, :length]
        parts.append(block.tobytes())
    return b"".join(parts)


def row_fields(row: Any, *, mode: Mode) -> dict[str, Any]:
    """The fields that a packet of this mode shows, as plain integers (prices scaled)."""
    token = int(row["instrument_token"])
    fields: dict[str, Any] = {"instrument_token": token, "last_price": int(row["last_price"])}
    if mode is Mode.LTP:
        return fields
    if token & 0xFF == SEGMENT_INDEX:
        names: tuple[str, ...] = ("open", "high", "low", "close")
        fields["price_change"] = int(row["last_price"]) - int(row["close"])
        if mode is Mode.FULL:
            names += ("exchange_timestamp",)
        return fields | {name: int(row[name]) for name in names}
    assert ROW.names is not None
    names = ROW.names[2:11] if mode is Mode.QUOTE else ROW.names[2:16]
    fields |= {name: int(row[name]) for name in names}
    if mode is Mode.FULL:
        for side in ("buy", "sell"):
            fields[side] = [
                {"quantity": int(entry["quantity"]), "price": int(entry["price"]), "orders": int(entry["orders"])}
                for entry in row[side]
            ]
    return fields
