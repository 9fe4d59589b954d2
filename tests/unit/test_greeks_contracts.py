"""What an option is priced on by its contract, and when it ends."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.support.chain import option, table_of
from tests.support.nifty import CALL, FUTURE, INDEX, PUT, WEEKLY_CALL
from ticker_crds import AssignedInstrument
from ticker_shard.ticks.contracts import INDIA, NO_CHAIN, expiry_instant_s, read_contracts
from ticker_shard.ticks.sessions import new_york_summer

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
