"""Underlyings that stand in a table only so that its options can be priced.

That they disturb no move is proved in `test_moves_protocol`, where one of them moves itself.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tests.support.pool import Pool, a_catalog, a_dump, a_subscription, an_account, an_option, option_symbol
from ticker_crds import AssignedInstrument, AssignmentTable, Mode, Role, decode_table, encode_table
from ticker_operator.desired.delivery import Delivered, judge_delivery
from ticker_operator.model import Drain, Health, Step, TableView, Verdict
from ticker_operator.planning import drain_state, parse_dump
from ticker_operator.planning.registers import CatalogRegister

INDEX, FUTURE = "NSE:NIFTY 50", "NFO:NIFTY26NOVFUT"
FUTURE_ROWS = (
    "900001,1,NIFTY26NOVFUT,NIFTY,0,2026-11-24,0,0.1,65,FUT,NFO-FUT,NFO",
    "900002,2,NIFTY26DECFUT,NIFTY,0,2026-12-29,0,0.1,65,FUT,NFO-FUT,NFO",
)


def a_pool(*, options: int = 4, accounts: int = 2, capacity: int = 3_000, more: tuple[str, ...] = FUTURE_ROWS) -> Pool:
    symbols = [option_symbol(index) for index in range(1, options + 1)]
    pool = Pool(
        [an_account(f"acc{number}", instruments_per_socket=capacity) for number in range(accounts)],
        [a_subscription("s", symbols, greeks=True)],
        options + 1,
    )
    pool.catalog = a_catalog(options + 1, *more)
    return pool


def table_of(pool: Pool, account: str) -> AssignmentTable:
    table = pool.tables[account].table
    assert table is not None
    return table


def references(pool: Pool, account: str) -> list[str]:
    return [row.symbol for row in table_of(pool, account).instruments if row.is_reference]


def test_every_account_has_the_future_and_the_index_that_its_options_are_priced_on() -> None:
    pool = a_pool()

    pool.settle()

    assert {name: references(pool, name) for name in pool.tables} == {
        "acc0": [FUTURE, INDEX],
        "acc1": [FUTURE, INDEX],
    }
    row = next(row for row in table_of(pool, "acc0").instruments if row.symbol == FUTURE)
    assert (row.mode, row.channels, row.role, row.greeks) == (Mode.FULL, (), Role.OWNER, False)
    assert (row.instrument_type, row.expiry, row.underlying) == ("FUT", "2026-11-24", "nifty")


def test_an_account_without_priced_options_has_none() -> None:
    pool = a_pool()
    pool.subscriptions["s"] = replace(pool.subscriptions["s"], greeks=False)

    pool.settle()

    assert [references(pool, name) for name in pool.tables] == [[], []]


def test_a_weekly_expiry_without_a_future_has_the_index_alone() -> None:
    pool = a_pool(more=FUTURE_ROWS[1:])

    pool.settle()

    assert references(pool, "acc0") == [INDEX]


def test_what_an_account_streams_anyway_is_not_listed_twice() -> None:
    pool = a_pool(accounts=1)
    pool.subscriptions["index"] = a_subscription("index", [INDEX, FUTURE])

    pool.settle()

    assert references(pool, "acc0") == []
    assert pool.owners()[INDEX] == "acc0"


def test_a_reference_that_becomes_wanted_changes_in_place_and_back() -> None:
    pool = a_pool(accounts=1)
    pool.settle()

    pool.subscriptions["index"] = a_subscription("index", [INDEX])
    pool.settle()
    wanted = pool.owners().get(INDEX)
    del pool.subscriptions["index"]
    pool.settle()

    assert wanted == "acc0"
    assert references(pool, "acc0") == [FUTURE, INDEX]


def test_references_go_with_the_options_that_needed_them() -> None:
    pool = a_pool(accounts=1)
    pool.settle()

    pool.subscriptions["s"] = a_subscription("s", ["NSE:NIFTY 50"])
    pool.settle()

    assert references(pool, "acc0") == []


def test_wanted_instruments_come_first_where_room_is_short() -> None:
    pool = a_pool(options=4, accounts=1, capacity=5)
    pool.settle()
    short = references(pool, "acc0")

    pool.subscriptions["t"] = a_subscription("t", [option_symbol(0)])
    pool.settle()

    assert short == [FUTURE]
    assert references(pool, "acc0") == []
    assert pool.loads() == {"acc0": 5}


def test_of_too_many_the_futures_of_most_options_come_first() -> None:
    bank = [an_option(100 + number, name="BANKNIFTY").replace("2026-11-24", "2026-12-29") for number in range(2)]
    rows = (*FUTURE_ROWS, *bank, "900003,3,BANKNIFTY26DECFUT,BANKNIFTY,0,2026-12-29,0,0.1,30,FUT,NFO-FUT,NFO")
    pool = a_pool(options=4, accounts=1, capacity=7, more=rows)
    pool.subscriptions["bank"] = a_subscription("bank", [option_symbol(100, "BANKNIFTY")], greeks=True)

    pool.settle()

    assert references(pool, "acc0") == ["NFO:BANKNIFTY26DECFUT", FUTURE]


def test_without_the_broker_s_list_what_is_there_stays() -> None:
    pool = a_pool()
    pool.settle()
    pool.catalog = None  # type: ignore[assignment]

    assert pool.run_pass().writes == ()
    pool.subscriptions["s"] = replace(pool.subscriptions["s"], mode=Mode.QUOTE)
    pool.settle()

    assert references(pool, "acc0") == [FUTURE, INDEX]


def test_a_commodity_option_needs_the_future_it_turns_into() -> None:
    def row(token: int, symbol: str, expiry: str, kind: str) -> str:
        return f"{token},1,{symbol},CRUDEOIL,0,{expiry},5000,1,100,{kind},MCX-{kind},MCX"

    catalog = parse_dump(
        a_dump(
            row(1, "CRUDEOIL26DEC5000CE", "2026-12-16", "CE"),
            row(2, "CRUDEOIL26NOVFUT", "2026-11-19", "FUT"),
            row(3, "CRUDEOIL26DECFUT", "2026-12-18", "FUT"),
            row(4, "CRUDEOIL27JANFUT", "2027-01-19", "FUT"),
        ),
        endpoint="test",
    )
    key = ("MCX", "crudeoil", 0, "2026-12-16")

    found = CatalogRegister(catalog, date(2026, 11, 21)).references([key])

    assert found is not None
    assert [entry.symbol for entry in found[key]] == ["MCX:CRUDEOIL26DECFUT"]


def test_a_reference_is_nobody_s_home() -> None:
    """The index is wanted; that another account has it as a reference neither draws it there nor counts as a move."""
    pool = a_pool(options=3, accounts=2)
    pool.settle()

    pool.subscriptions["index"] = a_subscription("index", [INDEX])
    first = pool.run_pass()
    pool.settle()

    owner = pool.owners()[INDEX]
    assert first.moving == 0
    assert [name for name in pool.tables if INDEX in references(pool, name)] == [
        name for name in ("acc0", "acc1") if name != owner
    ]
    assert not pool.plans[-1].moves


def test_a_change_of_references_alone_is_one_write() -> None:
    pool = a_pool(more=FUTURE_ROWS[1:])
    pool.settle()
    pool.catalog = a_catalog(5, *FUTURE_ROWS)

    writes = pool.run_pass().writes

    assert [write.steps for write in writes] == [{Step.REFERENCE: 1}] * 2
    assert pool.run_pass().writes == ()


@pytest.mark.parametrize("wanted", [True, False], ids=["wanted", "for reference only"])
def test_only_what_is_wanted_counts_as_delivered_and_as_something_to_drain(wanted: bool) -> None:
    pool = a_pool(options=1, accounts=1)
    pool.subscriptions["index"] = a_subscription("index", [INDEX])
    pool.settle()
    resolution, plan = pool.resolved(), pool.planned()
    kept = [row for row in table_of(pool, "acc0").instruments if row.symbol == INDEX]
    row = kept[0] if wanted else replace(kept[0], channels=())
    table = AssignmentTable("acc0", 99, table_of(pool, "acc0").channels, (row,))
    pool.store(table)
    pool.change_account("acc0", deleting=True)
    tables = pool.run_pass()

    pool.tables["acc0"] = TableView("99", table)
    delivery = judge_delivery(pool.snapshot(), resolution=resolution, plan=plan, tables=tables)
    drain = drain_state(pool.accounts["acc0"], pool.snapshot(), plan=plan, verdict=Verdict(Health.ALIVE))

    assert (Delivered.YES in delivery.states) is wanted
    assert drain is (Drain.DRAINING if wanted else Drain.DRAINED)


def test_a_reference_survives_writing_and_reading_a_table() -> None:
    row = AssignedInstrument(256_265, "NSE", "NIFTY 50", Mode.FULL, (), underlying="nifty", instrument_type="EQ")
    table = AssignmentTable("acc0", 1, (), (row,))

    assert decode_table(*encode_table(table)) == table
    assert decode_table(*encode_table(table)).instruments[0].is_reference
