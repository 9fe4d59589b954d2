"""The recorder on a cluster: simulator, Redis and shards are pods, the lookers the same.

Pods and checker share one machine, so they share its monotonic clock; where a cluster is somewhere else, its tape's
times mean nothing here, and `recording_pool` says so instead of judging.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import redis

from tests.support.cluster_client import eventually
from tests.support.cluster_pool import SYMBOLS, Pool
from tests.support.delivery import bounds as times
from tests.support.delivery.history import Books, Bounds, Fault, History, Instrument, Target
from tests.support.delivery.ledgers import books_of_samples
from tests.support.delivery.pods import Pods, Run
from tests.support.delivery.recorder import Recorder
from tests.support.delivery.starving import waits_in_pods
from tests.support.require import unavailable
from ticker_crds.names import fence_member

SUBSCRIPTION = "prices"
CHANNEL = f"ticker:{SUBSCRIPTION}"
RESENT_S, COMPLETE_S = 60.0, 60.0


@dataclass
class PoolLedgers:
    """The ledgers of a pool's processes, counted from `open` on, each under its process's name.

    A container that was started anew is another process in the same pod: it begins at nothing, and only its first
    message says its name.
    """

    pods: Pods
    _opening: dict[Run, Counter[str]] = field(default_factory=dict)
    _names: dict[Run, str] = field(default_factory=dict)

    def open(self) -> None:
        """What the ledgers say now is before the recording."""
        self._opening = {answer.run: answer.samples for answer in self.pods.look()}

    def in_flight(self) -> int:
        """Rows that are neither published nor given up."""
        return sum(answer.samples["in_flight"] for answer in self.pods.look())

    def books(self, heard: Sequence[str], *, final: bool) -> Iterator[Books]:
        """The books of every process that was heard; `heard` are the names in messages, oldest first."""
        for answer in self.pods.look():
            process = self._name(answer.run, heard)
            if process:
                answer.samples.subtract(self._opening.get(answer.run, Counter()))
                shard = fence_member(self.pods.client.namespace, answer.account)
                yield books_of_samples(answer.samples, shard=shard, process=process, final=final)

    def _name(self, run: Run, heard: Sequence[str]) -> str:
        if run not in self._names:
            known = {name for of, name in self._names.items() if of[0] == run[0]}
            fresh = (name for name in reversed(heard) if name.startswith(run[0]) and name not in known)
            if name := next(fresh, ""):
                self._names[run] = name
        return self._names.get(run, "")


@dataclass
class PoolDelivery:
    """A pool under the checker."""

    pool: Pool
    pods: Pods
    recorder: Recorder
    bounds: Bounds

    def note(
        self, kind: str, target: Target, start_ns: int, *, recover_ns: int, account: str | None = None,
        loses_data: bool = False,
    ) -> None:  # fmt: skip
        """A fault that began then and is over now."""
        shard = None if account is None else self.shard(account)
        end_ns = time.monotonic_ns()
        self.recorder.faults.append(Fault(kind, target, start_ns, end_ns, recover_ns, shard, loses_data=loses_data))

    def shard(self, account: str) -> str:
        """As messages name it."""
        return fence_member(self.pool.client.namespace, account)

    def finish(self) -> History:
        """The market stands still; everything is read to the end.

        What was seen before it began to count holds values from before the tape: they are left out.
        """
        assert self.pool.simulator.pause(finish=True, timeout_ms=30_000)
        try:
            history = self.recorder.finish(self.bounds, within_s=COMPLETE_S)
            placements = tuple(one for one in self.pods.placements if one.at_ns >= history.start_ns)
            return replace(_without_the_past(history), signs=tuple(self.pods.signs()), placements=placements)
        finally:
            self.pool.simulator.resume()


def _without_the_past(history: History) -> History:
    """Messages stay: their rows are counted against the ledgers from the tape's begin on."""
    start_ns = history.start_ns
    return replace(
        history,
        given=tuple(one for one in history.given if one.at_ns >= start_ns),
        stored=tuple(one for one in history.stored if one.at_ns >= start_ns),
    )


@contextmanager
def recording_pool(pool: Pool, *, logs: Path | None = None) -> Iterator[PoolDelivery]:
    """Record a pool that streams, from its first complete resubscription on; its logs too, where a folder is given.

    The recording begins in the middle of a day. While the market stands still and nothing is on its way, tape and
    subscriber start and every ledger is read: what it says later is counted from there. Then both sockets are closed
    once, so that every value that is out there is sent again and is on the tape.
    """
    if pool.cluster.own is None:
        unavailable("somebody else's cluster: its clock is not ours")
    accounts = pool.accounts()
    pods = Pods(pool.client, logs)
    ledgers = PoolLedgers(pods)
    recorder = Recorder(
        control=pool.simulator,
        connect=connector(pool.redis),
        channels=[CHANNEL],
        shards=[fence_member(pool.client.namespace, account) for account in accounts],
        instruments=_instruments(pool, accounts),
        books_of=lambda final: ledgers.books([told.process for told in recorder.listener.told], final=final),
        waits=waits_in_pods(lambda: recorder.listener.thread),
        owners=lambda channel: {fence_member(pool.client.namespace, account) for account in pods.owners(channel)},
    )
    assert pool.simulator.pause(finish=True, timeout_ms=30_000)
    eventually(ledgers.in_flight, until=lambda rows: rows == 0, timeout_s=RESENT_S, what="nothing is on its way")
    ledgers.open()
    recorder.roll_tape()
    try:
        recorder.start()
        pool.simulator.resume()
        for number, account in enumerate(accounts, 1):  # what was on its way into the closed sockets was sent in vain
            shard, now_ns = fence_member(pool.client.namespace, account), time.monotonic_ns()
            pool.simulator.fault("drop", api_key=f"simkey{number}")
            recorder.faults.append(Fault("opening", Target.FEED, now_ns, now_ns, 0, shard))
        wanted = {one.token for one in recorder.instruments}
        eventually(lambda: _resent(recorder) >= wanted, timeout_s=RESENT_S, what="every instrument was sent again")
        pool.await_streaming(accounts, len(SYMBOLS))
        time.sleep(times.from_settings().fresh_ns / 1e9)  # what the closed sockets left behind has been made good
        recorder.begin()
        yield PoolDelivery(pool, pods, recorder, times.from_settings())
    finally:
        recorder.stop()
        pods.close()


def connector(known: redis.Redis) -> Callable[..., redis.Redis]:
    """Makes clients of the same server."""
    kept = known.connection_pool.connection_kwargs
    address = {name: kept[name] for name in ("host", "port", "password")}
    return lambda **options: redis.Redis(**address, **options)


def _instruments(pool: Pool, accounts: list[str]) -> tuple[Instrument, ...]:
    rows = {row.token: row for account in accounts for row in pool.table(account).instruments}
    return tuple(Instrument(row.token, row.symbol, (CHANNEL,)) for row in rows.values() if row.symbol in SYMBOLS)


def _resent(recorder: Recorder) -> set[int]:
    tape = recorder.control.tape()
    return {token for token, socket in zip(tape["token"], tape["socket"], strict=True) if socket}
