"""Every hole in time gets exactly one record for every instrument that was in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ticker_shard.app.outages import PATIENCE_S, Gap, OutageTracker

S = 1_000_000_000


def test_a_hole_ends_when_its_last_instrument_is_back() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)

    assert tracker.seen([1], now_ns=300, wall_ns=300) == []
    assert tracker.seen([2, 3], now_ns=400, wall_ns=400) == [Gap((1, 2), 100, 400, "lost")]


def test_a_socket_that_closes_again_before_all_are_back_makes_one_hole() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)
    tracker.seen([1], now_ns=300, wall_ns=300)
    tracker.closed(0, tokens=[1], start_ns=350, cause="silent")
    tracker.opened(0, now_ns=400)

    assert tracker.seen([1, 2], now_ns=500, wall_ns=500) == [Gap((1, 2), 100, 500, "lost")]


def test_two_sockets_have_holes_of_their_own() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1], start_ns=100, cause="lost")
    tracker.closed(1, tokens=[2], start_ns=150, cause="silent")

    assert tracker.seen([2], now_ns=300, wall_ns=300) == [Gap((2,), 150, 300, "silent")]
    assert tracker.seen([1], now_ns=400, wall_ns=400) == [Gap((1,), 100, 400, "lost")]


def test_instruments_that_stay_away_get_their_record_after_a_while() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=0)
    tracker.seen([1], now_ns=300, wall_ns=300)

    assert tracker.overdue(now_ns=int(PATIENCE_S * S) - 1, wall_ns=int(PATIENCE_S * S) - 1) == []
    late = int(PATIENCE_S * S)
    assert tracker.overdue(now_ns=late, wall_ns=late) == [
        Gap((1,), 100, late, "lost"),
        Gap((2,), 100, late, "lost, no packet since"),
    ]
    assert tracker.overdue(now_ns=2 * late, wall_ns=2 * late) == []


def test_removed_instruments_keep_no_hole_open() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)
    tracker.seen([1], now_ns=300, wall_ns=300)
    tracker.removed([2])

    assert tracker.overdue(now_ns=400, wall_ns=400) == [Gap((1,), 100, 400, "lost")]


def test_a_socket_without_confirmed_instruments_makes_no_hole() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)

    assert tracker.seen([1], now_ns=300, wall_ns=300) == []
    assert tracker.overdue(now_ns=10**15, wall_ns=10**15) == []


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("close"), st.just(0)),
        st.tuples(st.just("open"), st.just(0)),
        st.tuples(st.just("seen"), st.integers(1, 4)),
    ),
    max_size=40,
)


@given(EVENTS)
def test_each_lost_instrument_is_in_exactly_one_record(events: list[tuple[str, int]]) -> None:
    """Whatever the order: an instrument that was lost is reported once before it can be lost anew."""
    tracker, live, lost, now_ns = OutageTracker(), {1, 2, 3, 4}, set(), 0
    reported: list[int] = []

    def collect(gaps: list[Gap]) -> None:
        for gap in gaps:
            assert gap.start_ns <= gap.end_ns
            reported.extend(gap.tokens)

    expected = 0
    for event, token in events:
        now_ns += 1
        if event == "close":
            tracker.closed(0, tokens=live, start_ns=now_ns, cause="lost")
            if not lost and live:
                expected += 4
            lost |= live
            live = set()
        elif event == "open":
            tracker.opened(0, now_ns=now_ns)
        elif token not in live:
            live.add(token)
            collect(tracker.seen([token], now_ns=now_ns, wall_ns=now_ns))
            if live == {1, 2, 3, 4}:
                lost = set()
    tracker.opened(0, now_ns=now_ns)
    collect(tracker.overdue(now_ns=now_ns + int(PATIENCE_S * S), wall_ns=now_ns + int(PATIENCE_S * S)))

    assert len(reported) == expected
    assert all(reported.count(token) == expected // 4 for token in (1, 2, 3, 4))


def test_a_wall_clock_that_is_set_meanwhile_makes_no_hole_longer_and_none_negative() -> None:
    for jump_ns in (3_600 * S, -3_600 * S):
        tracker = OutageTracker()
        tracker.closed(0, tokens=[1], start_ns=100 * S, cause="lost")
        tracker.opened(0, now_ns=101 * S)

        (gap,) = tracker.seen([1], now_ns=105 * S, wall_ns=5_000 * S + jump_ns)

        assert gap.end_ns - gap.start_ns == 5 * S
        assert gap.end_ns == 5_000 * S + jump_ns


def test_patience_is_not_measured_by_the_wall_clock() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1], start_ns=100 * S, cause="lost")
    tracker.opened(0, now_ns=101 * S)

    assert tracker.overdue(now_ns=102 * S, wall_ns=10**15 * S) == []
    assert len(tracker.overdue(now_ns=101 * S + int(PATIENCE_S * S), wall_ns=0)) == 1


def test_what_is_missing_at_the_moment_began_by_the_wall_clock() -> None:
    """A successor in another process declares it: the monotonic clock of this one means nothing there."""
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100 * S, cause="lost")

    assert tracker.holes(now_ns=103 * S, wall_ns=5_000 * S) == [Gap((1, 2), 4_997 * S, 5_000 * S, "lost")]
