"""The packed row: one instrument's state in 80 to 256 bytes, the same in messages and in last values.

Little-endian. The first byte tells it from JSON (which begins with ``{``) and says what follows: its upper four bits
are the layout's version, 1, its lower four say which parts there are.

======  =======  =================================================================================================
offset  type     what
======  =======  =================================================================================================
0       u8       layout: 0x10, + 0x01 with depth, + 0x02 with Greeks; any other bit is a layout unknown here
1       u8       kind of packet: 0 ltp, 1 index quote, 2 index full, 3 quote, 4 full; parts that it lacks are zero
2       u8       flags: 0x01 settling
3       u8       outcome of the pricing: place in `OUTCOMES`
4       u32      divisor of every price
8       i64      received at, ns since 1970 UTC
16      u32      instrument_token
20      i32      last_price; this and every other price is to be divided by the divisor
24      u32      last_traded_quantity
28      i32      average_traded_price
32      3 × u32  volume_traded, total_buy_quantity, total_sell_quantity
44      4 × i32  open, high, low, close (of the day before)
60      u32      last_trade_time, s since 1970 UTC, 0 = none
64      3 × u32  oi, oi_day_high, oi_day_low
76      u32      exchange_timestamp, s, 0 = none
80      10 ×     depth, where there is one: five bids, best first, then five offers; each u32 quantity, i32 price,
                 u16 zero, u16 orders
80/200  6 × f64  Greeks, where there are some: iv, delta, gamma, theta, vega, underlying_price; NaN = none
+48     i64      priced at, ns; 0 = nothing was asked
======  =======  =================================================================================================

All rows of one message have one layout, hence one length (`row_bytes`), so that each field is one strided column;
the row that lies in the hash is the very same bytes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isnan
from struct import Struct
from typing import Final

from ticker_client.rows import Depth, DepthLevel, Ohlc, Row

VERSION_BITS: Final = 0x10
WITH_DEPTH: Final = 0x01
WITH_GREEKS: Final = 0x02
SETTLING: Final = 0x01
DEPTH_AT: Final = 80
DEPTH_BYTES: Final = 120
GREEKS_BYTES: Final = 56
LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = range(5)
NOT_ASKED, PRICED = 0, 1
OUTCOMES: Final = (
    "not_asked",
    "priced",
    "no_price",
    "no_underlying",
    "stale_underlying",
    "expired",
    "below_intrinsic",
    "above_bound",
    "not_determined",
    "no_contract",
)
CHANGE_UNITS: Final = 10**8  # ``change`` is given to the nearest of so many parts of a percent

_HEAD: Final = Struct("<BBBBIqIiIiIIIiiiiIIIII")
_DEPTH: Final = Struct("<" + "IiHH" * 10)
_GREEKS: Final = Struct("<ddddddq")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UnknownLayoutError(ValueError):
    """The row's first byte is none of version 1."""


def is_packed(payload: bytes) -> bool:
    """Whether this is a packed row and no JSON."""
    return bool(payload) and payload[0] & 0xF0 == VERSION_BITS


def row_bytes(layout: int) -> int:
    """Length of a row.

    Raises
    ------
    UnknownLayoutError
        Where `layout` is none of version 1.
    """
    if layout & ~(WITH_DEPTH | WITH_GREEKS) != VERSION_BITS:
        raise UnknownLayoutError(f"packed layout {layout:#x} is unknown here")
    return DEPTH_AT + DEPTH_BYTES * bool(layout & WITH_DEPTH) + GREEKS_BYTES * bool(layout & WITH_GREEKS)


def change_of(last: int, close: int) -> float | None:
    """Percent from the previous close to the last price, rounded to 1e-8, halves away from zero.

    Parameters
    ----------
    last, close
        Scaled alike, so the scale cancels out. Integers all the way: every writer and reader gets the same number.
    """
    if not close:
        return None
    parts = (last - close) * 100 * CHANGE_UNITS
    rounded = (2 * abs(parts) + abs(close)) // (2 * abs(close))
    return (rounded if (parts < 0) == (close < 0) else -rounded) / CHANGE_UNITS


def unpack_row(payload: bytes, symbol: str, *, at: int = 0) -> Row:
    """The row at `at`.

    Raises
    ------
    UnknownLayoutError, struct.error, OverflowError
        Where no row of version 1 stands there.
    """
    layout, kind, flags, outcome, divisor, received_ns, token, *words = _HEAD.unpack_from(payload, at)
    row_bytes(layout)
    (
        last,
        last_quantity,
        average,
        volume,
        buy,
        sell,
        opening,
        high,
        low,
        close,
        traded_s,
        oi,
        oi_high,
        oi_low,
        at_s,
    ) = words
    members: dict[str, object] = {}
    if kind != LTP:
        members["ohlc"] = Ohlc(opening / divisor, high / divisor, low / divisor, close / divisor)
        members["change"] = change_of(last, close)
    if kind in (QUOTE, FULL):
        members["last_traded_quantity"], members["average_traded_price"] = last_quantity, average / divisor
        members["volume_traded"] = volume
        members["total_buy_quantity"], members["total_sell_quantity"] = buy, sell
    if kind == FULL:
        members["last_trade_time"] = _second(traded_s)
        members["oi"], members["oi_day_high"], members["oi_day_low"] = oi, oi_high, oi_low
        members["depth"] = _depth(payload, at + DEPTH_AT, divisor) if layout & WITH_DEPTH else None
    if kind in (INDEX_FULL, FULL):
        members["exchange_timestamp"] = _second(at_s)
    if outcome != NOT_ASKED and layout & WITH_GREEKS:
        place = at + DEPTH_AT + DEPTH_BYTES * bool(layout & WITH_DEPTH)
        *greeks, underlying, priced_ns = _GREEKS.unpack_from(payload, place)
        if outcome == PRICED:
            names = ("iv", "delta", "gamma", "theta", "vega")
            members.update(zip(names, [None if isnan(greek) else greek for greek in greeks], strict=True))
        else:
            members["no_greeks"] = OUTCOMES[outcome] if outcome < len(OUTCOMES) else f"outcome_{outcome}"
        members["underlying_price"] = None if isnan(underlying) else underlying
        if priced_ns not in (0, received_ns):
            members["priced_at"] = moment(priced_ns)
    return Row(
        instrument_token=token,
        symbol=symbol,
        last_price=last / divisor,
        received_at=moment(received_ns),
        settling=bool(flags & SETTLING),
        **members,  # type: ignore[arg-type]
    )


def moment(wall_ns: int) -> datetime:
    """A wall clock time, to the microsecond below."""
    return _EPOCH + timedelta(microseconds=wall_ns // 1_000)


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> datetime | None:
    return _EPOCH + timedelta(seconds=seconds) if seconds else None


def _depth(payload: bytes, at: int, divisor: int) -> Depth:
    words = _DEPTH.unpack_from(payload, at)
    levels = tuple(
        DepthLevel(words[place], words[place + 1] / divisor, words[place + 3]) for place in range(0, len(words), 4)
    )
    return Depth(levels[:5], levels[5:])
