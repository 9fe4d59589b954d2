"""Where symbols are looked up: in the broker's list, or, without one, among what stands in a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, TypeAlias

import numpy as np

from ticker_crds import AssignedInstrument, Mode
from ticker_crds.constants import COMMODITY_EXCHANGES
from ticker_operator.model import ChainKey, InstrumentCatalog, References, Unresolved, UnresolvedReason
from ticker_operator.model.catalog import ABSENT
from ticker_operator.planning.references import as_reference
from ticker_operator.planning.underlyings import (
    FUTURE,
    INDEX_SEGMENT,
    channel_word,
    default_channel,
    underlying_name,
    underlying_symbols,
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One instrument as it is known, without what subscriptions say about it."""

    row: AssignedInstrument
    channel: str  # the derived one, without the prefix


Found: TypeAlias = Listed | Unresolved


class Register(Protocol):
    """Where symbols are looked up."""

    def find(self, symbols: Sequence[str]) -> Iterator[Found]:
        """One answer per symbol, in their order."""
        ...

    def references(self, chains: Iterable[ChainKey]) -> References | None:
        """What the options of each chain are priced on; `None` where that cannot be known."""
        ...


class CatalogRegister:
    """Symbols looked up in the broker's list; each row is made once."""

    def __init__(self, catalog: InstrumentCatalog, today: date) -> None:
        self._catalog = catalog
        self._today = today
        self._underlyings: dict[tuple[str, str], int] = {}
        self._futures: dict[tuple[str, str], list[int]] | None = None  # positions by exchange and underlying

    def find(self, symbols: Sequence[str]) -> Iterator[Found]:
        """One answer per symbol, in their order."""
        today = self._today.isoformat()
        rows: dict[int, Listed] = self._catalog.derived
        for symbol, position in zip(symbols, self._catalog.positions(symbols).tolist(), strict=True):
            if position == ABSENT:
                yield self._absent(symbol)
                continue
            found = rows.get(position)
            if found is None:
                found = rows[position] = self._listed(position)
            expiry = found.row.expiry
            yield _expired(symbol, expiry) if expiry and expiry < today else found

    def references(self, chains: Iterable[ChainKey]) -> References | None:
        """The future that the expiry settles like, and the index or equity itself, where they are listed."""
        found: dict[ChainKey, tuple[AssignedInstrument, ...]] = {}
        for key in chains:
            places = (self._future_of(key), self._position_of(key[2]))
            found[key] = tuple(as_reference(self._row(place)) for place in places if place is not None)
        return found

    def _row(self, position: int) -> AssignedInstrument:
        rows: dict[int, Listed] = self._catalog.derived
        if position not in rows:
            rows[position] = self._listed(position)
        return rows[position].row

    def _future_of(self, key: ChainKey) -> int | None:
        """On the day of the options' expiry; commodities, whose options turn into futures, then or later."""
        exchange, underlying, _, expiry = key
        if not expiry:
            return None
        day = date.fromisoformat(expiry).toordinal()
        for position in self._listed_futures().get((exchange, underlying), ()):
            found = int(self._catalog.expiries[position])
            if found == day or (found > day and exchange in COMMODITY_EXCHANGES):
                return position
        return None

    def _listed_futures(self) -> dict[tuple[str, str], list[int]]:
        """Every future that has not expired, by exchange and underlying, the earliest first."""
        if self._futures is None:
            catalog, self._futures = self._catalog, {}
            if FUTURE not in catalog.texts:
                return self._futures
            listed = np.flatnonzero(catalog.types == catalog.texts.index(FUTURE))
            listed = listed[np.argsort(catalog.expiries[listed], kind="stable")]
            for exchange, (first, last) in catalog.exchanges.items():
                for position in listed[(listed >= first) & (listed < last)].tolist():
                    name = channel_word(catalog.texts[catalog.names[position]])
                    self._futures.setdefault((exchange, name), []).append(position)
        return self._futures

    def _position_of(self, token: int) -> int | None:
        """Where the instrument with this token is listed."""
        if not token:
            return None
        places = np.flatnonzero(self._catalog.tokens == token)
        return int(places[0]) if len(places) else None

    def _absent(self, symbol: str) -> Unresolved:
        exchange, colon, tradingsymbol = symbol.partition(":")
        if not colon or not exchange or not tradingsymbol:
            return Unresolved(symbol, UnresolvedReason.MALFORMED, "write EXCHANGE:TRADINGSYMBOL, e.g. NSE:INFY")
        if exchange not in self._catalog.exchanges:
            known = ", ".join(self._catalog.exchanges)
            return Unresolved(
                symbol, UnresolvedReason.EXCHANGE_UNKNOWN, f"the broker lists no exchange {exchange} (known: {known})"
            )
        return Unresolved(
            symbol,
            UnresolvedReason.SYMBOL_UNKNOWN,
            f"not among the broker's {len(self._catalog):,} instruments: check the spelling; a contract that expired "
            "is no longer listed, a new one appears with the next morning's list",
        )

    def _listed(self, position: int) -> Listed:
        row = self._catalog.row(position)
        underlying = underlying_name(
            exchange=row.exchange,
            tradingsymbol=row.tradingsymbol,
            name=row.name,
            instrument_type=row.instrument_type,
            segment=row.segment,
        )
        base = AssignedInstrument(
            token=row.token,
            exchange=row.exchange,
            tradingsymbol=row.tradingsymbol,
            mode=Mode.LTP,
            channels=(),
            expiry=row.expiry.isoformat() if row.expiry is not None else "",
            strike=row.strike,
            instrument_type=row.instrument_type,
            underlying=underlying,
            underlying_token=self._underlying_token(row.exchange, row.name, row.instrument_type),
            lot_size=row.lot_size,
            tick_size=row.tick_size,
        )
        channel = default_channel(underlying=underlying, instrument_type=row.instrument_type, segment=row.segment)
        return Listed(base, channel)

    def _underlying_token(self, exchange: str, name: str, instrument_type: str) -> int:
        symbols = underlying_symbols(exchange=exchange, name=name, instrument_type=instrument_type)
        if not symbols:
            return 0
        token = self._underlyings.get((exchange, name))
        if token is None:
            positions = [place for symbol in symbols if (place := self._catalog.position(symbol)) is not None]
            token = int(self._catalog.tokens[positions[0]]) if positions else 0
            self._underlyings[exchange, name] = token
        return token


