"""A msgpack message as columns: for consumers who want arrays and not a thousand objects a message.

Nothing is copied or converted: `Columns.rows` looks at the message's own bytes. This is the only file of the client
that needs numpy; import it by its name, ``from ticker_client.columns import decode_columns``.

::

    match decode_columns(payload):
        case Columns() as message:
            spread = message.price("depth")[:, 5] - message.price("depth")[:, 0]
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_client.messages import (
    MALFORMED,
    SCHEMA_VERSION,
    Source,
    Undecodable,
    decode_envelope,
    packed_part,
)
from ticker_client.packed import WITH_DEPTH, WITH_GREEKS, row_bytes

_DEPTH: Final = np.dtype([("quantity", "<u4"), ("price", "<i4"), ("zero", "<u2"), ("orders", "<u2")])
_FIELDS: Final[list[tuple[str, str]]] = [
    *[(name, "u1") for name in ("layout", "kind", "flags", "outcome")],
    *[("divisor", "<u4"), ("received_ns", "<i8"), ("instrument_token", "<u4"), ("last_price", "<i4")],
    *[("last_traded_quantity", "<u4"), ("average_traded_price", "<i4"), ("volume_traded", "<u4")],
    *[("total_buy_quantity", "<u4"), ("total_sell_quantity", "<u4")],
    *[(name, "<i4") for name in ("open", "high", "low", "close")],
    *[(name, "<u4") for name in ("last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp")],
]
GREEK_FIELDS: Final = ("iv", "delta", "gamma", "theta", "vega", "underlying_price")


@lru_cache(maxsize=8)
def row_dtype(layout: int) -> np.dtype[np.void]:
    """A packed row of this layout, as numpy sees it (`ticker_client.packed` explains each field).

    Raises
    ------
    UnknownLayoutError
        Where `layout` is none of version 1.
    """
    size = row_bytes(layout)
    fields: list[tuple[str, object] | tuple[str, object, int]] = [*_FIELDS]
    if layout & WITH_DEPTH:
        fields.append(("depth", _DEPTH, 10))
    if layout & WITH_GREEKS:
        fields += [*[(name, "<f8") for name in GREEK_FIELDS], ("priced_ns", "<i8")]
    made = np.dtype(fields)
    assert made.itemsize == size, (made.itemsize, size)
    return made


@dataclass(frozen=True, slots=True)
class Columns:
    """One message, its rows as a structured array.

    Attributes
    ----------
    source, seq
        As in `ticker_client.Message`.
    symbols
        (n,) of the rows.
    rows
        (n,) of `row_dtype`, read-only; prices are scaled integers.
    """

    source: Source
    seq: int
    symbols: list[str]
    rows: NDArray[np.void]

    def price(self, name: str) -> NDArray[np.float64]:
        """Prices in rupees: (n,) of a price field, or (n, 10) of ``depth``, bids first."""
        if name == "depth":
            return np.asarray(self.rows["depth"]["price"] / self.rows["divisor"][:, None])
        return np.asarray(self.rows[name] / self.rows["divisor"])


def decode_columns(payload: bytes) -> Columns | Undecodable:
    """The msgpack message in `payload`."""
    try:
        envelope = decode_envelope(payload)
        if envelope["v"] != SCHEMA_VERSION:
            return Undecodable(f"schema version {envelope['v']!r}, this client reads {SCHEMA_VERSION}")
        packed, symbols = packed_part(envelope)
        return Columns(
            source=Source(str(envelope["shard"]), str(envelope["process"]), int(envelope["epoch"])),
            seq=int(envelope["seq"]),
            symbols=symbols,
            rows=np.frombuffer(packed, row_dtype(envelope["layout"])),
        )
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")
