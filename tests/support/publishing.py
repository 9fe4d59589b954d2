"""Publishers as a process has them, on a real Redis: what they are fed with, and what is seen of it.

The hand-over's times are scaled down by about four; their relations are those of the real ones (`Timing` asserts them).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import redis

from tests.support.ticks import CHANNEL, NewestRows, some_rows
from ticker_client import Message, decode_message, decode_row, last_values_key
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS, Timing
from ticker_shard.publish.publisher import RedisPublisher
from ticker_shard.publish.standing import Holdings
from ticker_shard.ticks.instruments import InstrumentTable

QUICK = Timing(
    beat_ns=250 * MS_NS, poll_ns=100 * MS_NS, call_timeout_ns=600 * MS_NS, silent_ns=1_000 * MS_NS, yield_ns=300 * MS_NS
)
DEADLINE_S = 30
SHARD = "pool.acc1"
INSTRUMENTS = 250  # three calls a rewrite


async def until(condition: Callable[[], object], *, within_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - real servers: a condition, polled under a deadline
            await asyncio.sleep(0.01)


class Pod:
    """A publisher with its newest values, as a process would have them."""

    def __init__(self, url: str, process: str, table: InstrumentTable, **options) -> None:
        self.newest, self.table = NewestRows(), table
        options = {"timing": QUICK} | options
        self.publisher = RedisPublisher(
            lambda: url,
            shard=SHARD,
            process=process,
            newest=self.newest,
            jitter=lambda: 0.5,
            **options,
        )
        self.publisher.configure(table)
        self.running: asyncio.Task[None] | None = None

    def start(self, *, warm: bool = True) -> Pod:
        self.running = asyncio.create_task(self.publisher.run())
        self.publisher.set_feed(warm)
        return self

    def feed(self, slots, price: int) -> None:
        if self.publisher.state is not Phase.GONE:
            rows = some_rows(self.table, list(slots), price=price, received_ns=time.time_ns())
            self.publisher.offer(self.newest.update(rows))
            self.publisher.flush_hint()

    def apply(self, table: InstrumentTable) -> None:
        self.table = table
        self.publisher.configure(table)

    async def holds(self, holdings: Holdings = Holdings.ALL) -> Pod:
        await until(lambda: self.publisher.holdings is holdings)
        return self

    async def die(self) -> None:
        """As SIGKILL does it: no last word, the connection is cut."""
        assert self.running is not None
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running

    def assert_books_balance(self) -> None:
        balance = self.publisher.ledger.balance()
        assert balance.balanced, balance


class Listener:
    """Everything published on the channel, in order."""

    def __init__(self, client: redis.Redis) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(CHANNEL)
        self._pubsub.get_message(timeout=1)  # the confirmation
        self.messages: list[Message] = []

    def read(self) -> list[Message]:
        while (reply := self._pubsub.get_message(timeout=0.05)) is not None:
            message = decode_message(reply["data"])
            assert isinstance(message, Message), message
            self.messages.append(message)
        return self.messages


def last_prices(client: redis.Redis, channel: str = CHANNEL) -> dict[str, int]:
    rows = [decode_row(value) for value in client.hgetall(last_values_key(channel)).values()]
    return {row.symbol: round(row.last_price * 100) for row in rows}


def everything_at(price: int, count: int = INSTRUMENTS) -> dict[str, int]:
    return {f"NFO:X{number}": price for number in range(count)}
