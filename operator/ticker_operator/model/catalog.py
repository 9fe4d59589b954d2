"""The broker's instruments of a day, as columns.

A dump has some 86,500 rows. One Python object for each would cost the operator more memory than everything else it
holds, so a row is a position in numpy columns, and repeated texts (exchanges, names, strikes, …) are stored once.
Rows are sorted by (exchange, tradingsymbol): a row's position *is* its place in the order that placement relies on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

NO_EXPIRY: Final = 0  # ordinal of a row without an expiry
ABSENT: Final = -1  # position of a symbol that is not listed


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """One row of the dump, as far as Tickershard uses it; texts exactly as in the dump."""

    token: int
    exchange: str
    tradingsymbol: str
    name: str
    expiry: date | None
    strike: str
    tick_size: str
    lot_size: int
    instrument_type: str
    segment: str

    @property
    def symbol(self) -> str:
        """``EXCHANGE:TRADINGSYMBOL``."""
        return f"{self.exchange}:{self.tradingsymbol}"


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentCatalog:
    """The dump's rows, sorted by (exchange, tradingsymbol), each symbol once.

    Attributes
    ----------
    version
        Changes with the content; equal versions are equal catalogs.
    endpoint
        Where it came from.
    exchanges
        Name → (first position, position after the last).
    tradingsymbols
        UTF-8, fixed width.
    texts
        Every repeated text once; the columns `names`, `strikes`, … index it.
    duplicates, skipped
        Rows of the dump that are not here: a symbol listed twice; a row that could not be understood.
    derived
        What resolving made of a row, by position, for the next pass: only of rows that somebody asked for, and only
        for as long as this catalog is in use.
    """

    version: str
    endpoint: str
    exchanges: Mapping[str, tuple[int, int]]
    tradingsymbols: NDArray[np.bytes_]
    tokens: NDArray[np.uint32]
    expiries: NDArray[np.int32]
    lot_sizes: NDArray[np.int32]
    names: NDArray[np.int32]
    strikes: NDArray[np.int32]
    tick_sizes: NDArray[np.int32]
    types: NDArray[np.int32]
    segments: NDArray[np.int32]
    texts: tuple[str, ...]
    duplicates: int = 0
    skipped: int = 0
    derived: dict[int, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.tokens)

    def position(self, symbol: str) -> int | None:
        """The row of ``EXCHANGE:TRADINGSYMBOL``, or `None`."""
        exchange, _, tradingsymbol = symbol.partition(":")
        bounds = self.exchanges.get(exchange)
        if bounds is None:
            return None
        first, last = bounds
        wanted = np.bytes_(tradingsymbol.encode())
        place = first + int(np.searchsorted(self.tradingsymbols[first:last], wanted))
        return place if place < last and self.tradingsymbols[place] == wanted else None

    def positions(self, symbols: Sequence[str]) -> NDArray[np.int64]:
        """Rows of many symbols at once, `ABSENT` where there is none."""
        found = np.full(len(symbols), ABSENT, np.int64)
        by_exchange: dict[str, tuple[list[int], list[bytes]]] = {}
        for index, symbol in enumerate(symbols):
            exchange, _, tradingsymbol = symbol.partition(":")
            if exchange in self.exchanges:
                indices, names = by_exchange.setdefault(exchange, ([], []))
                indices.append(index)
                names.append(tradingsymbol.encode())
        for exchange, (indices, names) in by_exchange.items():
            first, last = self.exchanges[exchange]
            column = self.tradingsymbols[first:last]
            wanted = np.array(names, np.bytes_)
            place = np.minimum(np.searchsorted(column, wanted), last - first - 1)
            hit = column[place] == wanted
            found[np.array(indices)[hit]] = first + place[hit]
        return found

    def row(self, position: int) -> CatalogRow:
        """The row at `position`."""
        exchange = next(name for name, (first, last) in self.exchanges.items() if first <= position < last)
        ordinal = int(self.expiries[position])
        return CatalogRow(
            token=int(self.tokens[position]),
            exchange=exchange,
            tradingsymbol=bytes(self.tradingsymbols[position]).decode(),
            name=self.texts[self.names[position]],
            expiry=date.fromordinal(ordinal) if ordinal != NO_EXPIRY else None,
            strike=self.texts[self.strikes[position]],
            tick_size=self.texts[self.tick_sizes[position]],
            lot_size=int(self.lot_sizes[position]),
            instrument_type=self.texts[self.types[position]],
            segment=self.texts[self.segments[position]],
        )

    def memory_bytes(self) -> int:
        """What the columns take."""
        columns: tuple[NDArray[Any], ...] = (
            self.tradingsymbols, self.tokens, self.expiries, self.lot_sizes, self.names, self.strikes,
            self.tick_sizes, self.types, self.segments,
        )  # fmt: skip
        return sum(column.nbytes for column in columns)
