"""The feed's shell over real sockets: connections at their edges, against a peer that does exactly what a test says.

The peer is a scripted WebSocket server on loopback; what a broker would do is left to the simulator's tests.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import picows
import pytest

from ticker_common.logs import redact
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.feed import (
    ChangeKind,
    CloseReason,
    Credentials,
    FeedChange,
    FeedSettings,
    FeedStatus,
    KiteWebSocketPool,
    SessionState,
)
from ticker_shard.feed.connection import FRAME_BYTES_MAX, RECEIVE_BYTES
from ticker_shard.feed.shell import FRAMES_FAILED_MAX, ReceiverBrokenError
from ticker_shard.ticks import build_instruments

DEADLINE_S = 10.0
TOKEN = "t0ken/with+odd characters&=%"
CREDENTIALS = Credentials("key-one", TOKEN)
FRAME = bytes.fromhex("0001000800063a0100026683")  # 408065, last price 1573.15
HEARTBEAT = b"\x00"


@dataclass
class Peer(picows.WSListener):  # type: ignore[misc]
    """Server side of one connection."""

    path: str
    transport: picows.WSTransport | None = None
    texts: list[dict[str, object]] = field(default_factory=list)
    controls: list[tuple[str, bytes]] = field(default_factory=list)
    close_code: int | None = None
    gone: bool = False
    on_open: Callable[[Peer], None] = lambda peer: None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        self.on_open(self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self.texts.append(json.loads(frame.get_payload_as_bytes()))
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self.close_code = int(frame.get_close_code())
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
        else:
            self.controls.append((str(frame.msg_type), frame.get_payload_as_bytes()))

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self.gone = True

    def send(self, payload: bytes, kind: picows.WSMsgType = picows.WSMsgType.BINARY, *, fin: bool = True) -> None:
        assert self.transport is not None
        self.transport.send(kind, payload, fin)


class Broker:
    """A server whose answers to upgrades are taken from a list, the last one for good."""

    def __init__(self) -> None:
        self.answers: list[int] = [101]
        self.peers: list[Peer] = []
        self.upgrades = 0
        self.on_open: Callable[[Peer], None] = lambda peer: None
        self.url = ""

    def answer(self, request: picows.WSUpgradeRequest) -> picows.WSListener | picows.WSUpgradeResponseWithListener:
        self.upgrades += 1
        status = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 101:
            peer = Peer(path=request.path.decode(), on_open=self.on_open)
            self.peers.append(peer)
            return peer
        if status == 302:
            response = picows.WSUpgradeResponse.create_redirect_response(302, self.url + "elsewhere")
            return picows.WSUpgradeResponseWithListener(response, None)
        response = picows.WSUpgradeResponse.create_error_response(status, b"no")
        return picows.WSUpgradeResponseWithListener(response, None)


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker()
    server = await picows.ws_create_server(broker.answer, "127.0.0.1", 0, enable_auto_pong=True)
    port = server.sockets[0].getsockname()[1]
    broker.url = f"ws://127.0.0.1:{port}/"
    try:
        yield broker
    finally:
        server.close()
        for peer in broker.peers:
            if peer.transport is not None and not peer.gone:
                peer.transport.disconnect(graceful=False)


@dataclass
class Feed:
    """A pool under test with everything it said."""

    pool: KiteWebSocketPool
    frames: list[bytes] = field(default_factory=list)
    expected: list[list[int]] = field(default_factory=list)
    changes: list[FeedChange] = field(default_factory=list)
    answers: Callable[[bytes], Iterable[int]] = lambda frame: ()
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    def on_frame(self, payload: bytes | memoryview, received_ns: int) -> Iterable[int]:
        self.frames.append(bytes(payload))
        self.happened.set()
        return self.answers(bytes(payload))

    def on_expect(self, tokens: Iterable[int]) -> None:
        self.expected.append(list(tokens))

    def on_change(self, change: FeedChange) -> None:
        self.changes.append(change)
        self.happened.set()

    @property
    def status(self) -> FeedStatus:
        return self.pool.status()

    @property
    def closes(self) -> list[str]:
        return [change.detail for change in self.changes if change.kind in (ChangeKind.CLOSED, ChangeKind.FAILED)]

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; it is looked at on every event of the feed and otherwise now and then."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    self.happened.clear()
                    try:
                        async with asyncio.timeout(0.02):  # the peer's side makes no event here
                            await self.happened.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            pytest.fail(f"not within {DEADLINE_S} s: {what}; {self.status}; {self.changes[-5:]}")


QUICK = FeedSettings(
    url="", backoff_ms=20, backoff_max_ms=40, spacing_ms=1, silence_ms=5_000, rate_limited_ms=(50, 60),
    connect_timeout_ms=2_000, close_timeout_ms=500,
)  # fmt: skip


@asynccontextmanager
async def feeding(broker: Broker, **changes: object) -> AsyncIterator[Feed]:
    settings = replace(QUICK, **({"url": broker.url} | changes))  # type: ignore[arg-type]
    holder: list[Feed] = []
    pool = KiteWebSocketPool(
        settings,
        on_frame=lambda payload, received_ns: holder[0].on_frame(payload, received_ns),
        on_expect=lambda tokens: holder[0].on_expect(tokens),
        on_change=lambda change: holder[0].on_change(change),
        chance=Random(7),
    )
    feed = Feed(pool)
    holder.append(feed)
    task = asyncio.create_task(pool.run())
    try:
        yield feed
        assert not task.done(), task
    finally:
        pool.close()
        async with asyncio.timeout(DEADLINE_S):
            await task


def a_table(modes: dict[int, Mode], *, revision: int = 1) -> AssignmentTable:
    rows = tuple(AssignedInstrument(token, "NSE", f"S{token}", mode, ("ticker:x",)) for token, mode in modes.items())
    return AssignmentTable("acc1", revision, (Channel("ticker:x"),), rows)


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
