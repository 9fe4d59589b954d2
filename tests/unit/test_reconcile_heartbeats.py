"""Signs of life: only change counts, only our own clock measures, and a gap of ours is nobody's silence."""

from __future__ import annotations

import pytest

from ticker_operator.reconcile.heartbeats import GAP_NS, HeartbeatBook

S = 1_000_000_000
DETECT_S, MOVE_S = 5, 15


@pytest.fixture
def book() -> HeartbeatBook:
    assert GAP_NS < DETECT_S * S
    made = HeartbeatBook(detect_after_ns=DETECT_S * S, move_after_ns=MOVE_S * S)
    made.follow(frozenset({"a", "b"}), now_ns=0)
    return made


def look_until(book: HeartbeatBook, seconds: range, beats: dict[str, str]) -> dict[int, list[str]]:
    """One poll a second; the seconds in which a phase changed."""
    changes = {second: book.look(beats, now_ns=second * S) for second in seconds}
    return {second: accounts for second, accounts in changes.items() if accounts}


def test_shard_that_renews_stays_fresh(book: HeartbeatBook) -> None:
    changed = [book.look({"a": f"pod {second}", "b": f"pod {second}"}, now_ns=second * S) for second in range(1, 60)]

    assert not any(changed)
    assert book.signs("a").renewed_ns == 59 * S


def test_silence_is_told_once_when_detected_and_once_when_lost(book: HeartbeatBook) -> None:
    book.look({"a": "1", "b": "1"}, now_ns=S)

    changes = look_until(book, range(2, 40), {"a": "1", "b": "1"})

    assert changes == {1 + DETECT_S + 1: ["a", "b"], 1 + MOVE_S + 1: ["a", "b"]}


def test_shard_that_comes_back_is_told(book: HeartbeatBook) -> None:
    book.look({"a": "1", "b": "1"}, now_ns=S)
    look_until(book, range(2, 10), {"a": "1", "b": "1"})

    assert book.look({"a": "2", "b": "1"}, now_ns=10 * S) == ["a"]


def test_gap_in_our_own_looking_gives_everybody_a_new_window(book: HeartbeatBook) -> None:
    book.look({"a": "1", "b": "1"}, now_ns=S)

    assert book.look({"a": "1", "b": "1"}, now_ns=60 * S) == []
    assert book.signs("a").renewed_ns == 60 * S


def test_unknown_shard_has_no_renewal_but_a_time_to_wait_from(book: HeartbeatBook) -> None:
    book.follow(frozenset({"a", "new"}), now_ns=7 * S)

    assert book.signs("new").renewed_ns is None
    assert book.signs("new").first_seen_ns == 7 * S
    assert book.accounts() == {"a", "new"}
