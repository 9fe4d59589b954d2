"""Processes of a measurement: broker, Redis, shard, subscribers; each real, each ended with what started it.

::

    broker ──WebSocket──► shard (or whoever is measured) ──► redis-server ──► subscriber
    (`benchmarks.broker`)                                                    (`benchmarks.drain`)

Everything that is measured reads the machine's monotonic clock (one for all processes) or the kernel's books in
``/proc``; nothing is measured inside the product.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.market import EXPIRY_DAYS, Market, make_market
from tests.support.redis_server import RedisServer
from tests.support.shard import ShardFolder, ShardProcess, free_channels, shard_process
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Encoding, Mode
from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX

QUIET_S: Final = 1.0  # no message for so long: everything has arrived
QUIET_ACCOUNTED_S: Final = 0.3  # where the books say that nothing is under way
SETTLE_S: Final = 60.0
WARM_S: Final = 120.0
JIFFIES_PER_S: Final = os.sysconf("SC_CLK_TCK")
NS_PER_S: Final = 1_000_000_000
ENGINE: Final[dict[str, object]] = {}  # settings of the shard beyond its defaults


class Asked:
    """A child process that answers one JSON line to one line."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process, self._name = process, name
        self.greeting = self._line()

    def ask(self, question: str) -> Any:
        """Its answer; waits for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"{self._name} ended with {self.process.poll()}"
        return json.loads(line)


@contextmanager
def child(*command: str, name: str, asked: bool = True, python: str = sys.executable, **options: Any) -> Iterator[Any]:
    """A process of this measurement: an `Asked`, or the bare handle if it says nothing."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} if asked else {}
    process = subprocess.Popen([python, *command], text=True, **pipes, **options)
    try:
        yield Asked(process, name) if asked else process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


# -- the broker ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BrokerProcess:
    """The sending side."""

    asked: Asked

    @property
    def url(self) -> str:
        """Where clients connect."""
        return str(self.asked.greeting["ws"])

    def tell(self, do: str, to: str, **arguments: object) -> dict[str, Any]:
        """Carry out one command of `benchmarks.broker` for the client with API key `to`; waits until it is done."""
        answer: dict[str, Any] = self.asked.ask(json.dumps({"do": do, "to": to, **arguments}))
        return answer


@contextmanager
def broker(instruments: int) -> Iterator[BrokerProcess]:
    """A broker with so many instruments."""
    with child("-m", "benchmarks.broker", "--instruments", str(instruments), name="broker") as asked:
        yield BrokerProcess(asked)


# -- the subscriber --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DrainProcess:
    """The receiving side."""

    asked: Asked

    def counts(self) -> dict[str, int]:
        """What has arrived so far."""
        counts: dict[str, int] = self.asked.ask("counts")
        return counts

    def frames(self) -> dict[int, tuple[int, int, int]]:
        """Step → (rows, first arrival, last arrival) since the last time."""
        return {step: (rows, first, last) for step, rows, first, last in self.asked.ask("frames")}

    def newest(self) -> dict[str, int]:
        """Token → highest step seen."""
        newest: dict[str, int] = self.asked.ask("newest")
        return newest

    def settle(self, *, quiet_s: float = QUIET_S) -> dict[str, int]:
        """Wait until nothing has come for `quiet_s`; the counts then."""
        deadline = time.monotonic() + SETTLE_S
        since, before = time.monotonic_ns(), self.counts()
        while time.monotonic_ns() - max(since, before["last_ns"]) < quiet_s * NS_PER_S:
            assert time.monotonic() < deadline, f"messages still come after {SETTLE_S:.0f} s: {before}"
            time.sleep(0.05)
            before = self.counts()
        return before

    def await_rows(self, rows: int, *, within_s: float = WARM_S) -> None:
        """Wait until so many have come in all."""
        deadline = time.monotonic() + within_s
        while (counts := self.counts())["rows"] < rows:
            assert time.monotonic() < deadline, f"{counts} after {within_s:.0f} s, {rows:,} rows were expected"
            time.sleep(0.02)


@contextmanager
def drain(server: RedisServer, channel: str, *, encoding: str, frames: bool = False) -> Iterator[DrainProcess]:
    """A subscriber of one channel; `frames` has it follow every frame, which costs it some time a row."""
    flags = ("--port", str(server.port), "--channel", channel, "--encoding", encoding, *(["--frames"] * frames))
    with child("-m", "benchmarks.drain", *flags, name=f"subscriber of {channel}") as asked:
        yield DrainProcess(asked)


# -- the shard -------------------------------------------------------------------------------------------------------


def channel_of(account: str) -> str:
    """The one channel of an account."""
    return f"ticker:{account}:all"


