"""What is measured by `benchmarks.receive`: one sender, and three clients that do nothing but receive.

Each runs as a process of its own (``python -m benchmarks.receivers WHO …``). A client receives `WARM_FRAMES`, then
counts its own processor time, user and kernel, until it has seen so many more, and prints it as JSON. All of them hand
the payload over and look at its length only.

``shard``       `KiteWebSocketPool`, the product's own listener path (picows), with a callback that keeps nothing
``websockets``  the asyncio client of the websockets package, without compression
``raw``         a blocking socket and the least that finds the frames in its bytes: the limit
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.frames import header

FRAME_BYTES: Final = 40_000
FRAMES_A_WRITE: Final = 8
WARM_FRAMES: Final = 500
READ_BYTES: Final = 1 << 16  # larger ones leave the processor's cache
GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Meter:
    """Counts frames, and the processor time of those after the first `WARM_FRAMES`."""

    def __init__(self, frames: int) -> None:
        self._left, self._measured = WARM_FRAMES + frames, frames
        self._started_s = 0.0
        self.cpu_us = 0.0

    def frame(self, size: int) -> bool:
        """Another one; true after the last."""
        assert size == FRAME_BYTES, size
        self._left -= 1
        if self._left == self._measured:
            self._started_s = time.process_time()
        if self._left == 0:
            self.cpu_us = (time.process_time() - self._started_s) / self._measured * 1e6
        return self._left <= 0


async def receive_as_the_shard(url: str, frames: int) -> float:
    """Through the product's own pool, session and shell."""
    from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
    from ticker_shard.feed import Credentials, FeedSettings, KiteWebSocketPool
    from ticker_shard.ticks import build_instruments

    meter = Meter(frames)

    def on_frame(payload: bytes | memoryview, _received_ns: int) -> Iterable[int]:
        if meter.cpu_us == 0 and meter.frame(len(payload)):
            pool.close()
        return ()

    pool = KiteWebSocketPool(
        FeedSettings(url=url), on_frame=on_frame, on_expect=lambda _: None, on_change=lambda _: None
    )
    row = AssignedInstrument(256265, "NSE", "NIFTY 50", Mode.FULL, ("ticker:nifty:index",))
    pool.want(build_instruments(AssignmentTable("bench", 1, (Channel("ticker:nifty:index"),), (row,))))
    pool.set_credentials(Credentials("bench", "token"))
    await pool.run()
    return meter.cpu_us


async def receive_with_websockets(url: str, frames: int) -> float:
    """As its documentation says."""
    import websockets

    meter = Meter(frames)
    async with websockets.connect(url, compression=None, max_size=None, ping_interval=None) as client:
        async for message in client:
            if meter.frame(len(message)):
                client.transport.abort()
                break
    return meter.cpu_us


async def receive_raw(url: str, frames: int) -> float:
    """One buffer, and a walk over the headers."""
    meter = Meter(frames)
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as plain:  # type: ignore[arg-type]
        stream = plain
        if parts.scheme == "wss":
            stream = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        buffer = bytearray(2 * READ_BYTES)
        view, start, end = memoryview(buffer), 0, 0
        while (head := buffer.find(b"\r\n\r\n", 0, end)) < 0:
            end += stream.recv_into(view[end:])
        start = head + 4
        whole = len(header(FRAME_BYTES)) + FRAME_BYTES
        while True:
            while end - start >= whole:
                (size,) = struct.unpack_from(">H", buffer, start + 2)
                start += whole
                if meter.frame(size):
                    return meter.cpu_us
            if len(buffer) - end < READ_BYTES // 2:
                view[: end - start] = view[start:end]
                start, end = 0, end - start
            end += stream.recv_into(view[end:])


CLIENTS: Final[dict[str, Callable[[str, int], object]]] = {
    "shard": receive_as_the_shard,
    "websockets": receive_with_websockets,
    "raw": receive_raw,
}


def send_for_ever(certificate: Path, key: Path) -> None:
    """Listen plain and with TLS; whoever upgrades is sent frames until it leaves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listeners = {"ws": socket.create_server(("127.0.0.1", 0)), "wss": socket.create_server(("127.0.0.1", 0))}
    addresses = {scheme: f"{scheme}://127.0.0.1:{it.getsockname()[1]}" for scheme, it in listeners.items()}
    for scheme, listener in listeners.items():
        threading.Thread(target=_accept, args=(listener, context if scheme == "wss" else None), daemon=True).start()
    print(json.dumps(addresses), flush=True)
    sys.stdin.read()


def _accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    message = (header(FRAME_BYTES) + bytes(FRAME_BYTES)) * FRAMES_A_WRITE
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(OSError), connection:
            stream = context.wrap_socket(connection, server_side=True) if context else connection
            request = b""
            while b"\r\n\r\n" not in request:
                request += stream.recv(65_536)
            nonce = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
            assert nonce is not None, request
            accept = base64.b64encode(hashlib.sha1(nonce[1] + GUID).digest())
            stream.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            while True:
                stream.sendall(message)


def main() -> None:
    """Command line of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=["sender", *CLIENTS])
    parser.add_argument("arguments", nargs=2)
    given = parser.parse_args()
    first, second = given.arguments
    if given.who == "sender":
        send_for_ever(Path(first), Path(second))
    else:
        print(json.dumps(asyncio.run(CLIENTS[given.who](first, int(second)))), flush=True)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
