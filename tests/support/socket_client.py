"""A plain WebSocket client of the simulator that keeps everything it received, in order."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.support.simulator import SimulatorProcess

DEADLINE_S = 10
HEARTBEAT = b"\x00"


class Client:
    """A socket and everything that came through it."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.received: list[tuple[float, bytes | str]] = []
        self.close_code: int | None = None
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self.ws.receive()
            if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                self.received.append((time.monotonic(), message.data))
            self._news.set()
            if self.ws.closed:
                self.close_code = self.ws.close_code
                return

    async def ask(self, action: str, value: Any) -> None:
        await self.ws.send_str(json.dumps({"a": action, "v": value}))

    async def subscribe(self, *tokens: int, mode: str = "quote") -> None:
        await self.ask("subscribe", tokens)
        await self.ask("mode", [mode, tokens])

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def frames(self, *, since: int = 0, until: int | None = None) -> list[bytes]:
        """Binary messages that are no heartbeats."""
        return [data for _, data in self.received[since:until] if isinstance(data, bytes) and len(data) > 1]

    def texts(self) -> list[str]:
        return [data for _, data in self.received if isinstance(data, str)]

    def heartbeats(self, *, since: int = 0) -> int:
        return sum(data == HEARTBEAT for _, data in self.received[since:])

    def packets(self, *, since: int = 0, until: int | None = None) -> list[bytes]:
        return [packet for frame in self.frames(since=since, until=until) for packet in split(frame)]

    def tokens(self, *, since: int = 0) -> set[int]:
        return {struct.unpack_from(">I", packet)[0] for packet in self.packets(since=since)}

    @property
    def mark(self) -> int:
        return len(self.received)

    async def stall(self) -> None:
        """Stop reading; the buffers fill and the other side has to wait."""
        await self.end()

    def read_on(self) -> None:
        """Read again after `stall`."""
        self._reader = asyncio.create_task(self._read())

    async def end(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


def split(frame: bytes) -> list[bytes]:
    count, found, at = struct.unpack_from(">H", frame)[0], [], 2
    for _ in range(count):
        length = struct.unpack_from(">H", frame, at)[0]
        found.append(frame[at + 2 : at + 2 + length])
        at += 2 + length
    assert at == len(frame), "a frame that is not exactly its packets"
    return found


@asynccontextmanager
async def connect(sim: SimulatorProcess, *, key: int = 1, token: str | None = None) -> AsyncIterator[Client]:
    query = f"api_key=simkey{key}&access_token={token or f'simtoken{key}'}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{sim.ws}/?{query}", max_msg_size=0, autoping=True) as ws,
    ):
        client = Client(ws)
        try:
            yield client
        finally:
            await client.end()


async def refusal(sim: SimulatorProcess, query: str) -> int:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{sim.ws}/?{query}")
    return refused.value.status


async def gone(sim: SimulatorProcess, key: str, *, left: int) -> None:
    """Wait until the simulator counts no more than `left` sockets of the key."""
    async with asyncio.timeout(DEADLINE_S):
        while len((await sim.async_control.stats(api_key=key, tokens=False)).sockets) > left:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
