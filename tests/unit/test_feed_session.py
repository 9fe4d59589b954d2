"""One socket's session by bytes and virtual time: its states, what is a sign of life, how it backs off."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from tests.support.feed_story import FIRST, MS, SETTINGS, Story, session_in
from ticker_shard.feed.events import BinaryKind, CloseReason, SessionState
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.setbacks import backoff_ns
from ticker_shard.feed.transitions import TRANSITIONS, Cause, IllegalTransitionError


@pytest.fixture
def story() -> Story:
    return Story(KiteSession(SETTINGS, chance=Random(3)))


TELLING = {
    Cause.UPGRADED: lambda session: session.upgraded(now_ns=1),
    Cause.FORBIDDEN: lambda session: session.refused(403, now_ns=1),
    Cause.LIMITED: lambda session: session.refused(429, now_ns=1),
    Cause.FAILED: lambda session: session.failed(CloseReason.UNREACHABLE, now_ns=1),
    Cause.STOP: lambda session: session.stop(),
}


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("cause", TELLING)
def test_the_table_is_what_happens(state: SessionState, cause: Cause) -> None:
    session = session_in(state)
    assert session.state is state

    if (state, cause) in TRANSITIONS:
        TELLING[cause](session)
        assert session.state is TRANSITIONS[state, cause]
    else:
        session.drain_changes()
        before = session.status()
        with pytest.raises(IllegalTransitionError):
            TELLING[cause](session)
        assert session.status() == before
        assert session.drain_changes() == []


def test_every_state_can_be_stopped_and_none_is_left_afterwards() -> None:
    assert {after for (state, _), after in TRANSITIONS.items() if state is SessionState.STOPPED} == {
        SessionState.STOPPED
    }
    assert {state for state, cause in TRANSITIONS if cause is Cause.STOP} == set(SessionState)


# -- life and death ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["heartbeat", "ticks", "text", "junk", "ping"])
def test_any_frame_is_a_sign_of_life(story: Story, sign: str) -> None:
    story.open().later(6_999, alive=False)
    match sign:
        case "heartbeat":
            assert story.session.receive_binary(1, now_ns=story.now_ns) is BinaryKind.HEARTBEAT
        case "ticks":
            assert story.session.receive_binary(12, now_ns=story.now_ns) is BinaryKind.TICKS
        case "text":
            story.session.receive_text(b'{"type":"message","data":"x"}', now_ns=story.now_ns)
        case "junk":
            story.session.receive_text(b"\xff\xfe", now_ns=story.now_ns)
        case "ping":
            story.session.receive_control(now_ns=story.now_ns)

    story.later(6_999, alive=False)
    assert story.session.state is SessionState.OPEN
    story.later(1, alive=False)
    assert story.session.state is SessionState.BACKING_OFF
    assert story.session.status().last_close is CloseReason.SILENT
    assert "7000" in story.session.status().close_text


def test_back_off_grows_while_nothing_lives_and_starts_again_after_a_life(story: Story) -> None:
    waits = []

    def fail() -> None:
        before = story.now_ns
        deadline = story.session.next_deadline_ns()
        assert deadline is not None
        waits.append((deadline - before) // MS)
        story.later(31_000, alive=False)
        assert story.session.state is SessionState.CONNECTING

    story.open()
    for _ in range(6):  # accepted and dropped at once: an upgrade alone resets nothing
        story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        fail()
        story.open()
    ceilings = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True)), waits
    assert max(waits) > 2_000

    story.later(SETTINGS.stable_ms)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
    fail()
    assert waits[-1] <= 1_000


def test_a_connection_that_opened_long_ago_but_brought_nothing_resets_nothing() -> None:
    story = Story(KiteSession(replace(SETTINGS, silence_ms=20_000), chance=Random(3)))
    story.open()
    for _ in range(5):
        story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        story.later(31_000, alive=False)
        story.open()
    story.later(19_000, alive=False)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)

    deadline = story.session.next_deadline_ns()
    assert deadline is not None
    assert deadline - story.now_ns > 1_000 * MS


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_connections_accepted_and_dropped_make_no_storm(seed: int) -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(seed)))
    upgrades_ms: list[int] = []
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    while len(upgrades_ms) < 100:
        if story.session.state is SessionState.CONNECTING:
            upgrades_ms.append(story.now_ms)
            story.open()
            story.session.receive_binary(1, now_ns=story.now_ns)
            story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        story.later(50, alive=False)

    steady = [after - before for before, after in pairwise(upgrades_ms)][5:]
    assert max(steady) > SETTINGS.backoff_max_ms / 2
    mean_ms = sum(steady) / len(steady)
    assert mean_ms == pytest.approx(SETTINGS.backoff_max_ms / 2, rel=0.3), "full jitter below the highest ceiling"
    for start in upgrades_ms[6:-1]:
        in_a_minute = sum(start <= at < start + 60_000 for at in upgrades_ms)
        assert in_a_minute <= 15, "never a burst, wherever one looks"


def test_full_jitter_fills_the_range_below_the_ceiling() -> None:
    chance = Random(11)
    waits = [backoff_ns(3, settings=SETTINGS, chance=chance) // MS for _ in range(2_000)]

    assert min(waits) < 400
    assert max(waits) > 7_600
    assert max(waits) <= 8_000
    assert backoff_ns(500, settings=SETTINGS, chance=chance) <= 30_000 * MS


def test_429_waits_long_whatever_came_before(story: Story) -> None:
    for _ in range(5):
        if story.session.state is SessionState.IDLE:
            story.session.set_credentials(FIRST, now_ns=story.now_ns)
        story.session.begin()
        story.session.refused(429, now_ns=story.now_ns)
        story.later(29_999, alive=False)
        assert story.session.state is SessionState.RATE_LIMITED
        story.later(10_001, alive=False)
        assert story.session.state is SessionState.CONNECTING
