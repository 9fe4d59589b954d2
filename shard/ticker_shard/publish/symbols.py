"""What the encoders need to know of each slot, prepared once a table: its names in all forms in which they go out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from ticker_crds import Role
from ticker_shard.publish.resp import bulk
from ticker_shard.ticks.instruments import InstrumentTable

_DIGITS: Final = {100: 2, 10_000: 4, 10_000_000: 7}  # every divisor is a power of ten


class Texts:
    """Many short texts in one array; `start[i]` to `start[i + 1]` is the i-th."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.bytes: NDArray[np.uint8] = np.frombuffer(b"".join(texts) or b"\0", np.uint8).copy()
        self.start: NDArray[np.int64] = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(text) for text in texts], out=self.start[1:])
        self.longest: Final = max(map(len, texts), default=0)


class SymbolBook:
    """A table, as the encoders see it.

    Parameters
    ----------
    table
        The table in force.

    Attributes
    ----------
    symbols
        By slot, ``EXCHANGE:TRADINGSYMBOL``; empty where the slot is free.
    fields
        By slot, the symbol as a packed argument.
    quoted, names, arguments
        By slot, for native writers: the symbol as a JSON string, as it is, and as a packed argument.
    divisor
        (capacity,) what scaled prices are divided by.
    digits
        (capacity,) its power of ten.
    settling
        (capacity,) bool: the account is taking the instrument over.
    """

    def __init__(self, table: InstrumentTable) -> None:
        rows = table.instruments
        self.symbols: Final = tuple("" if row is None else row.symbol for row in rows)
        encoded = [symbol.encode() for symbol in self.symbols]
        self.encoded: Final = tuple(encoded)
        self.fields: Final = tuple(bulk(symbol) for symbol in encoded)
        self.quoted: Final = Texts([orjson.dumps(symbol) for symbol in self.symbols])
        self.names: Final = Texts(self.encoded)
        self.arguments: Final = Texts(self.fields)
        self.divisor: Final[NDArray[np.int64]] = np.ascontiguousarray(table.divisor, np.int64)
        self.digits: Final = np.array([_DIGITS[int(divisor)] for divisor in table.divisor], np.int64)
        self.settling: Final = np.array([row is not None and row.role is Role.SETTLING for row in rows], np.bool_)
