"""Pricing a block of rows as array operations: the twin that `greeks_native` is tested against.

The solver is `black76`, or another one that answers for whole columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.black76 import price_options
from ticker_shard.ticks.black76_terms import OptionColumns, Priced
from ticker_shard.ticks.contracts import Floats
from ticker_shard.ticks.pricing import BlockPricer, ChainColumns, ContractColumns, RowColumns
from ticker_shard.ticks.rows import Greek, PricingOutcome, Word

_SOLVED: Final = (Greek.IV, Greek.DELTA, Greek.GAMMA, Greek.THETA, Greek.VEGA)


Solver: TypeAlias = Callable[[OptionColumns], Priced]


def array_pricer(solver: Solver = price_options) -> BlockPricer:
    """A block pricer that hands all options of a block to `solver` at once."""

    def price_block(
        rows: RowColumns,
        options: ContractColumns,
        chains: ChainColumns,
        rate: float,
        now_ns: int,
        counts: NDArray[np.int64],
    ) -> None:
        places = np.flatnonzero(options.asked[rows.slot])
        slots = rows.slot[places]
        chain = options.chain[slots]
        price = rows.words[places, Word.LAST_PRICE].view(np.int32) / options.divisor[slots]
        outcome = chains.outcome[chain]
        outcome[(outcome == PricingOutcome.PRICED) & ~(price > 0)] = PricingOutcome.NO_PRICE
        rows.greeks[places] = np.nan
        rows.greeks[places, Greek.UNDERLYING_PRICE] = chains.underlying[chain]
        rows.priced_ns[places] = now_ns
        options.priced_on[slots] = chains.underlying[chain]
        options.turn_ns[slots] = now_ns
        todo = np.flatnonzero(outcome == PricingOutcome.PRICED)
        if len(todo):
            found = solver(_asked(options, chains, slots[todo], price[todo], rate))
            outcome[todo] = found.outcome
            good = found.outcome == PricingOutcome.PRICED
            options.warm[slots[todo[good]]] = found.iv[good]
            for greek, column in zip(_SOLVED, found[1:], strict=True):
                rows.greeks[places[todo], greek] = column
        rows.outcome[places] = outcome
        counts += np.bincount(outcome, minlength=len(counts))

    return price_block


def _asked(
    options: ContractColumns, chains: ChainColumns, slots: NDArray[np.int32], price: Floats, rate: float
) -> OptionColumns:
    chain = options.chain[slots]
    return OptionColumns(
        price=price,
        underlying=chains.underlying[chain],
        strike=options.strike[slots],
        years=chains.years[chain],
        discount=chains.discount[chain],
        growth=chains.growth[chain],
        rate=np.full(len(slots), rate),
        carry=chains.carry[chain],
        is_call=options.call[slots],
        warm=options.warm[slots],
    )
