"""A subscription on which nothing comes: a quiet market is left alone, a server that vanished is not waited for."""

from __future__ import annotations

import pytest
import redis

from ticker_client.subscriber import ANSWER_READS, POLL_S, Silence

MESSAGE = {"type": "message", "channel": "c", "data": b""}
REFUSAL = redis.exceptions.NoPermissionError("no permissions to run the 'ping' command")


def test_the_first_empty_read_asks_and_an_answer_begins_anew():
    silence = Silence()

    for _ in range(10):
        assert not silence.asks(MESSAGE)
        assert silence.asks(None)
        assert not any(silence.asks(None) for _ in range(ANSWER_READS - 1))


def test_no_answer_to_the_question_breaks_the_connection():
    silence = Silence()
    silence.asks(MESSAGE)
    for _ in range(ANSWER_READS):
        silence.asks(None)

    with pytest.raises(redis.TimeoutError, match="no answer"):
        silence.asks(None)


def test_the_subscription_itself_is_the_first_question():
    silence = Silence()

    assert not any(silence.asks(None) for _ in range(ANSWER_READS))
    with pytest.raises(redis.TimeoutError):
        silence.asks(None)


def test_a_silence_is_noticed_within_five_seconds():
    assert (1 + ANSWER_READS) * POLL_S <= 5


def test_a_refused_question_is_an_answer():
    silence = Silence()
    silence.asks(MESSAGE)
    silence.asks(None)

    assert not silence.asks(silence.answered_by(REFUSAL))
    assert silence.asks(None), "the silence begins anew"


@pytest.mark.parametrize("heard", [False, True], ids=["the subscription", "something else"])
def test_what_refuses_something_else_is_raised(heard: bool):
    silence = Silence()
    if heard:
        silence.asks(MESSAGE)

    with pytest.raises(redis.exceptions.NoPermissionError):
        silence.answered_by(REFUSAL)
