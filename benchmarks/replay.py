"""A broker that sends prepared frames as fast as its one client reads: the same bytes for every contender.

Run as a process, it prints its address as JSON and then obeys one command a line on standard input:
``go FIRST COUNT`` sends that many frames starting at FIRST and answers with ``sent``, ``started`` and ``finished``
(monotonic seconds) as JSON. Whatever is subscribed, the client first gets one packet of every instrument. Prices,
volumes and exchange times move from frame to frame, so a contender that drops repeated or out-of-order ticks gains
nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import struct
import sys
import time
from typing import Final

import numpy as np
from aiohttp import WSMsgType, web
from numpy.typing import NDArray

PACKET_WORDS: Final = 46
PREFIXED_BYTES: Final = 186  # two bytes of length, 184 of packet
FIRST_EXCHANGE_TOKEN: Final = 40_000
SEGMENT_NFO: Final = 2


def tokens(instruments: int) -> NDArray[np.uint32]:
    """Instrument tokens of the replayed NFO contracts."""
    return ((np.arange(instruments, dtype=np.uint32) + FIRST_EXCHANGE_TOKEN) << 8) | SEGMENT_NFO


def full_packets(which: NDArray[np.uint32], *, step: int, exchange_time_s: int) -> bytes:
    """One frame of full packets for the tokens `which`; `step` moves prices and volumes."""
    n = len(which)
    words = np.zeros((n, PACKET_WORDS), ">u4")
    price = 10_000 + (which.astype(np.int64) * 7 + step * 5) % 20_000
    words[:, 0] = which
    words[:, 1] = price
    words[:, 2] = 75
    words[:, 3] = price - 5
    words[:, 4] = 1_000 + step  # volume only grows
    words[:, 5:7] = (120_000, 130_000)
    words[:, 7] = 15_000
    words[:, 8] = 30_000
    words[:, 9] = 9_995
    words[:, 10] = 15_500
    words[:, 11] = exchange_time_s
    words[:, 12:15] = (500_000, 510_000, 490_000)
    words[:, 15] = exchange_time_s
    for level in range(5):
        for side, sign in ((0, -1), (5, 1)):
            at = 16 + 3 * (side + level)
            words[:, at] = 75 * (level + 1)
            words[:, at + 1] = price + sign * 5 * (level + 1)
            words[:, at + 2] = (level + 1) << 16
    body = words.view(np.uint8).reshape(n, PACKET_WORDS * 4)
    framed = np.empty((n, PREFIXED_BYTES), np.uint8)
    framed[:, :2] = (0, 184)
    framed[:, 2:] = body
    return struct.pack(">H", n) + framed.tobytes()


class Replay:
    """The server's state: prepared frames, and the one client."""

    def __init__(self, *, instruments: int, frame_packets: int, frames: int) -> None:
        self._tokens = tokens(instruments)
        started_s = int(time.time()) - 60
        self.frames = [
            full_packets(
                self._tokens[np.arange(i * frame_packets, (i + 1) * frame_packets) % instruments],
                step=i + 1,
                exchange_time_s=started_s + i * 50 // frames,
            )
            for i in range(frames)
        ]
        self.snapshot = full_packets(self._tokens, step=0, exchange_time_s=started_s)
        self.client: web.WebSocketResponse | None = None

    async def connect(self, request: web.Request) -> web.WebSocketResponse:
        """Answer the first subscription with everything; then only read."""
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        self.client = client
        greeted = False
        beat = asyncio.create_task(self._beat(client))
        async for message in client:
            if message.type is WSMsgType.TEXT and json.loads(message.data)["a"] == "mode" and not greeted:
                greeted = True
                await client.send_bytes(self.snapshot)
        beat.cancel()
        return client

    async def _beat(self, client: web.WebSocketResponse) -> None:
        while not client.closed:
            await asyncio.sleep(1)
            with contextlib.suppress(ConnectionError):
                await client.send_bytes(b"\0")

    async def send(self, first: int, count: int) -> dict[str, float]:
        """Send `count` frames as fast as they are taken."""
        assert self.client is not None, "no client is connected"
        started = time.monotonic()
        for i in range(first, first + count):
            await self.client.send_bytes(self.frames[i])
        return {"sent": count, "started": started, "finished": time.monotonic()}


async def serve(replay: Replay) -> None:
    """Serve until standard input ends."""
    app = web.Application()
    app.router.add_get("/", replay.connect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"ws": f"ws://127.0.0.1:{port}"}), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        _, first, count = line.split()
        print(json.dumps(await replay.send(int(first), int(count))), flush=True)
    await runner.cleanup()


def main() -> None:
    """Command line of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, default=3_000)
    parser.add_argument("--frame-packets", type=int, default=200)
    parser.add_argument("--frames", type=int, default=1_000)
    arguments = parser.parse_args()
    asyncio.run(
        serve(
            Replay(
                instruments=arguments.instruments,
                frame_packets=arguments.frame_packets,
                frames=arguments.frames,
            )
        )
    )


if __name__ == "__main__":
    main()
