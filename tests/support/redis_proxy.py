"""A TCP proxy before a server: delay, black hole, reset. It lives in the test's own loop."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CHUNK = 65_536


@dataclass
class Proxy:
    """Between a port of its own and another one.

    Attributes
    ----------
    delay_s
        What passes is late by so much, each way.
    black_hole
        Nothing is passed on, either way; connections stay open and new ones are accepted.
    accepted
        Connections, ever.
    """

    target: int
    port: int = 0
    delay_s: float = 0.0
    black_hole: bool = False
    accepted: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _pipes: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def reset(self) -> None:
        """End every connection with a reset."""
        for writer in list(self._writers):
            if (raw := writer.get_extra_info("socket")) is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError):
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(there_writer)
            pipes = [
                asyncio.create_task(self._pipe(reader, there_writer)),
                asyncio.create_task(self._pipe(there_reader, writer)),
            ]
            self._pipes.update(pipes)
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            there_writer.close()
            self._writers.discard(there_writer)
        writer.close()
        self._writers.discard(writer)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def deliver() -> None:
            while (item := await under_way.get())[1]:
                await asyncio.sleep(max(0.0, item[0] - loop.time()))
                while self.black_hole:  # noqa: ASYNC110 - a switch of the test's, not an event
                    await asyncio.sleep(0.01)
                writer.write(item[1])
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        with suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(CHUNK):
                under_way.put_nowait((loop.time() + self.delay_s, data))
        delivery.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await delivery


@asynccontextmanager
async def redis_proxy(target: int) -> AsyncIterator[Proxy]:
    """A proxy before the server on port `target`, gone afterwards."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for pipe in proxy._pipes:
            pipe.cancel()
        proxy.reset()
