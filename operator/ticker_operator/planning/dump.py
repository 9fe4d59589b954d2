"""The broker's dump as columns: judged as a whole before it may replace the last good one.

A dump is somebody else's bytes: late, truncated, an HTML error page, or fine but for a row. A row that cannot be
understood is skipped and counted; a dump that breaks a rule below is refused with both numbers, and the catalog in
use stays. Rows go into columns one by one (never 86,500 dictionaries), texts that repeat are stored once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import zlib
from array import array
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ticker_operator.model.catalog import NO_EXPIRY, InstrumentCatalog

COLUMNS: Final = (
    "instrument_token", "tradingsymbol", "name", "expiry", "strike", "tick_size", "lot_size", "instrument_type",
    "segment", "exchange",
)  # fmt: skip
DUMP_BYTES_MAX: Final = 64 * 1024 * 1024  # a full day has 10 MB: anything near this is not a dump
ROWS_MAX: Final = 500_000  # six times a full day
SYMBOL_BYTES_MAX: Final = 64  # the schema's limit for a whole symbol; bounds the fixed-width column
SHRINK_MAX: Final = 2  # a dump with less than half of the last good one's rows is taken for truncated
SKIPPED_MAX_SHARE: Final = 0.01  # more malformed rows than that: not the format we know
TOKEN_MAX: Final = 2**32 - 1
_GZIP: Final = b"\x1f\x8b"


class DumpError(ValueError):
    """A dump that must not replace the last good one: which rule it breaks, with numbers."""


def parse_dump(
    raw: bytes, *, endpoint: str, previous: InstrumentCatalog | None = None, rows_min: int = 1
) -> InstrumentCatalog:
    """The catalog, from the dump's CSV (plain or gzipped).

    Parameters
    ----------
    raw
        What the endpoint answered.
    endpoint
        Where it came from, for messages and `InstrumentCatalog.endpoint`.
    previous
        The last good one from there: a dump with less than half its rows is refused.
    rows_min
        Fewer rows are refused.

    Raises
    ------
    DumpError
        Not CSV, a column missing, too few rows, too many malformed ones.
    """
    text = _unpacked(raw, endpoint)
    version = hashlib.sha256(text).hexdigest()[:16]
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(text), encoding="utf-8", errors="replace", newline=""))
    try:
        rows = _Rows(_places(next(reader, []), endpoint))
        rows.read(reader)
    except csv.Error as error:
        raise DumpError(f"{endpoint}: the dump is not CSV: {error}") from error
    if rows.seen > ROWS_MAX:
        raise DumpError(f"{endpoint}: the dump has more than {ROWS_MAX:,} rows")
    if rows.skipped > rows.seen * SKIPPED_MAX_SHARE:
        raise DumpError(
            f"{endpoint}: {rows.skipped:,} of {rows.seen:,} rows are malformed (the first: {rows.first_fault}); "
            f"at most {SKIPPED_MAX_SHARE:.0%} are let pass"
        )
    kept = len(rows.tokens)
    if kept < rows_min:
        raise DumpError(f"{endpoint}: the dump has {kept:,} rows, at least {rows_min:,} are expected")
    if previous is not None and previous.endpoint == endpoint and kept * SHRINK_MAX < len(previous):
        raise DumpError(f"{endpoint}: the dump has {kept:,} rows, the last good one had {len(previous):,}; truncated?")
    return rows.catalog(version=version, endpoint=endpoint)


def _unpacked(raw: bytes, endpoint: str) -> bytes:
    if not raw.startswith(_GZIP):
        text = raw
    else:
        try:
            text = zlib.decompressobj(wbits=31).decompress(raw, DUMP_BYTES_MAX + 1)
        except zlib.error as error:
            raise DumpError(f"{endpoint}: the dump cannot be unpacked: {error}") from error
    if len(text) > DUMP_BYTES_MAX:
        raise DumpError(f"{endpoint}: the dump has more than {DUMP_BYTES_MAX:,} bytes")
    return text


def _places(header: Sequence[str], endpoint: str) -> tuple[int, ...]:
    names = [name.strip().lstrip("\ufeff") for name in header]
    missing = [column for column in COLUMNS if column not in names]
    if missing:
        raise DumpError(f"{endpoint}: not an instrument dump, no column {', '.join(missing)}")
    return tuple(names.index(column) for column in COLUMNS)


class _Rows:
    """Columns while they grow."""

    def __init__(self, places: tuple[int, ...]) -> None:
        self._places = places
        self._width = max(places) + 1
        self._texts: dict[str, int] = {}
        self._ordinals: dict[str, int] = {"": NO_EXPIRY}
        self.tokens = array("I")
        self._symbols: list[bytes] = []
        self._integers = {name: array("i") for name in ("expiry", "lot", "name", "strike", "tick", "type", "segment")}
        self._exchanges = array("i")
        self.seen = 0
        self.skipped = 0
        self.first_fault = ""

    def read(self, lines: Iterator[list[str]]) -> None:
        for cells in lines:
            if not cells:
                continue
            self.seen += 1
            if self.seen > ROWS_MAX:
                return
            fault = self._take(cells)
            if fault:
                self.skipped += 1
                self.first_fault = self.first_fault or f"row {self.seen}: {fault}"

    def _take(self, cells: list[str]) -> str:
        if len(cells) < self._width:
            return f"{len(cells)} cells, {self._width} expected"
        token, symbol, name, expiry, strike, tick, lot, kind, segment, exchange = (cells[at] for at in self._places)
        encoded = symbol.encode()
        if not exchange or not symbol or len(encoded) > SYMBOL_BYTES_MAX or "\0" in symbol:
            return "no exchange, or no usable tradingsymbol"
        try:
            number = int(token)
            lots = int(float(lot)) if lot else 0
            ordinal = self._ordinals.get(expiry)
            if ordinal is None:
                ordinal = self._ordinals[expiry] = date.fromisoformat(expiry).toordinal()
        except (ValueError, OverflowError) as error:
            return str(error)
        if not 0 < number <= TOKEN_MAX or not 0 <= lots <= 2**31 - 1:
            return "token or lot size out of range"
        integers, intern = self._integers, self._intern
        self.tokens.append(number)
        self._symbols.append(encoded)
        self._exchanges.append(intern(exchange))
        integers["expiry"].append(ordinal)
        integers["lot"].append(lots)
        integers["name"].append(intern(name))
        integers["strike"].append(intern(strike))
        integers["tick"].append(intern(tick))
        integers["type"].append(intern(kind))
        integers["segment"].append(intern(segment))
        return ""

    def _intern(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def catalog(self, *, version: str, endpoint: str) -> InstrumentCatalog:
        """Sorted by (exchange, tradingsymbol); of a symbol listed twice the row that expires last stays."""
        texts = tuple(self._texts)
        rank = np.argsort(np.argsort(np.array(texts), kind="stable"), kind="stable")
        symbols = np.array(self._symbols, np.bytes_)
        exchanges = rank[_column(self._exchanges)]
        expiries = _column(self._integers["expiry"])
        tokens = np.frombuffer(self.tokens, np.uint32)
        order = np.lexsort((tokens, -expiries, symbols, exchanges))
        again = np.zeros(len(order), np.bool_)
        again[1:] = (symbols[order][1:] == symbols[order][:-1]) & (exchanges[order][1:] == exchanges[order][:-1])
        kept = order[~again]

        def sorted_column(name: str) -> NDArray[np.int32]:
            return _column(self._integers[name])[kept].copy()

        return InstrumentCatalog(
            version=version,
            endpoint=endpoint,
            exchanges=_bounds(_column(self._exchanges)[kept], texts),
            tradingsymbols=symbols[kept].copy(),
            tokens=tokens[kept].copy(),
            expiries=sorted_column("expiry"),
            lot_sizes=sorted_column("lot"),
            names=sorted_column("name"),
            strikes=sorted_column("strike"),
            tick_sizes=sorted_column("tick"),
            types=sorted_column("type"),
            segments=sorted_column("segment"),
            texts=texts,
            duplicates=int(again.sum()),
            skipped=self.skipped,
        )


def _column(values: array[int]) -> NDArray[np.int32]:
    return np.frombuffer(values, np.int32)


def _bounds(exchanges: NDArray[Any], texts: Sequence[str]) -> dict[str, tuple[int, int]]:
    if not len(exchanges):
        return {}
    starts = [0, *(np.flatnonzero(exchanges[1:] != exchanges[:-1]) + 1).tolist(), len(exchanges)]
    return {texts[int(exchanges[first])]: (first, last) for first, last in itertools.pairwise(starts)}
