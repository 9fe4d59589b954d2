"""From a row that a consumer received back to the packet's body, and its digest as the simulator's tape has it.

Written from the broker's documentation (docs/simulator.md names the layouts), sharing no table with the simulator or
the shard: whoever changed a field on the way changes the digest.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import datetime

from ticker_client import DepthLevel, Row

DIVISORS = {3: 10_000_000, 6: 10_000, 12: 10_000}
INDEX = 9
DIGEST_BYTES = 6
ORDERS_SHIFT = 16


def digest_of(row: Row, *, index_full: bool = True) -> int:
    """48 bits of the body that told this row.

    Parameters
    ----------
    row
        As the client library gives it.
    index_full
        Whether an index was asked for in full mode: an index row does not show it where its time is zero.
    """
    return int.from_bytes(
        hashlib.blake2b(body_of(row, index_full=index_full), digest_size=DIGEST_BYTES).digest(), "big"
    )


def body_of(row: Row, *, index_full: bool = True) -> bytes:
    """The packet's body: 8, 28, 32, 44 or 184 bytes."""
    divisor = DIVISORS.get(row.instrument_token & 0xFF, 100)

    def scaled(price: float | None) -> int:
        return round((price or 0.0) * divisor)

    head = struct.pack(">Ii", row.instrument_token, scaled(row.last_price))
    if row.ohlc is None:
        return head
    day = row.ohlc
    if row.instrument_token & 0xFF == INDEX:
        change = scaled(row.last_price) - scaled(day.close)
        prices = (scaled(day.high), scaled(day.low), scaled(day.open), scaled(day.close), change)
        time = struct.pack(">I", _seconds(row.exchange_timestamp)) if index_full else b""
        return head + struct.pack(">5i", *prices) + time
    quote = head + struct.pack(
        ">IiIII4i",
        row.last_traded_quantity or 0, scaled(row.average_traded_price), row.volume_traded or 0,
        row.total_buy_quantity or 0, row.total_sell_quantity or 0,
        scaled(day.open), scaled(day.high), scaled(day.low), scaled(day.close),
    )  # fmt: skip
    if row.depth is None:
        return quote

    def level(entry: DepthLevel) -> bytes:
        return struct.pack(">IiI", entry.quantity, scaled(entry.price), entry.orders << ORDERS_SHIFT)

    return (
        quote
        + struct.pack(
            ">5I", _seconds(row.last_trade_time), row.oi or 0, row.oi_day_high or 0, row.oi_day_low or 0,
            _seconds(row.exchange_timestamp),
        )
        + b"".join(level(entry) for entry in (*row.depth.buy, *row.depth.sell))
    )  # fmt: skip


def _seconds(time: datetime | None) -> int:
    return 0 if time is None else int(time.timestamp())
