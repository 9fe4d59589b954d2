"""A socket that may be quiet for minutes is asked whether it still answers, so that muteness shows whatever its rhythm.

By virtual time. The peer answers each subscription and each mode with the cached packets, as the broker does; when it
turns mute it sends heartbeats and nothing else. (A peer that answers and carries nothing: `test_feed_watchdogs`.)
"""

from __future__ import annotations

from random import Random

import pytest

from tests.support.feed_story import MS, SETTINGS, Story
from ticker_crds import Mode
from ticker_shard.feed import Action, ChangeKind, SessionState
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.watchdogs import ANSWERED_S, ASK_AT, FIRST_ASK_AT, PATIENCE, PAUSES_KNOWN, PRIOR_S
from ticker_shard.ticks.sessions import SEGMENTS

NSE, MCX = 1, 7
OPEN, ONLY_MCX = [True] * SEGMENTS, [segment == MCX for segment in range(SEGMENTS)]
LIMIT_MS = SETTINGS.mute_ms
NOTICED_MS = 15_000
DAY_S = 22_500
FEW = (1, 2, 20, 74)
# The numbers in these stories depend on them.
assert LIMIT_MS < NOTICED_MS < PATIENCE * PRIOR_S * 1_000 / FEW[2]
assert PATIENCE * PRIOR_S * 1_000 / FEW[-1] > LIMIT_MS
assert ANSWERED_S * 1_000 < (1 - ASK_AT) * LIMIT_MS


def contracts(count: int, segment: int = MCX) -> dict[int, Mode]:
    return {number * 256 + segment: Mode.FULL for number in range(1, count + 1)}


def a_socket(count: int, *, answering: bool = True, answers: tuple[str, ...] = ("subscribe", "mode")) -> Story:
    """Just opened, everything subscribed, the market open."""
    story = Story(KiteSession(SETTINGS, chance=Random(3)), answering=answering, answers=answers)
    story.session.set_market(OPEN, now_ns=story.now_ns)
    story.session.want(contracts(count), now_ns=story.now_ns)
    return story.open()


def steps(story: Story) -> list[str]:
    """What was done about muteness since last asked; the end of a spell is "flowing"."""
    told = story.changes
    return [detail or kind.value for kind, detail in told if kind in (ChangeKind.MUTE, ChangeKind.FLOWING)]


def until_step(story: Story, *, within_ms: int) -> int:
    """Heartbeats and nothing else until something is done about it; after how long."""
    story.answering = False
    start_ms, before = story.now_ms, story.session.status().counts["mute_resubscribe"]
    while story.session.status().counts["mute_resubscribe"] == before:
        assert story.now_ms - start_ms < within_ms, "nobody has noticed"
        story.later(100)
    return story.now_ms - start_ms


@pytest.mark.parametrize("count", FEW)
def test_a_socket_that_answers_nothing_from_the_start_is_mute_however_few_instruments_it_carries(count: int) -> None:
    story = a_socket(count, answering=False)

    assert until_step(story, within_ms=NOTICED_MS) >= LIMIT_MS
    assert steps(story) == [Action.RESUBSCRIBE]


@pytest.mark.parametrize("quiet_s", [4, 8, 30, 200])
@pytest.mark.parametrize("count", FEW)
def test_a_quiet_socket_that_turns_mute_is_noticed_in_time_though_its_rhythm_is_not_known(
    count: int, quiet_s: int
) -> None:
    story = a_socket(count).later(min(quiet_s * 1_000, int(PATIENCE * PRIOR_S * 1_000 / count) - 1_000))
    assert steps(story) == []

    until_step(story, within_ms=NOTICED_MS)

    assert steps(story) == [Action.RESUBSCRIBE]


def test_a_slow_socket_that_turns_mute_is_noticed_in_time_though_it_may_be_quiet_for_longer() -> None:
    story = a_socket(2).flow((PAUSES_KNOWN + 2) * 20_000, every_ms=20_000)
    assert steps(story) == []

    until_step(story, within_ms=NOTICED_MS)


