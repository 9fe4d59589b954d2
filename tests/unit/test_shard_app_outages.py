"""Every hole in time gets exactly one record for every instrument that was in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ticker_shard.app.outages import GROUP_S, PATIENCE_S, Gap, OutageTracker

S = 1_000_000_000


def test_a_hole_ends_when_its_last_instrument_is_back() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)

    assert tracker.seen([1], now_ns=300, wall_ns=300) == []
    assert tracker.seen([2, 3], now_ns=400, wall_ns=400) == [Gap((1, 2), 100, 400, "lost")]


def test_instruments_that_are_back_early_are_not_declared_until_the_last_one_is_back() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2, 3], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)

    assert tracker.seen([1], now_ns=300, wall_ns=300) == []
    assert tracker.seen([2], now_ns=20 * S, wall_ns=20 * S) == [Gap((1,), 100, 300, "lost")]
    assert tracker.awaited == {2, 3}
    late = 21 * S
    assert tracker.overdue(now_ns=late, wall_ns=late) == [Gap((2,), 100, 20 * S, "lost")], "nobody waits for the last"
    assert tracker.seen([3], now_ns=30 * S, wall_ns=30 * S) == [Gap((3,), 100, 30 * S, "lost")]
    assert tracker.awaited == set()


def test_an_instrument_that_is_lost_anew_has_a_new_hole() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)
    tracker.seen([1], now_ns=300, wall_ns=300)
    tracker.overdue(now_ns=2 * S, wall_ns=2 * S)

    tracker.closed(0, tokens=[1], start_ns=5 * S, cause="silent")
    tracker.opened(0, now_ns=6 * S)

    assert tracker.seen([1, 2], now_ns=7 * S, wall_ns=7 * S) == [
        Gap((2,), 100, 7 * S, "lost"),
        Gap((1,), 5 * S, 7 * S, "silent"),
    ]


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

    early = int(PATIENCE_S * S) - 1
    assert tracker.overdue(now_ns=early, wall_ns=early) == [Gap((1,), 100, 300, "lost")]
    late = int(PATIENCE_S * S)
    assert tracker.overdue(now_ns=late, wall_ns=late) == [Gap((2,), 100, late, "lost, no packet since")]
    assert tracker.overdue(now_ns=2 * late, wall_ns=2 * late) == []


def test_removed_instruments_keep_no_hole_open() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[1, 2], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)
    tracker.seen([1], now_ns=300, wall_ns=300)
    tracker.removed([2])

    assert tracker.overdue(now_ns=400, wall_ns=400) == [Gap((1,), 100, 300, "lost")]


def test_a_socket_without_confirmed_instruments_makes_no_hole() -> None:
    tracker = OutageTracker()
    tracker.closed(0, tokens=[], start_ns=100, cause="lost")
    tracker.opened(0, now_ns=200)

    assert tracker.seen([1], now_ns=300, wall_ns=300) == []
    assert tracker.overdue(now_ns=10**15, wall_ns=10**15) == []


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["close", "open", "look", "see 1", "see 2", "see 3", "see 4"]),
        st.sampled_from([S // 10, S // 2, 3 * S]),
    ),
    max_size=40,
)


@given(EVENTS)
def test_every_loss_is_declared_to_its_end_and_hardly_longer(events: list[tuple[str, int]]) -> None:
    """Whatever the order: each stretch without an instrument is in a record of it, and none reaches far beyond."""
    tracker, now_ns = OutageTracker(), 0
    away = dict.fromkeys((1, 2, 3, 4), -1)  # token: since when; -1: there
    losses: list[tuple[int, int, int]] = []
    told: list[tuple[int, int, int]] = []

    def collect(gaps: list[Gap]) -> None:
        told.extend((token, gap.start_ns, gap.end_ns) for gap in gaps for token in gap.tokens)

    def see(token: int) -> None:
        if away[token] >= 0:
            losses.append((token, away[token], now_ns))
            away[token] = -1
            collect(tracker.seen([token], now_ns=now_ns, wall_ns=now_ns))

    for event, pause_ns in events:
        now_ns += pause_ns
        match event.split():
            case ["close"]:
                there = [token for token, since_ns in away.items() if since_ns < 0]
                tracker.closed(0, tokens=there, start_ns=now_ns, cause="lost")
                away |= dict.fromkeys(there, now_ns)
            case ["open"]:
                tracker.opened(0, now_ns=now_ns)
            case ["look"]:
                collect(tracker.overdue(now_ns=now_ns, wall_ns=now_ns))
            case ["see", token]:
                see(int(token))
    for token in away:
        see(token)

    assert tracker.awaited == set()
    for token, start_ns, end_ns in losses:
        assert any(t == token and s <= start_ns and end_ns <= e for t, s, e in told), (token, start_ns, end_ns, told)
    for token, start_ns, end_ns in told:
        lost_ns = sum(max(0, min(end_ns, e) - max(start_ns, s)) for t, s, e in losses if t == token)
        # As long as a group, for each time that it came back for less than that.
        returns = sum(t == token and start_ns < e <= end_ns for t, s, e in losses)
        assert end_ns - start_ns - lost_ns <= returns * GROUP_S * S, (token, start_ns, end_ns, losses)


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
