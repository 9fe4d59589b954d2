"""Texts of the broker become counted events and never errors."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.feed_story import SETTINGS, Story
from ticker_shard.feed.events import ChangeKind, SessionState, TextKind
from ticker_shard.feed.messages import TEXT_BYTES_MAX, read_text
from ticker_shard.feed.session import KiteSession


@pytest.fixture
def story() -> Story:
    return Story(KiteSession(SETTINGS, chance=Random(3)))


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        (b'{"type":"order","data":{"order_id":"1","user_id":"AB1234"}}', TextKind.ORDER, ""),
        (b'{"type":"error","data":"Error parsing tokens"}', TextKind.ERROR, "Error parsing tokens"),
        (
            b'{"type":"error","data":"Can\'t subscribe to more than 3000 instruments."}',
            TextKind.TOO_MANY_INSTRUMENTS,
            "Can't subscribe to more than 3000 instruments.",
        ),
        (b'{"type":"error","data":{"code":1}}', TextKind.ERROR, '{"code": 1}'),
        (b'{"type":"message","data":"hello"}', TextKind.MESSAGE, "hello"),
        (b'{"type":"instruments_meta","data":{"count":2}}', TextKind.INSTRUMENTS_META, '{"count": 2}'),
        (b'{"type":"app_code","timestamp":"x"}', TextKind.UNKNOWN, "app_code"),
        (b'{"type":["order"]}', TextKind.UNKNOWN, '["order"]'),
        (b"{}", TextKind.UNKNOWN, "null"),
        (b"[1,2]", TextKind.JUNK, "JSON, but a list where an object was expected"),
        (b'"order"', TextKind.JUNK, "JSON, but a str where an object was expected"),
        (b"", TextKind.JUNK, "not JSON"),
        (b"\xff\xfe", TextKind.JUNK, "not JSON"),
        (b"[" * 60_000, TextKind.JUNK, "not JSON"),
        (b" " * (TEXT_BYTES_MAX + 1), TextKind.JUNK, f"{TEXT_BYTES_MAX + 1} bytes of text, {TEXT_BYTES_MAX} are read"),
    ],
)  # fmt: skip
def test_texts_become_counted_events_and_never_errors(story: Story, payload: bytes, kind: TextKind, text: str) -> None:
    story.open()
    story.session.drain_changes()

    assert story.session.receive_text(payload, now_ns=story.now_ns) is kind

    [change] = story.session.drain_changes()
    assert (change.kind, change.detail, change.text) == (ChangeKind.TEXT, kind, text)
    assert story.session.status().counts[f"text_{kind}"] == 1
    assert story.session.state is SessionState.OPEN


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_text_is_understood_somehow(payload: bytes) -> None:
    kind, text = read_text(payload)

    assert kind in TextKind
    assert len(text) <= 300
