"""The subscriber's history: every message as it came, and what the client library gives out for it, with its time.

The library's own `Subscriber` listens, but its `TickStream` only notes what it is told and when. The notes are read
afterwards (or when somebody asks) by a real `TickStream`, which has no clock of its own and so gives out the same as it
would have then. A subscriber that decoded while it listened would be a slow one on a busy machine, and its lateness
would look like the shard's.

While the subscriber is not connected, or this process did not run, it is *blind*: that is noted too, because a
subscriber that was not there can testify to nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import redis

from tests.support.delivery.bodies import digest_of
from tests.support.delivery.history import GapTold, Given, Instrument, Interval, Told
from ticker_client import (
    Event,
    Gap,
    Ignored,
    Row,
    Snapshot,
    Subscriber,
    TickStream,
    Undecodable,
    Update,
    decode_row,
)
from ticker_client.messages import Payload, decode_message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STALL_NS = 500_000_000  # a thread that is to run every 50 ms and was this late did not run
CONNECT_S = 1.0


def wall_offset_ns() -> int:
    """Wall clock minus monotonic clock, now."""
    return time.time_ns() - time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class _Call:
    """What the shell told its stream: subscribed (no values, no payload), a snapshot, or a message."""

    at_ns: int
    channel: str
    payload: Payload | None = None
    values: Mapping[Payload, Payload] | None = None
    numbers: Mapping[Payload, Payload] | None = None


class Listener:
    """One subscriber in a thread of its own.

    Parameters
    ----------
    connect
        Makes a client of Redis.
    channels, instruments
        What is listened to, and what it may speak of.
    """

    def __init__(
        self, connect: Callable[..., redis.Redis], channels: Sequence[str], instruments: Sequence[Instrument]
    ) -> None:
        self.blind: list[Interval] = []
        self.unreadable: list[str] = []
        self.offset_ns = wall_offset_ns()
        self._told: list[Told] = []
        self._given: list[Given] = []
        self._gaps: list[GapTold] = []
        self._calls: deque[_Call] = deque()
        self._replayed = TickStream()
        self._replay_lock = threading.Lock()
        self._blind_since_ns: int | None = None
        self._full = {one.token: one.full for one in instruments}
        # redis-py would connect again by itself, up to 5 s a try, and nobody would be told that it was not connected.
        self._client = connect(retry=None, socket_connect_timeout=CONNECT_S)
        self._subscriber = _Subscriber(self, self._client, channels)
        self._without_snapshot = set(channels)
        self._complete = threading.Event()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._watch_myself)]

    @property
    def thread(self) -> str:
        """The thread that listens, below ``/proc``."""
        return f"{os.getpid()}/task/{self._threads[0].native_id}"

    @property
    def told(self) -> list[Told]:
        """Messages, as they came."""
        self._replay()
        return self._told

    @property
    def given(self) -> list[Given]:
        """Rows that the client library gives out."""
        self._replay()
        return self._given

    @property
    def gaps(self) -> list[GapTold]:
        """Gap records in the messages."""
        self._replay()
        return self._gaps

    def start(self, *, within_s: float) -> None:
        """Begin; returns when the first snapshot of every channel was taken."""
        for thread in self._threads:
            thread.start()
        if not self._complete.wait(within_s):
            raise AssertionError(f"the subscriber had no snapshot within {within_s} s")

    def stop(self) -> None:
        """End both threads."""
        self._stop.set()
        self._subscriber.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        self._client.close()

    # -- called by the subscriber's thread

    def note(self, call: _Call) -> None:
        """The shell told its stream something."""
        self._calls.append(call)
        if call.values is not None:
            if self._blind_since_ns is not None:
                self.blind.append(Interval(self._blind_since_ns, call.at_ns))
                self._blind_since_ns = None
            self._without_snapshot.discard(call.channel)
            if not self._without_snapshot:
                self._complete.set()

    def went_blind(self) -> None:
        """The connection broke: not connected until the next snapshot."""
        if self._blind_since_ns is None:
            self._blind_since_ns = time.monotonic_ns()

    def _listen(self) -> None:
        for _ in self._subscriber.events():
            raise AssertionError("a stream that only notes gives nothing out")

    def _watch_myself(self) -> None:
        before_ns = time.monotonic_ns()
        while not self._stop.wait(STALL_NS / 10 / 1e9):
            now_ns = time.monotonic_ns()
            if now_ns - before_ns > STALL_NS:
                self.blind.append(Interval(before_ns, now_ns))
            before_ns = now_ns

    # -- reading the notes

    def _replay(self) -> None:
        with self._replay_lock:
            while self._calls:
                self._read(self._calls.popleft())

    def _read(self, call: _Call) -> None:
        stream, channel = self._replayed, call.channel
        if call.payload is not None:
            self._read_message(call, call.payload)
            events = stream.message(channel, call.payload)
        elif call.values is not None:
            events = stream.snapshot(channel, call.values, call.numbers)
        else:
            stream.subscribed(channel)
            return
        for event in events:
            match event:
                case Snapshot(channel, rows):
                    self._given += [self._row_given(call, row, "", snapshot=True) for row in rows.values()]
                case Update(channel, row, source):
                    self._given.append(self._row_given(call, row, source.shard))
                case Ignored(channel, reason):
                    self.unreadable.append(f"{channel}: {reason}")

    def _read_message(self, call: _Call, payload: Payload) -> None:
        message = decode_message(payload)
        if isinstance(message, Undecodable):
            return  # the stream says so too
        rows = tuple((row.instrument_token, self._digest(row)) for row in message.ticks)
        source = message.source
        self._told.append(Told(call.at_ns, call.channel, source.shard, source.process, source.epoch, message.seq, rows))
        self._gaps += [gap_told(call.channel, gap, offset_ns=self.offset_ns) for gap in message.gaps]

    def _row_given(self, call: _Call, row: Row, shard: str, *, snapshot: bool = False) -> Given:
        stamp = row.exchange_timestamp
        return Given(
            at_ns=call.at_ns,
            channel=call.channel,
            shard=shard,
            token=row.instrument_token,
            digest=self._digest(row),
            exchange_s=0 if stamp is None else int(stamp.timestamp()),
            received_ns=wall_ns(row.received_at) - self.offset_ns,
            snapshot=snapshot,
        )

    def _digest(self, row: Row) -> int:
        return digest_of(row, index_full=self._full.get(row.instrument_token, True))


class _NotingStream(TickStream):
    """Has the stream's three doors, and leaves the reading for later."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def subscribed(self, channel: str) -> None:
        self._listener.note(_Call(time.monotonic_ns(), channel))

    def snapshot(
        self, channel: str, values: Mapping[Payload, Payload], numbers: Mapping[Payload, Payload] | None = None
    ) -> list[Event]:
        self._listener.note(_Call(time.monotonic_ns(), channel, values=values, numbers=numbers))
        return []

    def message(self, channel: str, payload: Payload) -> list[Event]:
        self._listener.note(_Call(time.monotonic_ns(), channel, payload))
        return []


class _Subscriber(Subscriber):
    def __init__(self, listener: Listener, client: redis.Redis, channels: Sequence[str]) -> None:
        super().__init__(client, channels)
        self._listener = listener
        self.stream = _NotingStream(listener)

    def _wait_after(self, error: Exception, *, reconnect: bool) -> float:
        self._listener.went_blind()
        return super()._wait_after(error, reconnect=reconnect)


def wall_ns(moment: datetime) -> int:
    """Nanoseconds since 1970, exact to the microsecond."""
    since = moment - EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def gap_told(channel: str, gap: Gap, *, offset_ns: int) -> GapTold:
    """A gap record on the checker's clock."""
    return GapTold(
        channel=channel,
        shard=gap.shard,
        symbols=frozenset(gap.symbols),
        instruments=gap.instruments,
        start_ns=wall_ns(gap.start) - offset_ns,
        end_ns=wall_ns(gap.end) - offset_ns,
        cause=gap.cause,
    )


def rows_of(values: Mapping[bytes, bytes]) -> list[Row]:
    """The rows of a hash of last values that can be read."""
    found = (decode_row(payload, symbol=field.decode()) for field, payload in values.items())
    return [row for row in found if not isinstance(row, Undecodable)]
