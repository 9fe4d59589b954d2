"""A socket's subscriptions: documented answers, one cached packet at once, afterwards only what a mode shows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_sim import wire
from ticker_sim.session import Answer, SocketSession
from ticker_sim.wire import Mode

SIZE = 8
TOKENS = [number * 256 + 1 for number in range(1, SIZE)] + [256265]
INDEX = SIZE - 1


def a_session(**options: Any) -> SocketSession:
    return SocketSession({token: place for place, token in enumerate(TOKENS)}, **options)


def some_rows() -> wire.Rows:
    rows = wire.empty_rows(SIZE)
    rows["instrument_token"] = TOKENS
    rows["last_price"] = 1_000
    return rows


def ask(session: SocketSession, action: str, value: Any) -> Answer:
    return session.receive_text(json.dumps({"a": action, "v": value}))


def taken(session: SocketSession, rows: wire.Rows) -> dict[int, Mode]:
    due = session.take(rows)
    return {int(place): Mode(int(mode)) for place, mode in zip(due.places, due.modes, strict=True)}


def test_a_new_token_comes_once_at_once_as_quote() -> None:
    session, rows = a_session(), some_rows()

    ask(session, "subscribe", TOKENS[:2])

    assert taken(session, rows) == {0: Mode.QUOTE, 1: Mode.QUOTE}
    assert taken(session, rows) == {}


def test_subscribing_again_yields_the_cached_packet_again_and_keeps_the_mode() -> None:
    session, rows = a_session(), some_rows()
    ask(session, "subscribe", TOKENS[:1])
    ask(session, "mode", ["full", TOKENS[:1]])
    assert taken(session, rows) == {0: Mode.FULL}

    ask(session, "subscribe", TOKENS[:1])

    assert taken(session, rows) == {0: Mode.FULL}


@pytest.mark.parametrize(
    ("field", "seen_by"),
    [
        ("last_price", {Mode.LTP, Mode.QUOTE, Mode.FULL}),
        ("volume_traded", {Mode.QUOTE, Mode.FULL}),
        ("close", {Mode.QUOTE, Mode.FULL}),
        ("oi", {Mode.FULL}),
        ("exchange_timestamp", {Mode.FULL}),
    ],
)
def test_a_change_is_sent_only_where_the_mode_shows_it(field: str, seen_by: set[Mode]) -> None:
    session, rows = a_session(), some_rows()
    ask(session, "subscribe", TOKENS[:3])
    for place, mode in enumerate(("ltp", "quote", "full")):
        ask(session, "mode", [mode, [TOKENS[place]]])
    session.take(rows)

    rows[field] = 77
    session.notice(np.arange(SIZE))

    assert set(taken(session, rows).values()) == seen_by


@pytest.mark.parametrize(("field", "modes"), [("exchange_timestamp", {"full"}), ("volume_traded", set())])
def test_an_index_has_its_own_idea_of_what_is_shown(field: str, modes: set[str]) -> None:
    for mode in ("quote", "full"):
        session, rows = a_session(), some_rows()
        ask(session, "subscribe", [TOKENS[INDEX]])
        ask(session, "mode", [mode, [TOKENS[INDEX]]])
        session.take(rows)

        rows[field] = 77
        session.notice(np.arange(SIZE))

        assert bool(taken(session, rows)) == (mode in modes)


def test_a_price_that_returned_before_it_was_sent_is_no_change() -> None:
    session, rows = a_session(), some_rows()
    ask(session, "subscribe", TOKENS[:1])
    ask(session, "mode", ["ltp", TOKENS[:1]])
    session.take(rows)

    for price in (1_005, 1_000):
        rows["last_price"] = price
        session.notice(np.array([0]))

    assert taken(session, rows) == {}


def test_tokens_beyond_the_cap_are_refused_in_the_brokers_words_and_the_rest_stays() -> None:
    session, rows = a_session(instruments_max=3), some_rows()

    answer = ask(session, "subscribe", TOKENS[:5])

    assert (answer.accepted, answer.refused) == (3, 2)
    assert [json.loads(text) for text in answer.texts] == [
        {"type": "error", "data": "Can't subscribe to more than 3 instruments."}
    ]
    assert set(taken(session, rows)) == {0, 1, 2}
    assert ask(session, "subscribe", TOKENS[:3]).refused == 0


def test_room_that_an_unsubscribe_made_can_be_used() -> None:
    session = a_session(instruments_max=2)
    ask(session, "subscribe", TOKENS[:2])

    ask(session, "unsubscribe", [*TOKENS[:1], 999])

    assert ask(session, "subscribe", [TOKENS[4]]).accepted == 1
    assert session.subscribed == 2


def test_unlisted_tokens_count_but_nothing_ever_comes_for_them() -> None:
    session, rows = a_session(instruments_max=2), some_rows()

    answer = ask(session, "subscribe", [4_000_001, 4_000_257, TOKENS[0]])

    assert (answer.accepted, answer.refused, session.subscribed) == (2, 1, 2)
    assert taken(session, rows) == {}


@pytest.mark.parametrize(
    "value", ["12", ["256265"], [[1]], [{"t": 1}], [True], [1.5], [None], {"v": 1}, [-1], [2**32], None]
)
@pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
def test_anything_but_numbers_as_tokens_is_answered_and_subscribes_nothing(action: str, value: Any) -> None:
    session = a_session()

    answer = ask(session, action, value)

    assert [json.loads(text) for text in answer.texts] == [{"type": "error", "data": "Error parsing instrument tokens"}]
    assert session.subscribed == 0


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '"x"', "null", '{"a":"what","v":[]}', '{"a":"mode","v":["best",[1]]}', '{"a":"mode","v":[]}'],
)
def test_requests_that_mean_nothing_are_ignored(text: str) -> None:
    session = a_session()

    assert session.receive_text(text) == Answer("ignored")


def test_a_mode_does_not_subscribe() -> None:
    session = a_session()

    assert ask(session, "mode", ["full", TOKENS[:1]]).accepted == 0
    assert session.subscribed == 0


def test_any_spacing_of_the_json_is_read() -> None:
    session = a_session()

    session.receive_text(f' {{"v" : [ {TOKENS[0]} ],\n "a":"subscribe"}} ')

    assert session.subscribed == 1


def test_muted_instruments_stay_due_until_the_mute_is_over() -> None:
    session, rows = a_session(), some_rows()
    ask(session, "subscribe", TOKENS[:2])
    muted = np.zeros(SIZE, np.bool_)
    muted[0] = True

    assert set(session.take(rows, muted=muted).places) == {1}
    assert (session.pending(muted=muted), session.pending()) == (0, 1)
    assert set(taken(session, rows)) == {0}


def test_quote_first_sends_a_full_subscription_once_as_quote() -> None:
    session, rows = a_session(quote_first=True), some_rows()
    ask(session, "subscribe", TOKENS[:1])
    ask(session, "mode", ["full", TOKENS[:1]])

    assert [taken(session, rows) for _ in range(3)] == [{0: Mode.QUOTE}, {0: Mode.FULL}, {}]


REQUESTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), st.lists(st.sampled_from([*TOKENS, 999, 1_255]))),
        st.tuples(
            st.just("mode"), st.tuples(st.sampled_from(["ltp", "quote", "full"]), st.lists(st.sampled_from(TOKENS)))
        ),
    )
)


@given(requests=REQUESTS, instruments_max=st.integers(1, SIZE))
def test_the_cap_holds_and_only_the_subscribed_is_sent(requests: list[tuple[str, Any]], instruments_max: int) -> None:
    session, rows = a_session(instruments_max=instruments_max), some_rows()

    for action, value in requests:
        ask(session, action, value)
        assert session.subscribed <= instruments_max

    assert set(taken(session, rows)) == set(session.places)
