"""The seam between what pricing knows (`contracts`, `underlying`) and who computes it (`greeks_native`, `_arrays`).

Two structs of arrays hold everything that the price of a row depends on, so that a compiled loop takes two values and
the same loop can be part of another compiled pass. Every array is contiguous, writable and always of the type named
here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.contracts import Contracts, Floats
from ticker_shard.ticks.rows import Greeks, Nanoseconds, Outcomes, Slots, Words
from ticker_shard.ticks.underlying import ChainMarket


class ContractColumns(NamedTuple):
    """By slot: the contract, and what pricing remembers of it.

    The last three are written: the last implied volatility (NaN without one), the underlying's price that the last
    pricing used, and when that was.
    """

    asked: NDArray[np.bool_]
    chain: NDArray[np.int32]
    call: NDArray[np.bool_]
    strike: Floats
    divisor: Floats
    warm: Floats
    priced_on: Floats
    turn_ns: Nanoseconds


class ChainColumns(NamedTuple):
    """By chain, the last entry standing for "no contract"; see `ChainMarket`."""

    outcome: Outcomes
    underlying: Floats
    growth: Floats
    carry: Floats
    years: Floats
    root_years: Floats
    discount: Floats


class RowColumns(NamedTuple):
    """The rows of a block: what they are priced from, and where the answers go (where Greeks are asked for)."""

    slot: Slots
    words: Words  # as the broker sends them; the last price is read
    greeks: Greeks
    outcome: Outcomes
    priced_ns: Nanoseconds


class BlockPricer(Protocol):
    """Prices the rows of a block that want Greeks."""

    def __call__(
        self,
        rows: RowColumns,
        options: ContractColumns,
        chains: ChainColumns,
        rate: float,
        now_ns: int,
        counts: NDArray[np.int64],
    ) -> None:
        """Fill in `rows`; `counts`, by outcome, grow."""
        ...


def contract_columns(contracts: Contracts, *, warm: Floats, priced_on: Floats) -> ContractColumns:
    """The columns of a table's options."""
    turn_ns = np.zeros(len(contracts.asked), np.int64)
    return ContractColumns(
        contracts.asked, contracts.chain, contracts.call, contracts.strike, contracts.divisor, warm, priced_on, turn_ns
    )


def chain_columns(market: ChainMarket) -> ChainColumns:
    """The columns of a market; they are its own arrays, so they stay right while it lives."""
    return ChainColumns(
        outcome=market.outcome,
        underlying=market.underlying,
        growth=market.growth,
        carry=market.carry,
        years=market.years,
        root_years=market.root_years,
        discount=market.discount,
    )
