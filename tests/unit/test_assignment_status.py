"""A status is written at once for transitions, every ten seconds for counts, never for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from ticker_shard.assignment.status import COUNTS_S, StatusPacer, known_status

S = 1_000_000_000


def a_status(**changes: Any) -> dict[str, Any]:
    condition = {
        "type": "Streaming", "status": "True", "reason": "Streaming", "message": "all 3,000", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-20T03:45:00Z",
    }  # fmt: skip
    return {
        "confirmed": 3_000, "sockets": "1/1", "epoch": 7, "acknowledged": {"revision": 1},
        "conditions": [{**condition, **changes.pop("condition", {})}], **changes,
    }  # fmt: skip


@pytest.fixture
def pacer() -> StatusPacer:
    made = StatusPacer()
    made.written(a_status(), now_ns=0)
    return made


def test_the_first_status_is_due() -> None:
    assert StatusPacer().due(a_status(), now_ns=0)


@pytest.mark.parametrize(
    "change",
    [
        {"sockets": "0/1"},
        {"epoch": 8},
        {"acknowledged": {"revision": 2}},
        {"condition": {"status": "False"}},
        {"condition": {"reason": "Confirming"}},
        {"condition": {"observedGeneration": 2}},
    ],
    ids=lambda change: str(change),
)
def test_a_transition_is_due_at_once(pacer: StatusPacer, change: dict[str, Any]) -> None:
    assert pacer.due(a_status(**change), now_ns=1)


@pytest.mark.parametrize("change", [{"confirmed": 2_999}, {"condition": {"message": "2,999 of 3,000"}}], ids=str)
def test_counts_wait_for_ten_seconds(pacer: StatusPacer, change: dict[str, Any]) -> None:
    assert not pacer.due(a_status(**change), now_ns=int(COUNTS_S * S) - 1)
    assert pacer.due(a_status(**change), now_ns=int(COUNTS_S * S))


def test_nothing_new_is_never_due(pacer: StatusPacer) -> None:
    assert not pacer.due(a_status(condition={"lastTransitionTime": "2030-01-01T00:00:00Z"}), now_ns=10**15)


def test_after_forgetting_everything_is_due(pacer: StatusPacer) -> None:
    pacer.forget()

    assert pacer.due(a_status(), now_ns=1)


def test_the_floor_is_the_higher_of_both_revisions() -> None:
    assert known_status({"acknowledged": {"revision": 4}, "appliedRevision": 6}, generation=2).revision_floor == 6
    assert known_status({"acknowledged": {"revision": 7}, "appliedRevision": 6}, generation=2).revision_floor == 7
    assert known_status({"appliedRevision": "x"}, generation=2).revision_floor == 0
