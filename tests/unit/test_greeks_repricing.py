"""How an option follows its underlying: soon, within a bound, no more often than it must, and never as a trade.

The solver is a slow and independent one (`tests.support.pricing`): here it is about everything around it. Times are
the test's own.
"""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chain import NOON_S, SECOND_NS, Stage, option
from tests.support.nifty import ALL, CALL, FUTURE, INDEX, PUT, Why, outcome_of
from ticker_shard.ticks.greeks import REPRICE_ROWS_MAX
from ticker_shard.ticks.rows import Greek


def test_a_moved_underlying_prices_its_options_again_and_invents_no_trade() -> None:
    stage = Stage([CALL, PUT, FUTURE, INDEX])
    stage.tick(ALL)
    before = stage.state.newest(np.array([stage.slot(CALL), stage.slot(PUT)], np.int32))
    stage.tick({FUTURE: 26_070.0})

    slots = stage.reprice(later_ms=400)

    after = stage.state.newest(np.array([stage.slot(CALL), stage.slot(PUT)], np.int32))
    assert sorted(slots.tolist()) == sorted([stage.slot(CALL), stage.slot(PUT)])
    assert np.array_equal(after.words, before.words)
    assert np.array_equal(after.received_ns, before.received_ns)
    assert (after.priced_ns > after.received_ns).all()
    assert after.greeks[:, Greek.UNDERLYING_PRICE].tolist() == [26_070.0] * 2
    assert after.greeks[0, Greek.IV] < before.greeks[0, Greek.IV]
    assert stage.greeks.repriced == 2


def test_what_was_priced_on_the_same_price_is_left_alone() -> None:
    stage = Stage([CALL, FUTURE, INDEX])
    stage.tick(ALL_BUT_PUT)
    stage.tick({INDEX: 26_400.0})
    stage.tick({FUTURE: 26_050.0})

    assert not len(stage.reprice())


ALL_BUT_PUT = {row: price for row, price in ALL.items() if row is not PUT}


def test_what_was_just_priced_rests_first_and_one_that_ticks_meanwhile_needs_no_turn() -> None:
    stage = Stage([CALL, PUT, FUTURE], rest_ms=500)
    stage.tick({FUTURE: 26_050.0, CALL: 300.0, PUT: 250.0})
    stage.tick({FUTURE: 26_060.0})

    early, due_early = stage.reprice(later_ms=499), stage.repricing_due(later_ms=499)
    stage.now_s += 1
    stage.tick({PUT: 251.0})
    late = stage.reprice()

    assert (len(early), due_early) == (0, 0)
    assert late.tolist() == [stage.slot(CALL)]


def test_a_rest_ends_also_under_an_underlying_that_never_rests() -> None:
    """Bounded staleness: what counts is when the option was priced, not when its underlying moved last."""
    stage = Stage([CALL, FUTURE], rest_ms=500)
    stage.tick({FUTURE: 26_050.0, CALL: 300.0})

    turns = []
    for ms in range(0, 2_000, 250):
        stage.tick({FUTURE: 26_060.0 + ms / 50})
        turns.append(len(stage.reprice(later_ms=ms)))

    assert turns == [0, 0, 1, 0, 1, 0, 1, 0]


def test_options_follow_their_underlying_though_the_clock_was_set_back_an_hour() -> None:
    stage = Stage([CALL, FUTURE], rest_ms=500)
    stage.tick({FUTURE: 26_050.0, CALL: 300.0})
    stage.tick({FUTURE: 26_060.0})
    stage.reprice(later_ms=500)
    said_ns = [int(stage.state.newest(np.array([stage.slot(CALL)], np.int32)).priced_ns[0])]
    stage.now_s -= 3_600

    for seconds, price in enumerate((26_070.0, 26_080.0), start=1):
        stage.now_s += 1
        stage.tick({FUTURE: price}, at_s=NOON_S + seconds)  # the market's clock goes on
        assert stage.reprice().tolist() == [stage.slot(CALL)]
        row = stage.state.newest(np.array([stage.slot(CALL)], np.int32))
        assert row.greeks[0, Greek.UNDERLYING_PRICE] == price
        said_ns.append(int(row.priced_ns[0]))

    assert said_ns == sorted(set(said_ns)), "each can be told from the one before"


