"""The feed's shell over real sockets: what is sent and in which order, what becomes of each frame.

The peer is a scripted WebSocket server on loopback; what a broker would do is left to the simulator's tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace

import picows
import pytest

from tests.support.feed_peer import (
    CREDENTIALS,
    DEADLINE_S,
    FRAME,
    HEARTBEAT,
    QUICK,
    TOKEN,
    Broker,
    Feed,
    a_broker,
    a_table,
    feeding,
)
from ticker_common.logs import redact
from ticker_crds import Mode
from ticker_shard.feed import ChangeKind, CloseReason, FeedChange, KiteWebSocketPool
from ticker_shard.feed.connection import FRAME_BYTES_MAX, RECEIVE_BYTES
from ticker_shard.feed.shell import FRAMES_FAILED_MAX, ReceiverBrokenError
from ticker_shard.ticks import build_instruments


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with a_broker() as serving:
        yield serving


async def test_credentials_are_percent_encoded_and_the_url_is_in_no_log_line(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")

    assert broker.peers[0].path == ("/?api_key=key-one&access_token=t0ken%2Fwith%2Bodd%20characters%26%3D%25")
    said = " ".join([f"{record.getMessage()} {record.exc_text}" for record in caplog.records])
    assert "t0ken" not in said
    assert "key-one" not in said
    assert redact(f"boom {TOKEN}") == "boom [redacted]"


async def test_subscribes_in_chunks_with_the_mode_after_each_and_expects_before_it_sends(broker: Broker) -> None:
    table = a_table({1: Mode.FULL, 2: Mode.FULL, 3: Mode.FULL, 4: Mode.LTP})
    async with feeding(broker, chunk=2) as feed:
        feed.pool.want(build_instruments(table))
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: bool(broker.peers) and len(broker.peers[0].texts) == 6, "six messages")

        assert broker.peers[0].texts == [
            {"a": "subscribe", "v": [1, 2]}, {"a": "mode", "v": ["full", [1, 2]]},
            {"a": "subscribe", "v": [3]}, {"a": "mode", "v": ["full", [3]]},
            {"a": "subscribe", "v": [4]}, {"a": "mode", "v": ["ltp", [4]]},
        ]  # fmt: skip
        assert feed.expected == [[1, 2, 3, 4]]


async def test_a_new_table_is_sent_as_a_difference_on_the_open_socket(broker: Broker) -> None:
    async with feeding(broker) as feed:
        first = build_instruments(a_table({1: Mode.FULL, 2: Mode.FULL, 3: Mode.LTP}))
        feed.pool.want(first)
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: bool(broker.peers) and len(broker.peers[0].texts) == 4, "first table")

        second = a_table({2: Mode.FULL, 3: Mode.QUOTE, 4: Mode.FULL}, revision=2)
        feed.pool.want(build_instruments(second, previous=first))
        await feed.until(lambda: len(broker.peers[0].texts) == 8, "difference")

        assert broker.peers[0].texts[4:] == [
            {"a": "unsubscribe", "v": [1]},
            {"a": "subscribe", "v": [4]},
            {"a": "mode", "v": ["full", [4]]},
            {"a": "mode", "v": ["quote", [3]]},
        ]
        assert sorted(feed.expected[1]) == [3, 4]
        assert broker.upgrades == 1


async def test_the_answer_of_the_frame_callback_confirms(broker: Broker) -> None:
    async with feeding(broker) as feed:
        feed.answers = lambda frame: (408065,) if frame == FRAME else ()
        feed.pool.want(build_instruments(a_table({408065: Mode.LTP})))
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")
        assert not feed.status.warm

        broker.peers[0].send(HEARTBEAT)
        broker.peers[0].send(FRAME)
        await feed.until(lambda: feed.status.warm, "confirmed")

        assert feed.frames == [FRAME]
        assert feed.changes[-1] == FeedChange(0, ChangeKind.CONFIRMED, "1")


async def test_a_callback_that_raises_is_counted_and_costs_no_connection(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def raise_it(frame: bytes) -> Iterable[int]:
        raise ZeroDivisionError("ours")

    async with feeding(broker) as feed:
        feed.answers = raise_it
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")
        for _ in range(5):
            broker.peers[0].send(FRAME)
        await feed.until(lambda: feed.status.callback_errors == 5, "five errors")

        assert feed.status.open == 1
        assert broker.upgrades == 1
    logged = [record for record in caplog.records if record.message.startswith("receiver of frames raised")]
    assert len(logged) == 3  # the 1st, 2nd and 4th


async def test_a_receiver_that_fails_for_every_frame_ends_the_feed_and_one_good_frame_forgives(broker: Broker) -> None:
    def every_tenth_is_good(frame: bytes) -> Iterable[int]:
        if len(feed.frames) % 10:
            raise ZeroDivisionError("ours")
        return ()

    def none_is_good(frame: bytes) -> Iterable[int]:
        raise ZeroDivisionError("ours")

    feed = Feed(
        KiteWebSocketPool(
            replace(QUICK, url=broker.url),
            on_frame=lambda payload, received_ns: feed.on_frame(payload, received_ns),
            on_expect=lambda tokens: None,
            on_change=lambda change: feed.on_change(change),
        )
    )
    running = asyncio.create_task(feed.pool.run())
    feed.answers = every_tenth_is_good
    feed.pool.set_credentials(CREDENTIALS)
    await feed.until(lambda: feed.status.open == 1, "socket open")
    for _ in range(3 * FRAMES_FAILED_MAX):
        broker.peers[0].send(FRAME)
    await feed.until(lambda: len(feed.frames) == 3 * FRAMES_FAILED_MAX, "all have come")
    assert not running.done()

    feed.answers = none_is_good
    for _ in range(FRAMES_FAILED_MAX):
        broker.peers[0].send(FRAME)
    with pytest.RaisesGroup(pytest.RaisesExc(ReceiverBrokenError, match="100 frames in a row")):
        async with asyncio.timeout(DEADLINE_S):
            await running


async def test_pings_are_answered_and_fragments_are_put_together(broker: Broker) -> None:
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")
        peer = broker.peers[0]
        assert peer.transport is not None

        peer.transport.send_ping(b"abc")
        peer.send(FRAME[:5], fin=False)
        peer.send(FRAME[5:], picows.WSMsgType.CONTINUATION)
        await feed.until(lambda: bool(feed.frames and peer.controls), "frame and pong")

        assert feed.frames == [FRAME]
        assert peer.controls[0][1] == b"abc"


async def test_a_frame_far_larger_than_any_of_the_brokers_is_delivered_and_costs_no_connection(broker: Broker) -> None:
    huge = b"\xff" * (FRAME_BYTES_MAX - 1)
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")

        broker.peers[0].send(huge)
        broker.peers[0].send(FRAME)
        await feed.until(lambda: len(feed.frames) == 2, "both have come")

        assert feed.frames == [huge, FRAME]
        assert feed.closes == []


@pytest.mark.parametrize("pieces", [1, 5], ids=["one frame", "fragments"])
async def test_what_is_larger_than_the_limit_ends_the_connection_by_its_name(broker: Broker, pieces: int) -> None:
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")

        for number in range(pieces):
            kind = picows.WSMsgType.CONTINUATION if number else picows.WSMsgType.BINARY
            broker.peers[0].send(b"\xff" * (3 * FRAME_BYTES_MAX // pieces), kind, fin=pieces == 1)
        await feed.until(lambda: broker.upgrades == 2 and feed.status.open == 1, "a new connection")

        assert feed.closes == [CloseReason.PROTOCOL_ERROR]


async def test_three_sockets_share_the_instruments(broker: Broker) -> None:
    async with feeding(broker, sockets=3, instruments_per_socket=2) as feed:
        feed.pool.want(build_instruments(a_table(dict.fromkeys(range(1, 9), Mode.FULL))))
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: sum(len(peer.texts) for peer in broker.peers) == 6, "three subscriptions")

        subscribed: list[list[int]] = [peer.texts[0]["v"] for peer in broker.peers]  # type: ignore[misc]
        assert [len(tokens) for tokens in subscribed] == [2, 2, 2]
        assert sorted(token for tokens in subscribed for token in tokens) == [1, 2, 3, 4, 5, 6]
        assert feed.status.unplaced == (7, 8)
        assert feed.status.wanted == 8


async def test_a_flood_of_frames_leaves_turns_of_the_loop_to_others(broker: Broker) -> None:
    """What waits in the kernel must not become one read: publishing happens on the same loop."""
    frame = bytes(40_000)
    frames = 300
    turn, frames_in_turn = 0, Counter[int]()

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        feed.pool.want(build_instruments(a_table({1: Mode.FULL})))
        await feed.until(lambda: feed.status.open == 1, "connected")
        feed.answers = lambda payload: frames_in_turn.update([turn]) or ()
        counting = asyncio.create_task(count_turns())
        for _ in range(frames):
            broker.peers[0].send(frame)
        await feed.until(lambda: frames_in_turn.total() == frames, "all frames")
        counting.cancel()

    assert max(frames_in_turn.values()) * len(frame) <= 2 * RECEIVE_BYTES + len(frame)
