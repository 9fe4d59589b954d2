"""What pricing needs to know of the contracts in a table: chains, expiry to the second, and who prices whom.

A *chain* is all options of one underlying, on one exchange, of one expiry. Time to expiry, discount factor and forward
are the chain's, so they are computed once for all its options, and an option only points at its chain.

Where a chain's price of the underlying may come from (`ticker_shard.ticks.greeks` says when which one is used):

``future``
    The future that this expiry settles like: on NFO, BFO, CDS and BCD the one of the same day; on MCX and NCO, where
    an option turns into a futures position, the first that expires on that day or later.
``pairs``
    Call and put of one strike, both streamed here: put–call parity gives a forward.
``spot``
    The index or equity itself, by the option's underlying token.

The instant of expiry is the close of trading on the expiry day, as `ticker_shard.ticks.sessions` has it; only currency
contracts end before their market does, at 12:30 ("last trading day … at 12:30 pm", contract specifications).

An exchange that has no market there closes with equity, and its options are priced: an hour more or less is a small
error until the last day, no Greeks at all would be a large one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_crds import AssignedInstrument
from ticker_crds.constants import COMMODITY_EXCHANGES
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import UNKNOWN_SLOT, Slots
from ticker_shard.ticks.sessions import Market, session_on

Floats: TypeAlias = NDArray[np.float64]
ChainKey: TypeAlias = tuple[str, str, int, str]  # exchange, underlying, its token, expiry

INDIA: Final = dt.timezone(dt.timedelta(hours=5, minutes=30), "IST")
CURRENCY_CLOSES_S: Final = 12 * 3_600 + 30 * 60
MARKETS: Final = {
    "NFO": Market.EQUITY_DERIVATIVES,
    "BFO": Market.EQUITY_DERIVATIVES,
    **dict.fromkeys(COMMODITY_EXCHANGES, Market.COMMODITY),
}
CURRENCY_EXCHANGES: Final = frozenset({"CDS", "BCD"})

CALL: Final = "CE"
PUT: Final = "PE"
FUTURE: Final = "FUT"
OPTION_TYPES: Final = frozenset({CALL, PUT})
NO_CHAIN: Final = -1


def expiry_instant_s(exchange: str, expiry: dt.date) -> int:
    """When a contract ends, epoch seconds: the close of trading on `expiry`.

    Parameters
    ----------
    exchange
        As in the broker's list.
    expiry
        The day, in India.
    """
    midnight = dt.datetime.combine(expiry, dt.time(), INDIA)
    return int(midnight.timestamp()) + _closes_s(exchange, expiry)


def _closes_s(exchange: str, day: dt.date) -> int:
    """Seconds of the day."""
    if exchange in CURRENCY_EXCHANGES:
        return CURRENCY_CLOSES_S
    return session_on(MARKETS.get(exchange, Market.EQUITY), day).closes_s


@dataclass(frozen=True, slots=True)
class Contracts:
    """A table as pricing sees it.

    Attributes
    ----------
    asked
        (capacity,) bool: an option whose subscription wants Greeks.
    chain
        (capacity,) int32: of an asked option with known strike and expiry; `NO_CHAIN` otherwise.
    call
        (capacity,) bool.
    strike
        (capacity,) float64, rupees; NaN where there is none.
    divisor
        (capacity,) float64: a scaled price divided by it is rupees.
    feeds
        (capacity,) bool: its rows move some chain's underlying (futures, spots, legs of pairs).
    expiry_s
        (chains,) int64: the instant of expiry, epoch seconds.
    future, spot
        (chains,) int32 slots; `UNKNOWN_SLOT` where this account streams none.
    pair_chain, pair_strike, pair_call, pair_put
        (pairs,): chain, strike in rupees, and the slots of the two legs.
    """

    asked: NDArray[np.bool_]
    chain: NDArray[np.int32]
    call: NDArray[np.bool_]
    strike: Floats
    divisor: Floats
    feeds: NDArray[np.bool_]
    expiry_s: NDArray[np.int64]
    future: Slots
    spot: Slots
    pair_chain: NDArray[np.int32]
    pair_strike: Floats
    pair_call: Slots
    pair_put: Slots

    @property
    def chains(self) -> int:
        """Number of chains."""
        return len(self.expiry_s)


def read_contracts(table: InstrumentTable) -> Contracts:
    """The pricing columns of `table`."""
    rows = [(slot, row) for slot, row in enumerate(table.instruments) if row is not None]
    options = [(slot, row) for slot, row in rows if row.instrument_type in OPTION_TYPES]
    strikes = {slot: strike for slot, row in options if (strike := _strike(row)) is not None}
    keys = {slot: key for slot, row in options if slot in strikes and (key := _chain_key(row)) is not None}
    asked = [slot for slot, row in options if row.greeks]
    chains = {key: place for place, key in enumerate(sorted({keys[slot] for slot in asked if slot in keys}))}
    futures = _futures(rows)
    future = np.array([_future_of(key, futures) for key in chains], np.int32)
    spot = table.slots_of(np.array([key[2] for key in chains], np.uint32))
    pairs = _pairs(options, keys, strikes, chains)
    capacity = table.capacity
    contracts = Contracts(
        asked=np.zeros(capacity, np.bool_),
        chain=np.full(capacity, NO_CHAIN, np.int32),
        call=np.zeros(capacity, np.bool_),
        strike=np.full(capacity, np.nan),
        divisor=table.divisor.astype(np.float64),
        feeds=np.zeros(capacity, np.bool_),
        expiry_s=np.array([expiry_instant_s(key[0], dt.date.fromisoformat(key[3])) for key in chains], np.int64),
        future=future,
        spot=spot,
        pair_chain=np.array([pair[0] for pair in pairs], np.int32),
        pair_strike=np.array([pair[1] for pair in pairs], np.float64),
        pair_call=np.array([pair[2] for pair in pairs], np.int32),
        pair_put=np.array([pair[3] for pair in pairs], np.int32),
    )
    contracts.asked[asked] = True
    for slot in asked:
        if slot in keys:
            contracts.chain[slot] = chains[keys[slot]]
            contracts.strike[slot] = strikes[slot]
    for slot, row in options:
        contracts.call[slot] = row.instrument_type == CALL
    for slots in (future, spot, contracts.pair_call, contracts.pair_put):
        contracts.feeds[slots[slots != UNKNOWN_SLOT]] = True
    return contracts


def _strike(row: AssignedInstrument) -> float | None:
    """The strike in rupees; `None` where the broker's list has none that an option could have."""
    try:
        strike = float(row.strike)
    except ValueError:
        return None
    return strike if 0.0 < strike < np.inf else None


