"""The compiled loop over a block beside its twin of array operations, on whatever the market sends."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chain import WEEKLY, Stage, future, option, spot
from ticker_crds import AssignedInstrument
from ticker_shard.ticks.greeks_arrays import array_pricer
from ticker_shard.ticks.greeks_native import price_block, warm_up
from ticker_shard.ticks.rows import TickRows
from ticker_shard.ticks.underlying import Source
from ticker_shard.ticks.underlying_native import NativeChainMarket, _note, _refresh

OPTIONS = [
    *(option(25_800 + 100 * number, kind) for number in range(4) for kind in ("CE", "PE")),
    *(option(26_000, kind, WEEKLY) for kind in ("CE", "PE")),
    option(26_000, "CE", "2027-03-30"),
    option("", "CE"),
    option(26_100, "PE", greeks=False),
]
TABLE = [*{row.symbol: row for row in OPTIONS}.values(), future(), spot()]
PRICES = st.one_of(
    st.sampled_from([0.0, -5.0, 0.05, 0.1, 1.0]),
    st.integers(1, 30_000).map(float),
    st.integers(1, 12_000).map(lambda ticks: ticks * 0.05),
)
BLOCKS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(TABLE), PRICES, min_size=1),
        st.integers(0, 20),  # seconds until the next one
        st.sampled_from([0.0, 0.004, 0.1]),  # half the spread, as a share of the price; 0 = no book
    ),
    min_size=1,
    max_size=8,
)


def same(native: TickRows, arrays: TickRows) -> None:
    assert native.outcome.tolist() == arrays.outcome.tolist()
    assert native.priced_ns.tolist() == arrays.priced_ns.tolist()
    np.testing.assert_allclose(native.greeks, arrays.greeks, rtol=1e-9, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(BLOCKS)
def test_both_price_every_block_alike_and_count_alike(
    blocks: list[tuple[dict[AssignedInstrument, float], int, float]],
) -> None:
    native, arrays = Stage(TABLE, pricer=price_block, market=NativeChainMarket), Stage(TABLE, pricer=array_pricer())
    for prices, seconds, half in blocks:
        book = {row: (price * (1 - half), price * (1 + half)) for row, price in prices.items() if half and price > 0}
        same(native.tick(prices, book=book), arrays.tick(prices, book=book))
        assert native.greeks.market.source.tolist() == arrays.greeks.market.source.tolist()
        for stage in (native, arrays):
            stage.now_s += seconds

    assert native.greeks.counts() == arrays.greeks.counts()
    assert sorted(native.reprice()) == sorted(arrays.reprice())
    every = np.arange(native.table.capacity, dtype=np.int32)
    same(native.state.newest(every), arrays.state.newest(every))


def test_a_pair_is_used_by_both() -> None:
    stages = [Stage(TABLE, pricer=price_block, market=NativeChainMarket), Stage(TABLE, pricer=array_pricer())]
    prices = {option(26_000, "CE", WEEKLY): 200.0, option(26_000, "PE", WEEKLY): 190.0}
    book = {row: (price - 0.5, price + 0.5) for row, price in prices.items()}
    blocks = []
    for stage in stages:
        stage.tick(prices, book=book)
        stage.now_s += 1
        blocks.append(stage.tick(prices, book=book))

    same(*blocks)
    assert [Source.PAIR in stage.greeks.market.source for stage in stages] == [True, True]


def test_a_live_block_needs_no_compilation_after_the_warm_up() -> None:
    warm_up()
    compiled = (price_block, _note, _refresh)
    known = [len(function.signatures) for function in compiled]
    stage = Stage(TABLE, pricer=price_block, market=NativeChainMarket)

    stage.tick({future(): 26_050.0, OPTIONS[0]: 300.0})
    stage.tick({future(): 26_060.0})
    stage.reprice()

    assert stage.greeks.counts()["priced"] == 2
    assert [len(function.signatures) for function in compiled] == known == [1, 1, 1]
