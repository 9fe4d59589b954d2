"""What the broker sends is what a consumer reads, to the last digit: random books through a real shard and real Redis.

A tiny server speaks the broker's wire with whatever numbers a test wants, which no simulated market would send: every
segment's divisor, prices below zero, times of zero, full range of every field. One shard publishes each instrument to
two channels, one in each encoding, and `ticker_client` reads both: the live messages and the hash of last values. What
is expected is worked out here from the numbers sent, by decimal arithmetic, and shares nothing with the product.
"""

from __future__ import annotations

import json
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

from tests.support.redis_server import redis_server
from tests.support.shard import ShardFolder, ShardProcess, free_channels, shard_process
from ticker_client import Depth, DepthLevel, Ohlc, Row, Snapshot, Subscriber, Update, decode_row
from ticker_client.keys import last_values_key
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Encoding, Mode

CHANNELS = {"ticker:exact:json": Encoding.JSON, "ticker:exact:msgpack": Encoding.MSGPACK}
WAIT_S = 60.0
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DIVISORS = {1: 100, 2: 100, 3: 10_000_000, 4: 100, 5: 100, 6: 10_000, 7: 100, 8: 100, 9: 100, 12: 10_000}
BELOW_ZERO = (7, 8, 12)  # segments
LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = 8, 28, 32, 44, 184  # by length on the wire


@dataclass(frozen=True)
class Contract:
    """An instrument and the packet that its mode brings."""

    number: int
    segment: int
    packet: int
    timeless: bool = False

    @property
    def token(self) -> int:
        return (4_000 + self.number) << 8 | self.segment

    @property
    def symbol(self) -> str:
        return f"NSE:EXACT{self.number}"

    @property
    def mode(self) -> Mode:
        return {LTP: Mode.LTP, QUOTE: Mode.QUOTE, INDEX_QUOTE: Mode.QUOTE}.get(self.packet, Mode.FULL)


CONTRACTS = tuple(
    Contract(number, *rest)
    for number, rest in enumerate(
        [
            *[(segment, FULL) for segment in DIVISORS if segment != 9],
            *[(segment, QUOTE) for segment in (1, 3, 6, 7)],
            *[(segment, LTP) for segment in (1, 3, 12)],
            (9, INDEX_FULL),
            (9, INDEX_QUOTE),
            (1, FULL, True),
        ]
    )
)


@dataclass(frozen=True)
class Book:
    """One packet's numbers: words of a full packet, and its depth as (quantity, price, orders)."""

    contract: Contract
    words: tuple[int, ...]  # 16: last to exchange time, token first
    depth: tuple[tuple[int, int, int], ...]

    def packet(self) -> bytes:
        """As the broker writes it."""
        token, last, *_, opening, high, low, close, traded, oi, oi_high, oi_low, at = self.words
        match self.contract.packet:
            case 8:
                return struct.pack(">Ii", token, last)
            case 28:
                return struct.pack(">Iiiiiii", token, last, high, low, opening, close, 0)
            case 32:
                return struct.pack(">IiiiiiiI", token, last, high, low, opening, close, 0, at)
        quote = struct.pack(">IiIiIIIiiii", *self.words[:11])
        if self.contract.packet == QUOTE:
            return quote
        levels = b"".join(struct.pack(">IiHH", *level, 0) for level in self.depth)
        return quote + struct.pack(">IIIII", traded, oi, oi_high, oi_low, at) + levels

    def expected(self) -> Row:
        """What a consumer must read, but for `received_at`."""
        token, last, quantity, average, volume, buy, sell, opening, high, low, close, traded, oi, oi_h, oi_l, at = (
            self.words
        )
        price, packet = self._price, self.contract.packet
        row = Row(token, self.contract.symbol, price(last), EPOCH)
        if packet != LTP:
            day = Ohlc(price(opening), price(high), price(low), price(close))
            row = replace(row, ohlc=day, change=_change(last, close))
        if packet in (QUOTE, FULL):
            row = replace(row, last_traded_quantity=quantity, average_traded_price=price(average))
            row = replace(row, volume_traded=volume, total_buy_quantity=buy, total_sell_quantity=sell)
        if packet in (INDEX_FULL, FULL):
            row = replace(row, exchange_timestamp=_time(at))
        if packet == FULL:
            levels = tuple(DepthLevel(quantity, price(scaled), orders) for quantity, scaled, orders in self.depth)
            row = replace(row, last_trade_time=_time(traded), depth=Depth(levels[:5], levels[5:]))
            row = replace(row, oi=oi, oi_day_high=oi_h, oi_day_low=oi_l)
        return row

    def _price(self, scaled: int) -> float:
        return float(Decimal(scaled) / DIVISORS[self.contract.segment])


