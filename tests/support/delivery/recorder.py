"""Fills a `History` from a running system: the simulator's tape, a subscriber, fence records, hashes and ledgers.

It knows three doors only, the simulator's control API, Redis, and a function that looks at the ledgers, so it records
processes on this machine and pods of a cluster alike. Every looker is a thread that goes on when its door is shut:
what could not be seen is simply not in the history.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

import redis

from tests.support.delivery.bodies import digest_of
from tests.support.delivery.history import (
    Books,
    Bounds,
    Fault,
    GapTold,
    History,
    Instrument,
    Placement,
    RecordSeen,
    Sent,
    Sign,
    Stored,
)
from tests.support.delivery.listening import Listener, gap_told, rows_of
from tests.support.delivery.starving import CpuWaits
from tests.support.delivery.values import staleness, versions_of
from tests.support.simulator import Control
from ticker_client import Undecodable, decode_gap
from ticker_client.keys import fence_key, gaps_key, last_values_key
from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.lanes import lane_member

TAPE_ENTRIES = 4_000_000
TAPE_S, RECORDS_S, STORED_S, BOOKS_S, WAITS_S = 1.0, 0.25, 2.0, 1.0, 0.25
SNAPSHOT_S = 30.0
REDIS_TIMEOUT_S = 1.0
COMPLETE_POLL_S = 0.25
_AWAY = (redis.RedisError, OSError)
BooksOf = Callable[[bool], Iterable[Books]]


@dataclass
class Recorder:
    """One run's recorder.

    Attributes
    ----------
    control
        Of the simulator.
    connect
        Makes a client of Redis; `socket_timeout` is given where an answer must not be waited for for ever.
    channels, shards, instruments
        What is recorded.
    books_of
        Looks at every ledger that can be looked at; the argument says whether this is the last look.
    waits
        Of the processes on the path.
    owners
        Which of the shards own something in a channel at the moment.
    """

    control: Control
    connect: Callable[..., redis.Redis]
    channels: Sequence[str]
    shards: Sequence[str]
    instruments: Sequence[Instrument]
    books_of: BooksOf
    waits: CpuWaits
    owners: Callable[[str], Container[str]]
    faults: list[Fault] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    start_ns: int = 0
    _sent: list[Sent] = field(default_factory=list)
    _records: list[RecordSeen] = field(default_factory=list)
    _lanes: set[tuple[str, str]] = field(default_factory=set)  # (channel, member) of further lanes that are in use
    _stored: list[Stored] = field(default_factory=list)
    _stored_gaps: set[GapTold] = field(default_factory=set)
    _books: list[Books] = field(default_factory=list)
    _tape_read: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _tape_lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _failure: BaseException | None = None

    def __post_init__(self) -> None:
        self.listener = Listener(self.connect, self.channels, self.instruments)
        self._full = {one.token: one.full for one in self.instruments}

    # -- life

    def roll_tape(self) -> None:
        """Begin the tape: before the first shard subscribes, so that nothing received can be unknown."""
        self.control.start_tape(TAPE_ENTRIES)

    def start(self) -> None:
        """Listen and look from now on."""
        self.listener.start(within_s=SNAPSHOT_S)
        for period_s, look in (
            (TAPE_S, self.read_tape),
            (RECORDS_S, self._look_at_records),
            (STORED_S, self._look_at_hashes),
            (STORED_S, self._look_at_gaps),
            (BOOKS_S, self._look_at_books),
            (WAITS_S, self.waits.look),
        ):
            thread = threading.Thread(target=self._every, args=(period_s, look))
            thread.start()
            self._threads.append(thread)

    def begin(self) -> None:
        """From now on it counts: everything streams."""
        self.start_ns = time.monotonic_ns()

    def stop(self) -> None:
        """End every thread; idempotent."""
        if not self._stop.is_set():
            self._stop.set()
            self.listener.stop()
            for thread in self._threads:
                thread.join()

    def finish(self, bounds: Bounds, *, within_s: float) -> History:
        """The market stands still: wait until nothing is behind any more (or the time is over), and close the books."""
        deadline = time.monotonic() + within_s
        while self._behind() and time.monotonic() < deadline:
            time.sleep(COMPLETE_POLL_S)
        while True:
            before = self._counted()
            history = self._close(bounds)
            # A quiet socket is asked whether it answers: what was published by that is in some books and not in others.
            if self._counted() == before or time.monotonic() > deadline:
                break
        self.stop()
        if self._failure is not None:
            raise AssertionError("a recorder's thread failed") from self._failure
        return history

    def _close(self, bounds: Bounds) -> History:
        time.sleep(bounds.beat_ns / 1e9)  # what was accepted before has come by then
        self._look_at_books(final=True)
        self._look_at_hashes()
        self._look_at_gaps()
        self._look_at_records()
        return self.history(end_ns=time.monotonic_ns())

    def _counted(self) -> tuple[int, int]:
        return self._tape_read, len(self.listener.told)

    def history(self, *, end_ns: int, signs: Iterable[Sign] = ()) -> History:
        """Everything up to now."""
        self.read_tape()
        listener = self.listener
        assert not listener.unreadable, listener.unreadable[:3]
        return History(
            instruments=tuple(self.instruments),
            start_ns=self.start_ns,
            end_ns=end_ns,
            sent=tuple(self._sent),
            sockets=self._sockets(),
            told=tuple(listener.told),
            given=tuple(listener.given),
            stored=tuple(self._stored),
            gaps=tuple({*listener.gaps, *self._stored_gaps}),
            blind=tuple(listener.blind),
            starved=tuple(self.waits.found),
            records=tuple(self._records),
            books=tuple(sorted(self._books, key=lambda one: one.at_ns)),
            faults=tuple(self.faults),
            placements=tuple(self.placements),
            signs=tuple(signs),
        )

    # -- looking

    def read_tape(self) -> None:
        """What the simulator sent since the last look."""
        with self._tape_lock:
            while True:
                found = self.control.tape(since=self._tape_read)
                assert found["from"] == self._tape_read + 1 or not self._tape_read, "the tape was overwritten"
                columns = (found[name] for name in ("at_ns", "socket", "token", "version", "digest", "doubtful"))
                entries = [Sent(*entry[:5], doubtful=bool(entry[5])) for entry in zip(*columns, strict=True)]
                self._sent += entries
                self._tape_read += len(entries)
                if self._tape_read >= found["last"]:
                    return

    def _sockets(self) -> dict[int, str]:
        number = {f"simkey{place}": shard for place, shard in enumerate(self.shards, start=1)}
        opened = (event for event in self.control.history() if event["kind"] == "opened")
        return {event["socket"]: number[event["api_key"]] for event in opened if event["api_key"] in number}

    def _look_at_records(self) -> None:
        with contextlib.suppress(*_AWAY), self.connect(socket_timeout=REDIS_TIMEOUT_S) as client:
            lanes = range(1, SOCKETS_MAX + 1)
            keys = [(channel, shard, lane) for channel in self.channels for shard in self.shards for lane in lanes]
            pipe = client.pipeline(transaction=False)
            for channel, shard, lane in keys:
                pipe.hmget(fence_key(channel, member=lane_member(shard, lane)), ["epoch", "holder", "n", "state"])
            answers = pipe.execute()
            now_ns = time.monotonic_ns()
            for (channel, shard, lane), (epoch, holder, n, state) in zip(keys, answers, strict=True):
                member = lane_member(shard, lane)
                if lane > 1 and not self._is_used(channel, member, epoch=epoch, state=state):
                    continue
                who, owns = (holder or b"").decode(), shard in self.owners(channel)
                self._records.append(RecordSeen(now_ns, channel, member, int(epoch or 0), who, int(n or 0), owns=owns))

    def _is_used(self, channel: str, member: str, *, epoch: bytes | None, state: bytes | None) -> bool:
        """A further lane is owed from its first holder on until it is freed; Redis may lose its record meanwhile."""
        if state == b"free":
            self._lanes.discard((channel, member))
        elif epoch is not None:
            self._lanes.add((channel, member))
        return (channel, member) in self._lanes

    def _look_at_hashes(self) -> None:
        with contextlib.suppress(*_AWAY), self.connect(socket_timeout=REDIS_TIMEOUT_S) as client:
            for channel in self.channels:
                values: dict[bytes, bytes] = client.hgetall(last_values_key(channel))  # type: ignore[assignment]
                now_ns = time.monotonic_ns()
                self._stored += [
                    Stored(
                        now_ns, channel, row.instrument_token,
                        digest_of(row, index_full=self._full.get(row.instrument_token, True)),
                    )
                    for row in rows_of(values)
                ]  # fmt: skip

    def _look_at_books(self, *, final: bool = False) -> None:
        self._books += self.books_of(final)

    def _look_at_gaps(self) -> None:
        """The streams: Redis may lose them later, and the subscriber may have been away when a record came."""
        with contextlib.suppress(*_AWAY), self.connect(socket_timeout=REDIS_TIMEOUT_S) as client:
            for channel in self.channels:
                for _, fields in client.xrange(gaps_key(channel)):  # type: ignore[union-attr]
                    gap = decode_gap(fields[b"gap"])
                    assert not isinstance(gap, Undecodable), gap
                    self._stored_gaps.add(gap_told(channel, gap, offset_ns=self.listener.offset_ns))

    def _behind(self) -> bool:
        """Whether the client or the hash still lacks something."""
        self.read_tape()
        history = History(
            tuple(self.instruments), self.start_ns, time.monotonic_ns(), tuple(self._sent),
            given=tuple(self.listener.given),
        )  # fmt: skip
        return any(not one.over for one in staleness(history, versions_of(history)))

    def _every(self, period_s: float, look: Callable[[], None]) -> None:
        try:
            while not self._stop.wait(period_s):
                look()
        except BaseException as error:
            self._failure = error
