"""Pricing a block of rows in one compiled loop; `price_slot` is also there for other compiled passes.

`greeks_arrays` takes the same steps as array operations, and the two are tested against each other. numba compiles
anew for each combination of array types: they are those of `pricing`, contiguous and writable. Compiled code is kept
beside the module; `warm_up` compiles or loads it, before the first live frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_crds import AssignedInstrument, AssignmentTable, Mode
from ticker_shard.ticks.black76_native import price_option
from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.instruments import build_instruments
from ticker_shard.ticks.pricing import ChainColumns, ContractColumns, RowColumns
from ticker_shard.ticks.rows import WORDS, Greek, PacketKind, PricingOutcome, Word, unpriced_rows
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.underlying_native import NativeChainMarket

_NOT_ASKED: Final = int(PricingOutcome.NOT_ASKED)
_PRICED: Final = int(PricingOutcome.PRICED)
_NO_PRICE: Final = int(PricingOutcome.NO_PRICE)
_LAST: Final = int(Word.LAST_PRICE)

assert [greek.name for greek in Greek] == ["IV", "DELTA", "GAMMA", "THETA", "VEGA", "UNDERLYING_PRICE"], (
    "the answer of price_slot stands in this order"
)


@kernel
def price_slot(
    slot: int, scaled_price: int, options: ContractColumns, chains: ChainColumns, rate: float, now_ns: int
) -> tuple[int, float, float, float, float, float, float]:
    """One row: its outcome, and its Greeks in the order of `Greek`.

    ``NOT_ASKED`` for whoever wants none; nothing is remembered of it.
    """
    nan = np.nan
    if not options.asked[slot]:
        return _NOT_ASKED, nan, nan, nan, nan, nan, nan
    chain = options.chain[slot]
    underlying = chains.underlying[chain]
    options.priced_on[slot] = underlying
    options.turn_ns[slot] = now_ns
    if chains.outcome[chain] != _PRICED:
        return int(chains.outcome[chain]), nan, nan, nan, nan, nan, underlying
    price = scaled_price / options.divisor[slot]
    if not price > 0.0:
        return _NO_PRICE, nan, nan, nan, nan, nan, underlying
    outcome, iv, delta, gamma, theta, vega = price_option(
        price,
        underlying,
        options.strike[slot],
        chains.root_years[chain],
        chains.discount[chain],
        chains.growth[chain],
        rate,
        chains.carry[chain],
        options.call[slot],
        options.warm[slot],
    )
    if outcome == _PRICED:
        options.warm[slot] = iv
    return outcome, iv, delta, gamma, theta, vega, underlying


@kernel
def price_block(
    rows: RowColumns,
    options: ContractColumns,
    chains: ChainColumns,
    rate: float,
    now_ns: int,
    counts: NDArray[np.int64],
) -> None:
    """A `BlockPricer`."""
    for place in range(len(rows.slot)):
        outcome, iv, delta, gamma, theta, vega, underlying = price_slot(
            rows.slot[place], int(np.int32(rows.words[place, _LAST])), options, chains, rate, now_ns
        )
        if outcome == _NOT_ASKED:
            continue
        greeks = rows.greeks[place]
        greeks[0], greeks[1], greeks[2], greeks[3], greeks[4], greeks[5] = iv, delta, gamma, theta, vega, underlying
        rows.outcome[place] = outcome
        rows.priced_ns[place] = now_ns
        counts[outcome] += 1


def warm_up() -> None:
    """Compile (or load) all that live rows need, by pricing one option on one future."""
    option = AssignedInstrument(
        token=2, exchange="NFO", tradingsymbol="W26NOV100CE", mode=Mode.FULL, channels=(), expiry="2026-11-24",
        strike="100", instrument_type="CE", underlying="w", greeks=True,
    )  # fmt: skip
    future = replace(option, token=258, tradingsymbol="W26NOVFUT", instrument_type="FUT", greeks=False)
    state = InstrumentState()
    state.configure(build_instruments(AssignmentTable("warm-up", 1, instruments=(option, future))))
    words = np.zeros((2, WORDS), np.uint32)
    words[:, Word.LAST_PRICE] = 100, 10_000
    received_ns = np.full(2, 1_763_700_000_000_000_000, np.int64)
    rows = unpriced_rows(words, np.full(2, PacketKind.FULL, np.uint8), np.arange(2, dtype=np.int32), received_ns)
    GreeksCalculator(state=state, pricer=price_block, market=NativeChainMarket).price(rows, now_ns=int(received_ns[0]))
