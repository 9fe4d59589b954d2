"""The feed's pool over real sockets, and a scripted WebSocket server on loopback that does exactly what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import picows
import pytest

from tests.support.waiting import until_seen
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.feed import ChangeKind, Credentials, FeedChange, FeedSettings, FeedStatus, KiteWebSocketPool

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


@asynccontextmanager
async def a_broker() -> AsyncIterator[Broker]:
    """A server that runs."""
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
                await until_seen(condition, self.happened, look_s=0.02)  # the peer's side makes no event here
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
