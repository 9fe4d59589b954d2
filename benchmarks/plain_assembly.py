"""The peer of the end-to-end measurement: what people write today. KiteTicker callbacks, json, one publish per tick.

Run as a process with the socket's address, the Redis URL and the number of instruments.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import redis
from kiteconnect import KiteTicker

from benchmarks.replay import tokens


def main(root: str, redis_url: str, instruments: int) -> None:
    """Subscribe to everything in full mode; publish each tick as it comes."""
    client = redis.Redis.from_url(redis_url)
    ticker = KiteTicker("key", "token", root=root)
    wanted = [int(token) for token in tokens(instruments)]

    def subscribe(socket: Any, _response: Any) -> None:
        socket.subscribe(wanted)
        socket.set_mode(socket.MODE_FULL, wanted)

    def publish(_socket: Any, ticks: list[dict[str, Any]]) -> None:
        for tick in ticks:
            client.publish("ticks", json.dumps(tick, default=str))

    ticker.on_connect = subscribe
    ticker.on_ticks = publish
    ticker.connect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
