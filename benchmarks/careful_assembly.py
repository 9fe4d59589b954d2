"""The peer of the end-to-end measurements: what a careful engineer assembles from today's packages.

The official KiteTicker parses; each of its callbacks makes **one** `py_vollib_vectorized` call for implied volatilities
and one for the Greeks of all options in the frame; each tick is written once by orjson, as the official client's dict
with the depth and the Greeks in it; and one redis-py pipeline a frame carries a PUBLISH and an HSET (the newest value)
for every tick. No validation, no fence, no numbering: it gives the same values, not the same promises.

Runs as a process in an environment of its own (`benchmarks.peers`), because the pricing package needs old ones beside
it. Its argument is a JSON file that `Contracts` describes.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

COMPUTED: Final = ("underlying_price", "iv", "delta", "gamma", "theta", "vega")


@dataclass(frozen=True)
class Contracts:
    """What the file holds: addresses, and the contracts as columns.

    Attributes
    ----------
    ticker_url, api_key, redis_url, channel
        Where from and where to.
    tokens, symbols, strikes
        One entry an instrument; the strike of a future is 0.
    flags
        ``c``, ``p``; empty of a future.
    futures
        Position of the future that the option is on.
    years, rate
        To expiry, for all.
    """

    ticker_url: str
    api_key: str
    redis_url: str
    channel: str
    tokens: list[int]
    symbols: list[str]
    strikes: list[float]
    flags: list[str]
    futures: list[int]
    years: float
    rate: float


class Assembly:
    """The callbacks."""

    def __init__(self, contracts: Contracts) -> None:
        import redis

        self._contracts = contracts
        self._position = {token: position for position, token in enumerate(contracts.tokens)}
        self._redis = redis.Redis.from_url(contracts.redis_url)
        self._newest = np.zeros(len(contracts.tokens))
        self._strike = np.array(contracts.strikes)
        self._flag = np.array(contracts.flags)
        self._future = np.array(contracts.futures)
        self._last_values = f"{{{contracts.channel}}}:last"

    def warm_up(self) -> None:
        """Compile what the pricing package compiles, before the market is there."""
        for size in (1, 2, 50):
            self._price(np.full(size, 500.0), np.full(size, 25_000.0), np.full(size, 25_000.0), np.full(size, "c"))

    def on_ticks(self, _socket: Any, ticks: list[dict[str, Any]]) -> None:
        """Price, write, publish one frame."""
        import orjson

        positions = np.array([self._position[tick["instrument_token"]] for tick in ticks])
        prices = np.array([tick["last_price"] for tick in ticks])
        self._newest[positions] = prices
        underlying = self._newest[self._future[positions]]
        priced = np.flatnonzero((self._strike[positions] > 0) & (underlying > 0))
        if len(priced):
            of = positions[priced]
            found = self._price(prices[priced], underlying[priced], self._strike[of], self._flag[of])
            for place, *row in zip(priced.tolist(), underlying[priced].tolist(), *found, strict=True):
                ticks[place].update(zip(COMPUTED, row, strict=True))
        pipe = self._redis.pipeline(transaction=False)
        symbols, channel, last_values = self._contracts.symbols, self._contracts.channel, self._last_values
        for position, tick in zip(positions.tolist(), ticks, strict=True):
            body = orjson.dumps(tick)
            pipe.publish(channel, body)
            pipe.hset(last_values, symbols[position], body)  # type: ignore[arg-type]
        pipe.execute()

    def _price(self, price: Any, underlying: Any, strike: Any, flag: Any) -> list[list[float]]:
        """Volatility, delta, gamma, theta, vega."""
        from py_vollib_vectorized import get_all_greeks, vectorized_implied_volatility_black

        years, rate = self._contracts.years, self._contracts.rate
        volatility = vectorized_implied_volatility_black(
            price, underlying, strike, rate, years, flag, return_as="numpy", on_error="ignore"
        )
        greeks = get_all_greeks(flag, underlying, strike, years, rate, volatility, model="black", return_as="dict")
        return [volatility.tolist(), *(list(greeks[name]) for name in ("delta", "gamma", "theta", "vega"))]


def main(path: str) -> None:
    """Subscribe to everything in full mode; work until killed."""
    from kiteconnect import KiteTicker

    contracts = Contracts(**json.loads(Path(path).read_text()))
    assembly = Assembly(contracts)
    assembly.warm_up()
    ticker = KiteTicker(contracts.api_key, "benchtoken", root=contracts.ticker_url)

    def subscribe(socket: Any, _response: Any) -> None:
        socket.subscribe(contracts.tokens)
        socket.set_mode(socket.MODE_FULL, contracts.tokens)

    ticker.on_connect = subscribe
    ticker.on_ticks = assembly.on_ticks
    ticker.connect()


if __name__ == "__main__":
    main(sys.argv[1])