def assignment(market: Market, *, account: str, encoding: Encoding, greeks: bool = True) -> AssignmentTable:
    """Every instrument of the market in full mode, on one channel."""
    channel = channel_of(account)
    rows = tuple(
        AssignedInstrument(
            int(market.tokens[position]),
            "NFO",
            market.symbol(position),
            Mode.FULL,
            (channel,),
            expiry=market.expiry.isoformat(),
            strike=f"{market.strike[position]:g}" if market.is_option[position] else "0",
            instrument_type=_kind(market, position),
            underlying=f"bench{market.future[position]}",
            lot_size=75,
            tick_size="0.05",
            greeks=greeks and bool(market.is_option[position]),
        )
        for position in range(market.size)
    )
    return AssignmentTable(account, 1, (Channel(channel, encoding),), rows)


def _kind(market: Market, position: int) -> str:
    if not market.is_option[position]:
        return "FUT"
    return "CE" if market.is_call[position] else "PE"


@contextmanager
def shard(
    work: Path,
    account: str,
    *,
    server: RedisServer,
    url: str,
    instruments: int,
    encoding: Encoding,
    greeks: bool = True,
    **settings: object,
) -> Iterator[ShardProcess]:
    """A real shard of its own account on the whole market; its API key is the account's name."""
    folder = prepared(work, account, server=server, instruments=instruments, encoding=encoding, greeks=greeks)
    with running(folder, url=url, instruments=instruments, **settings) as process:
        yield process


def prepared(
    work: Path, account: str, *, server: RedisServer, instruments: int, encoding: Encoding, greeks: bool = True
) -> ShardFolder:
    """The account's folder, and channels that nobody holds."""
    (work / "redis-url").write_text(server.url)
    market = make_market(instruments, today=dt.datetime.now(dt.UTC).date())
    table = assignment(market, account=account, encoding=encoding, greeks=greeks)
    folder = ShardFolder(work / account, account=account)
    folder.create(instance=f"{account}-instance")
    folder.assign(table)
    folder.give_token(account, "benchtoken")
    with server.client() as client:
        free_channels(client, [channel.name for channel in table.channels], member=f"default.{account}")
    return folder


@contextmanager
def running(folder: ShardFolder, *, url: str, instruments: int, **settings: object) -> Iterator[ShardProcess]:
    """The process on a prepared folder, with as many sockets as the instruments need."""
    sockets = -(-instruments // INSTRUMENTS_PER_SOCKET_MAX)
    redis_url_file = folder.path.parent / "redis-url"
    with shard_process(
        folder, redis_url_file=redis_url_file, ticker_url=url, sockets=sockets, **{**ENGINE, **settings}
    ) as process:
        yield process


def ledger_of(process: ShardProcess, *, received: int) -> dict[str, Any]:
    """The shard's books, once they hold so many received and nothing is in flight; a report comes each second."""
    found: dict[str, Any] = {}

    def settled() -> bool:
        found.update(process.folder.status().get("ledger", {}))
        return found.get("received", 0) >= received and not found["in_flight"]

    process.wait_until(settled, f"{received:,} received, none in flight", within_s=SETTLE_S)
    return found


# -- the kernel's books ----------------------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, in user and kernel mode; NaN of one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return math.nan
    return (int(fields[11]) + int(fields[12])) / JIFFIES_PER_S


def memory_mib(pid: int, name: str = "VmRSS") -> float:
    """Resident memory now, or its peak (``VmHWM``); NaN of a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return math.nan
    sizes = [int(line.split()[1]) for line in lines if line.startswith(f"{name}:")]
    return sizes[0] / 1_024 if sizes else math.nan


class CpuMeter:
    """Share of a core that processes use between two moments."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._started, self._before = time.monotonic(), [cpu_s(pid) for pid in pids]

    def shares(self) -> list[float]:
        """Percent of a core since the start, in the order of the processes."""
        elapsed = time.monotonic() - self._started
        return [(cpu_s(pid) - before) / elapsed * 100 for pid, before in zip(self._pids, self._before, strict=True)]


class Sampler:
    """Looks at something at regular times, in a thread, while the block runs.

    Parameters
    ----------
    look
        Answers a number.
    every_s
        How often.

    Attributes
    ----------
    seen
        (seconds since the start, number).
    """

    def __init__(self, look: Callable[[], float], *, every_s: float = 1.0) -> None:
        self.seen: list[tuple[float, float]] = []
        self._look, self._every_s = look, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        started = time.monotonic()
        while True:
            self.seen.append((time.monotonic() - started, self._look()))
            if self._over.wait(self._every_s):
                return


assert EXPIRY_DAYS > 7, "an expiry near the measurement would make the options' time to expiry matter"