def _chain_key(row: AssignedInstrument) -> ChainKey | None:
    try:
        dt.date.fromisoformat(row.expiry)
    except ValueError:
        return None
    return (row.exchange, row.underlying, row.underlying_token, row.expiry)


def _futures(rows: Iterable[tuple[int, AssignedInstrument]]) -> dict[tuple[str, str, int], list[tuple[str, int]]]:
    """(expiry, slot) of every future by exchange and underlying, the earliest first."""
    found: dict[tuple[str, str, int], list[tuple[str, int]]] = {}
    for slot, row in rows:
        if row.instrument_type == FUTURE and row.expiry:
            found.setdefault((row.exchange, row.underlying, row.underlying_token), []).append((row.expiry, slot))
    return {key: sorted(entries) for key, entries in found.items()}


def _future_of(key: ChainKey, futures: Mapping[tuple[str, str, int], list[tuple[str, int]]]) -> int:
    exchange, underlying, token, expiry = key
    for day, slot in futures.get((exchange, underlying, token), ()):
        if day == expiry or (exchange in COMMODITY_EXCHANGES and day > expiry):
            return slot
    return UNKNOWN_SLOT


def _pairs(
    options: Iterable[tuple[int, AssignedInstrument]],
    keys: Mapping[int, ChainKey],
    strikes: Mapping[int, float],
    chains: Mapping[ChainKey, int],
) -> list[tuple[int, float, int, int]]:
    """(chain, strike, call, put) wherever both legs are streamed, whether or not they want Greeks themselves."""
    legs: dict[tuple[int, float], dict[str, int]] = {}
    for slot, row in options:
        place = chains.get(keys[slot]) if slot in keys else None
        if place is not None:
            legs.setdefault((place, strikes[slot]), {})[row.instrument_type] = slot
    return [
        (place, strike, pair[CALL], pair[PUT])
        for (place, strike), pair in sorted(legs.items())
        if len(pair) == len(OPTION_TYPES)
    ]
