"""Rows of every kind, segment and outcome with extreme numbers, for properties of encoders and readers."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, Role
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.rows import GREEKS, WORDS, PacketKind, PricingOutcome, TickRows, Word

# Tokens of segments whose divisors are 100, 10,000 and 10,000,000; names that JSON must escape.
INSTRUMENTS = (
    (408_065, "NSE", "M&M-BE", Role.OWNER),
    (47_879, "MCX", 'ODD"NAME\\', Role.SETTLING),
    (315_907, "CDS", "USDINR25NOVFUT", Role.OWNER),
    (512_262, "BCD", "EURINR é", Role.OWNER),
    (512_268, "NCO", "LONG" * 15, Role.SETTLING),
)
CHANNEL = "ticker:wild"
_EDGES = (0, 1, 9, 10, 99, 100, 2**31 - 1, 2**31, 2**32 - 1)
_WORD = st.one_of(st.sampled_from(_EDGES), st.integers(0, 2**32 - 1), st.integers(0, 100_000))
_NS = st.one_of(st.just(1_763_696_730_000_000_000), st.integers(0, 4_102_444_799_999_999_999))
_GREEK = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e-13, -1e-13, 0.99999999999, 9.99999999999999, np.nan]),
    st.floats(-1e6, 1e6),
    st.floats(-1, 1),
)


def a_wild_table() -> InstrumentTable:
    """One channel with the instruments above."""
    rows = tuple(
        AssignedInstrument(token, exchange, name, Mode.FULL, (CHANNEL,), role=role)
        for token, exchange, name, role in INSTRUMENTS
    )
    return build_instruments(AssignmentTable("acc1", 1, (Channel(CHANNEL),), rows))


@st.composite
def wild_rows(draw: st.DrawFn, table: InstrumentTable) -> TickRows:
    """One to six rows; what a kind does not carry is zero, as decoding leaves it."""
    count = draw(st.integers(1, 6))
    words = np.zeros((count, WORDS), np.uint32)
    kind = np.array([draw(st.sampled_from(list(PacketKind))) for _ in range(count)], np.uint8)
    slot = np.array([draw(st.integers(0, table.capacity - 1)) for _ in range(count)], np.int32)
    for at in range(count):
        row = table.instruments[slot[at]]
        assert row is not None
        words[at, CARRIED[kind[at]]] = draw(
            st.lists(_WORD, min_size=len(CARRIED[kind[at]]), max_size=len(CARRIED[kind[at]]))
        )
        words[at, Word.TOKEN] = row.token
        words[at, Word.DEPTH + 2 :: 3] &= 0xFFFF0000
    outcome = np.array([draw(st.sampled_from(list(PricingOutcome))) for _ in range(count)], np.uint8)
    greeks = np.array([draw(st.lists(_GREEK, min_size=GREEKS, max_size=GREEKS)) for _ in range(count)])
    received = np.array([draw(_NS) for _ in range(count)], np.int64)
    again = np.array([draw(st.sampled_from([0, 1, 1_000, 5_000_000_000])) for _ in range(count)], np.int64)
    asked = outcome != PricingOutcome.NOT_ASKED
    return TickRows(
        words,
        kind,
        slot,
        received,
        np.where(asked[:, None], greeks, np.nan),
        outcome,
        np.where(asked, received + again, 0),
    )


_INDEX = [Word.TOKEN, Word.LAST_PRICE, Word.HIGH, Word.LOW, Word.OPEN, Word.CLOSE]
_QUOTE = [int(word) for word in list(Word)[:11]]
CARRIED = {
    int(PacketKind.LTP): [Word.TOKEN, Word.LAST_PRICE],
    int(PacketKind.INDEX_QUOTE): _INDEX,
    int(PacketKind.INDEX_FULL): [*_INDEX, Word.EXCHANGE_TIMESTAMP],
    int(PacketKind.QUOTE): _QUOTE,
    int(PacketKind.FULL): list(range(WORDS)),
}
