"""The floor of the latency measurement: receives a frame, publishes twenty digits, does nothing else at all.

picows and asyncio as the product has them, and the shortest way to Redis there is: one hand-written PUBLISH a frame
over a bare transport, no answer awaited. What it shows is what two hops over loopback, two wake-ups and Redis cost
before anybody decodes, checks, prices or writes anything.

Run as a process with the broker's address, an API key, Redis's port, a channel and the number of instruments.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

import picows

from benchmarks.frames import STEP_AT
from benchmarks.market import FIRST_EXCHANGE_TOKEN, SEGMENT_NFO

HEARTBEAT_BYTES: Final = 1
FRAME_BYTES_MAX: Final = 4 << 20


class Forward(picows.WSListener):
    """Frame in, its step out."""

    def __init__(self, redis: asyncio.WriteTransport, channel: str) -> None:
        super().__init__()
        self._redis = redis
        self._head = b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%b\r\n$20\r\n" % (len(channel), channel.encode())

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.payload_size > HEARTBEAT_BYTES:
            step = int.from_bytes(frame.get_payload_as_memoryview()[STEP_AT : STEP_AT + 4], "big")
            self._redis.write(b"%b%020d\r\n" % (self._head, step))


async def main(url: str, key: str, port: int, channel: str, instruments: int) -> None:
    """Subscribe to everything in full mode; forward until killed."""
    loop = asyncio.get_running_loop()
    redis, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port)
    forward = Forward(redis, channel)
    socket, _ = await picows.ws_connect(
        lambda: forward, f"{url}/?api_key={key}&access_token=benchtoken", max_frame_size=FRAME_BYTES_MAX
    )
    tokens = [(FIRST_EXCHANGE_TOKEN + position) << 8 | SEGMENT_NFO for position in range(instruments)]
    socket.send(picows.WSMsgType.TEXT, json.dumps({"a": "mode", "v": ["full", tokens]}).encode())
    await socket.wait_disconnected()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])))