def _change(last: int, close: int) -> float | None:
    if not close:
        return None
    return float((Decimal(last - close) * 100 / close).quantize(Decimal("1e-8"), ROUND_HALF_UP))


def _time(seconds: int) -> datetime | None:
    return EPOCH + timedelta(seconds=seconds) if seconds else None


def a_book(contract: Contract, chance: np.random.Generator, *, exchange_s: int) -> Book:
    """Any numbers that a broker could send for it."""
    below = contract.segment in BELOW_ZERO
    top = min(2**31 - 1, 10_000_000 * DIVISORS[contract.segment])  # no price is believed above ten million rupees

    def price() -> int:
        size = int(chance.choice([1, 5, 99, 100, 105, 12_345, 10_000_000, top, chance.integers(1, top)]))
        return -size if below and chance.random() < 0.5 else size

    def count() -> int:
        return int(chance.choice([0, 1, 75, 2**31 - 1, 2**31, 2**32 - 1, chance.integers(0, 2**32)]))

    prices = sorted((price() for _ in range(10)), reverse=True)
    bids, offers = prices[5:], prices[:5][::-1]
    words = (
        *(contract.token, price(), count(), price(), count(), count(), count()),
        *(price(), price(), price(), int(chance.choice([0, price()]))),
        *(0 if contract.timeless else int(chance.choice([0, exchange_s - 7])), count(), count(), count()),
        0 if contract.timeless else exchange_s,
    )
    return Book(contract, words, tuple((count(), at, int(chance.integers(0, 2**16))) for at in (*bids, *offers)))


class Feed:
    """The broker's side of the socket: the newest book of everything for whoever subscribes, then what it is told."""

    def __init__(self) -> None:
        self._books: dict[int, Book] = {}
        self._clients: list[ServerConnection] = []
        self._lock = threading.Lock()

    def send(self, books: list[Book]) -> None:
        """One frame with all of them."""
        with self._lock:
            self._books |= {book.contract.token: book for book in books}
            for client in self._clients:
                client.send(_frame(books))

    def handle(self, client: ServerConnection) -> None:
        """One socket: every request is answered with everything."""
        with self._lock:
            self._clients.append(client)
        try:
            with suppress(ConnectionClosed):
                for message in client:
                    assert json.loads(message)["a"] in ("subscribe", "mode", "unsubscribe")
                    with self._lock:
                        client.send(_frame(list(self._books.values())))
        finally:
            with self._lock:
                self._clients.remove(client)

    def beat(self, over: threading.Event) -> None:
        """Heartbeats, as the broker sends them."""
        while not over.wait(1.0):
            with self._lock:
                for client in self._clients:
                    with suppress(ConnectionClosed):
                        client.send(b"\0")


def _frame(books: list[Book]) -> bytes:
    packets = [book.packet() for book in books]
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(body)) + body for body in packets)


