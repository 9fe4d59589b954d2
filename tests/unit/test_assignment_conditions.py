"""Conditions say the right thing, in words with numbers, and change only when something has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_crds.constants import CONDITION_MESSAGE_CHARS_MAX, Condition, Reason
from ticker_shard.assignment import Fault, ShardFacts, conditions
from ticker_shard.assignment.conditions import findings

HEALTHY = ShardFacts(
    account="acc1", assigned=3_000, confirmed=3_000, table_known=True, sockets_wanted=1, sockets_open=1,
    credentials_given=True, accepted=True, channels=2, holds_all=True,
)  # fmt: skip
NOW, LATER = "2026-11-20T03:45:00Z", "2026-11-20T03:46:00Z"


def short(facts: ShardFacts) -> dict[str, tuple[str, str]]:
    return {found.type.value: (found.status, found.reason.value) for found in findings(facts)}


def test_a_healthy_shard_streams() -> None:
    assert short(HEALTHY) == {
        "Connected": ("True", "Connected"),
        "CredentialsValid": ("True", "Accepted"),
        "Streaming": ("True", "Streaming"),
        "Degraded": ("False", "Healthy"),
    }


@pytest.mark.parametrize(
    ("facts", "condition", "expected", "words"),
    [
        pytest.param(
            replace(HEALTHY, sockets_open=0, accepted=False, rejected=True), Condition.CREDENTIALS_VALID,
            ("False", Reason.TOKEN_REJECTED), "access_token", id="403 asks for today's token",
        ),
        pytest.param(
            replace(HEALTHY, sockets_open=0, accepted=False, rejected=True), Condition.CONNECTED,
            ("False", Reason.TOKEN_REJECTED), "403", id="403 is why there is no connection",
        ),
        pytest.param(
            replace(HEALTHY, credentials=Fault(Reason.SECRET_MISSING, "Secret t does not exist")), Condition.DEGRADED,
            ("True", Reason.SECRET_MISSING), "next connection will fail", id="a deleted Secret under an open socket",
        ),
        pytest.param(
            replace(HEALTHY, shedding=True), Condition.DEGRADED,
            ("True", Reason.BACKPRESSURE), "newest value of each instrument", id="a Redis that does not keep up",
        ),
        pytest.param(
            replace(HEALTHY, shedding=True), Condition.STREAMING,
            ("True", Reason.STREAMING), "published", id="and everything is streamed all the same",
        ),
        pytest.param(
            replace(HEALTHY, sockets_mute=1), Condition.DEGRADED,
            ("True", Reason.FEED_MUTE), "1 of 1 sockets send heartbeats and no ticks", id="a mute socket",
        ),
        pytest.param(
            replace(HEALTHY, sockets_mute=1, mute_reported=True), Condition.STREAMING,
            ("False", Reason.FEED_MUTE), "on an exchange holiday", id="a mute feed is reported",
        ),
        pytest.param(
            replace(HEALTHY, sockets_mute=1, mute_reported=True, assigned=0, confirmed=0), Condition.STREAMING,
            ("False", Reason.FEED_MUTE), "heartbeats", id="the report outlives the instruments it cost",
        ),
        pytest.param(
            replace(HEALTHY, stalled=3), Condition.DEGRADED,
            ("True", Reason.INSTRUMENTS_STALLED), "3 of 3,000 instruments have been quiet", id="stalled instruments",
        ),
        pytest.param(
            replace(HEALTHY, confirmed=2_990), Condition.STREAMING,
            ("False", Reason.CONFIRMING), "2,990 of 3,000 instruments confirmed, 10 have not", id="not all confirmed",
        ),
        pytest.param(
            replace(HEALTHY, holds_all=False), Condition.STREAMING,
            ("False", Reason.STANDBY), "2 channels", id="another process publishes",
        ),
        pytest.param(
            replace(HEALTHY, redis=Fault(Reason.REDIS_UNREACHABLE, "connection refused")), Condition.STREAMING,
            ("False", Reason.REDIS_UNREACHABLE), "connection refused", id="without Redis nothing streams",
        ),
        pytest.param(
            replace(HEALTHY, sockets_open=0, rate_limited=True), Condition.CONNECTED,
            ("False", Reason.RATE_LIMITED), "0 of 1 sockets open", id="429 is waited for",
        ),
        pytest.param(
            replace(HEALTHY, sockets_open=0, rate_limited=True, sockets_accepted=2), Condition.CONNECTED,
            ("False", Reason.RATE_LIMITED), "let 2 of ours stand", id="and how many fit is told",
        ),
        pytest.param(
            replace(HEALTHY, sockets_open=0, last_close="silent"), Condition.CONNECTED,
            ("False", Reason.DISCONNECTED), "last closed: silent", id="a lost connection names its cause",
        ),
        pytest.param(
            replace(HEALTHY, table_fault=Fault(Reason.INVALID, "revision 5 stays in force")), Condition.DEGRADED,
            ("True", Reason.INVALID), "revision 5 stays in force", id="a bad table degrades, streaming goes on",
        ),
        pytest.param(
            replace(HEALTHY, ledger_balanced=False), Condition.DEGRADED,
            ("True", Reason.LEDGER_MISMATCH), "/metrics", id="books that do not balance",
        ),
        pytest.param(
            ShardFacts("acc1"), Condition.STREAMING,
            ("False", Reason.STARTING), "not been read yet", id="nothing is known at birth",
        ),
        pytest.param(
            ShardFacts("acc1", table_known=True), Condition.STREAMING,
            ("True", Reason.NOTHING_ASSIGNED), "no instrument", id="nothing assigned is nothing wrong",
        ),
    ],
)  # fmt: skip
def test_a_condition_names_what_is_wrong(
    facts: ShardFacts, condition: Condition, expected: tuple[str, Reason], words: str
) -> None:
    found = next(found for found in findings(facts) if found.type is condition)

    assert (found.status, found.reason) == expected
    assert words in found.message


def test_a_bad_table_does_not_stop_streaming() -> None:
    assert short(replace(HEALTHY, table_fault=Fault(Reason.INVALID, "x")))["Streaming"] == ("True", "Streaming")


def test_transition_time_moves_only_with_the_status() -> None:
    first = conditions(HEALTHY, previous=(), generation=3, now=NOW)
    other_reason = replace(HEALTHY, redis=Fault(Reason.REDIS_UNREACHABLE, "refused"))
    second = conditions(other_reason, previous=first, generation=4, now=LATER)

    times = {entry["type"]: entry["lastTransitionTime"] for entry in second}
    assert times == {"Connected": NOW, "CredentialsValid": NOW, "Streaming": LATER, "Degraded": LATER}
    assert {entry["observedGeneration"] for entry in second} == {4}


@st.composite
def any_facts(draw: st.DrawFn) -> ShardFacts:
    fault = st.none() | st.builds(Fault, st.sampled_from(list(Reason)), st.text(max_size=3_000))
    number = st.integers(0, 9_000)
    return ShardFacts(
        account="acc1", assigned=draw(number), confirmed=draw(number), table_known=draw(st.booleans()),
        table_fault=draw(fault), sockets_wanted=draw(st.integers(0, 3)), sockets_open=draw(st.integers(0, 3)),
        credentials=draw(fault), credentials_given=draw(st.booleans()), rejected=draw(st.booleans()),
        accepted=draw(st.booleans()), rate_limited=draw(st.booleans()), last_close=draw(st.sampled_from(["", "lost"])),
        redis=draw(fault), channels=draw(st.integers(0, 64)), holds_all=draw(st.booleans()),
        ledger_balanced=draw(st.booleans()),
    )  # fmt: skip


@given(any_facts())
def test_every_state_has_exactly_the_four_conditions_within_bounds(facts: ShardFacts) -> None:
    listed = conditions(facts, previous=(), generation=1, now=NOW)

    assert [entry["type"] for entry in listed] == ["Connected", "CredentialsValid", "Streaming", "Degraded"]
    assert all(entry["status"] in ("True", "False", "Unknown") for entry in listed)
    assert all(len(entry["message"]) <= CONDITION_MESSAGE_CHARS_MAX for entry in listed)


@given(any_facts())
def test_the_same_facts_again_change_nothing(facts: ShardFacts) -> None:
    first = conditions(facts, previous=(), generation=1, now=NOW)

    assert conditions(facts, previous=first, generation=1, now=LATER) == first
