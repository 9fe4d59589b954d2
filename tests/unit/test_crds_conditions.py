"""Conditions: when a time changes, what a generation says, and what is worth an event."""

from __future__ import annotations

import re
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_crds.conditions import Finding, Truth, merge_conditions, transitions
from ticker_crds.constants import CONDITION_MESSAGE_CHARS_MAX, Condition, Reason
from ticker_crds.shard import CONDITIONS_BY_MANAGER, TickerShard

T1, T2 = "2026-11-21T09:15:00Z", "2026-11-21T09:16:00Z"
TRUTHS: list[Truth] = ["True", "False", "Unknown"]
FINDINGS = st.lists(
    st.builds(
        Finding, st.sampled_from(Condition), st.sampled_from(TRUTHS), st.sampled_from(Reason), st.text(max_size=9)
    ),
    unique_by=lambda finding: finding.type,
    max_size=6,
)


def ready(truth: Truth = "True", reason: Reason = Reason.STREAMING, message: str = "3,000 of 3,000") -> Finding:
    return Finding(Condition.READY, truth, reason, message)


def test_first_entry_has_every_member() -> None:
    (entry,) = merge_conditions([ready()], previous=[], generation=3, now=T1)

    assert entry == {
        "type": "Ready", "status": "True", "reason": "Streaming", "message": "3,000 of 3,000",
        "lastTransitionTime": T1, "observedGeneration": 3,
    }  # fmt: skip


def test_time_changes_with_the_status_alone() -> None:
    before = merge_conditions([ready()], previous=[], generation=1, now=T1)

    reworded = merge_conditions(
        [ready(reason=Reason.CONFIRMING, message="other")], previous=before, generation=2, now=T2
    )
    turned = merge_conditions([ready("False")], previous=before, generation=1, now=T2)

    assert (reworded[0]["lastTransitionTime"], reworded[0]["observedGeneration"]) == (T1, 2)
    assert turned[0]["lastTransitionTime"] == T2


def test_entries_of_others_are_not_taken_over() -> None:
    theirs = merge_conditions(
        [Finding(Condition.CONNECTED, "True", Reason.CONNECTED, "")], previous=[], generation=1, now=T1
    )

    mine = merge_conditions([ready()], previous=theirs, generation=1, now=T2)

    assert [entry["type"] for entry in mine] == ["Ready"]


def test_entry_without_a_usable_time_gets_one() -> None:
    for time in (None, "", 7):
        previous = [{"type": "Ready", "status": "True", "lastTransitionTime": time}]
        (entry,) = merge_conditions([ready()], previous=previous, generation=1, now=T2)
        assert entry["lastTransitionTime"] == T2


def test_message_fits_the_schema() -> None:
    (entry,) = merge_conditions([ready(message="x" * 5_000)], previous=[], generation=1, now=T1)

    assert len(entry["message"]) == CONDITION_MESSAGE_CHARS_MAX
    assert entry["message"].endswith("…")


def test_two_findings_for_one_type_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="two findings for condition Ready"):
        merge_conditions([ready(), ready("False")], previous=[], generation=1, now=T1)


@given(FINDINGS)
def test_saying_the_same_again_changes_nothing(findings: list[Finding]) -> None:
    before = merge_conditions(findings, previous=[], generation=1, now=T1)

    assert merge_conditions(findings, previous=before, generation=1, now=T2) == before


@given(FINDINGS, FINDINGS)
def test_order_and_number_are_those_of_the_findings(first: list[Finding], second: list[Finding]) -> None:
    before = merge_conditions(first, previous=[], generation=1, now=T1)
    after = merge_conditions(second, previous=before, generation=1, now=T2)

    assert [entry["type"] for entry in after] == [finding.type.value for finding in second]
    assert {entry["lastTransitionTime"] for entry in after} <= {T1, T2}


def test_transition_is_a_change_of_status_or_reason() -> None:
    before = merge_conditions([ready()], previous=[], generation=1, now=T1)

    def told(finding: Finding) -> int:
        return len(transitions(before, merge_conditions([finding], previous=before, generation=1, now=T2)))

    assert told(ready(message="2,999 of 3,000")) == 0
    assert told(ready(reason=Reason.CONFIRMING)) == 1
    assert told(ready("False")) == 1
    assert len(transitions([], before)) == 1


def test_no_condition_of_a_shard_has_two_writers() -> None:
    written = list(chain.from_iterable(CONDITIONS_BY_MANAGER.values()))

    assert len(set(written)) == len(written)
    assert set(written) == set(TickerShard.conditions_used)


def test_every_reason_is_a_word_that_kubernetes_takes() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[A-Z][A-Za-z]*", reason.value), reason
        assert len(reason.value) <= 128