def test_a_broker_that_forgot_the_subscriptions_is_noticed_though_it_is_there() -> None:
    story = a_socket(2).later(30_000)
    story.subscribed.clear()

    story.later(NOTICED_MS)

    assert steps(story) == [Action.RESUBSCRIBE, "flowing"], "what is asked for again is answered again"
    assert set(story.subscribed) == set(contracts(2))


@pytest.mark.parametrize("count", FEW)
def test_a_quiet_day_raises_no_alarm_and_is_no_flood(count: int) -> None:
    """A change every two minutes an instrument at both ends of the day, a third as often at noon; none in lumps."""
    story, chance = a_socket(count), Random(count)
    story.messages.clear()
    while story.now_ms < DAY_S * 1_000:
        noon = 1 - abs(2 * story.now_ms / (DAY_S * 1_000) - 1)
        story.later(1 + int(chance.uniform(0, 2) * 120_000 * (1 + 2 * noon) / count))
        story.tick()
        story.sync()

    assert steps(story) == []
    status = story.session.status()
    assert (status.counts["connects"], status.counts["resubscribed"]) == (1, 0)
    assert {message["a"] for message in story.messages} == {"mode"}, "it was asked, and nothing else"
    assert len(story.messages) <= DAY_S * 1_000 / (ASK_AT * LIMIT_MS)


def test_a_question_sets_the_mode_of_what_has_come_and_trades_once_more() -> None:
    story = a_socket(2)
    story.session.want(contracts(2) | contracts(3, NSE), now_ns=story.now_ns)
    story.sync()
    story.session.set_market(ONLY_MCX, now_ns=story.now_ns)
    story.messages.clear()

    story.later(int(FIRST_ASK_AT * LIMIT_MS) + 100)

    assert story.messages == [{"a": "mode", "v": ["full", sorted(contracts(2))]}]


def test_a_socket_whose_own_limit_is_short_is_asked_nothing() -> None:
    story = a_socket(FEW[-1] + 1)
    story.messages.clear()

    story.later(LIMIT_MS - 1_000)

    assert story.messages == []


def test_a_broker_that_answers_subscriptions_alone_is_believed_to_be_quiet() -> None:
    story = a_socket(2, answers=("subscribe",))
    story.messages.clear()

    story.later(int(PATIENCE * PRIOR_S * 1_000 / 2) - 1_000)

    assert steps(story) == []
    assert [message["a"] for message in story.messages] == ["mode"], "asked once, and never again on this connection"


def test_a_spell_that_began_with_a_missing_answer_ends_with_an_answer() -> None:
    story = a_socket(2).later(30_000)
    until_step(story, within_ms=NOTICED_MS)
    story.answering = True

    story.later(LIMIT_MS + 1_000)
    story.open().later(1_000)

    assert steps(story) == [Action.RESUBSCRIBE, Action.RECONNECT, "flowing"]
    status = story.session.status()
    assert (status.state, status.mute_since_ns) == (SessionState.OPEN, None)


def test_one_that_answers_no_more_climbs_the_ladder_to_its_end() -> None:
    story = a_socket(2).later(30_000)
    until_step(story, within_ms=NOTICED_MS)

    for _ in range(4):
        if story.session.state is SessionState.CONNECTING:
            story.open()
        story.later(LIMIT_MS + 1_000)

    assert steps(story)[:3] == [Action.RESUBSCRIBE, Action.RECONNECT, Action.REPORT]
    assert story.session.status().mute_reported


def test_the_hole_begins_with_the_last_answer() -> None:
    story = a_socket(2).later(60_000)
    story.session.drain_changes()
    until_step(story, within_ms=NOTICED_MS)

    (noticed,) = [change for change in story.session.drain_changes() if change.kind is ChangeKind.MUTE]

    assert LIMIT_MS * MS <= noticed.quiet_ns <= NOTICED_MS * MS + LIMIT_MS * MS
