"""Connections at their edges: upgrades that are refused or never come, and every way in which a socket ends.

The peer is a scripted WebSocket server on loopback; what a broker would do is left to the simulator's tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import picows
import pytest

from tests.support.feed_peer import CREDENTIALS, QUICK, Broker, Feed, Peer, a_broker, a_table, feeding
from ticker_crds import Mode
from ticker_shard.feed import CloseReason, Credentials, KiteWebSocketPool, SessionState
from ticker_shard.ticks import build_instruments


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with a_broker() as serving:
        yield serving


@pytest.mark.parametrize(
    ("status", "reason", "state"),
    [
        pytest.param(403, CloseReason.REJECTED, SessionState.REJECTED, id="403 stops"),
        pytest.param(429, CloseReason.RATE_LIMITED, SessionState.OPEN, id="429 is tried again later"),
        pytest.param(400, CloseReason.REFUSED, SessionState.OPEN, id="400 is tried again"),
        pytest.param(503, CloseReason.REFUSED, SessionState.OPEN, id="503 is tried again"),
        pytest.param(302, CloseReason.REFUSED, SessionState.OPEN, id="a redirect is not followed"),
    ],
)
async def test_refused_upgrades_are_classified(
    broker: Broker, status: int, reason: CloseReason, state: SessionState
) -> None:
    broker.answers = [status, 101]
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.sockets[0].state is state, f"state {state}")

        assert feed.closes == [reason]
        assert str(status) in feed.changes[0].text
        assert (feed.status.rejected_since_ns is not None) == (status == 403)


async def test_a_rejected_socket_waits_for_other_credentials_and_then_connects_at_once(broker: Broker) -> None:
    broker.answers = [403, 101]
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.sockets[0].state is SessionState.REJECTED, "rejected")
        feed.pool.set_credentials(CREDENTIALS)
        assert feed.status.sockets[0].state is SessionState.REJECTED

        feed.pool.set_credentials(Credentials("key-one", "another"))
        await feed.until(lambda: feed.status.open == 1, "open")

        assert broker.upgrades == 2
        assert feed.status.rejected_since_ns is None


def reset(peer: Peer) -> None:
    assert peer.transport is not None
    peer.transport.disconnect(graceful=False)


def say_goodbye(peer: Peer) -> None:
    assert peer.transport is not None
    peer.transport.send_close(picows.WSCloseCode.GOING_AWAY, b"restart")


def speak_gibberish(peer: Peer) -> None:
    assert peer.transport is not None
    peer.transport.underlying_transport.write(b"\xff\xff\xff\xff not a frame")


@pytest.mark.parametrize(
    ("end", "reason", "words"),
    [
        pytest.param(reset, CloseReason.LOST, "without a close frame", id="reset"),
        pytest.param(say_goodbye, CloseReason.CLOSE_FRAME, "1001 restart", id="close frame"),
        pytest.param(speak_gibberish, CloseReason.PROTOCOL_ERROR, "", id="bytes that are no frame"),
    ],
)
async def test_ends_of_connections_are_classified_and_everything_is_subscribed_again(
    broker: Broker, end: Callable[[Peer], None], reason: CloseReason, words: str
) -> None:
    async with feeding(broker) as feed:
        feed.pool.want(build_instruments(a_table({1: Mode.FULL})))
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: bool(broker.peers) and len(broker.peers[0].texts) == 2, "subscribed")

        end(broker.peers[0])
        await feed.until(lambda: len(broker.peers) == 2 and len(broker.peers[1].texts) == 2, "subscribed again")

        assert feed.closes == [reason]
        assert words in feed.changes[1].text
        assert broker.peers[1].texts == broker.peers[0].texts
        assert feed.expected == [[1], [1]]


async def test_a_mute_connection_is_replaced_and_the_broker_is_told(broker: Broker) -> None:
    async with feeding(broker, silence_ms=150) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: len(broker.peers) >= 2, "second connection")

        assert feed.closes[0] == CloseReason.SILENT
        await feed.until(lambda: broker.peers[0].close_code == 1000, "close frame of ours")


async def test_a_server_that_accepts_and_drops_meets_growing_pauses(broker: Broker) -> None:
    broker.on_open = reset
    async with feeding(broker, backoff_ms=1, backoff_max_ms=10_000) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: broker.upgrades >= 5, "five attempts")

        assert set(feed.closes) == {CloseReason.LOST}


async def test_nothing_listens_there(broker: Broker) -> None:
    async with feeding(broker, url="ws://127.0.0.1:1/") as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: len(feed.closes) >= 2, "two failures")

        assert set(feed.closes) == {CloseReason.UNREACHABLE}
        assert "ConnectionRefusedError" in feed.changes[0].text


async def test_an_upgrade_that_never_comes_ends_in_time() -> None:
    async def stay_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stay_mute, "127.0.0.1", 0)
    broker = Broker()
    broker.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, feeding(broker, connect_timeout_ms=100) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: bool(feed.closes), "a failure")

        assert feed.closes[0] == CloseReason.UPGRADE_TIMEOUT


@pytest.mark.parametrize(
    "answer", [pytest.param(b"", id="nothing"), pytest.param(b"SSH-2.0-x\r\n\r\n", id="another protocol")]
)
async def test_an_answer_that_is_not_http_is_a_failed_attempt(answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    broker = Broker()
    broker.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: len(feed.closes) >= 2, "two failures")

        assert set(feed.closes) <= {CloseReason.PROTOCOL_ERROR, CloseReason.LOST, CloseReason.UNREACHABLE}


async def test_close_sends_a_close_frame_and_returns(broker: Broker) -> None:
    async with feeding(broker) as feed:
        feed.pool.set_credentials(CREDENTIALS)
        await feed.until(lambda: feed.status.open == 1, "socket open")

    assert broker.peers[0].close_code == 1000
    assert feed.status.sockets[0].state is SessionState.STOPPED
    assert feed.closes == [CloseReason.STOPPED]


async def test_a_cancelled_run_says_goodbye(broker: Broker) -> None:
    pool = KiteWebSocketPool(
        replace(QUICK, url=broker.url), on_frame=lambda *_: (), on_expect=lambda _: None, on_change=lambda _: None
    )
    pool.set_credentials(CREDENTIALS)
    task = asyncio.create_task(pool.run())
    feed = Feed(pool)
    await feed.until(lambda: feed.status.open == 1, "socket open")

    task.cancel()

    await feed.until(lambda: broker.peers[0].close_code is not None and task.done(), "close frame, task gone")
    assert broker.peers[0].close_code == 1000
    assert task.cancelled()


async def test_close_does_not_wait_for_an_upgrade_that_never_comes() -> None:
    async def stay_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mute.set()
        await reader.read()
        writer.close()

    mute = asyncio.Event()
    server = await asyncio.start_server(stay_mute, "127.0.0.1", 0)
    broker = Broker()
    broker.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        async with asyncio.timeout(5), feeding(broker, connect_timeout_ms=60_000) as feed:
            feed.pool.set_credentials(CREDENTIALS)
            await mute.wait()

        assert feed.status.sockets[0].state is SessionState.STOPPED
