"""The native engine gives what the reference gives, to the bit: rows, refusals, flags, confirmations, evidence, state.

Feeds are random: mixes of kinds, one instrument often in a frame, times and volumes in order and not, damaged bytes,
a clock that jumps, tables that change between frames.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chain import NOON_S, future, option, spot, table_of
from tests.support.packets import (
    ALL_FULL,
    CRUDE,
    CURRENCY,
    INDEX,
    OPENING,
    OPTION,
    SECOND_NS,
    STRANGER,
    Row,
    a_table,
    frame_of,
    orderly_rows,
    rows_of_any_sort,
)  # fmt: skip
from tests.support.pricing import solve_slowly
from ticker_crds import Mode
from ticker_shard.ticks import (
    FrameFault,
    InstrumentState,
    PacketKind,
    ProcessedFrame,
    TickProcessor,
    ValidationRules,
    decode_frame,
)
from ticker_shard.ticks.engine import Engine, EngineMissingError
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.greeks_arrays import Solver, array_pricer
from ticker_shard.ticks.instruments import build_instruments
from ticker_shard.ticks.native_decode import TRAILING, decode_natively
from ticker_shard.ticks.rows import PricingOutcome, TickRows
from ticker_shard.ticks.sessions import MarketHours
from ticker_shard.ticks.validate import SAME_INSTRUMENT_MAX

COLUMNS = ("words", "kind", "slot", "received_ns", "greeks", "outcome", "priced_ns")


class Twins:
    """One processor per engine, fed alike and compared after each step."""

    def __init__(self, modes: dict[int, Mode], rules: ValidationRules, *, solver: Solver | None = None) -> None:
        self.both = [self._one(engine, rules, solver=solver) for engine in (Engine.NATIVE, Engine.NUMPY)]
        self.revision = 0
        self.go_over_to(modes)

    @staticmethod
    def _one(engine: Engine, rules: ValidationRules, *, solver: Solver | None) -> TickProcessor:
        state = InstrumentState()
        greeks = GreeksCalculator(state=state, pricer=array_pricer(solver)) if solver else None
        processor = TickProcessor(state=state, rules=rules, greeks=greeks, engine=engine)
        assert processor.engine is engine
        return processor

    def go_over_to(self, modes: dict[int, Mode]) -> None:
        self.revision += 1
        for processor in self.both:
            table = a_table(modes, revision=self.revision)
            processor.configure(build_instruments(table, previous=processor.table))
        self.compare_states()

    def expect(self, tokens: Iterable[int]) -> None:
        for processor in self.both:
            processor.expect_tokens(tokens)

    def process(self, frame: bytes, received_ns: int) -> ProcessedFrame:
        given = (frame, bytearray(frame)) if len(frame) % 2 else (memoryview(frame), frame)
        native, numpy = (
            processor.process(payload, received_ns=received_ns)
            for processor, payload in zip(self.both, given, strict=True)
        )
        assert_same_rows(native.rows, numpy.rows)
        assert native.received == numpy.received
        assert list(native.malformed.items()) == list(numpy.malformed.items())
        assert native.flagged == numpy.flagged
        assert native.first_seen.tolist() == numpy.first_seen.tolist()
        assert {reason: slots.tolist() for reason, slots in native.rejected.items()} == {
            reason: slots.tolist() for reason, slots in numpy.rejected.items()
        }
        assert self.both[0].quarantine.samples() == self.both[1].quarantine.samples()
        self.compare_states()
        return native

    def compare_states(self) -> None:
        first, second = (processor.state for processor in self.both)
        assert first.table.tokens.tolist() == second.table.tokens.tolist()
        for mine, theirs in zip((*first.marks, *first.kept), (*second.marks, *second.kept), strict=True):
            assert_same_bits(mine, theirs)


def assert_same_bits(mine: np.ndarray, theirs: np.ndarray) -> None:
    assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
    assert mine.tobytes() == theirs.tobytes()


def assert_same_rows(mine: TickRows, theirs: TickRows) -> None:
    for column in COLUMNS:
        assert_same_bits(getattr(mine, column), getattr(theirs, column))
        assert getattr(mine, column).flags.c_contiguous, "whoever compiles for rows compiles for contiguous ones"


Level = tuple[int, int]  # size, price
GOOD_BOOK: list[Level] = [(750, 18_760 - level) for level in range(5)] + [(750, 18_765 + level) for level in range(5)]
odd_levels = st.tuples(
    st.sampled_from([0, 1, 750]), st.sampled_from([0, -5, *range(18_755, 18_770), -(2**31), 2**31 - 1])
)


@st.composite
def books(draw: st.DrawFn) -> list[Level]:
    """A good book with a level or two changed, or copied from the one above."""
    book = list(GOOD_BOOK)
    for _ in range(draw(st.sampled_from([0, 1, 1, 2, 8]))):
        place = draw(st.integers(0, 9))
        book[place] = draw(st.one_of(odd_levels, st.just(book[place - 1])))
    return book


def with_book(row: Row, book: list[Level]) -> bytes:
    packet = row.packet()
    if row.kind is not PacketKind.FULL:
        return packet
    return packet[:64] + b"".join(struct.pack(">IIHH", size, price & 0xFFFFFFFF, 3, 9) for size, price in book)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    rows = draw(st.lists(st.one_of(rows_of_any_sort, orderly_rows), max_size=9))
    bodies = [with_book(row, draw(books())) for row in rows]
    data = bytearray(struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(b)) + b for b in bodies))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "insert", "empty"])):
            case "change" if place < len(data):
                data[place] = draw(st.integers(0, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 40))]
            case "empty":
                data[:2] = struct.pack(">H", int.from_bytes(data[:2]) + 2 & 0xFFFF)
                data[2:2] = b"\x00\x00\x00\x02ab"
            case _:
                data[place:place] = draw(st.binary(max_size=8))
    return bytes(data)


modes = st.dictionaries(
    st.sampled_from([*ALL_FULL, STRANGER]), st.sampled_from([Mode.FULL, Mode.FULL, Mode.QUOTE, Mode.LTP]), max_size=6
)
steps = st.one_of(
    frames(), frames(), frames(), modes, st.lists(st.sampled_from(list(ALL_FULL)), max_size=5),
    st.sampled_from([1, 6, 10, 86_400, -30, -86_400]),
)  # fmt: skip


@settings(max_examples=250)
@given(
    st.lists(steps, min_size=1, max_size=10), st.booleans(), st.sampled_from([MarketHours.ALWAYS, MarketHours.SCHEDULE])
)
def test_random_feeds_give_the_same_bits(
    story: list[bytes | int | dict[int, Mode] | list[int]], enabled: bool, hours: MarketHours
) -> None:
    twins = Twins(ALL_FULL, ValidationRules(enabled=enabled, market_hours=hours))
    now = OPENING
    for step in story:
        match step:
            case bytes():
                twins.process(step, now * SECOND_NS + 5)
            case int():
                now += step
            case dict():
                twins.go_over_to(step)
            case _:
                twins.expect(step)


@settings(max_examples=150)
@given(st.binary(max_size=500))
def test_any_bytes_give_the_same(data: bytes) -> None:
    twins = Twins(ALL_FULL, ValidationRules())

    result = twins.process(data, OPENING * SECOND_NS)

    assert result.received == len(result.rows) + sum(map(len, result.rejected.values()))


@settings(max_examples=150)
@given(st.one_of(frames(), st.binary(max_size=300)))
def test_decoding_alone_gives_the_same(data: bytes) -> None:
    words, kind, counters = decode_natively(data)

    reference = decode_frame(data)
    assert_same_bits(words, reference.words)
    assert_same_bits(kind, reference.kind)
    assert {fault: count for fault, count in zip(FrameFault, counters.tolist(), strict=False) if count} == (
        reference.report.faults
    )
    assert counters[TRAILING] == reference.report.trailing_bytes


def test_a_large_frame_of_many_instruments_gives_the_same() -> None:
    chance = np.random.default_rng(7)
    tokens = [number * 256 + 2 for number in chance.choice(5_000_000, 3_000, replace=False).tolist()]
    twins = Twins(dict.fromkeys(tokens, Mode.FULL), ValidationRules())

    for second in range(3):
        rows = [Row(int(chance.choice(tokens)), last=number + 1, at=OPENING + second) for number in range(1_000)]
        result = twins.process(frame_of(*rows), (OPENING + second) * SECOND_NS)
        assert len(result.rows) > 900
    result = twins.process(frame_of(*[Row(token, at=OPENING + 9) for token in tokens]), (OPENING + 9) * SECOND_NS)
    assert len(result.rows) == 3_000


CHAIN = table_of([spot(), future(), *[option(k, kind) for k in ("25000", "25100", "25200") for kind in ("CE", "PE")]])
CHAIN_TOKENS = [row.token for row in CHAIN.instruments if row is not None]
chain_rows = st.builds(
    Row,
    token=st.sampled_from(CHAIN_TOKENS),
    last=st.sampled_from([2_510_000, 2_511_000, 12_000, 9_000, 15, 0, -5]),
    at=st.sampled_from([NOON_S, NOON_S, NOON_S + 1, NOON_S - 1]),
    volume=st.sampled_from([1_000, 1_001, 0]),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(chain_rows, max_size=12)), min_size=1, max_size=5))
def test_options_are_priced_alike_also_when_one_instrument_comes_often(story: list[tuple[int, list[Row]]]) -> None:
    twins = Twins({}, ValidationRules(), solver=solve_slowly)
    for processor in twins.both:
        processor.configure(CHAIN)
    now = NOON_S
    for pause, rows in story:
        now += pause
        result = twins.process(frame_of(*rows), now * SECOND_NS)  # compares the twins, states included
        assert result.received == len(rows)
        assert len(result.rows) + sum(len(slots) for slots in result.rejected.values()) == len(rows)


def test_the_chain_of_the_comparison_has_options_with_greeks() -> None:
    twins = Twins({}, ValidationRules(), solver=solve_slowly)
    for processor in twins.both:
        processor.configure(CHAIN)

    result = twins.process(
        frame_of(*[Row(token, last=2_510_000 if place < 2 else 12_000, at=NOON_S) for place, token in
                   enumerate(CHAIN_TOKENS)]),
        NOON_S * SECOND_NS,
    )  # fmt: skip

    assert np.count_nonzero(result.rows.outcome == PricingOutcome.PRICED) >= 3


def test_a_frame_crowded_by_one_instrument_is_left_to_the_reference_and_counted() -> None:
    twins = Twins(ALL_FULL, ValidationRules())
    crowd = [Row(last=number + 1) for number in range(SAME_INSTRUMENT_MAX + 3)]

    twins.process(frame_of(*crowd[:SAME_INSTRUMENT_MAX]), OPENING * SECOND_NS)
    assert twins.both[0].crowded == 0
    twins.process(frame_of(*crowd), OPENING * SECOND_NS)
    assert twins.both[0].crowded == 1
    twins.process(frame_of(*crowd[:2]), OPENING * SECOND_NS)
    assert twins.both[0].crowded == 1


@pytest.mark.parametrize("value", [2**32 - 1, 2**31, 2**31 - 1, 0])
def test_the_largest_words_are_compared_as_whole_numbers(value: int) -> None:
    twins = Twins(ALL_FULL, ValidationRules())
    for token in (OPTION, CRUDE, CURRENCY, INDEX):
        for row in (Row(token), replace(Row(token), at=value), Row(token, volume=value), Row(token, last=value)):
            result = twins.process(frame_of(row), OPENING * SECOND_NS)  # compares the twins, states included
            assert len(result.rows) + sum(len(slots) for slots in result.rejected.values()) == 1


def test_without_its_compiler_auto_means_numpy_and_native_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in ("native", "native_decode", "compiled"):
        monkeypatch.delitem(sys.modules, f"ticker_shard.ticks.{name}", raising=False)
    monkeypatch.delattr("ticker_shard.ticks.native", raising=False)

    assert TickProcessor(state=InstrumentState(), engine=Engine.AUTO).engine is Engine.NUMPY
    with pytest.raises(EngineMissingError, match="numba"):
        TickProcessor(state=InstrumentState(), engine=Engine.NATIVE)
