"""What one socket asks for: differences, in order; what does not come is asked for again and never given up."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from tests.support.feed_story import SETTINGS, Story
from ticker_crds import AssignedInstrument, AssignmentTable, Mode
from ticker_shard.feed.events import ChangeKind, CloseReason
from ticker_shard.feed.pool import KiteWebSocketPool
from ticker_shard.feed.session import KiteSession
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments


@pytest.fixture
def story() -> Story:
    return Story(KiteSession(SETTINGS, chance=Random(3)))


# -- subscribing -------------------------------------------------------------------------------------------------------


def test_everything_wanted_is_subscribed_in_its_mode_when_the_socket_opens(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.LTP, t3=Mode.QUOTE).open()

    assert story.subscribed == {1: "full", 2: "ltp", 3: "quote"}
    assert story.expected == {1, 2, 3}
    assert story.session.missing == [1, 2, 3]


def test_nothing_is_sent_while_the_socket_is_not_open(story: Story) -> None:
    story.want(t1=Mode.FULL)

    assert story.messages == []
    assert story.session.status().wanted == 1


def test_lists_are_cut_into_chunks() -> None:
    story = Story(KiteSession(replace(SETTINGS, chunk=500), chance=Random(1)))

    story.session.want(dict.fromkeys(range(1, 1_202), Mode.FULL), now_ns=story.now_ns)
    story.open()

    assert [len(message["v"]) for message in story.messages if message["a"] == "subscribe"] == [500, 500, 201]  # type: ignore[arg-type]
    assert set(story.subscribed.values()) == {"full"}


def test_a_new_table_sends_only_the_difference_and_frees_room_first(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL, t3=Mode.FULL).open()
    story.session.confirm([1, 2, 3])
    story.messages.clear()
    story.expected.clear()

    story.want(t2=Mode.FULL, t3=Mode.LTP, t4=Mode.FULL)

    assert [message["a"] for message in story.messages] == ["unsubscribe", "subscribe", "mode", "mode"]
    assert story.subscribed == {2: "full", 3: "ltp", 4: "full"}
    assert story.expected == {3, 4}
    assert story.session.missing == [3, 4]


def test_a_token_that_stands_for_another_contract_is_asked_for_anew(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1, 2])
    story.messages.clear()
    story.expected.clear()

    story.session.want({1: Mode.FULL, 2: Mode.FULL}, recycled=[2], now_ns=story.now_ns)
    story.sync()

    assert [(message["a"], message["v"]) for message in story.messages] == [("subscribe", [2]), ("mode", ["full", [2]])]
    assert story.expected == {2}
    assert story.session.missing == [2]
    story.session.confirm([2])
    assert story.session.status().warm


def contracts(*names: str) -> InstrumentTable:
    """Some contracts, under the tokens 1, 2 and so on."""
    rows = tuple(
        AssignedInstrument(token, "NFO", name, Mode.FULL, channels=()) for token, name in enumerate(names, start=1)
    )
    return build_instruments(AssignmentTable("acc1", 1, (), rows))


async def test_the_pool_finds_out_which_tokens_were_recycled() -> None:
    pool = KiteWebSocketPool(SETTINGS, on_frame=lambda *_: (), on_expect=lambda _: None, on_change=lambda _: None)
    story = Story(pool._shells[0].session)
    table = contracts("NIFTY20NOV", "INFY")
    pool.want(table)
    story.open()
    story.session.confirm(table.tokens.tolist())
    assert pool.status().warm

    recycled = contracts("NIFTY27NOV", "INFY")
    assert recycled.tokens.tolist() == table.tokens.tolist()
    pool.want(recycled)

    assert story.session.missing == [int(table.tokens[0])]


def test_a_confirmation_in_an_earlier_mode_does_not_count_for_the_new_one(story: Story) -> None:
    story.want(t1=Mode.FULL).open()
    story.session.confirm([1])
    story.want(t1=Mode.QUOTE).want(t1=Mode.FULL)

    assert story.session.missing == [1]


def test_confirmation_of_everything_is_told_once_and_again_after_a_change(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.session.confirm([1])
    assert ChangeKind.CONFIRMED not in dict(story.changes)

    story.session.confirm([2, 1])
    assert story.changes == [(ChangeKind.CONFIRMED, "2")]

    story.want(t1=Mode.FULL, t2=Mode.FULL, t3=Mode.FULL)
    assert story.changes == []
    story.session.confirm([3])
    assert story.changes == [(ChangeKind.CONFIRMED, "3")]


def test_a_token_nobody_asked_for_confirms_nothing(story: Story) -> None:
    story.want(t1=Mode.FULL).open()

    story.session.confirm([99])

    assert story.session.status().confirmed == 0


def test_an_empty_assignment_is_confirmed_by_opening(story: Story) -> None:
    story.open()

    assert story.changes[-1] == (ChangeKind.CONFIRMED, "0")
    assert story.session.status().warm


def test_after_a_reconnect_nothing_counts_as_confirmed_and_all_is_asked_for_again(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.LTP).open()
    story.session.confirm([1, 2])
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
    assert story.session.status().confirmed == 0

    story.later(40_000, alive=False)
    story.open()

    assert story.subscribed == {1: "full", 2: "ltp"}
    assert story.session.missing == [1, 2]


def test_what_is_taken_away_and_given_back_within_a_moment_begins_anew(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1, 2])
    story.messages.clear()
    story.expected.clear()

    story.session.want({1: Mode.FULL}, now_ns=story.now_ns)  # whoever reads packets has let its row go
    story.session.want({1: Mode.FULL, 2: Mode.FULL}, now_ns=story.now_ns)
    assert story.session.missing == [2]
    story.sync()

    assert story.messages == [{"a": "subscribe", "v": [2]}, {"a": "mode", "v": ["full", [2]]}]
    assert story.expected == {2}
    story.session.confirm([2])
    assert story.session.status().warm


def test_what_had_not_come_when_it_was_taken_away_and_given_back_is_still_waited_for(story: Story) -> None:
    story.want(t1=Mode.FULL).open()
    story.session.want({}, now_ns=story.now_ns)
    story.want(t1=Mode.FULL)
    story.messages.clear()

    story.later(3_000)

    assert story.messages[0] == {"a": "subscribe", "v": [1]}


# -- repair ------------------------------------------------------------------------------------------------------------


def test_what_does_not_come_is_asked_for_again_then_listed_and_never_given_up(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.messages.clear()
    story.expected.clear()

    story.later(2_999)
    assert story.messages == []
    story.later(1)
    assert story.messages == [{"a": "subscribe", "v": [2]}, {"a": "mode", "v": ["full", [2]]}]
    assert story.expected == {2}, "what was looked for may have come over another socket, where it confirmed nothing"
    assert not story.session.status().warm

    story.later(5_999)
    assert story.session.status().unconfirmed == ()
    story.later(1)
    assert story.session.status().unconfirmed == (2,)
    assert story.session.status().warm, "one dead instrument does not hold up the rest"
    assert (ChangeKind.UNCONFIRMED, "1") in story.changes

    story.messages.clear()
    story.later(120_000)
    assert 5 <= len(story.messages) / 2 <= 10, "asking goes on, slowly"


def test_a_late_packet_takes_the_instrument_off_the_list(story: Story) -> None:
    story.want(t1=Mode.FULL).open().later(10_000)
    assert story.session.status().unconfirmed == (1,)

    story.session.confirm([1])

    assert story.session.status().unconfirmed == ()
    assert story.changes[-2:] == [(ChangeKind.UNCONFIRMED, "0"), (ChangeKind.CONFIRMED, "1")]


def test_an_instrument_no_longer_wanted_leaves_the_list(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.later(10_000).want(t1=Mode.FULL)

    assert story.session.status().unconfirmed == ()
    assert story.changes[-1] == (ChangeKind.CONFIRMED, "1")
