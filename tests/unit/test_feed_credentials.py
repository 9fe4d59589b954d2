"""What a session does with credentials: refused, replaced, put back; and they are never printed."""

from __future__ import annotations

from random import Random

import pytest

from tests.support.feed_story import FIRST, OTHER_KEY, SECOND, SETTINGS, Story, session_in
from ticker_crds import Mode
from ticker_shard.feed.events import CloseReason, SessionState
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.settings import Credentials


@pytest.fixture
def story() -> Story:
    return Story(KiteSession(SETTINGS, chance=Random(3)))


def test_403_waits_for_other_credentials_for_ever(story: Story) -> None:
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.session.begin()
    story.session.refused(403, now_ns=story.now_ns)
    assert story.session.next_deadline_ns() is None
    since = story.session.status().rejected_since_ns
    assert since == story.now_ns

    story.later(86_400_000, alive=False)
    story.session.set_credentials(Credentials("key", "t1"), now_ns=story.now_ns)
    assert story.session.state is SessionState.REJECTED

    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND
    assert story.session.status().rejected_since_ns is None


def test_403_for_credentials_that_were_replaced_meanwhile_is_not_the_end(story: Story) -> None:
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.session.begin()
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    story.session.refused(403, now_ns=story.now_ns)

    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND


def test_new_credentials_end_a_back_off_but_not_the_wait_after_429(story: Story) -> None:
    backing_off, limited = session_in(SessionState.BACKING_OFF), session_in(SessionState.RATE_LIMITED)
    backing_off.set_credentials(SECOND, now_ns=2)
    limited.set_credentials(SECOND, now_ns=2)
    assert backing_off.state is SessionState.CONNECTING
    assert limited.state is SessionState.RATE_LIMITED

    limited.set_credentials(OTHER_KEY, now_ns=3)
    assert limited.state is SessionState.CONNECTING


def test_a_streaming_socket_is_kept_and_a_tickless_one_replaced_for_a_new_token(story: Story) -> None:
    story.want(t1=Mode.FULL).open().later(1_000)
    story.session.receive_binary(188, now_ns=story.now_ns)
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    assert story.session.state is SessionState.OPEN

    story.later(59_999)
    assert story.session.state is SessionState.OPEN
    story.later(1)
    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND
    assert story.session.status().last_close is CloseReason.CREDENTIALS


def test_another_key_replaces_the_connection_at_once(story: Story) -> None:
    story.open()
    story.session.set_credentials(OTHER_KEY, now_ns=story.now_ns)

    assert story.session.state is SessionState.CONNECTING


def test_a_token_put_back_before_it_was_used_changes_nothing(story: Story) -> None:
    story.open()
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.later(120_000)

    assert story.session.state is SessionState.OPEN


def test_credentials_are_never_printed() -> None:
    assert "t1" not in repr(FIRST) + str(FIRST) + f"{FIRST}"
