"""Table writes: each line of the move table, room, revisions, collisions, and accounts that leave for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.pool import Pool, a_catalog, a_subscription, an_account, an_option, option_symbol
from ticker_crds import AssignedInstrument, Mode, Role
from ticker_crds.account import AccountState
from ticker_operator.model import (
    DeploymentFacts,
    Drain,
    Health,
    PodsView,
    ReplicaSetView,
    Step,
    TableView,
    UnassignedReason,
    Verdict,
)
from ticker_operator.planning import drain_state
from ticker_operator.planning.capacity import table_fits
from ticker_operator.planning.roles import Holder
from ticker_operator.planning.steps import AccountFacts, PoolFacts, next_steps

SYMBOL = option_symbol(0)
ROW = AssignedInstrument(1_000, "NFO", "NIFTY26NOV00000CE", Mode.FULL, ("ticker:nifty:options",))
DONE, NOT_YET = AccountFacts(acknowledged=True), AccountFacts()
UNCONFIRMED = AccountFacts(acknowledged=True, unconfirmed=frozenset({SYMBOL}))
LOST = AccountFacts(serves=False)
GONE = AccountFacts(acknowledged=True, gone=True, serves=False)
GAVE_UP = AccountFacts(past_barriers=True)
OWNER, INCOMING, SETTLING, OUTGOING = Role.OWNER, Role.INCOMING, Role.SETTLING, Role.OUTGOING


@pytest.mark.parametrize(
    ("at_d", "at_a", "facts_d", "facts_a", "expected"),
    [
        pytest.param(None, None, NOT_YET, DONE, [("D", OWNER)], id="1 nobody has it"),
        pytest.param(None, None, NOT_YET, replace(NOT_YET, unseen=True), [("D", SETTLING)], id="1s A may publish it"),
        pytest.param(None, OWNER, NOT_YET, DONE, [("D", INCOMING)], id="2 announced beside a healthy owner"),
        pytest.param(None, OWNER, NOT_YET, LOST, [("D", SETTLING)], id="2f taken over from a lost one"),
        pytest.param(INCOMING, OWNER, NOT_YET, LOST, [("D", SETTLING)], id="2f the owner is lost meanwhile"),
        pytest.param(INCOMING, OWNER, NOT_YET, DONE, [], id="3 waits for the feed"),
        pytest.param(INCOMING, OWNER, UNCONFIRMED, DONE, [], id="3 a listed instrument is not acknowledged"),
        pytest.param(INCOMING, OWNER, DONE, NOT_YET, [("D", SETTLING)], id="3 confirmed"),
        pytest.param(OUTGOING, SETTLING, NOT_YET, DONE, [("D", SETTLING)], id="4 it comes back"),
        pytest.param(OWNER, SETTLING, DONE, DONE, [("D", SETTLING)], id="5 turned round: it must rewrite in the end"),
        pytest.param(SETTLING, OWNER, NOT_YET, DONE, [], id="6 waits for the first value"),
        pytest.param(SETTLING, OWNER, UNCONFIRMED, DONE, [], id="6 no value of it was accepted"),
        pytest.param(SETTLING, OWNER, DONE, NOT_YET, [("A", OUTGOING)], id="6 Redis took its first value"),
        pytest.param(SETTLING, OUTGOING, DONE, NOT_YET, [], id="7 waits for the barrier"),
        pytest.param(SETTLING, OUTGOING, NOT_YET, DONE, [("D", OWNER)], id="7 the barrier was passed"),
        pytest.param(SETTLING, OUTGOING, NOT_YET, GAVE_UP, [("D", OWNER)], id="7 the barrier was passed, no more yet"),
        pytest.param(SETTLING, OWNER, GAVE_UP, DONE, [], id="6 a barrier is no first value"),
        pytest.param(OWNER, OUTGOING, GAVE_UP, DONE, [], id="8 a barrier is no rewrite"),
        pytest.param(SETTLING, None, DONE, replace(NOT_YET, unseen=True), [], id="7 A may still publish it"),
        pytest.param(SETTLING, None, DONE, DONE, [("D", OWNER)], id="7 nobody else may"),
        pytest.param(SETTLING, OUTGOING, DONE, GONE, [("A", None), ("D", OWNER)], id="7 A's last process is gone"),
        pytest.param(SETTLING, OWNER, DONE, GONE, [("A", None), ("D", OWNER)], id="7 a row of nobody does not wait"),
        pytest.param(OWNER, OUTGOING, NOT_YET, DONE, [], id="8 waits for the rewrite"),
        pytest.param(OWNER, OUTGOING, DONE, NOT_YET, [("A", None)], id="8 rewritten"),
        pytest.param(OWNER, INCOMING, DONE, DONE, [("A", None)], id="9 what never published just goes"),
        pytest.param(OWNER, None, DONE, DONE, [], id="at rest"),
    ],
)
def test_each_line_of_the_move_table(
    at_d: Role | None,
    at_a: Role | None,
    facts_d: AccountFacts,
    facts_a: AccountFacts,
    expected: list[tuple[str, Role | None]],
) -> None:
    holders = [Holder(name, ROW.in_role(role)) for name, role in (("D", at_d), ("A", at_a)) if role is not None]

    changes = next_steps(SYMBOL, "D", holders, PoolFacts.of({"D": facts_d, "A": facts_a}))

    assert [(change.account, change.role) for change in changes] == expected


@pytest.mark.parametrize(
    ("role", "facts", "goes"),
    [
        (OWNER, NOT_YET, True),
        (INCOMING, NOT_YET, True),
        (OUTGOING, NOT_YET, False),
        (OUTGOING, DONE, True),
        (OUTGOING, GAVE_UP, True),
    ],
)
def test_what_nobody_wants_goes_and_what_is_leaving_goes_after_its_barrier(
    role: Role, facts: AccountFacts, goes: bool
) -> None:
    changes = next_steps(SYMBOL, None, [Holder("A", ROW.in_role(role))], PoolFacts.of({"A": facts}))

    assert bool(changes) is goes


def a_pool(accounts: int = 2, instruments: int = 4, **fields: int) -> Pool:
    return Pool(
        [an_account(f"acc{index}", **fields) for index in range(accounts)],
        [a_subscription("s", [option_symbol(index) for index in range(instruments)])],
        options=instruments,
    )


def roles_of(pool: Pool, symbol: str) -> dict[str, Role]:
    return {
        name: row.role
        for name, view in sorted(pool.tables.items())
        for row in (view.table.instruments if view.table else ())
        if row.symbol == symbol
    }


def test_a_move_walks_through_all_its_roles() -> None:
    pool = a_pool()
    pool.settle()
    pool.change_account("acc0", state=AccountState.DRAINING)

    walked = [roles_of(pool, SYMBOL)]
    while pool.run_pass().writes:
        walked.append(roles_of(pool, SYMBOL))

    assert walked == [
        {"acc0": OWNER},
        {"acc0": OWNER, "acc1": INCOMING},
        {"acc0": OWNER, "acc1": SETTLING},
        {"acc0": OUTGOING, "acc1": SETTLING},
        {"acc0": OUTGOING, "acc1": OWNER},
        {"acc1": OWNER},
    ]


def test_equal_content_is_not_written_and_a_change_raises_the_revision_by_one() -> None:
    pool = a_pool()
    pool.settle()
    before = pool.shards["acc0"].revision_floor
    assert pool.run_pass().writes == ()

    pool.subscriptions["s"] = replace(pool.subscriptions["s"], mode=Mode.LTP)
    (first, second) = pool.run_pass().writes

    assert (first.table.account, second.table.account) == ("acc0", "acc1")
    assert first.table.revision == before + 1
    assert first.steps == {Step.UPDATE: 2}
    assert {row.mode for row in first.table.instruments} == {Mode.LTP}
    assert first.summary == f"revision {before + 1}: 2 update"


def test_an_account_without_instruments_gets_an_empty_table() -> None:
    pool = a_pool(accounts=3, instruments=1)

    writes = pool.run_pass().writes

    assert {write.table.account: len(write.table.instruments) for write in writes} == {"acc0": 1, "acc1": 0, "acc2": 0}


def test_a_table_below_what_the_shard_acted_upon_is_written_again_above_it() -> None:
    pool = a_pool()
    pool.settle()
    restored = pool.tables["acc0"].table
    assert restored is not None
    pool.shards["acc0"] = replace(pool.shards["acc0"], applied_revision=40)

    (write,) = pool.run_pass().writes

    assert write.table.revision == 41
    assert write.table.same_content(restored)


@pytest.mark.parametrize(
    ("above", "digest", "home"),
    [
        pytest.param(0, "", OWNER, id="the table as it lies there"),
        pytest.param(0, "sha256:other", SETTLING, id="another one of that revision"),
        pytest.param(-1, "", SETTLING, id="the one before"),
    ],
)
def test_a_barrier_counts_for_the_table_that_it_names(above: int, digest: str, home: Role) -> None:
    pool = a_pool()
    pool.settle()
    before = pool.shards["acc0"].report
    pool.change_account("acc0", state=AccountState.DRAINING)
    for _ in range(3):
        pool.run_pass()
    assert roles_of(pool, SYMBOL) == {"acc0": OUTGOING, "acc1": SETTLING}
    table = pool.tables["acc0"].table
    assert table is not None
    assert before is not None
    told = replace(before.acknowledged, barrier_revision=table.revision + above, barrier_digest=digest or table.digest)
    pool.shards["acc0"] = replace(pool.shards["acc0"], report=replace(before, acknowledged=told))

    pool.run_pass()

    assert roles_of(pool, SYMBOL)["acc1"] is home


def test_a_table_below_a_barrier_is_written_again_above_it() -> None:
    pool = a_pool()
    pool.settle()
    report = pool.shards["acc0"].report
    assert report is not None
    told = replace(report.acknowledged, barrier_revision=40, barrier_digest="sha256:lost")
    pool.shards["acc0"] = replace(pool.shards["acc0"], report=replace(report, acknowledged=told))

    (write,) = pool.run_pass().writes

    assert write.table.revision == 41


def test_a_table_edited_under_the_same_revision_is_replaced() -> None:
    pool = a_pool()
    pool.settle()
    stored = pool.tables["acc0"].table
    assert stored is not None
    edited = replace(stored, instruments=tuple(replace(row, lot_size=1) for row in stored.instruments))
    pool.tables["acc0"] = TableView("edited", edited)

    (write,) = pool.run_pass().writes

    assert (write.expected, write.table.revision) == ("edited", stored.revision + 1)
    assert write.table.same_content(stored)


def test_a_table_that_cannot_be_read_is_planned_anew() -> None:
    pool = a_pool(accounts=1)
    pool.settle()
    pool.tables["acc0"] = TableView("9", None, "header and rows do not belong together")

    (write,) = pool.run_pass().writes

    assert (write.expected, len(write.table.instruments)) == ("9", 4)
    assert write.table.revision == 2


def test_what_comes_waits_until_what_leaves_is_gone() -> None:
    pool = a_pool(instruments=4, instruments_per_socket=2)
    pool.settle()
    full = pool.tables["acc1"].table
    assert full is not None
    leaving = tuple(row.in_role(OUTGOING) for row in full.instruments)
    pool.store(replace(full, revision=9, instruments=leaving))
    pool.shards["acc1"] = replace(pool.shards["acc1"], report=None)
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(0), option_symbol(2), option_symbol(7)])
    pool.catalog = a_catalog(8)

    tables = pool.run_pass()

    assert pool.loads() == {"acc0": 2, "acc1": 2}
    (waiting,) = tables.waiting
    assert (waiting.symbol, waiting.reason) == (option_symbol(7), UnassignedReason.WAITING_FOR_ROOM)


def test_yesterdays_contract_gives_its_token_to_todays() -> None:
    pool = a_pool(accounts=1, instruments=2)
    pool.settle()
    table = pool.tables["acc0"].table
    assert table is not None
    leaving = replace(table.instruments[1], role=OUTGOING)
    pool.store(replace(table, revision=5, instruments=(table.instruments[0], leaving)))
    pool.shards["acc0"] = replace(pool.shards["acc0"], report=None)
    # The token 1001 belongs to another contract from today.
    pool.catalog = a_catalog(0, an_option(0), an_option(5).replace("1005,", "1001,", 1))
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(0), option_symbol(5)])

    pool.run_pass()

    assert pool.owners() == {option_symbol(0): "acc0", option_symbol(5): "acc0"}


def test_an_account_whose_shard_never_came_up_does_not_hold_up_the_others() -> None:
    pool = a_pool()
    pool.settle()
    pool.accounts["acc2"] = an_account("acc2")
    pool.verdicts["acc2"] = Verdict(Health.LOST, "gave no sign of life")  # so nothing is acknowledged there
    pool.catalog = a_catalog(9)
    pool.subscriptions["t"] = a_subscription("t", [option_symbol(8)])

    pool.settle()

    assert set(roles_of(pool, option_symbol(8)).values()) == {OWNER}


def test_what_was_just_taken_away_starts_beside_whoever_may_still_publish_it() -> None:
    pool = a_pool()
    pool.settle()
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(1, 4)])
    before = dict(pool.shards)
    pool.run_pass()
    pool.shards = before  # acc0 lost the row, but has not acknowledged that yet
    pool.change_account("acc0", state=AccountState.DRAINING)
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(4)])

    pool.run_pass()

    assert roles_of(pool, SYMBOL) == {"acc1": SETTLING}


def test_a_dead_accounts_instruments_stream_elsewhere_with_one_write() -> None:
    pool = a_pool()
    pool.settle()
    pool.verdicts["acc0"] = Verdict(Health.DEAD, "403")

    (write,) = pool.run_pass().writes

    assert (write.table.account, write.steps) == ("acc1", {Step.TAKE_OVER: 2})
    assert roles_of(pool, SYMBOL) == {"acc0": OWNER, "acc1": SETTLING}


def test_a_silent_accounts_rows_stay_until_it_or_its_last_process_is_heard_of() -> None:
    pool = a_pool()
    pool.settle()
    pool.verdicts["acc0"] = Verdict(Health.LOST)
    pool.settle()
    assert roles_of(pool, SYMBOL) == {"acc0": OUTGOING, "acc1": SETTLING}

    pool.change_account("acc0", deleting=True)
    pool.shards["acc0"] = replace(pool.shards["acc0"], pods=PodsView())
    pool.settle()

    assert roles_of(pool, SYMBOL) == {"acc1": OWNER}


BEFORE, AFTER = "2026-11-21T03:59:00Z", "2026-11-21T04:01:00Z"  # the pool's clock says four
GOING = PodsView(alive=2, ready=1, terminating=1, ends=AFTER)


@pytest.mark.parametrize(
    ("pods", "sockets", "written"),
    [
        pytest.param(GOING, (1, 2), False, id="socket by socket"),
        pytest.param(GOING, (2, 1), False, id="from two to one"),
        pytest.param(GOING, (2, 1, 1), True, id="long ago it had two"),
        pytest.param(GOING, (1,), True, id="one socket"),
        pytest.param(replace(GOING, ends=BEFORE), (2,), True, id="its node is lost: it goes for ever"),
        pytest.param(replace(GOING, alive=1), (2,), True, id="nobody is there to take over"),
        pytest.param(replace(GOING, terminating=0, ends=""), (2,), True, id="nobody goes"),
        pytest.param(None, (2,), True, id="not known"),
    ],
)
def test_an_account_gets_no_table_while_its_sockets_change_hands(
    pods: PodsView | None, sockets: tuple[int, ...], written: bool
) -> None:
    sets = tuple(ReplicaSetView(f"r{revision}", revision, sockets=number) for revision, number in enumerate(sockets))
    pool = a_pool(instruments=8)
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(4)])
    pool.settle()
    shard = replace(pool.shards["acc0"], pods=pods, deployment=DeploymentFacts(replica_sets=sets))
    pool.shards["acc0"] = shard
    pool.subscriptions["s"] = a_subscription("s", [option_symbol(index) for index in range(8)])

    accounts = {write.table.account for write in pool.run_pass().writes}

    assert accounts == ({"acc0", "acc1"} if written else {"acc1"})
    pool.shards["acc0"] = replace(shard, pods=PodsView(alive=1, ready=1))
    pool.settle()
    assert len(pool.owners()) == 8, "what had to wait is written afterwards"


def test_draining_is_told_step_by_step() -> None:
    pool = a_pool(instruments_per_socket=3)
    pool.settle()

    def state(**changes: object) -> Drain:
        account = replace(pool.accounts["acc0"], **changes)
        pool.accounts["acc0"] = account
        return drain_state(account, pool.snapshot(), plan=pool.planned(), verdict=pool.health()["acc0"])

    assert state() is Drain.NOT_DRAINING
    assert state(state=AccountState.SUSPENDED) is Drain.DRAINING
    pool.settle()
    assert state() is Drain.STUCK  # acc1 takes one of two, the other one has nowhere to go
    assert state(deleting=True) is Drain.DRAINING  # a deleted account goes on trying until its deadline
    assert state(drain_deadline_ns=0) is Drain.DEADLINE
    pool.change_account("acc1", instruments_per_socket=9)
    pool.settle()
    assert state() is Drain.DRAINED
    assert [entry.may_stop for entry in Drain] == [False, False, True, True, True]


def test_an_account_that_cannot_stream_has_nothing_to_give_away_in_peace() -> None:
    pool = a_pool(accounts=1)
    pool.settle()
    pool.change_account("acc0", deleting=True)

    dead = drain_state(pool.accounts["acc0"], pool.snapshot(), plan=pool.planned(), verdict=Verdict(Health.DEAD))

    assert dead is Drain.DRAINED


def test_a_full_account_fits_into_its_table() -> None:
    pool = a_pool(accounts=1, instruments=9_000, sockets=3)

    (write,) = pool.run_pass().writes

    assert len(write.table.instruments) == 9_000
    assert table_fits(write.table)
