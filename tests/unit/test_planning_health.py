"""Who can stream: dead by its own word at once, silent by our clock but not too soon, and who is blind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.support.pool import an_account
from ticker_crds.account import AccountState
from ticker_crds.constants import Reason
from ticker_operator.model import (
    AccountView,
    ConditionView,
    Health,
    PodsView,
    PoolSnapshot,
    Refusal,
    ShardReport,
    ShardView,
    Signs,
    Verdict,
)
from ticker_operator.planning import FailoverLimits, MoveBudget, judge_accounts, next_deadline_ns
from ticker_operator.planning.budget import MINUTE_NS
from ticker_operator.planning.failover import SECOND_NS

LIMITS = FailoverLimits()
NOW = 1_000 * SECOND_NS
NAMES = ("acc1", "acc2", "acc3")


def a_report(credentials: str = "True", connected: str = "True") -> ShardReport:
    return ShardReport(
        conditions={
            "CredentialsValid": ConditionView("CredentialsValid", credentials, "TokenRejected", "the broker said 403"),
            "Connected": ConditionView("Connected", connected, "Connected"),
        }
    )


def a_mute_report(reason: str = "FeedMute") -> ShardReport:
    report = a_report()
    streaming = ConditionView("Streaming", "False", reason, "heartbeats and no ticks")
    return replace(report, conditions={**report.conditions, "Streaming": streaming})


def a_view(name: str, *, quiet_s: float | None = 1, report: ShardReport | None = None, **fields: object) -> ShardView:
    signs = Signs(NOW - 900 * SECOND_NS, None if quiet_s is None else NOW - round(quiet_s * SECOND_NS))
    view = ShardView(name, exists=True, report=report or a_report(), signs=signs)
    return replace(view, **fields)


def health(
    shards: Mapping[str, ShardView],
    *,
    accounts: tuple[AccountView, ...] = tuple(map(an_account, NAMES)),
    previous: Mapping[str, Verdict] | None = None,
    now_ns: int = NOW,
) -> dict[str, Verdict]:
    every = {name: a_view(name) for name in NAMES} | dict(shards)
    snapshot = PoolSnapshot(accounts=accounts, shards=every, now_ns=now_ns)
    return judge_accounts(snapshot, limits=LIMITS, previous=previous or {})


def judged(view: ShardView, **changes: object) -> Verdict:
    return health({"acc1": view}, **changes)["acc1"]  # type: ignore[arg-type]


def test_a_shard_that_renews_its_lease_is_alive() -> None:
    assert judged(a_view("acc1", quiet_s=4.9)).health is Health.ALIVE


def test_silence_is_marked_after_five_seconds_and_moves_after_fifteen() -> None:
    assert judged(a_view("acc1", quiet_s=5)).health is Health.SILENT
    assert judged(a_view("acc1", quiet_s=14.9)).health is Health.SILENT
    assert judged(a_view("acc1", quiet_s=15)).health is Health.LOST


def test_a_refused_token_is_believed_at_once() -> None:
    verdict = judged(a_view("acc1", report=a_report("False", "False")))

    assert (verdict.health, verdict.message) == (Health.DEAD, "the broker said 403")


def test_an_account_that_says_its_feed_is_mute_is_believed_while_most_others_stream() -> None:
    verdicts = health({"acc1": a_view("acc1", report=a_mute_report())})

    assert [verdicts[name].health for name in NAMES] == [Health.DEAD, Health.ALIVE, Health.ALIVE]
    assert "bring nothing" in verdicts["acc1"].message


def test_a_feed_that_still_waits_for_packets_is_not_mute() -> None:
    assert judged(a_view("acc1", report=a_mute_report("Confirming"))).health is Health.ALIVE


def test_when_most_feeds_are_mute_at_once_the_market_stands_still_and_nothing_moves() -> None:
    mute = a_mute_report()

    two = health({"acc1": a_view("acc1", report=mute), "acc2": a_view("acc2", report=mute)})
    alone = health({"acc1": a_view("acc1", report=mute)}, accounts=(an_account("acc1"),))
    one_of_two = health({"acc1": a_view("acc1", report=mute)}, accounts=(an_account("acc1"), an_account("acc2")))

    assert [two[name].health for name in NAMES] == [Health.HELD, Health.HELD, Health.ALIVE]
    assert "2 of 3 accounts are mute at once" in two["acc1"].message
    assert alone["acc1"].health is Health.HELD, "there is nobody to move to"
    assert one_of_two["acc1"].health is Health.DEAD


def test_a_mute_account_that_falls_silent_is_judged_by_its_silence() -> None:
    assert judged(a_view("acc1", quiet_s=16, report=a_mute_report())).health is Health.LOST


def test_an_account_whose_feed_was_mute_is_given_nothing_new_for_a_while() -> None:
    dead = health({"acc1": a_view("acc1", report=a_mute_report())})

    back = health({}, previous=dead)["acc1"]

    assert back.health is Health.ALIVE
    assert back.hold_until_ns == NOW + LIMITS.hold_down_ns


def test_a_missing_secret_does_not_kill_an_open_socket() -> None:
    refused = an_account("acc1", refusal=Refusal(Reason.SECRET_MISSING, "Secret gone"))
    accounts = (refused, an_account("acc2"), an_account("acc3"))

    streams_on = judged(a_view("acc1", report=a_report("False", "True")), accounts=accounts)
    starts_never = judged(ShardView("acc1"), accounts=accounts)

    assert streams_on.health is Health.ALIVE
    assert (starts_never.health, starts_never.message) == (Health.UNUSABLE, "Secret gone")


def test_a_new_shard_may_take_its_time() -> None:
    new = ShardView("acc1", signs=Signs(NOW - 60 * SECOND_NS))
    late = ShardView("acc1", signs=Signs(NOW - 180 * SECOND_NS))

    assert judged(new).health is Health.STARTING
    assert judged(late).health is Health.LOST


def test_a_restarted_operator_waits_before_it_calls_a_known_shard_silent() -> None:
    known = a_view("acc1", quiet_s=None, signs=Signs(first_seen_ns=NOW - 4 * SECOND_NS))

    assert judged(known).health is Health.ALIVE
    assert judged(replace(known, signs=Signs(first_seen_ns=NOW - 6 * SECOND_NS))).health is Health.SILENT


def test_when_most_are_silent_at_once_nothing_moves() -> None:
    verdicts = health({"acc1": a_view("acc1", quiet_s=40), "acc2": a_view("acc2", quiet_s=6)})

    assert [verdicts[name].health for name in NAMES] == [Health.HELD, Health.SILENT, Health.ALIVE]
    assert "2 of 3 shards are silent at once" in verdicts["acc1"].message


def test_a_dead_account_speaks_and_so_does_not_count_among_those_we_should_hear() -> None:
    silent, dead = a_view("acc1", quiet_s=40), a_report("False", "False")

    one_dead = health({"acc1": silent, "acc2": a_view("acc2", report=dead)})
    two_dead = health({"acc1": silent, "acc2": a_view("acc2", report=dead), "acc3": a_view("acc3", report=dead)})

    assert one_dead["acc1"].health is Health.LOST  # one of two
    assert two_dead["acc1"].health is Health.HELD  # one of one


def test_a_suspended_account_without_a_process_is_stopped() -> None:
    accounts = (an_account("acc1", state=AccountState.SUSPENDED), an_account("acc2"), an_account("acc3"))

    assert judged(ShardView("acc1", pods=PodsView()), accounts=accounts).health is Health.STOPPED


def test_an_account_that_came_back_is_held_down_once() -> None:
    dead = {"acc1": Verdict(Health.DEAD, since_ns=NOW - SECOND_NS)}

    back = judged(a_view("acc1"), previous=dead)
    later = judged(a_view("acc1"), previous={"acc1": back})

    assert back.hold_until_ns == NOW + LIMITS.hold_down_ns
    assert later.hold_until_ns == back.hold_until_ns
    assert judged(a_view("acc1"), previous={"acc1": Verdict(Health.UNUSABLE)}).hold_until_ns == 0


def test_since_tells_when_the_health_began() -> None:
    before = {"acc1": Verdict(Health.ALIVE, since_ns=5)}

    assert judged(a_view("acc1"), previous=before).since_ns == 5
    assert judged(a_view("acc1", quiet_s=6), previous=before).since_ns == NOW


def test_the_next_pass_is_due_when_a_judgement_may_change_by_itself() -> None:
    shards = {name: a_view(name, quiet_s=quiet) for name, quiet in zip(NAMES, (1, 2, 7), strict=True)}
    snapshot = PoolSnapshot(accounts=tuple(map(an_account, NAMES)), shards=shards, now_ns=NOW)

    assert next_deadline_ns(snapshot, limits=LIMITS, verdicts={}) == NOW + 3 * SECOND_NS
    assert next_deadline_ns(PoolSnapshot(now_ns=NOW), limits=LIMITS, verdicts={}) is None


@given(
    per_minute=st.integers(1, 1_000),
    spends=st.lists(st.tuples(st.integers(0, 30 * SECOND_NS), st.integers(0, 1_000)), max_size=20),
)
def test_moves_for_balance_are_bounded_per_minute(per_minute: int, spends: list[tuple[int, int]]) -> None:
    budget, now_ns, spent = MoveBudget.full(per_minute, now_ns=0), 0, 0
    for passed_ns, wish in spends:
        now_ns += passed_ns
        budget = budget.at(now_ns)
        moves = min(wish, budget.moves_max)
        budget = budget.spend(moves)
        spent += moves

    assert spent <= per_minute * (1 + now_ns / MINUTE_NS) + 1e-6
    assert budget.at(now_ns + MINUTE_NS).moves_max == per_minute
