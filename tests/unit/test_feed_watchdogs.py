"""A socket that is open and carries nothing: noticed while the market is open, climbed against, forgiven at once.

By virtual time. The peer answers every subscription from its cache, as the broker does on a broken line too.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.feed_story import MS, SETTINGS, Story
from ticker_crds import Mode
from ticker_shard.app.settings import ShardSettings
from ticker_shard.feed import WATCHDOGS, Action, ChangeKind, CloseReason, SessionState, Signal
from ticker_shard.feed.events import BinaryKind
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.watchdogs import (
    ANSWER_S,
    LADDER,
    MUTE_RETRY_MAX_S,
    PATIENCE,
    PAUSES_KNOWN,
    PRIOR_PAUSE_S,
    PRIOR_S,
    REPORT_STANDS_S,
    UNSEEN_PAUSES,
    UNSEEN_S,
    FlowWatch,
)
from ticker_shard.ticks.sessions import SEGMENTS

NSE, MCX = 1, 7
OPEN, SHUT = [True] * SEGMENTS, [False] * SEGMENTS
ONLY_MCX = [segment == MCX for segment in range(SEGMENTS)]
LIMIT_MS = SETTINGS.mute_ms
EQUITIES = {number * 256 + NSE: Mode.FULL for number in range(1, 101)}
METALS = {number * 256 + MCX: Mode.FULL for number in range(1, 3)}
# The numbers in these stories depend on them.
assert LIMIT_MS <= 15_000
assert PATIENCE * PRIOR_S * 1_000 / len(EQUITIES) < LIMIT_MS < PATIENCE * PRIOR_S * 1_000 / len(METALS)
assert ANSWER_S * 1_000 < LIMIT_MS


@pytest.fixture
def story() -> Story:
    """A socket with a hundred shares that streams, the market open."""
    made = Story(KiteSession(SETTINGS, chance=Random(3)), answering=True)
    made.session.set_market(OPEN, now_ns=made.now_ns)
    made.session.want(EQUITIES, now_ns=made.now_ns)
    made.open().flow(20_000)
    assert steps(made) == []
    return made


def steps(story: Story) -> list[str]:
    """What was done about muteness since last asked; the end of a spell is "flowing"."""
    told = story.changes
    return [detail or kind.value for kind, detail in told if kind in (ChangeKind.MUTE, ChangeKind.FLOWING)]


def mute(story: Story, ms: int) -> Story:
    """Heartbeats and answers only; connections that are given up are made again."""
    end = story.now_ms + ms
    while story.now_ms < end:
        if story.session.state is SessionState.CONNECTING:
            story.open()
        story.later(min(1_000, end - story.now_ms))
    return story


def test_the_ladder_is_the_table() -> None:
    assert [watchdog.action for watchdog in WATCHDOGS if watchdog.signal is Signal.SILENT] == [Action.RECONNECT]
    assert list(LADDER) == [Action.RESUBSCRIBE, Action.RECONNECT, Action.REPORT]


def test_the_handbook_has_every_signal_and_every_limit() -> None:
    handbook = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    table = handbook.split("## What the shard watches")[1].split("## ")[0]

    limits = ("silence_ms", "mute_ms", "stall_floor_s", "stall_multiple", "confirm_after_s")
    names = [*(f"`{signal.value}`" for signal in Signal), *(f"`{name}`" for name in limits)]
    assert [name for name in names if name not in table] == []
    assert set(limits) <= set(ShardSettings.model_fields)


def test_a_mute_socket_is_noticed_in_time_and_everything_is_asked_for_again_with_its_mode(story: Story) -> None:
    story.messages.clear()
    story.expected.clear()
    mute(story, LIMIT_MS - 1_000)
    assert steps(story) == []

    mute(story, 1_100)

    assert steps(story) == [Action.RESUBSCRIBE]
    assert [message["a"] for message in story.messages] == ["subscribe", "mode"]
    assert story.messages[0]["v"] == sorted(EQUITIES)
    assert story.messages[1]["v"] == ["full", sorted(EQUITIES)]
    assert story.expected == set(EQUITIES), "the answers are looked for, so that the hole has an end"
    assert story.session.status().mute_since_ns is not None


def test_answers_to_subscriptions_are_no_flow_and_the_ladder_is_climbed_to_its_end(story: Story) -> None:
    mute(story, 4 * LIMIT_MS)

    assert steps(story) == [Action.RESUBSCRIBE, Action.RECONNECT, Action.REPORT]
    status = story.session.status()
    assert status.mute_reported
    assert status.counts["mute_report"] == status.counts["mute_reconnect"] == status.counts["closed_mute"] == 1
    assert status.last_close is CloseReason.MUTE
    assert status.state is SessionState.OPEN, "whatever is reported, the socket is kept and watched"


def test_after_the_report_new_connections_are_tried_ever_less_often(story: Story) -> None:
    mute(story, 4 * LIMIT_MS)
    connects = story.session.status().counts["connects"]

    mute(story, 3 * 3_600_000)

    tried = story.session.status().counts["connects"] - connects
    steady = 3 * 3_600 / MUTE_RETRY_MAX_S
    assert steady / 2 <= tried <= steady + 8
    assert story.session.status().mute_reported


@pytest.mark.parametrize("limits", [1.2, 2.5, 3.5, 20])
def test_one_packet_nobody_asked_for_ends_the_spell_and_what_was_missed_is_asked_for(
    story: Story, limits: float
) -> None:
    mute(story, int(limits * LIMIT_MS))
    mute(story, int(ANSWER_S * 1_000) + 200)
    assert story.session.state is SessionState.OPEN
    steps(story)
    story.messages.clear()

    assert story.tick() is BinaryKind.TICKS_AGAIN
    story.sync()

    assert steps(story) == ["flowing"]
    assert story.messages[0]["v"] == sorted(EQUITIES)
    status = story.session.status()
    assert status.mute_since_ns is None
    assert not status.mute_reported
    story.flow(60_000)
    assert steps(story) == []


def test_more_packets_than_were_asked_for_are_flow(story: Story) -> None:
    mute(story, LIMIT_MS + 200)
    steps(story)

    story.tick(packets=2 * len(EQUITIES) + 1)

    assert steps(story) == ["flowing"]


def test_the_hole_of_a_mute_socket_begins_with_the_last_packet(story: Story) -> None:
    mute(story, 2 * LIMIT_MS + 1_000)

    told = story.session.drain_changes()

    noticed = next(change for change in told if change.kind is ChangeKind.MUTE)
    assert noticed.quiet_ns == LIMIT_MS * MS
    closed = next(change for change in told if change.kind is ChangeKind.CLOSED)
    assert closed.detail == CloseReason.MUTE
    assert closed.quiet_ns == LIMIT_MS * MS, "since everything was asked for anew"


def test_a_socket_that_turns_mute_and_is_lost_before_that_was_noticed_hides_no_hole(story: Story) -> None:
    mute(story, 8_000)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)

    (closed,) = [change for change in story.session.drain_changes() if change.kind is ChangeKind.CLOSED]
    assert closed.quiet_ns == 8_000 * MS


def test_at_night_a_heartbeat_is_believed(story: Story) -> None:
    story.session.set_market(SHUT, now_ns=story.now_ns)
    mute(story, 3_600_500)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)

    (closed,) = [change for change in story.session.drain_changes() if change.kind is ChangeKind.CLOSED]
    assert closed.quiet_ns <= 1_000 * MS


# -- the market's hours ------------------------------------------------------------------------------------------------


def test_a_shut_market_is_silent(story: Story) -> None:
    story.session.set_market(SHUT, now_ns=story.now_ns)

    mute(story, 2 * 3_600_000)

    assert steps(story) == []
    assert story.session.status().counts["connects"] == 1


def test_the_opening_gives_a_whole_limit(story: Story) -> None:
    story.session.set_market(SHUT, now_ns=story.now_ns)
    mute(story, 3_600_000)
    story.session.set_market(OPEN, now_ns=story.now_ns)

    mute(story, LIMIT_MS - 1_000)
    assert steps(story) == []
    mute(story, 1_100)
    assert steps(story) == [Action.RESUBSCRIBE]


def test_the_close_of_the_market_ends_a_spell_and_takes_the_report_back(story: Story) -> None:
    mute(story, 4 * LIMIT_MS)
    steps(story)

    story.session.set_market(SHUT, now_ns=story.now_ns)

    assert steps(story) == ["flowing"]
    assert not story.session.status().mute_reported
    mute(story, 3_600_000)
    assert steps(story) == []


def test_only_instruments_whose_market_is_open_count(story: Story) -> None:
    story.session.want(EQUITIES | METALS, now_ns=story.now_ns)
    story.sync().flow(20_000)
    story.session.set_market(ONLY_MCX, now_ns=story.now_ns)

    mute(story, int(PATIENCE * PRIOR_S * 1_000 / len(METALS)) - 1_000)
    assert steps(story) == [], "two instruments may be quiet for minutes"
    mute(story, 1_200)
    assert steps(story) == [Action.RESUBSCRIBE]


def test_nothing_is_judged_before_anybody_has_said_what_trades() -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(3)), answering=True)
    story.session.want(EQUITIES, now_ns=story.now_ns)
    story.open()

    mute(story, 3_600_000)

    assert steps(story) == []


# -- rhythm ------------------------------------------------------------------------------------------------------------


def test_a_slow_socket_is_given_its_own_time() -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(3)), answering=True)
    story.session.set_market(OPEN, now_ns=story.now_ns)
    story.session.want(METALS, now_ns=story.now_ns)
    story.open().flow((PAUSES_KNOWN + 2) * 20_000, every_ms=20_000)

    mute(story, 50_000)
    assert steps(story) == []
    mute(story, 15_000)
    assert steps(story) == [Action.RESUBSCRIBE]


def watch_of(instruments: int, *, pause_ms: int) -> tuple[FlowWatch, int]:
    """A watch that has learnt these pauses, and what time it is."""
    watch = FlowWatch(SETTINGS)
    watch.connected(now_ns=0)
    watch.watch(instruments, wanted=instruments, now_ns=0)
    pauses = PAUSES_KNOWN + 2
    for number in range(1, pauses + 1):
        watch.received(1, now_ns=number * pause_ms * MS)
    return watch, pauses * pause_ms * MS


def test_more_instruments_are_not_quieter_so_what_was_learnt_stays() -> None:
    watch, now_ns = watch_of(28, pause_ms=250)

    watch.watch(33, wanted=33, now_ns=now_ns)

    assert watch.limit_ns == LIMIT_MS * MS


def test_fewer_instruments_are_another_socket() -> None:
    watch, now_ns = watch_of(28, pause_ms=250)

    watch.watch(20, wanted=20, now_ns=now_ns)

    assert watch.limit_ns == int(PATIENCE * PRIOR_S / 20 * 1_000) * MS


def test_the_pauses_of_few_slow_instruments_say_nothing_of_many() -> None:
    watch, now_ns = watch_of(3, pause_ms=60_000)

    watch.watch(30, wanted=30, now_ns=now_ns)

    assert watch.limit_ns == int(PATIENCE * PRIOR_S / 30 * 1_000) * MS


def test_a_pause_that_we_ended_teaches_nothing(story: Story) -> None:
    mute(story, LIMIT_MS + 1_000)
    story.flow(30_000)
    steps(story)

    mute(story, LIMIT_MS + 200)

    assert steps(story) == [Action.RESUBSCRIBE]


@given(
    pauses_ms=st.lists(st.integers(1, 60_000), min_size=PAUSES_KNOWN, max_size=60),
    instruments=st.integers(1, 9_000),
)
def test_no_pause_it_is_used_to_raises_an_alarm(pauses_ms: list[int], instruments: int) -> None:
    watch = FlowWatch(SETTINGS)
    watch.connected(now_ns=0)
    watch.watch(instruments, wanted=instruments, now_ns=0)
    now_ns = 0
    for pause_ms in (*[1] * PAUSES_KNOWN, *pauses_ms):
        limit_ns = watch.limit_ns
        now_ns += min(pause_ms * MS, limit_ns - 1)
        assert watch.act(now_ns=now_ns) is None
        watch.received(1, now_ns=now_ns)

    longest_ms = max(pauses_ms[-PAUSES_KNOWN:])
    assert watch.limit_ns >= min(LIMIT_MS, longest_ms) * MS


# -- unseen: noted for a successor, long before anything is done -------------------------------------------------------


def test_a_busy_socket_that_falls_quiet_is_unseen_since_its_last_packet(story: Story) -> None:
    story.flow(20_000, every_ms=20)
    last_ns = story.now_ns
    mute(story, int(UNSEEN_S * 1_000))
    assert story.session.status().unseen_since_ns(story.now_ns) is None

    mute(story, 100)
    assert story.session.status().unseen_since_ns(story.now_ns) == last_ns
    assert steps(story) == [], "nobody knows, so nothing is done"

    story.flow(20)
    assert story.session.status().unseen_since_ns(story.now_ns) is None


def test_an_answer_is_seen_too_so_that_no_record_covers_it(story: Story) -> None:
    story.flow(20_000, every_ms=20)
    mute(story, 4_000)
    story.session.ask_again(list(EQUITIES))
    story.sync()
    asked_ns = story.now_ns

    mute(story, 4_000)

    assert story.session.status().unseen_since_ns(story.now_ns) == asked_ns


def test_a_slow_socket_is_not_unseen_in_its_own_pauses() -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(3)), answering=True)
    story.session.set_market(OPEN, now_ns=story.now_ns)
    story.session.want(METALS, now_ns=story.now_ns)
    story.open().flow((PAUSES_KNOWN + 2) * 20_000, every_ms=20_000)

    mute(story, 60_000)

    assert story.session.status().unseen_since_ns(story.now_ns) is None


def test_a_socket_whose_rhythm_is_not_known_yet_is_unseen_after_eight_brisk_pauses(story: Story) -> None:
    story.flow(20_000, every_ms=20)
    last_ns = story.now_ns
    story.session.want(METALS, now_ns=story.now_ns)  # another socket's rhythm was learnt
    unseen_ms = int(UNSEEN_PAUSES * PRIOR_PAUSE_S * 1_000)

    assert story.session.status().unseen_since_ns(last_ns + unseen_ms * MS) is None
    assert story.session.status().unseen_since_ns(last_ns + (unseen_ms + 1) * MS) == last_ns


def test_a_slow_socket_is_learnt_from_its_first_pause() -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(3)), answering=True)
    story.session.set_market(OPEN, now_ns=story.now_ns)
    story.session.want(METALS, now_ns=story.now_ns)
    story.open().flow(3 * 20_000, every_ms=20_000)

    mute(story, 60_000)

    assert story.session.status().unseen_since_ns(story.now_ns) is None


@pytest.mark.parametrize("ending", ["the market shuts", "the socket ends"])
def test_nothing_is_unseen_where_nothing_is_expected(story: Story, ending: str) -> None:
    story.flow(20_000, every_ms=20)
    match ending:
        case "the market shuts":
            story.session.set_market(SHUT, now_ns=story.now_ns)
        case _:
            story.session.lost(CloseReason.LOST, now_ns=story.now_ns)

    assert story.session.status().unseen_since_ns(story.now_ns + 3_000 * MS) is None


# -- fail-over ---------------------------------------------------------------------------------------------------------


def test_a_report_that_cost_the_account_its_instruments_stands_for_a_while(story: Story) -> None:
    mute(story, 4 * LIMIT_MS)
    steps(story)
    story.session.want({}, now_ns=story.now_ns)
    story.sync()

    mute(story, int(REPORT_STANDS_S * 1_000) - 4 * LIMIT_MS)
    assert story.session.status().mute_reported
    assert steps(story) == []
    mute(story, 4 * LIMIT_MS)

    assert steps(story) == ["flowing"]
    assert not story.session.status().mute_reported
    mute(story, 3_600_000)
    assert steps(story) == [], "nothing is wanted, nothing is missed"