def test_an_option_whose_underlying_comes_late_is_priced_then() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({CALL: 300.0})
    stage.tick({FUTURE: 26_050.0})

    slots = stage.reprice()

    assert slots.tolist() == [stage.slot(CALL)]
    assert outcome_of(stage, CALL) is Why.PRICED


def test_an_option_that_has_never_come_is_not_made_up() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({FUTURE: 26_050.0})
    stage.tick({FUTURE: 26_060.0})

    assert not len(stage.reprice())
    assert not stage.state.has_row[stage.slot(CALL)]


def test_no_answer_that_stays_the_same_is_not_published_again() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({FUTURE: 26_050.0, CALL: 20.0})
    stage.tick({FUTURE: 26_060.0})
    same = stage.reprice()
    stage.tick({FUTURE: 25_900.0})

    changed = stage.reprice()

    assert not len(same)
    assert changed.tolist() == [stage.slot(CALL)]
    assert outcome_of(stage, CALL) is Why.PRICED


def test_a_new_table_alone_prices_nothing_again() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({FUTURE: 26_050.0, CALL: 300.0})
    stage.configure([option(25_000, "CE"), CALL, FUTURE])

    assert not len(stage.reprice())


def test_greeks_wanted_later_are_given_for_the_row_that_is_there() -> None:
    silent = option(26_000, "CE", greeks=False)
    stage = Stage([silent, FUTURE])
    stage.tick({FUTURE: 26_050.0, silent: 300.0})
    stage.configure([CALL, FUTURE])

    assert stage.reprice().tolist() == [stage.slot(CALL)]
    assert outcome_of(stage, CALL) is Why.PRICED


def test_a_turn_is_bounded_and_those_that_waited_longest_come_first() -> None:
    options = [option(20_000 + 10 * number, "CE") for number in range(REPRICE_ROWS_MAX + 100)]
    stage = Stage([*options, FUTURE])
    stage.tick({FUTURE: 26_050.0} | {row: 26_050.0 - float(row.strike) + 400.0 for row in options})
    stage.tick({FUTURE: 26_060.0})

    first = stage.reprice(later_ms=1)
    left = stage.repricing_due(later_ms=1)
    second = stage.reprice(later_ms=2)

    assert (len(first), left, len(second), stage.repricing_due(later_ms=2)) == (REPRICE_ROWS_MAX, 100, 100, 0)
    assert not set(first.tolist()) & set(second.tolist())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("future"), st.integers(25_990, 26_110)),
            st.tuples(st.just("option"), st.integers(0, 7)),
            st.tuples(st.just("wait"), st.integers(1, 20)),
        ),
        max_size=30,
    )
)
def test_after_its_turns_no_option_is_on_another_price_than_its_underlying_s(events: list[tuple[str, int]]) -> None:
    """Bounded staleness: whatever happened, turns until nothing is due leave every row on the newest price."""
    options = [option(25_800 + 50 * number, kind) for number in range(4) for kind in ("CE", "PE")]
    stage = Stage([*options, FUTURE])
    stage.tick({FUTURE: 26_050.0})
    future_price, ticked = 26_050.0, set()
    for event, value in events:
        if event == "future":
            future_price = float(value)
            stage.tick({FUTURE: future_price})
        elif event == "option":
            stage.tick({options[value]: 400.0})
            ticked.add(options[value])
        else:
            stage.now_s += value
    stage.tick({FUTURE: future_price})

    while len(stage.reprice(later_ms=1)) or stage.repricing_due(later_ms=1):
        pass

    for row in options:
        rows = stage.state.newest(np.array([stage.slot(row)], np.int32))
        assert len(rows) == (row in ticked)
        if len(rows):
            assert rows.greeks[0, Greek.UNDERLYING_PRICE] == future_price or rows.outcome[0] != Why.PRICED
            assert rows.words[0, 1] == 40_000
    assert stage.now_ns <= stage.now_s * SECOND_NS
