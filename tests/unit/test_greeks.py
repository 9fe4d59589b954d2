"""Which price an option is priced on, when it is not priced and why, and how it follows its underlying.

The solver is a slow and independent one (`tests.support.pricing`): here it is about everything around it. Times are
the test's own.
"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chain import MONTHLY, NOON_S, SECOND_NS, WEEKLY, Stage, future, option, spot, table_of
from tests.support.pricing import black76, implied, solve_slowly
from ticker_crds import AssignedInstrument
from ticker_shard.ticks.black76_terms import OptionColumns, Priced
from ticker_shard.ticks.contracts import INDIA, NO_CHAIN, expiry_instant_s, read_contracts
from ticker_shard.ticks.greeks import REPRICE_ROWS_MAX
from ticker_shard.ticks.greeks_arrays import array_pricer
from ticker_shard.ticks.rows import Greek, PacketKind, PricingOutcome, TickRows
from ticker_shard.ticks.sessions import new_york_summer
from ticker_shard.ticks.underlying import YEAR_S, PricingRules, Source

CALL, PUT = option(26_000, "CE"), option(26_000, "PE")
WEEKLY_CALL, WEEKLY_PUT = option(26_000, "CE", WEEKLY), option(26_000, "PE", WEEKLY)
FUTURE, INDEX = future(), spot()
Why = PricingOutcome


def outcome_of(stage: Stage, row: AssignedInstrument) -> PricingOutcome:
    return PricingOutcome(int(stage.state.newest(np.array([stage.slot(row)], np.int32)).outcome[0]))


def greek(rows: TickRows, which: Greek, place: int = -1) -> float:
    return float(rows.greeks[place, which])


# -- the instant of expiry ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "day", "close"),
    [
        pytest.param("NFO", "2026-11-23", "15:40", id="equity derivatives since the closing auction"),
        pytest.param("BFO", "2026-08-03", "15:40", id="from the day of the change"),
        pytest.param("NFO", "2026-07-31", "15:30", id="and before it"),
        pytest.param("CDS", "2026-11-26", "12:30", id="currency contracts end at half past twelve"),
        pytest.param("BCD", "2026-11-26", "12:30", id="on both exchanges"),
        pytest.param("MCX", "2026-07-15", "23:30", id="commodities in New York's summer"),
        pytest.param("MCX", "2026-12-15", "23:55", id="and in its winter"),
        pytest.param("NEW", "2026-12-15", "15:30", id="an exchange that nobody has heard of"),
    ],
)
def test_a_contract_ends_at_the_close_of_its_expiry_day_in_india(exchange: str, day: str, close: str) -> None:
    ends = dt.datetime.fromtimestamp(expiry_instant_s(exchange, dt.date.fromisoformat(day)), INDIA)

    assert ends.isoformat() == f"{day}T{close}:00+05:30"


@pytest.mark.parametrize(
    ("first", "last"), [("2025-03-09", "2025-11-01"), ("2026-03-08", "2026-10-31"), ("2027-03-14", "2027-11-06")]
)
def test_new_york_has_summer_from_the_second_sunday_of_march_to_the_first_of_november(first: str, last: str) -> None:
    begins, ends, day = dt.date.fromisoformat(first), dt.date.fromisoformat(last), dt.timedelta(days=1)

    assert [new_york_summer(when) for when in (begins - day, begins, ends, ends + day)] == [False, True, True, False]


# -- contracts ------------------------------------------------------------------------------------------------------


def test_options_of_one_expiry_share_a_chain_with_its_future_its_spot_and_its_pairs() -> None:
    lonely = option(26_500, "CE")
    table = table_of([CALL, PUT, lonely, WEEKLY_CALL, FUTURE, INDEX])
    slots = {row.symbol: slot for slot, row in enumerate(table.instruments) if row is not None}

    contracts = read_contracts(table)

    weekly, monthly = contracts.chain[slots[WEEKLY_CALL.symbol]], contracts.chain[slots[CALL.symbol]]
    assert contracts.chains == 2
    assert contracts.chain[slots[PUT.symbol]] == contracts.chain[slots[lonely.symbol]] == monthly
    assert (contracts.future[monthly], contracts.future[weekly]) == (slots[FUTURE.symbol], -1)
    assert contracts.spot.tolist() == [slots[INDEX.symbol]] * 2
    assert contracts.pair_chain.tolist() == [monthly]
    assert (contracts.pair_call[0], contracts.pair_put[0]) == (slots[CALL.symbol], slots[PUT.symbol])
    assert contracts.chain[slots[FUTURE.symbol]] == NO_CHAIN


def test_a_commodity_option_is_priced_on_the_future_it_turns_into() -> None:
    def crude(kind: str, expiry: str) -> AssignedInstrument:
        name = f"CRUDEOIL{expiry}{kind}"
        return AssignedInstrument(
            token=0, exchange="MCX", tradingsymbol=name, mode=CALL.mode, channels=CALL.channels, expiry=expiry,
            strike="5000", instrument_type=kind, underlying="crudeoil", greeks=kind != "FUT",
        )  # fmt: skip

    table = table_of(
        [crude("CE", "2026-12-16"), crude("FUT", "2026-11-19"), crude("FUT", "2026-12-18"), crude("FUT", "2027-01-19")]
    )

    contracts = read_contracts(table)

    chosen = table.instruments[contracts.future[0]]
    assert chosen is not None
    assert chosen.expiry == "2026-12-18"


# -- which underlying -----------------------------------------------------------------------------------------------


def liquid(middle: float, *, half: float = 0.5) -> tuple[float, float]:
    return (middle - half, middle + half)


ALL = {INDEX: 26_000.0, FUTURE: 26_050.0, PUT: 240.0, CALL: 300.0}
BOOK = {CALL: liquid(300.0), PUT: liquid(240.0)}
YEARS = (expiry_instant_s("NFO", dt.date.fromisoformat(MONTHLY)) - NOON_S) / YEAR_S


def test_the_future_of_the_same_expiry_comes_first() -> None:
    stage = Stage([CALL, PUT, FUTURE, INDEX])

    rows = stage.tick(ALL, book=BOOK)

    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_050.0
    expected = implied(call=True, price=300.0, forward=26_050.0, strike=26_000.0, years=YEARS, rate=0.065)
    assert expected is not None
    assert greek(rows, Greek.IV) == pytest.approx(expected.iv, rel=1e-9)
    assert greek(rows, Greek.DELTA) == pytest.approx(expected.delta, rel=1e-9)
    assert greek(rows, Greek.GAMMA) == pytest.approx(expected.gamma, rel=1e-9)
    assert greek(rows, Greek.THETA) == pytest.approx(expected.theta / 365, rel=1e-9)
    assert greek(rows, Greek.VEGA) == pytest.approx(expected.vega / 100, rel=1e-9)
    assert rows.priced_ns.tolist() == [0, 0, stage.now_ns, stage.now_ns]


def test_without_a_future_a_liquid_pair_near_the_money_gives_a_forward() -> None:
    stage = Stage([CALL, PUT, INDEX])
    stage.tick(ALL_BUT_FUTURE, book=BOOK)
    stage.now_s += 1

    rows = stage.tick({CALL: 300.0}, book=BOOK)

    years = YEARS - 1 / YEAR_S
    assert stage.greeks.market.source[0] == Source.PAIR
    assert greek(rows, Greek.UNDERLYING_PRICE) == pytest.approx(26_000 + 60.0 * math.exp(0.065 * years), rel=1e-12)


ALL_BUT_FUTURE = {row: price for row, price in ALL.items() if row is not FUTURE}


@pytest.mark.parametrize(
    "book",
    [
        pytest.param({}, id="no depth"),
        pytest.param({CALL: liquid(300.0), PUT: (0.0, 240.0)}, id="one side missing"),
        pytest.param({CALL: liquid(300.0), PUT: liquid(240.0, half=10.0)}, id="spread too wide"),
        pytest.param({CALL: liquid(300.0), PUT: liquid(240.0, half=-0.5)}, id="crossed"),
        pytest.param({CALL: liquid(1_300.0), PUT: liquid(240.0)}, id="far from the money"),
    ],
)
def test_a_pair_that_is_not_liquid_and_near_the_money_gives_none(
    book: dict[AssignedInstrument, tuple[float, float]],
) -> None:
    stage = Stage([CALL, PUT, INDEX])
    stage.tick(ALL_BUT_FUTURE, book=book)
    stage.now_s += 1

    rows = stage.tick({CALL: 300.0}, book=book)

    assert stage.greeks.market.source[0] == Source.SPOT
    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0


def test_of_several_pairs_the_one_nearest_to_the_money_is_taken() -> None:
    near, far = (option(26_050, "CE"), option(26_050, "PE")), (option(25_900, "CE"), option(25_900, "PE"))
    book = {near[0]: liquid(260.0), near[1]: liquid(250.0), far[0]: liquid(355.0), far[1]: liquid(195.0)}
    stage = Stage([*near, *far])
    stage.tick(dict.fromkeys(book, 200.0), book=book)
    stage.now_s += 1

    rows = stage.tick({near[0]: 260.0}, book=book)

    assert greek(rows, Greek.UNDERLYING_PRICE) == pytest.approx(26_050 + 10.0 * math.exp(0.065 * YEARS), abs=1e-3)


def test_a_moving_leg_moves_the_forward_at_once() -> None:
    stage = Stage([CALL, PUT])
    stage.tick({CALL: 300.0, PUT: 240.0}, book=BOOK)
    stage.now_s += 1
    before = greek(stage.tick({CALL: 300.0}, book=BOOK), Greek.UNDERLYING_PRICE)

    after = greek(stage.tick({CALL: 310.0}, book={CALL: liquid(310.0)}), Greek.UNDERLYING_PRICE)

    assert after == pytest.approx(before + 10.0, abs=0.05)


def test_the_spot_carries_rate_and_dividends_to_the_forward_and_greeks_are_the_spot_s() -> None:
    rules = PricingRules(rate=0.07, dividend_yield=0.012)
    stage = Stage([CALL, INDEX], rules=rules)

    rows = stage.tick({INDEX: 26_000.0, CALL: 300.0})

    def value(spot: float, years: float) -> float:
        forward = spot * math.exp((0.07 - 0.012) * years)
        return black(forward, years, greek(rows, Greek.IV))

    def black(forward: float, years: float, volatility: float) -> float:
        return black76(call=True, forward=forward, strike=26_000.0, years=years, rate=0.07, volatility=volatility)

    step, day = 1.0, 1 / 365 / 1_000
    up, here, down = value(26_001.0, YEARS), value(26_000.0, YEARS), value(25_999.0, YEARS)
    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0
    assert here == pytest.approx(300.0, abs=1e-6)
    assert greek(rows, Greek.DELTA) == pytest.approx((up - down) / (2 * step), rel=1e-6)
    assert greek(rows, Greek.GAMMA) == pytest.approx((up - 2 * here + down) / step**2, rel=1e-3)
    later, earlier = value(26_000.0, YEARS - day), value(26_000.0, YEARS + day)
    assert greek(rows, Greek.THETA) == pytest.approx((later - earlier) / 2 * 1_000, rel=1e-4)


def test_a_future_that_falls_silent_gives_way_and_takes_over_again() -> None:
    stage = Stage([CALL, FUTURE, INDEX])
    stage.tick({FUTURE: 26_050.0, INDEX: 26_000.0})
    used = []
    for seconds in (14, 2, 1):
        stage.now_s += seconds
        used.append(greek(stage.tick({INDEX: 26_000.0, CALL: 300.0}), Greek.UNDERLYING_PRICE))
    stage.tick({FUTURE: 26_060.0})

    used.append(greek(stage.tick({CALL: 300.0}), Greek.UNDERLYING_PRICE))

    assert used == [26_050.0, 26_000.0, 26_000.0, 26_060.0]


def test_yesterday_s_cached_future_is_stale_at_the_opening_although_it_came_a_moment_ago() -> None:
    stage = Stage([CALL, FUTURE, INDEX])
    stage.tick({FUTURE: 26_400.0}, at_s=NOON_S - 70_000)

    rows = stage.tick({INDEX: 26_000.0, CALL: 300.0})

    assert greek(rows, Greek.UNDERLYING_PRICE) == 26_000.0


def test_an_underlying_in_the_same_block_counts_wherever_it_stands_there() -> None:
    stage = Stage([CALL, FUTURE])

    rows = stage.tick({CALL: 300.0, FUTURE: 26_050.0})

    assert greek(rows, Greek.UNDERLYING_PRICE, 0) == 26_050.0


def test_a_price_of_the_currency_segment_is_scaled_by_its_own_divisor() -> None:
    dollar = AssignedInstrument(
        token=1_000 * 256 + 3, exchange="CDS", tradingsymbol="USDINR26NOV89CE", mode=CALL.mode, channels=CALL.channels,
        expiry="2026-11-26", strike="89", instrument_type="CE", underlying="usdinr", greeks=True,
    )  # fmt: skip
    its_future = AssignedInstrument(
        token=1_001 * 256 + 3, exchange="CDS", tradingsymbol="USDINR26NOVFUT", mode=CALL.mode, channels=CALL.channels,
        expiry="2026-11-26", instrument_type="FUT", underlying="usdinr",
    )  # fmt: skip
    stage = Stage([dollar, its_future])
    scale = 100_000  # the builder writes hundredths, this segment has ten millionths

    rows = stage.tick({its_future: 89.25 * scale, dollar: 0.5 * scale})

    assert greek(rows, Greek.UNDERLYING_PRICE) == 89.25
    assert rows.outcome[-1] == Why.PRICED


# -- no answer, and why ---------------------------------------------------------------------------------------------


def priced_once(price: float, *, strike: int = 26_000, kind: str = "CE", underlying: float = 26_050.0) -> TickRows:
    asked = option(strike, kind)
    return Stage([asked, FUTURE]).tick({FUTURE: underlying, asked: price})


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        pytest.param(lambda: priced_once(300.0), Why.PRICED, id="an ordinary option"),
        pytest.param(lambda: priced_once(0.05, strike=30_000), Why.PRICED, id="at the smallest tick"),
        pytest.param(lambda: priced_once(0.0), Why.NO_PRICE, id="never traded"),
        pytest.param(lambda: priced_once(-1.0), Why.NO_PRICE, id="a price below zero"),
        pytest.param(lambda: priced_once(20.0), Why.BELOW_INTRINSIC, id="below what is certain"),
        pytest.param(lambda: priced_once(26_060.0), Why.ABOVE_BOUND, id="dearer than its underlying"),
        pytest.param(lambda: priced_once(300.0, underlying=0.0), Why.NO_UNDERLYING, id="an underlying of zero"),
        pytest.param(lambda: Stage([CALL]).tick({CALL: 300.0}), Why.NO_UNDERLYING, id="no underlying here"),
        pytest.param(
            lambda: Stage([CALL, FUTURE]).tick({CALL: 300.0}), Why.NO_UNDERLYING, id="one that has not come yet"
        ),
        pytest.param(lambda: broken_contract(strike=""), Why.NO_CONTRACT, id="no strike"),
        pytest.param(lambda: broken_contract(strike="0"), Why.NO_CONTRACT, id="a strike of zero"),
        pytest.param(lambda: broken_contract(expiry=""), Why.NO_CONTRACT, id="no expiry"),
        pytest.param(lambda: not_asked(), Why.NOT_ASKED, id="Greeks not wanted"),
    ],
)  # fmt: skip
def test_every_option_says_why_it_has_no_greeks(rows, reason: PricingOutcome) -> None:  # type: ignore[no-untyped-def]
    block = rows()

    assert PricingOutcome(int(block.outcome[-1])) is reason
    assert math.isfinite(greek(block, Greek.IV)) is (reason is Why.PRICED)
    assert math.isfinite(greek(block, Greek.VEGA)) is (reason is Why.PRICED)
    assert bool(block.priced_ns[-1]) is (reason is not Why.NOT_ASKED)


def broken_contract(*, strike: str = "26000", expiry: str = MONTHLY) -> TickRows:
    asked = option(strike, "CE", expiry)
    return Stage([asked, FUTURE]).tick({FUTURE: 26_050.0, asked: 300.0})


def not_asked() -> TickRows:
    silent = option(26_000, "CE", greeks=False)
    return Stage([silent, option(25_000, "CE"), FUTURE]).tick({FUTURE: 26_050.0, silent: 300.0})


def test_an_underlying_that_fell_silent_is_named_as_stale() -> None:
    stage = Stage([CALL, FUTURE], rules=PricingRules(stale_s=5.0))
    stage.tick({FUTURE: 26_050.0})
    stage.now_s += 6

    rows = stage.tick({CALL: 300.0})

    assert rows.outcome.tolist() == [Why.STALE_UNDERLYING]
    assert stage.greeks.outcomes[Why.STALE_UNDERLYING] == 1


def test_an_underlying_that_falls_silent_while_the_clock_is_set_back_is_stale_all_the_same() -> None:
    stage = Stage([CALL, FUTURE], rules=PricingRules(stale_s=5.0))
    stage.tick({FUTURE: 26_050.0})
    stage.now_s -= 3_600

    rows = stage.tick({CALL: 300.0}, at_s=NOON_S)
    stage.tick({FUTURE: 26_050.0}, at_s=NOON_S + 1)
    again = stage.tick({CALL: 301.0}, at_s=NOON_S + 1)

    assert [*rows.outcome.tolist(), *again.outcome.tolist()] == [Why.STALE_UNDERLYING, Why.PRICED]


def test_the_last_minute_is_priced_as_a_minute_and_at_the_close_the_option_has_expired() -> None:
    ends_s = expiry_instant_s("NFO", dt.date.fromisoformat(MONTHLY))
    years = {}
    outcomes = {}
    for before in (120, 61, 60, 30, 1, 0, -5):
        stage = Stage([CALL, FUTURE], now_s=ends_s - before)
        rows = stage.tick({FUTURE: 26_050.0, CALL: 52.0})
        years[before], outcomes[before] = stage.greeks.market.years[0] * YEAR_S, rows.outcome[-1]

    assert years == pytest.approx({120: 120, 61: 61, 60: 60, 30: 60, 1: 60, 0: 60, -5: 60})
    assert outcomes == {
        120: Why.PRICED,
        61: Why.PRICED,
        60: Why.PRICED,
        30: Why.PRICED,
        1: Why.PRICED,
        0: Why.EXPIRED,
        -5: Why.EXPIRED,
    }


def test_time_is_the_market_s_not_this_host_s() -> None:
    """A simulated day long past is priced as it was."""
    stage = Stage([CALL, FUTURE])
    stage.now_s += 400 * 86_400

    rows = stage.tick({FUTURE: 26_050.0, CALL: 300.0}, at_s=NOON_S)

    assert rows.outcome[-1] == Why.PRICED
    assert stage.greeks.market.years[0] == pytest.approx(YEARS)


def test_an_exchange_time_far_ahead_of_this_host_is_not_believed() -> None:
    stage = Stage([CALL, FUTURE])
    stage.tick({FUTURE: 26_050.0})

    stage.tick({CALL: 300.0}, at_s=NOON_S + 5 * 86_400)

    assert stage.greeks.market.clock_s == NOON_S


def test_packets_without_a_time_are_priced_by_this_host_s_clock() -> None:
    stage = Stage([CALL, FUTURE])

    rows = stage.tick({FUTURE: 26_050.0, CALL: 300.0}, kind=PacketKind.LTP)

    assert rows.outcome[-1] == Why.PRICED
    assert stage.greeks.market.years[0] == pytest.approx(YEARS)


def test_an_account_without_options_pays_nothing() -> None:
    stage = Stage([FUTURE, INDEX])

    rows = stage.tick({FUTURE: 26_050.0, INDEX: 26_000.0})

    assert rows.outcome.tolist() == [Why.NOT_ASKED] * 2
    assert stage.greeks.outcomes.sum() == 0
    assert not len(stage.reprice())


def test_the_solver_starts_from_the_last_volatility_also_under_a_new_table() -> None:
    asked_with = []

    def solver(options: OptionColumns) -> Priced:
        asked_with.append(options.warm.tolist())
        return solve_slowly(options)

    stage = Stage([CALL, FUTURE], pricer=array_pricer(solver))
    found = greek(stage.tick({FUTURE: 26_050.0, CALL: 300.0}), Greek.IV)

    stage.configure([option(25_000, "CE"), CALL, FUTURE])
    stage.tick({CALL: 301.0, option(25_000, "CE"): 1_100.0})

    assert asked_with[-1] == [found, pytest.approx(math.nan, nan_ok=True)]


# -- repricing ------------------------------------------------------------------------------------------------------


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