class TableRegister:
    """Without a dump: what stands in a table is known."""

    def __init__(self, standing: Mapping[str, AssignedInstrument], today: date) -> None:
        self._standing = standing
        self._today = today.isoformat()

    def find(self, symbols: Sequence[str]) -> Iterator[Found]:
        """One answer per symbol, in their order."""
        for symbol in symbols:
            row = self._standing.get(symbol)
            if row is None:
                yield Unresolved(
                    symbol,
                    UnresolvedReason.NO_INSTRUMENT_DUMP,
                    "the broker's list of instruments could not be had yet, and no table knows this symbol",
                )
            elif row.expiry and row.expiry < self._today:
                yield _expired(symbol, row.expiry)
            else:
                # A table has no segment; an index is the row with an underlying's name but no derivative's type.
                segment = INDEX_SEGMENT if row.underlying and row.instrument_type == "EQ" else ""
                channel = default_channel(
                    underlying=row.underlying, instrument_type=row.instrument_type, segment=segment
                )
                yield Listed(row, channel)

    def references(self, chains: Iterable[ChainKey]) -> References | None:
        """Not known: what stands in the tables stays."""
        return None


def _expired(symbol: str, expiry: str) -> Unresolved:
    return Unresolved(
        symbol, UnresolvedReason.EXPIRED, f"expired on {expiry}: remove it, or take the contract that followed"
    )
