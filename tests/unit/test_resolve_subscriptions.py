"""What subscriptions ask for, resolved: each symbol found or named, channels derived, requests merged, ties by age."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from tests.support.pool import TODAY, a_catalog, a_subscription, an_account, an_option, option_symbol
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Encoding, Mode, Role
from ticker_crds.constants import Reason
from ticker_crds.subscription import AccountSelector
from ticker_operator.model import (
    AccountView,
    InstrumentCatalog,
    RequestedInstrument,
    Resolution,
    SubscriptionView,
    TableView,
    UnresolvedReason,
)
from ticker_operator.planning import resolve

MORE = (
    "738561,2885,RELIANCE,RELIANCE INDUSTRIES,0,,0,0.1,1,EQ,NSE,NSE",
    "9001,35,NIFTY26NOVFUT,NIFTY,0,2026-11-24,0,0.1,65,FUT,NFO-FUT,NFO",
    "9002,36,RELIANCE26NOV1400PE,RELIANCE,0,2026-11-24,1400,0.05,500,PE,NFO-OPT,NFO",
    "9003,37,M&M26NOVFUT,M&M,0,2026-11-24,0,0.1,200,FUT,NFO-FUT,NFO",
    "265,1,SENSEX,SENSEX,0,,0,0,0,EQ,INDICES,BSE",
    "9004,38,NIFTY IT,NIFTY IT,0,,0,0,0,EQ,INDICES,NSE",
    "9005,39,NIFTY26OCT26000CE,NIFTY,0,2026-10-27,26000,0.05,65,CE,NFO-OPT,NFO",
    "9006,40,CRUDEOIL26DECFUT,CRUDEOIL,0,2026-12-18,0,1,100,FUT,MCX-FUT,MCX",
)
CATALOG = a_catalog(5, *MORE)
ACCOUNTS = (an_account("acc1", labels={"tier": "gold"}), an_account("acc2", labels={"tier": "base"}))
GOLD = AccountSelector(match_labels={"tier": "gold"})
BASE = AccountSelector(match_labels={"tier": "base"})


def resolved(
    *subscriptions: SubscriptionView,
    accounts: tuple[AccountView, ...] = ACCOUNTS,
    catalog: InstrumentCatalog | None = CATALOG,
    tables: dict[str, TableView] | None = None,
    today: date = TODAY,
) -> Resolution:
    return resolve(
        subscriptions,
        accounts=accounts,
        catalog=catalog,
        tables=tables or {},
        prefix="ticker",
        today=today,
    )


def row_of(resolution: Resolution, symbol: str) -> AssignedInstrument:
    return next(wanted.row for wanted in resolution.wanted if wanted.row.symbol == symbol)


def a_table(*rows: AssignedInstrument, account: str = "acc1") -> dict[str, TableView]:
    names = sorted({name for row in rows for name in row.channels})
    return {account: TableView("1", AssignmentTable(account, 1, tuple(map(Channel, names)), rows))}


# -- finding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "reason", "said"),
    [
        ("NIFTY", UnresolvedReason.MALFORMED, "write EXCHANGE:TRADINGSYMBOL"),
        (":NIFTY", UnresolvedReason.MALFORMED, "write EXCHANGE:TRADINGSYMBOL"),
        ("NYSE:IBM", UnresolvedReason.EXCHANGE_UNKNOWN, "no exchange NYSE (known: BSE, MCX, NFO, NSE)"),
        ("NSE:RELIANCES", UnresolvedReason.SYMBOL_UNKNOWN, "check the spelling"),
        ("NSE:RELIANC", UnresolvedReason.SYMBOL_UNKNOWN, "check the spelling"),
        ("NFO:NIFTY26OCT26000CE", UnresolvedReason.EXPIRED, "expired on 2026-10-27"),
    ],
)
def test_what_cannot_be_found_is_named_and_the_rest_goes_on(symbol: str, reason: UnresolvedReason, said: str) -> None:
    found = resolved(a_subscription("s", [symbol, "NSE:RELIANCE"]))

    (told,) = found.subscriptions[0].unresolved
    assert (told.symbol, told.reason) == (symbol, reason)
    assert said in told.message
    assert [wanted.row.symbol for wanted in found.wanted] == ["NSE:RELIANCE"]


def test_a_contract_streams_on_its_day_of_expiry() -> None:
    assert len(resolved(a_subscription("s", [option_symbol(0)]), today=date(2026, 11, 24)).wanted) == 1
    assert len(resolved(a_subscription("s", [option_symbol(0)]), today=date(2026, 11, 25)).wanted) == 0


def test_everything_wanted_is_in_the_order_of_round_robin() -> None:
    symbols = [option_symbol(3), "NSE:RELIANCE", option_symbol(1), "BSE:SENSEX", "NSE:NIFTY 50"]

    found = resolved(a_subscription("s", symbols))

    assert [wanted.row.symbol for wanted in found.wanted] == [
        "BSE:SENSEX",
        option_symbol(1),
        option_symbol(3),
        "NSE:NIFTY 50",
        "NSE:RELIANCE",
    ]


@pytest.mark.parametrize(
    ("symbol", "channel", "underlying", "underlying_token"),
    [
        (option_symbol(0), "ticker:nifty:options", "nifty", 256265),
        ("NFO:NIFTY26NOVFUT", "ticker:nifty:futures", "nifty", 256265),
        ("NSE:NIFTY 50", "ticker:nifty:underlying", "nifty", 0),
        ("BSE:SENSEX", "ticker:sensex:underlying", "sensex", 0),
        ("NSE:NIFTY IT", "ticker:nifty-it:underlying", "nifty-it", 0),
        ("NSE:RELIANCE", "ticker:equity", "", 0),
        ("NFO:RELIANCE26NOV1400PE", "ticker:reliance:options", "reliance", 738561),
        ("NFO:M&M26NOVFUT", "ticker:m-m:futures", "m-m", 0),
        ("MCX:CRUDEOIL26DECFUT", "ticker:crudeoil:futures", "crudeoil", 0),
    ],
)
def test_channel_and_underlying_come_from_the_columns_of_the_dump(
    symbol: str, channel: str, underlying: str, underlying_token: int
) -> None:
    row = row_of(resolved(a_subscription("s", [symbol])), symbol)

    assert row.channels == (channel,)
    assert (row.underlying, row.underlying_token) == (underlying, underlying_token)


def test_texts_of_the_dump_are_passed_on_unchanged() -> None:
    row = row_of(resolved(a_subscription("s", ["NFO:RELIANCE26NOV1400PE"])), "NFO:RELIANCE26NOV1400PE")

    assert (row.token, row.expiry, row.strike, row.tick_size, row.lot_size, row.instrument_type) == (
        9002,
        "2026-11-24",
        "1400",
        "0.05",
        500,
        "PE",
    )
    assert row.role is Role.OWNER


# -- merging ------------------------------------------------------------------------------------------------------


def test_one_instrument_of_two_subscriptions_streams_once_at_the_richest_mode_into_each_channel() -> None:
    symbol = option_symbol(0)
    ltp = a_subscription("a", [symbol], mode=Mode.LTP, greeks=False, channel="mine", priority=-1)
    quote = a_subscription("b", [symbol], mode=Mode.QUOTE, greeks=True, priority=3)

    found = resolved(ltp, quote)

    (wanted,) = found.wanted
    assert wanted.row.mode is Mode.QUOTE
    assert wanted.row.channels == ("ticker:mine", "ticker:nifty:options")
    assert wanted.row.greeks
    assert wanted.priority == 3
    assert [entry.wanted for entry in found.subscriptions] == [(0,), (0,)]


def test_an_instruments_own_mode_wins_over_its_subscriptions() -> None:
    subscription = SubscriptionView("s", instruments=(RequestedInstrument("NSE:RELIANCE", Mode.LTP),), mode=Mode.FULL)

    assert row_of(resolved(subscription), "NSE:RELIANCE").mode is Mode.LTP


def test_greeks_are_for_options_only() -> None:
    found = resolved(a_subscription("s", [option_symbol(0), "NSE:RELIANCE", "NFO:NIFTY26NOVFUT"], greeks=True))

    assert {wanted.row.symbol for wanted in found.wanted if wanted.row.greeks} == {option_symbol(0)}


def test_two_encodings_on_one_channel_the_older_subscription_has_it() -> None:
    old = a_subscription("z-old", [option_symbol(0)], encoding=Encoding.MSGPACK, created="2026-01-01")
    new = a_subscription("a-new", [option_symbol(1), "NSE:RELIANCE"], created="2026-02-01")

    found = resolved(new, old)

    by_name = {entry.name: entry for entry in found.subscriptions}
    (told,) = by_name["a-new"].unresolved
    assert (told.symbol, told.reason) == (option_symbol(1), UnresolvedReason.CHANNEL_CONFLICT)
    assert "msgpack for the older subscription z-old" in told.message
    assert found.encodings == {"ticker:nifty:options": Encoding.MSGPACK, "ticker:equity": Encoding.JSON}
    assert by_name["a-new"].resolved == 1


def test_a_msgpack_subscription_streams_like_any_other() -> None:
    found = resolved(a_subscription("s", [option_symbol(0)], encoding=Encoding.MSGPACK))

    assert (found.subscriptions[0].refusal, found.subscriptions[0].resolved) == (None, 1)
    assert found.encodings == {"ticker:nifty:options": Encoding.MSGPACK}


def test_disjoint_selectors_the_older_subscription_keeps_the_instrument() -> None:
    old = a_subscription("z-old", [option_symbol(0)], account_selector=GOLD, created="2026-01-01")
    new = a_subscription("a-new", [option_symbol(0)], account_selector=BASE, channel="mine", created="2026-02-01")

    found = resolved(new, old)

    (wanted,) = found.wanted
    assert found.groups[wanted.group] == ("acc1",)
    assert wanted.row.channels == ("ticker:nifty:options",)
    (told,) = {entry.name: entry for entry in found.subscriptions}["a-new"].unresolved
    assert told.reason is UnresolvedReason.SELECTOR_CONFLICT
    assert "tier=base" in told.message


def test_selectors_that_overlap_leave_the_accounts_both_allow() -> None:
    found = resolved(
        a_subscription("a", [option_symbol(0)]), a_subscription("b", [option_symbol(0)], account_selector=GOLD)
    )

    assert found.groups[found.wanted[0].group] == ("acc1",)


def test_a_selector_that_matches_nothing_keeps_nothing_from_the_others() -> None:
    nowhere = AccountSelector(match_labels={"tier": "none"})
    old = a_subscription("old", [option_symbol(0)], account_selector=nowhere, created="2026-01-01")
    new = a_subscription("new", [option_symbol(0)], created="2026-02-01")

    found = resolved(old, new)

    assert found.groups[found.wanted[0].group] == ("acc1", "acc2")
    by_name = {entry.name: entry for entry in found.subscriptions}
    assert by_name["old"].unresolved[0].reason is UnresolvedReason.SELECTOR_CONFLICT
    assert by_name["new"].resolved == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"selects": True}, Reason.NOT_SUPPORTED),
        ({"fault": "spec.mode: unknown"}, Reason.INVALID),
    ],
)
def test_what_is_not_supported_is_said_and_asks_for_nothing(fields: dict[str, object], reason: Reason) -> None:
    found = resolved(a_subscription("s", [option_symbol(0)], **fields))

    assert found.wanted == ()
    refusal = found.subscriptions[0].refusal
    assert refusal is not None
    assert refusal.reason is reason


def test_a_deleted_subscription_asks_for_nothing() -> None:
    found = resolved(a_subscription("s", [option_symbol(0)], deleting=True))

    assert (found.wanted, found.subscriptions) == ((), ())


def test_two_instruments_with_one_token_the_first_streams_and_the_other_is_named() -> None:
    catalog = a_catalog(1, "1000,40,NIFTY26NOVTWIN,NIFTY,0,2026-11-24,0,0.1,65,FUT,NFO-FUT,NFO")

    found = resolved(a_subscription("s", [option_symbol(0), "NFO:NIFTY26NOVTWIN"]), catalog=catalog)

    assert [wanted.row.symbol for wanted in found.wanted] == [option_symbol(0)]
    (told,) = found.subscriptions[0].unresolved
    assert told.reason is UnresolvedReason.TOKEN_CLASH
    assert found.subscriptions[0].resolved == 1


# -- without a dump, and paused -----------------------------------------------------------------------------------


def a_standing_row(index: int, *channels: str, mode: Mode = Mode.FULL) -> AssignedInstrument:
    row = row_of(resolved(a_subscription("s", [option_symbol(index)])), option_symbol(index))
    return replace(row, channels=channels or row.channels, mode=mode)


def test_without_a_dump_what_stands_in_a_table_is_known() -> None:
    tables = a_table(a_standing_row(0))

    found = resolved(a_subscription("s", [option_symbol(0), option_symbol(1)]), catalog=None, tables=tables)

    assert [wanted.row for wanted in found.wanted] == [a_standing_row(0)]
    (told,) = found.subscriptions[0].unresolved
    assert told.reason is UnresolvedReason.NO_INSTRUMENT_DUMP


def test_while_a_subscription_is_paused_nothing_is_added_for_it_and_nothing_taken_from_anybody() -> None:
    tables = a_table(a_standing_row(0, "ticker:old", "ticker:nifty:options"), a_standing_row(1))
    paused = a_subscription("p", [option_symbol(0), option_symbol(2)], paused=True, mode=Mode.LTP)

    found = resolved(paused, a_subscription("s", [option_symbol(3)]), tables=tables)

    assert [wanted.row.symbol for wanted in found.wanted] == [option_symbol(index) for index in (0, 1, 3)]
    kept = row_of(found, option_symbol(0))
    assert (kept.channels, kept.mode) == (("ticker:nifty:options", "ticker:old"), Mode.FULL)
    assert "ticker:old" in found.encodings


def test_a_new_days_token_replaces_the_old_one_in_place() -> None:
    tomorrow = a_catalog(0, an_option(0).replace("1000,", "7777,", 1))

    assert row_of(resolved(a_subscription("s", [option_symbol(0)]), catalog=tomorrow), option_symbol(0)).token == 7777
