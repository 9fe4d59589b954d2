"""Publishing with the real contract: fence, last values, numbers and message in one script call, depth and Greeks.

The product is the `RedisPublisher` that the shard runs, in an event loop of its own; batches are offered as frames
are, up to eight of them that Redis has not accepted yet (`OUTSTANDING`). Its peer is what a careful engineer writes
with redis-py: dicts made from the same columns, and one pipeline a batch with a PUBLISH and an HSET for each tick,
orjson bodies. Both publish to a process that drains its subscription, on one Redis.

Beside it, what the contract costs Redis. The fence alone stands against a plain PUBLISH of the same payload, both
packed by hand with eight outstanding: Redis's Lua hashes every byte of every argument, about a nanosecond each, so the
larger the payload, the more the fence costs beside a PUBLISH, which only copies it. And another client sends one PING
after the other until a call of the largest size is answered; its longest wait is the call's. The median over calls is
told, beside the longest of as many PINGs on a quiet server. Last, what it costs to append each message to the
channel's durable stream as well.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import select
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Self

import hiredis
import numpy as np
import orjson
import redis

from benchmarks.frames import PACKET_BYTES, packets_of
from benchmarks.market import Market, make_market
from benchmarks.results import SEED, Result, at_least, at_most, interleave
from benchmarks.stage import DrainProcess, assignment, channel_of, drain
from tests.support.redis_server import RedisServer, redis_server
from ticker_client.keys import last_values_key
from ticker_crds import Encoding
from ticker_shard.publish import fence
from ticker_shard.publish.door import Door
from ticker_shard.publish.encode import Head, make_encoders, warm_up
from ticker_shard.publish.encode_json import row_objects
from ticker_shard.publish.fence import ChannelState
from ticker_shard.publish.limits import CALL_ROWS_MAX, PACKED_CALL_ROWS_MAX, SECOND_NS
from ticker_shard.publish.publisher import RedisPublisher
from ticker_shard.publish.resp import NO_ROWS, pack
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.rows import PacketKind, PricingOutcome, Slots, TickRows, Word, empty_rows, unpriced_rows

INSTRUMENTS: Final = 3_000
ROUND_TICKS: Final = 24_000
OUTSTANDING: Final = 8
WAITING_ROWS_MAX: Final = 3_000  # and no more rows than a queue keeps without conflating
PAUSE_S: Final = 0.001  # how often the feed looks whether it may go on
FENCED_ROWS: Final = 100
DURABLE_MESSAGES: Final = 500
BATCHES: Final = (100, 200, 1_000)  # the last: what piles up while a round is under way, in several calls
JSON, MSGPACK = Encoding.JSON, Encoding.MSGPACK


def results(*, quick: bool = False) -> list[Result]:
    """7a to 7e: the contract in both encodings, the fence alone, the wait of others, the durable stream."""
    rounds = 3 if quick else 7
    with redis_server() as server:
        found = [result for batch in BATCHES for result in _contract(server, batch, rounds=rounds)]
        found += [_fence_alone(server, kind, rounds=rounds) for kind in (PacketKind.QUOTE, PacketKind.FULL)]
        found += [_wait(server, encoding, calls=50 if quick else 200) for encoding in (MSGPACK, JSON)]
        found += [_durable(server, encoding, rounds=rounds) for encoding in (MSGPACK, JSON)]
    return found


# -- the rows --------------------------------------------------------------------------------------------------------


def table_of(market: Market, account: str, encoding: Encoding) -> InstrumentTable:
    """Everything on one channel."""
    return build_instruments(assignment(market, account=account, encoding=encoding))


def batches_of(market: Market, table: InstrumentTable, size: int) -> list[TickRows]:
    """Whole-depth rows with Greeks, as many as there are instruments, in another state of the market each."""
    chance = np.random.default_rng(SEED)
    found = []
    for number, start in enumerate(range(0, market.size, size)):
        positions = np.arange(start, min(start + size, market.size))
        packets = packets_of(market, positions, variation=number % len(market.price))
        wire = np.frombuffer(packets.tobytes(), np.uint8).reshape(len(positions), -1)[:, -PACKET_BYTES:]
        words = np.ascontiguousarray(wire).view(">u4").astype(np.uint32)
        words[:, Word.VOLUME_TRADED] = 100_000 + number
        words[:, Word.LAST_TRADE_TIME] = words[:, Word.EXCHANGE_TIMESTAMP] = 1_763_696_730
        received = np.full(len(positions), 1_763_696_730_123_456_789, np.int64)
        rows = unpriced_rows(
            words, np.full(len(positions), PacketKind.FULL, np.uint8), table.slots_of(words[:, 0]), received
        )
        rows.outcome[:], rows.priced_ns[:] = PricingOutcome.PRICED, received
        rows.greeks[:] = chance.random((len(positions), 6)) * (0.3, 1, 0.001, -20, 30, 26_000)
        found.append(rows)
    return found


# -- 7a, 7b: the contract --------------------------------------------------------------------------------------------


class NoValues:
    """Nothing to rewrite: every value of the run is offered."""

    def newest(self, slots: Slots) -> TickRows:
        """None."""
        return empty_rows()


class Product:
    """The publisher as the shard has it, holding one channel; its loop runs in a thread, so that it goes on calling.

    Parameters
    ----------
    server
        Where to publish.
    table
        Everything on one channel.
    account
        A name of its own.
    """

    def __init__(self, server: RedisServer, table: InstrumentTable, account: str) -> None:
        self.publisher = RedisPublisher(
            lambda: server.url,
            shard=f"bench.{account}",
            process="bench/1",
            newest=NoValues(),
            source="mock",
            encoders=make_encoders(),
            drain_deadline_s=0,
        )
        self._table = table
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 60
        while self.publisher.epoch is None:
            assert time.monotonic() < deadline, self.publisher.trouble
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self.publisher.terminate)
        self._thread.join()
        self._loop.close()

    async def _run(self) -> None:
        self.publisher.configure(self._table)
        self.publisher.set_feed(True)
        await self.publisher.run()

    def publish(self, batches: Iterable[TickRows]) -> None:
        """All of `batches`, until Redis has accepted them."""
        asyncio.run_coroutine_threadsafe(self._publish(batches), self._loop).result()

    async def _publish(self, batches: Iterable[TickRows]) -> None:
        ledger = self.publisher.ledger
        offered = ledger.received
        for rows in batches:
            while offered - ledger.published >= min(OUTSTANDING * len(rows), WAITING_ROWS_MAX):  # noqa: ASYNC110
                await asyncio.sleep(PAUSE_S)
            self.publisher.offer(rows)
            self.publisher.flush_hint()
            offered += len(rows)
        while ledger.published < offered:  # noqa: ASYNC110 - books have no event
            await asyncio.sleep(PAUSE_S)


def publish_with_redis_py(client: redis.Redis, channel: str, rows: TickRows, book: SymbolBook) -> None:
    """The peer: a dict, a body, a PUBLISH and an HSET for each tick, one pipeline."""
    pipe = client.pipeline(transaction=False)
    last_values = last_values_key(channel)
    for row in row_objects(rows, book=book):
        body = orjson.dumps(row)
        pipe.publish(channel, body)
        pipe.hset(last_values, row["symbol"], body)  # type: ignore[arg-type]
    pipe.execute()


def _contract(server: RedisServer, batch: int, *, rounds: int) -> Iterator[Result]:
    market = make_market(INSTRUMENTS, today=dt.date(2026, 11, 20))
    warm_up(make_encoders().values())
    peer = f"peer{batch}"
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(server.url))
        contenders: dict[str, Callable[[], float]] = {}
        drains: dict[str, DrainProcess] = {}
        products: dict[str, Product] = {}
        for encoding in (MSGPACK, JSON):
            account = f"{encoding.value}{batch}"
            table = table_of(market, account, encoding)
            batches = batches_of(market, table, batch)
            drains[account] = stack.enter_context(drain(server, channel_of(account), encoding=encoding.value))
            products[account] = product = stack.enter_context(Product(server, table, account))
            contenders[account] = _timed(product.publish, batches, drains[account])
        drains[peer] = stack.enter_context(drain(server, channel_of(peer), encoding="tick"))
        book, peers_batches = SymbolBook(table), batches

        def publish_as_the_peer(batches: Iterable[TickRows]) -> None:
            for rows in batches:
                publish_with_redis_py(client, channel_of(peer), rows, book)

        contenders[peer] = _timed(publish_as_the_peer, peers_batches, drains[peer])
        for contender in contenders.values():
            contender()
        shown = interleave(contenders, rounds=rounds)
        figures = f"redis-py pipeline, orjson, PUBLISH + HSET a tick: {shown.median(peer):,.0f}/s"
        for encoding, goal, gate in ((MSGPACK, 12, 6), (JSON, 8, 3)):
            account = f"{encoding.value}{batch}"
            ledger, counts = products[account].publisher.ledger, drains[account].counts()
            yield Result(
                name=f"publish {encoding.value}, full depth and Greeks, whole contract, batches of {batch}",
                value=shown.median(account),
                unit="ticks/s",
                peer=figures,
                ratio=shown.ratio(account, peer),
                goal=at_least(goal),
                gate=at_least(gate),
                holds=ledger.balance().balanced
                and ledger.published == ledger.received == counts["rows"] == counts["priced"]
                and not counts["missing"]
                and client.hlen(last_values_key(channel_of(account))) == INSTRUMENTS,
            )


def _timed(
    publish: Callable[[Iterable[TickRows]], None], batches: list[TickRows], to: DrainProcess
) -> Callable[[], float]:
    """Ticks a second of one round; it ends when the subscriber has everything, so that nobody pays for another's."""
    ticks = sum(len(rows) for rows in batches)
    times = -(-ROUND_TICKS // ticks)

    def measure() -> float:
        before = to.counts()["rows"]
        started = time.perf_counter()
        publish(rows for _ in range(times) for rows in batches)
        elapsed = time.perf_counter() - started
        to.await_rows(before + times * ticks)
        return times * ticks / elapsed

    return measure


# -- 7c, 7d: what it costs Redis -------------------------------------------------------------------------------------


class Wire:
    """A bare connection: what it writes is packed already."""

    def __init__(self, server: RedisServer) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()

    def send(self, packed: bytes) -> None:
        """Write it all."""
        self.socket.sendall(packed)

    def reply(self) -> object:
        """The next one."""
        while (reply := self._reader.gets()) is False:
            self._reader.feed(self.socket.recv(1 << 16))
        assert not isinstance(reply, Exception), reply
        return reply


@dataclass
class Caller:
    """Makes calls of one size that Redis accepts, one number after the other."""

    door: Door
    template: fence.Call
    n: int = 0

    def next(self) -> bytes:
        """The next one, packed."""
        self.n += 1
        return self.door.packed(replace(self.template, n=self.n))


def _caller(
    server: RedisServer, wire: Wire, encoding: Encoding, *, rows: int, account: str, kind: PacketKind = PacketKind.FULL
) -> Caller:
    market = make_market(INSTRUMENTS, today=dt.date(2026, 11, 20))
    table = table_of(market, account, encoding)
    [batch, *_] = batches_of(market, table, rows)
    if kind is not PacketKind.FULL:
        batch.kind[:], batch.outcome[:] = kind, PricingOutcome.NOT_ASKED
    head = Head(shard=f"bench.{account}", process="bench/1", epoch=5, seq=1, source="mock", sent_ns=time.time_ns())
    message, arguments = make_encoders()[encoding].encode(head, batch, book=SymbolBook(table), gaps=())
    door = Door(server.url, member=head.shard, timeout_ns=SECOND_NS)
    channel = channel_of(account)
    wire.send(door.packed(fence.Assert(channel, 5, "bench/1", 0, ChannelState.ACTIVE, 1)))
    assert wire.reply() == [b"ASSERTED"]
    template = fence.Call(
        channel,
        5,
        "bench/1",
        0,
        ChannelState.ACTIVE,
        1,
        message=message,
        numbers=head.numbers(),
        rows=arguments,
    )
    return Caller(door, template)


def _load_scripts(server: RedisServer, wire: Wire) -> None:
    from ticker_shard.publish.door import ASSERT, CALL

    for script in (CALL, ASSERT):
        wire.send(pack("SCRIPT", "LOAD", script.text))
        wire.reply()


def _rate(wire: Wire, make: Callable[[], bytes], *, groups: int = 250) -> Callable[[], float]:
    """Measures requests a second, so many of them outstanding."""

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(groups):
            wire.send(b"".join([make() for _ in range(OUTSTANDING)]))
            for _ in range(OUTSTANDING):
                wire.reply()
        return groups * OUTSTANDING / (time.perf_counter() - started)

    return measure


def _fence_alone(server: RedisServer, kind: PacketKind, *, rounds: int) -> Result:
    wire = Wire(server)
    _load_scripts(server, wire)
    caller = _caller(server, wire, MSGPACK, rows=FENCED_ROWS, account=f"fence-{kind.name.lower()}", kind=kind)
    caller.template = replace(caller.template, rows=NO_ROWS)
    publish = pack("PUBLISH", caller.template.channel, caller.template.message)
    with drain(server, caller.template.channel, encoding="msgpack"):
        measured = {"fence": _rate(wire, caller.next), "plain": _rate(wire, lambda: publish)}
        shown = interleave(measured, rounds=rounds)
    wire.socket.close()
    return Result(
        name=f"fence alone, messages of {len(caller.template.message) / 1_000:.0f} kB ({FENCED_ROWS} rows, "
        f"{'full depth and Greeks' if kind is PacketKind.FULL else 'quotes'}), {OUTSTANDING} outstanding",
        value=shown.median("fence"),
        unit="messages/s",
        peer=f"plain PUBLISH of the same payload: {shown.median('plain'):,.0f}/s",
        ratio=shown.ratio("fence", "plain"),
        goal=at_least(0.6),
        gate=at_least(0.4),
    )


def _wait(server: RedisServer, encoding: Encoding, *, calls: int) -> Result:
    wire, other = Wire(server), Wire(server)
    _load_scripts(server, wire)
    rows = CALL_ROWS_MAX if encoding is JSON else PACKED_CALL_ROWS_MAX
    caller = _caller(server, wire, encoding, rows=rows, account=f"wait-{encoding.value}")
    ping = pack("PING")

    def longest(over: Callable[[int], bool]) -> tuple[float, int]:
        worst, number = 0.0, 0
        while not over(number):
            started = time.perf_counter()
            other.send(ping)
            other.reply()
            worst = max(worst, time.perf_counter() - started)
            number += 1
        return worst * 1e3, number

    busy, quiet = [], []
    for _ in range(calls):
        wire.send(caller.next())
        worst, pings = longest(lambda number: number > 0 and bool(select.select([wire.socket], [], [], 0)[0]))
        answer = wire.reply()
        assert isinstance(answer, list), answer
        assert answer[0] == b"OK", answer
        busy.append(worst)
        quiet.append(longest(lambda number, pings=pings: number >= pings)[0])  # type: ignore[misc]
    wire.socket.close()
    other.socket.close()
    return Result(
        name=f"longest wait of another client during a call of {rows} rows, {encoding.value}",
        value=statistics.median(busy),
        unit="ms",
        peer=f"quiet server: {statistics.median(quiet):.2f} ms",
        goal=at_most(1, "ms"),
        gate=at_most(1.5 if encoding is MSGPACK else 3, "ms"),
    )


def _durable(server: RedisServer, encoding: Encoding, *, rounds: int) -> Result:
    wire = Wire(server)
    _load_scripts(server, wire)
    rows = CALL_ROWS_MAX if encoding is JSON else PACKED_CALL_ROWS_MAX
    caller = _caller(server, wire, encoding, rows=rows, account=f"durable-{encoding.value}")
    without, kept = caller.template, replace(caller.template, stream_max=DURABLE_MESSAGES)

    def calls(template: fence.Call) -> Callable[[], float]:
        measure = _rate(wire, caller.next, groups=25)

        def measured() -> float:
            caller.template = template
            return measure()

        return measured

    with drain(server, without.channel, encoding=encoding.value):
        shown = interleave({"stream": calls(kept), "none": calls(without)}, rounds=rounds)
    wire.socket.close()
    return Result(
        name=f"calls of {rows} rows, kept in the durable stream too, {encoding.value}, {OUTSTANDING} outstanding",
        value=shown.median("stream"),
        unit="calls/s",
        peer=f"without the stream: {shown.median('none'):,.0f}/s",
        ratio=shown.ratio("stream", "none"),
    )