@contextmanager
def a_feed() -> Iterator[tuple[Feed, str]]:
    feed, over = Feed(), threading.Event()
    server: Server = serve(feed.handle, "127.0.0.1", 0)
    threads = [threading.Thread(target=server.serve_forever), threading.Thread(target=feed.beat, args=(over,))]
    for thread in threads:
        thread.start()
    try:
        yield feed, f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        over.set()
        server.shutdown()
        for thread in threads:
            thread.join()


@dataclass
class Consumer:
    """What `ticker_client` gives out, newest by channel and symbol."""

    client: redis.Redis
    newest: dict[str, dict[str, Row]] = field(default_factory=lambda: {name: {} for name in CHANNELS})
    others: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._subscriber = Subscriber(self.client, list(CHANNELS))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        for event in self._subscriber.events():
            match event:
                case Snapshot(channel, rows):
                    self.newest[channel].update(rows)
                case Update(channel, row):
                    self.newest[channel][row.symbol] = row
                case _:
                    self.others.append(event)

    def close(self) -> None:
        self._subscriber.close()
        self._thread.join()


@dataclass
class Stage:
    """Everything that runs."""

    feed: Feed
    shard: ShardProcess
    consumer: Consumer
    client: redis.Redis
    second: int = int(time.time()) - 100_000

    def books(self, seed: int) -> list[Book]:
        """The next books of all contracts, a second later."""
        self.second += 1
        chance = np.random.default_rng(seed)
        return [a_book(contract, chance, exchange_s=self.second) for contract in CONTRACTS]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    path: Path = tmp_path_factory.mktemp("exactness")
    folder = ShardFolder(path / "acc1")
    folder.create()
    folder.give_token("key1", "token1")
    rows = tuple(
        AssignedInstrument(row.token, "NSE", row.symbol.split(":")[1], row.mode, tuple(CHANNELS)) for row in CONTRACTS
    )
    channels = tuple(Channel(name, encoding) for name, encoding in CHANNELS.items())
    folder.assign(AssignmentTable("acc1", 1, channels, rows))
    with ExitStack() as stack:
        server = stack.enter_context(redis_server())
        (path / "redis-url").write_text(server.url)
        client = stack.enter_context(server.client())
        free_channels(client, CHANNELS)
        feed, url = stack.enter_context(a_feed())
        shard = stack.enter_context(
            shard_process(folder, redis_url_file=path / "redis-url", ticker_url=url, drain_deadline_s=0.5)
        )
        made = Stage(feed, shard, Consumer(client), client)
        stack.callback(made.consumer.close)
        feed.send(made.books(0))
        shard.await_acknowledged(1, within_s=WAIT_S)
        yield made


def timeless(row: Row | None) -> Row | None:
    return None if row is None else replace(row, received_at=EPOCH)


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_field_arrives_as_it_was_sent(stage: Stage, seed: int) -> None:
    books = stage.books(seed)
    expected = {book.contract.symbol: book.expected() for book in books}
    sent_at = datetime.now(UTC) - timedelta(milliseconds=1)

    stage.feed.send(books)

    newest, deadline = stage.consumer.newest, time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if all(timeless(newest[name].get(symbol)) == row for name in CHANNELS for symbol, row in expected.items()):
            break
        time.sleep(0.005)
    for name in CHANNELS:
        for symbol, row in expected.items():
            assert timeless(newest[name].get(symbol)) == row, f"{name}: {symbol}\n{stage.shard.folder.status()}"
        stored = stage.client.hgetall(last_values_key(name))
        found = {symbol.decode(): decode_row(row, symbol=symbol.decode()) for symbol, row in stored.items()}
        assert {symbol: timeless(row) for symbol, row in found.items()} == expected
        assert all(sent_at <= row.received_at <= datetime.now(UTC) for row in found.values())
    assert stage.consumer.others == []  # nothing was lost, unreadable, or a hole


def test_nothing_was_refused(stage: Stage) -> None:
    ledger = stage.shard.folder.status()["ledger"]

    assert (ledger["rejected"], ledger["balanced"]) == (0, True), ledger
