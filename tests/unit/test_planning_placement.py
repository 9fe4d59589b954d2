"""Where instruments go: round robin at first, then only what must move, never more than fits, in any order."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pool import Pool, a_subscription, an_account, option_symbol, symbols_by_account
from ticker_crds.account import AccountState
from ticker_crds.constants import Reason
from ticker_crds.subscription import AccountSelector
from ticker_operator.model import (
    Health,
    MoveReason,
    Refusal,
    Strategy,
    UnassignedReason,
    Verdict,
)
from ticker_operator.planning import next_tables, plan
from ticker_operator.planning.capacity import fair_shares

DEAD = Verdict(Health.DEAD, "the broker refused the token")


def a_pool(accounts: int, instruments: int, *, per_account: int = 3_000) -> Pool:
    return Pool(
        [an_account(f"acc{index}", instruments_per_socket=per_account) for index in range(accounts)],
        [a_subscription("s", [option_symbol(index) for index in range(instruments)])],
        options=instruments,
    )


# -- first placement ----------------------------------------------------------------------------------------------


@given(accounts=st.integers(1, 7), instruments=st.integers(0, 60))
def test_first_placement_is_the_original_rule(accounts: int, instruments: int) -> None:
    pool = a_pool(accounts, instruments)

    placed = pool.planned().placement

    ordered = sorted(placed)
    assert len(ordered) == instruments
    assert [placed[identity] for identity in ordered] == [f"acc{index % accounts}" for index in range(instruments)]


def test_full_accounts_are_skipped_cyclically() -> None:
    pool = a_pool(3, 9)
    pool.change_account("acc1", instruments_per_socket=1)

    placed = symbols_by_account(pool.planned().placement)

    assert {name: len(symbols) for name, symbols in placed.items()} == {"acc0": 3, "acc1": 1, "acc2": 5}
    # Positions 4 and 7 belong to acc1, which is full: the next in the cycle takes them.
    assert option_symbol(4) in placed["acc2"]
    assert option_symbol(7) in placed["acc2"]


@given(seed=st.integers(0, 10_000), accounts=st.integers(1, 5), instruments=st.integers(1, 40))
def test_the_order_in_which_things_are_handed_in_makes_no_difference(
    seed: int, accounts: int, instruments: int
) -> None:
    pool = a_pool(accounts, instruments, per_account=15)
    pool.subscriptions["t"] = a_subscription(
        "t", [option_symbol(index) for index in range(0, instruments, 3)], priority=5
    )
    chance = random.Random(seed)
    expected = pool.planned()

    for held in (pool.accounts, pool.subscriptions):
        items = list(held.items())
        chance.shuffle(items)
        held.clear()
        held.update(items)
    shuffled = pool.planned()

    assert shuffled == expected


def test_full_strategy_recomputes_from_nothing() -> None:
    pool = a_pool(2, 10)
    pool.settle()
    pool.strategy = Strategy.FULL
    pool.accounts["acc2"] = an_account("acc2")

    moved = pool.planned()

    assert [moved.placement[identity] for identity in sorted(moved.placement)] == [
        f"acc{index % 3}" for index in range(10)
    ]
    assert {move.reason for move in moved.moves} == {MoveReason.RECOMPUTED}


# -- capacity and priority ----------------------------------------------------------------------------------------


@given(
    capacities=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    sizes=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    priorities=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
)
def test_nobody_gets_more_than_fits_and_the_highest_priorities_get_it(
    capacities: list[int], sizes: list[int], priorities: list[int]
) -> None:
    total = sum(sizes)
    subscriptions, start = [], 0
    for index, size in enumerate(sizes):
        symbols = [option_symbol(position) for position in range(start, start + size)]
        subscriptions.append(a_subscription(f"s{index}", symbols, priority=priorities[index]))
        start += size
    accounts = [an_account(f"acc{index}", instruments_per_socket=fits) for index, fits in enumerate(capacities)]
    pool = Pool(accounts, subscriptions, options=total)

    decided = pool.planned()

    loads = Counter(decided.placement.values())
    assert all(loads[account.name] <= account.capacity for account in accounts)
    assert len(decided.placement) == min(total, sum(capacities))
    assert len(decided.unassigned) == total - len(decided.placement)
    ranks = {wanted.row.symbol: wanted.priority for wanted in pool.resolved().wanted}
    left_out = [ranks[entry.symbol] for entry in decided.unassigned]
    placed = [ranks[f"{exchange}:{name}"] for exchange, name, _ in decided.placement]
    assert not left_out or not placed or max(left_out) <= min(placed)


def test_what_does_not_fit_is_named_with_both_numbers() -> None:
    pool = a_pool(2, 7, per_account=2)

    decided = pool.planned()

    assert [entry.reason for entry in decided.unassigned] == [UnassignedReason.CAPACITY_EXCEEDED] * 3
    assert decided.unassigned[0].message == (
        "7 instruments are wanted, 4 fit on the accounts that can take some, 3 are left over: add an account or raise "
        "sockets"
    )


def test_a_higher_priority_displaces_the_lowest_and_the_last() -> None:
    pool = a_pool(2, 4, per_account=2)
    pool.settle()
    pool.catalog = Pool([], [], options=6).catalog
    pool.subscriptions["urgent"] = a_subscription("urgent", [option_symbol(5)], priority=10)

    decided = pool.planned()
    pool.settle()

    assert [entry.symbol for entry in decided.unassigned] == [option_symbol(3)]
    assert option_symbol(5) in pool.owners()
    assert option_symbol(3) not in pool.owners()


def test_a_smaller_account_gives_away_its_surplus_first_the_least_important() -> None:
    pool = a_pool(2, 8, per_account=6)
    pool.subscriptions["low"] = a_subscription("low", [option_symbol(0)], priority=-1)
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(1, 8)], created="0")
    pool.settle()
    assert pool.owners()[option_symbol(0)] == "acc0"

    pool.change_account("acc0", instruments_per_socket=3)
    moves = pool.planned().moves

    assert [(move.symbol, move.reason) for move in moves] == [(option_symbol(0), MoveReason.CAPACITY)]


def test_an_account_never_gets_a_65th_channel() -> None:
    subscriptions = [
        a_subscription(f"s{index:02d}", [option_symbol(index)], channel=f"c{index}") for index in range(70)
    ]
    pool = Pool([an_account("acc0")], subscriptions, options=70)

    decided = pool.planned()

    assert len(decided.placement) == 64
    assert {entry.reason for entry in decided.unassigned} == {UnassignedReason.TOO_MANY_CHANNELS}


# -- staying ------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(accounts=st.integers(1, 5), instruments=st.integers(1, 40), removed=st.integers(0, 39), added=st.integers(0, 10))
def test_a_changed_subscription_moves_nothing(accounts: int, instruments: int, removed: int, added: int) -> None:
    pool = a_pool(accounts, instruments + added)
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(instruments)])
    pool.moves_max = 0
    pool.settle()
    before = pool.owners()

    kept = [option_symbol(index) for index in range(instruments + added) if index != removed]
    pool.subscriptions["s"] = a_subscription("s", kept)
    pool.settle()

    after = pool.owners()
    assert sorted(after) == sorted(kept)
    assert {symbol: after[symbol] for symbol in after if symbol in before} == {
        symbol: place for symbol, place in before.items() if symbol in after
    }


def test_a_lost_table_is_planned_again_where_it_was_with_a_higher_revision() -> None:
    pool = a_pool(3, 30)
    pool.settle()
    pool.change_account("acc0", state=AccountState.DRAINING)
    pool.settle()
    pool.change_account("acc0", state=AccountState.ACTIVE)
    pool.moves_max = 0
    before, revision = pool.owners(), pool.shards["acc1"].revision_floor
    remembered = dict(pool.planned().placement)
    lost = pool.tables.pop("acc1")
    assert lost.table is not None

    snapshot = replace(pool.snapshot(), remembered=remembered)
    resolution = pool.resolved()
    decided = plan(snapshot, resolution=resolution, verdicts=pool.health(), moves_max=0)
    (write,) = next_tables(snapshot, resolution=resolution, plan=decided, verdicts=pool.health()).writes

    assert write.table.account == "acc1"
    assert write.expected is None
    assert write.table.revision > revision
    assert {row.symbol for row in write.table.instruments} == {s for s, place in before.items() if place == "acc1"}


def test_a_new_account_takes_its_share_and_not_one_more() -> None:
    pool = a_pool(2, 300)
    pool.settle()
    before = pool.owners()

    pool.accounts["acc2"] = an_account("acc2")
    decided = pool.planned()
    pool.settle()

    assert len(decided.moves) == 100
    assert {move.reason for move in decided.moves} == {MoveReason.BALANCE}
    assert pool.loads() == {"acc0": 100, "acc1": 100, "acc2": 100}
    assert sum(pool.owners()[symbol] != place for symbol, place in before.items()) == 100


@settings(deadline=None)
@given(
    accounts=st.integers(1, 5),
    added=st.integers(1, 3),
    instruments=st.integers(0, 60),
    capacity=st.integers(5, 40),
    moves_max=st.integers(0, 50),
)
def test_balance_takes_the_fewest_moves_and_comes_to_rest(
    accounts: int, added: int, instruments: int, capacity: int, moves_max: int
) -> None:
    pool = a_pool(accounts, instruments, per_account=capacity)
    pool.settle()
    loads = {**dict.fromkeys([f"acc{index}" for index in range(accounts + added)], 0), **pool.loads()}
    for index in range(accounts, accounts + added):
        pool.accounts[f"acc{index}"] = an_account(f"acc{index}", instruments_per_socket=capacity)
    shares = fair_shares(dict.fromkeys(loads, capacity), loads=loads)
    lacking = sum(max(0, shares[name] - loads[name]) for name in loads)

    pool.moves_max = moves_max
    decided = pool.planned()

    balance = [move for move in decided.moves if move.reason is MoveReason.BALANCE]
    assert len(balance) <= min(lacking, moves_max)
    # What found no place before is placed now and fills the new accounts without any move.
    if len(pool.owners()) == instruments:
        underfilled = [name for name in loads if loads[name] * 10 < shares[name] * 9]
        assert len(balance) + decided.balance_left == sum(shares[name] - loads[name] for name in underfilled)
    pool.moves_max = 1_000
    pool.settle()
    assert not pool.planned().moves


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1),
)
def test_fair_shares_are_as_even_as_capacities_allow(pool: dict[str, tuple[int, int]]) -> None:
    capacities = {name: capacity for name, (capacity, _) in pool.items()}
    loads = {name: min(load, capacity) for name, (capacity, load) in pool.items()}

    shares = fair_shares(capacities, loads=loads)

    assert sum(shares.values()) == sum(loads.values())
    assert all(0 <= shares[name] <= capacities[name] for name in shares)
    with_room = [shares[name] for name in shares if shares[name] < capacities[name]]
    assert not with_room or max(with_room) - min(with_room) <= 1
    assert not with_room or max(shares.values()) <= max(with_room) + 1


# -- leaving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"state": AccountState.DRAINING}, MoveReason.ACCOUNT_DRAINING),
        ({"state": AccountState.SUSPENDED}, MoveReason.ACCOUNT_SUSPENDED),
        ({"deleting": True}, MoveReason.ACCOUNT_DELETED),
    ],
)
def test_a_leaving_account_gives_everything_away_and_nothing_else_moves(
    change: dict[str, object], reason: MoveReason
) -> None:
    pool = a_pool(3, 30)
    pool.settle()
    before = pool.owners()

    pool.change_account("acc1", **change)
    moves = pool.planned().moves
    pool.settle()

    assert {move.symbol for move in moves} == {symbol for symbol, place in before.items() if place == "acc1"}
    assert {move.reason for move in moves} == {reason}
    assert pool.loads() == {"acc0": 15, "acc1": 0, "acc2": 15}


def test_a_dead_account_gives_away_the_most_important_first_and_keeps_what_nobody_can_take() -> None:
    pool = a_pool(2, 6, per_account=4)
    pool.subscriptions["vital"] = a_subscription("vital", [option_symbol(4)], priority=10)
    pool.settle()
    pool.verdicts["acc0"] = DEAD

    decided = pool.planned()

    assert [move.symbol for move in decided.moves] == [option_symbol(4)]
    stranded = [entry for entry in decided.unassigned if entry.reason is UnassignedReason.STRANDED]
    assert [entry.symbol for entry in stranded] == [option_symbol(0), option_symbol(2)]
    assert {entry.account for entry in stranded} == {"acc0"}
    assert "the broker refused the token" in stranded[0].message


def test_what_a_draining_account_cannot_give_away_streams_on_there() -> None:
    pool = a_pool(2, 6, per_account=3)
    pool.settle()
    pool.change_account("acc0", state=AccountState.DRAINING)

    decided = pool.planned()

    assert decided.moves == ()
    assert decided.unassigned == ()
    assert Counter(decided.placement.values()) == {"acc0": 3, "acc1": 3}


def test_an_account_that_came_back_gets_nothing_new_for_a_while_unless_nobody_else_has_room() -> None:
    pool = a_pool(2, 4, per_account=4)
    pool.verdicts["acc0"] = Verdict(Health.ALIVE, hold_until_ns=1)

    assert set(pool.planned().placement.values()) == {"acc1"}

    pool.change_account("acc1", instruments_per_socket=1)
    assert Counter(pool.planned().placement.values()) == {"acc1": 1, "acc0": 3}


def test_nothing_is_balanced_while_the_observer_is_in_doubt() -> None:
    pool = a_pool(2, 20)
    pool.settle()
    pool.accounts["acc2"] = an_account("acc2")
    pool.verdicts["acc0"] = Verdict(Health.HELD)

    assert pool.planned().moves == ()


def test_a_paused_account_keeps_what_it_has_and_gets_nothing() -> None:
    pool = a_pool(2, 10)
    pool.settle()
    pool.change_account("acc0", paused=True)
    pool.verdicts["acc0"] = DEAD
    pool.catalog = Pool([], [], options=20).catalog
    pool.subscriptions["more"] = a_subscription("more", [option_symbol(index) for index in range(10, 20)])
    revision = pool.shards["acc0"].revision_floor

    pool.settle()

    assert pool.loads() == {"acc0": 5, "acc1": 15}
    table = pool.tables["acc0"].table
    assert table is not None
    assert table.revision == revision


# -- selectors ----------------------------------------------------------------------------------------------------


def test_a_selector_keeps_instruments_on_its_accounts_in_turn() -> None:
    gold = AccountSelector(match_labels={"tier": "gold"})
    accounts = [an_account(f"acc{index}", labels={"tier": "gold" if index < 2 else "base"}) for index in range(4)]
    symbols = [option_symbol(index) for index in range(8)]
    pool = Pool(accounts, [a_subscription("s", symbols, account_selector=gold)], options=8)

    assert Counter(pool.planned().placement.values()) == {"acc0": 4, "acc1": 4}


def test_a_changed_label_moves_what_may_not_stay() -> None:
    gold = AccountSelector(match_labels={"tier": "gold"})
    accounts = [an_account(f"acc{index}", labels={"tier": "gold"}) for index in range(2)]
    pool = Pool(accounts, [a_subscription("s", [option_symbol(0)], account_selector=gold)], options=1)
    pool.settle()

    pool.change_account("acc0", labels={"tier": "base"})
    moves = pool.planned().moves

    assert [(move.origin, move.destination, move.reason) for move in moves] == [("acc0", "acc1", MoveReason.SELECTOR)]


def test_without_any_usable_account_the_cause_of_each_is_told() -> None:
    pool = a_pool(2, 1)
    refusal = Refusal(Reason.SECRET_MISSING, "Secret acc0-token does not exist")
    pool.change_account("acc0", refusal=refusal)
    pool.change_account("acc1", state=AccountState.DRAINING)
    pool.verdicts["acc0"] = Verdict(Health.UNUSABLE, refusal.message)

    (entry,) = pool.planned().unassigned

    assert entry.reason is UnassignedReason.NO_ACCOUNT
    assert entry.message == "no account can take it (acc0: Secret acc0-token does not exist; acc1: draining)"
