"""What people read of accounts and shards: ready or the first reason why not, and events; each told only once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.pool import Pool, a_subscription, option_symbol
from tests.support.statuses import (
    CONFIRMED,
    a_pool,
    account_of,
    condition,
    kill,
    report,
    shard_of,
    silence,
    subscription_of,
)
from ticker_crds import Mode
from ticker_crds.account import AccountState, KiteAccount
from ticker_crds.constants import Condition, Kind, Reason
from ticker_crds.shard import TickerShard
from ticker_crds.subscription import TickerSubscription
from ticker_operator.desired.rollout import Rollout, RolloutDecision
from ticker_operator.desired.status import differs
from ticker_operator.model import ConditionView, DeploymentFacts, Drain, Health, Refusal, ShardView, Verdict

# -- ready --------------------------------------------------------------------------------------------------------


def test_a_shard_that_streams_is_ready_and_so_is_its_account() -> None:
    pool = a_pool()

    for write in (shard_of(pool), account_of(pool)):
        assert condition(write, Condition.READY) == (
            "True",
            "Streaming",
            "all 2 instruments are confirmed and published",
        )
        assert write.status["assigned"] == 2
        assert write.status["capacity"] == 3_000


def suspend(pool: Pool) -> None:
    pool.change_account("acc0", state=AccountState.SUSPENDED)


def refuse(pool: Pool) -> None:
    pool.change_account("acc0", refusal=Refusal(Reason.SECRET_MISSING, "Secret acc0-token does not exist"))
    pool.verdicts["acc0"] = Verdict(Health.UNUSABLE, "Secret acc0-token does not exist")


def mute(pool: Pool) -> None:
    report(pool, Condition.STREAMING, "False", Reason.FEED_MUTE, "heartbeats and no ticks")
    pool.verdicts["acc0"] = Verdict(Health.DEAD, "its sockets bring nothing")


def stand_still(pool: Pool) -> None:
    report(pool, Condition.STREAMING, "False", Reason.FEED_MUTE, "heartbeats and no ticks")
    pool.verdicts["acc0"] = Verdict(Health.HELD, "the feeds of 2 of 2 accounts are mute at once")


def blank(pool: Pool) -> None:
    pool.shards["acc0"] = ShardView("acc0", exists=True)
    pool.verdicts["acc0"] = Verdict(Health.STARTING)


def disconnect(pool: Pool) -> None:
    report(pool, Condition.CONNECTED, "False", Reason.RATE_LIMITED, "the broker answered 429; next try in 40 s")


def confirm_late(pool: Pool) -> None:
    report(pool, Condition.STREAMING, "False", Reason.CONFIRMING, "1 of 2 instruments confirmed")


def write_newer_table(pool: Pool) -> None:
    view = pool.tables["acc0"]
    assert view.table is not None
    pool.tables["acc0"] = replace(view, table=replace(view.table, revision=9))


@pytest.mark.parametrize(
    ("happens", "status", "reason", "said"),
    [
        (suspend, "False", "Suspended", "set state: Active"),
        (refuse, "False", "SecretMissing", "does not exist"),
        (kill, "False", "TokenRejected", "403"),
        (silence, "Unknown", "ShardSilent", "more than 5 s"),
        (mute, "False", "FeedMute", "its sockets bring nothing"),
        (stand_still, "False", "FeedMute", "heartbeats and no ticks"),
        (blank, "False", "Starting", "no report from its shard yet"),
        (disconnect, "False", "RateLimited", "429"),
        (confirm_late, "False", "Confirming", "1 of 2"),
        (write_newer_table, "False", "Confirming", "table revision 9 is written, revision 1 acknowledged"),
    ],
)
def test_the_first_reason_why_it_does_not_stream(happens: Any, status: str, reason: str, said: str) -> None:
    pool = a_pool()
    happens(pool)

    for write in (shard_of(pool), account_of(pool)):
        found = condition(write, Condition.READY)
        assert found[:2] == (status, reason)
        assert said in found[2]


def test_an_account_without_instruments_is_ready() -> None:
    pool = a_pool(instruments=0)

    assert condition(shard_of(pool), Condition.READY)[:2] == ("True", "NothingAssigned")


def test_a_reason_nobody_knows_is_not_passed_on_as_ours() -> None:
    pool = a_pool()
    report(pool, Condition.CONNECTED, "False", Reason.UNKNOWN)
    shard = pool.shards["acc0"]
    assert shard.report is not None
    told = {**shard.report.conditions, "Connected": ConditionView("Connected", "False", "Invented", "?")}
    pool.shards["acc0"] = replace(shard, report=replace(shard.report, conditions=told))

    assert condition(shard_of(pool), Condition.READY)[1] == "Unknown"


# -- the shard's and the account's other conditions ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "progressing", "rolled_back"),
    [
        (CONFIRMED, ("False", "Current"), "False"),
        (RolloutDecision(Rollout.APPLY, "release b replaces a"), ("True", "RollingOut"), "False"),
        (RolloutDecision(Rollout.HEAL, "somebody edited x", drift=("x",)), ("True", "DriftHealed"), "False"),
        (RolloutDecision(Rollout.QUEUE, "release b waits"), ("True", "WaitingForOtherShard"), "False"),
        (RolloutDecision(Rollout.HOLD, "release b was rolled back to a"), ("False", "RolledBack"), "True"),
        (RolloutDecision(Rollout.PAUSED, "paused"), ("False", "Paused"), "False"),
        (None, ("False", "Paused"), "False"),
    ],
)
def test_a_roll_out_is_shown(decision: RolloutDecision | None, progressing: tuple[str, str], rolled_back: str) -> None:
    write = shard_of(a_pool(), decision)

    assert condition(write, Condition.PROGRESSING)[:2] == progressing
    assert condition(write, Condition.ROLLED_BACK)[0] == rolled_back


def test_a_stalled_roll_out_is_shown() -> None:
    pool = a_pool()
    live = DeploymentFacts(progressing_reason="ProgressDeadlineExceeded", progressing_message="timed out")
    pool.shards["acc0"] = replace(pool.shards["acc0"], deployment=live)

    assert condition(shard_of(pool), Condition.PROGRESSING)[:2] == ("False", "Stalled")


def test_zero_gap_says_so_where_there_is_no_spare_socket() -> None:
    pool = a_pool()
    assert condition(shard_of(pool), Condition.ZERO_GAP)[:2] == ("True", "Surge")

    pool.change_account("acc0", sockets=2)
    status, reason, message = condition(shard_of(pool), Condition.ZERO_GAP)
    assert (status, reason) == ("True", "Surge")
    assert "socket by socket" in message

    pool.change_account("acc0", sockets=3)
    assert condition(shard_of(pool), Condition.ZERO_GAP)[:2] == ("False", "NoSpareSocket")


def test_more_than_fits_is_told_with_both_numbers() -> None:
    pool = a_pool()
    pool.change_account("acc0", instruments_per_socket=1)

    status, reason, message = condition(shard_of(pool), Condition.CAPACITY_EXCEEDED)

    assert (status, reason) == ("True", "CapacityExceeded")
    assert "2 instruments are assigned, 1 fit on 1 socket(s)" in message


@pytest.mark.parametrize(
    ("drain", "expected"),
    [
        (Drain.NOT_DRAINING, ("False", "NotDraining")),
        (Drain.DRAINING, ("True", "Draining")),
        (Drain.STUCK, ("True", "CapacityExceeded")),
        (Drain.DRAINED, ("False", "Drained")),
        (Drain.DEADLINE, ("False", "DrainDeadline")),
    ],
)
def test_draining_is_shown(drain: Drain, expected: tuple[str, str]) -> None:
    assert condition(account_of(a_pool(), drain=drain), Condition.DRAINING)[:2] == expected


def test_what_a_silent_shard_said_last_is_not_known_any_more() -> None:
    pool = a_pool()
    silence(pool)

    write = account_of(pool)

    assert condition(write, Condition.CONNECTED)[:2] == ("Unknown", "ShardSilent")
    assert condition(write, Condition.CREDENTIALS_VALID)[:2] == ("Unknown", "ShardSilent")


def test_the_image_of_the_live_pod_is_shown() -> None:
    pool = a_pool()
    template = {"spec": {"containers": [{"name": "proxy", "image": "x"}, {"name": "shard", "image": "tickershard:2"}]}}
    pool.shards["acc0"] = replace(pool.shards["acc0"], deployment=DeploymentFacts(template=template))

    assert shard_of(pool).status["image"] == "tickershard:2"


# -- writing and telling ------------------------------------------------------------------------------------------


def test_only_what_changed_beside_times_is_written() -> None:
    pool = a_pool()
    first = account_of(pool)
    later = [{**entry, "lastTransitionTime": "2027-01-01T00:00:00Z"} for entry in first.status["conditions"]]

    assert not differs(first.status, {**first.status, "conditions": later})
    assert differs(first.status, {})
    assert differs({**first.status, "assigned": 3}, first.status)
    assert differs(first.status, {**first.status, "shardRef": {"name": "gone"}, "tokenIssuedAt": "x"})


def test_what_other_managers_wrote_into_a_shards_status_is_not_compared() -> None:
    write = shard_of(a_pool())
    foreign = {"type": "Streaming", "status": "True", "reason": "Streaming", "message": "x"}
    theirs = {
        "acknowledged": {"revision": 1},
        "confirmed": 2,
        "sockets": "1/1",
        "epoch": 5,
        "rollout": {"applied": "r"},
    }

    assert not differs(write.status, {**write.status, **theirs, "conditions": [*write.status["conditions"], foreign]})


def test_a_transition_is_told_once() -> None:
    pool = a_pool()
    before = dict(account_of(pool).status)
    kill(pool)

    told = account_of(pool, previous=before)
    again = account_of(pool, previous=dict(told.status))

    assert [(event.reason, event.warning) for event in told.events if event.reason is Reason.TOKEN_REJECTED] == [
        (Reason.TOKEN_REJECTED, True)
    ]
    assert [event for event in again.events if event.reason is not Reason.MOVED] == []


def test_moves_are_told_with_their_number_destination_and_cause() -> None:
    pool = a_pool()
    kill(pool)

    (moved,) = [event for event in account_of(pool).events if event.reason is Reason.MOVED]

    assert (moved.message, moved.warning) == ("2 instruments move to acc1: AccountDead", True)
    assert (moved.kind, moved.name) == (Kind.ACCOUNT, "acc0")


def test_transition_times_are_carried_on() -> None:
    pool = a_pool()
    first = account_of(pool)
    old = [{**entry, "lastTransitionTime": "2020-01-01T00:00:00Z"} for entry in first.status["conditions"]]

    again = account_of(pool, previous={**first.status, "conditions": old})

    assert {entry["lastTransitionTime"] for entry in again.status["conditions"]} == {"2020-01-01T00:00:00Z"}


@pytest.mark.parametrize("kind", [KiteAccount, TickerSubscription, TickerShard])
def test_every_status_is_one_that_the_schema_takes(kind: Any) -> None:
    pool = a_pool()
    pool.subscriptions["s"] = a_subscription("s", ["NFO:NONE", option_symbol(1)], mode=Mode.LTP)
    write = {KiteAccount: account_of, TickerSubscription: subscription_of, TickerShard: shard_of}[kind](pool)
    spec = {
        KiteAccount: {"credentialsRef": {"name": "x"}},
        TickerSubscription: {"instruments": [{"symbol": "NSE:INFY"}]},
        TickerShard: {"accountRef": {"name": "acc0"}},
    }[kind]

    read = kind.from_manifest({"metadata": {"name": "x"}, "spec": spec, "status": dict(write.status)})

    assert read.status_faults == ()
    assert {entry["type"] for entry in write.status["conditions"]} <= {entry.value for entry in kind.conditions_used}
