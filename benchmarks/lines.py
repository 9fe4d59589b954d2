"""A *line*: one contender with all that belongs to it, from its sockets at the broker to its own subscriber.

Lines of one measurement share the broker and Redis and are fed in turns, so each has the machine to itself while it is
measured. A line is ready when its subscriber has seen every instrument once.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import stage
from benchmarks.careful_assembly import Contracts
from benchmarks.market import DAYS_PER_YEAR, EXPIRY_DAYS, RATE, make_market
from benchmarks.peers import peers_python
from benchmarks.stage import NS_PER_S, BrokerProcess, DrainProcess
from tests.support.redis_server import RedisServer, redis_server
from tests.support.shard import ShardProcess
from ticker_crds import Encoding

ROOT: Final = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """What all lines of a measurement share."""

    work: Path
    server: RedisServer
    broker: BrokerProcess
    instruments: int


@dataclass(frozen=True)
class Line:
    """One contender.

    Attributes
    ----------
    key
        Its API key: what the broker knows it by.
    pid
        The process that is measured.
    shard
        The product's process; `None` for peers.
    """

    key: str
    broker: BrokerProcess
    drain: DrainProcess
    pid: int
    shard: ShardProcess | None = None

    def flood(self, *, seconds: float, packets: int) -> Flood:
        """Send as fast as the line takes it for `seconds`; what the subscriber got of it."""
        before = self.drain.counts()
        books_before = self._books(received=0)
        sent = self.broker.tell("flood", self.key, seconds=seconds, packets=packets)
        ticks = sent["frames"] * packets
        books = self._books(received=books_before.get("received", 0) + ticks)
        after = self._settled()
        return Flood(
            sent=ticks,
            seconds=(after["last_ns"] - sent["started_ns"]) / NS_PER_S,
            delivered=after["rows"] - before["rows"] - (after["repriced"] - before["repriced"]),
            priced=after["priced"] - before["priced"],
            missing=after["missing"] - before["missing"],
            conflated=books.get("conflated", 0) - books_before.get("conflated", 0),
            balanced=bool(books.get("balanced", True)),
        )

    def pace(
        self, *, rate: float, seconds: float, packets: int, when_sent: Callable[[], object] = lambda: None
    ) -> Paced:
        """Send on schedule; how long after its scheduled time each frame was complete at the subscriber.

        Parameters
        ----------
        rate, seconds, packets
            Ticks a second, for how long, and how many in a frame.
        when_sent
            Called when the last frame has been sent, before waiting for what is under way.
        """
        self.drain.frames()
        before, books_before = self.drain.counts(), self._books(received=0)
        sent = self.broker.tell("pace", self.key, rate=rate, seconds=seconds, packets=packets)
        when_sent()
        ticks = sent["frames"] * packets
        books = self._books(received=books_before.get("received", 0) + ticks)
        after = self._settled()
        seen = self.drain.frames()
        due_ns, interval_ns = sent["started_ns"], sent["interval_ns"]
        steps = range(sent["first"], sent["first"] + sent["frames"])
        arrived = [(number, seen[step][-1]) for number, step in enumerate(steps) if step in seen]
        return Paced(
            sent=ticks,
            frames=sent["frames"],
            latencies_us=tuple((last_ns - due_ns - number * interval_ns) / 1e3 for number, last_ns in arrived),
            delivered=after["fresh"] - before["fresh"],
            priced=after["priced"] - before["priced"],
            missing=after["missing"] - before["missing"],
            backwards=after["backwards"] - before["backwards"],
            conflated=books.get("conflated", 0) - books_before.get("conflated", 0),
            balanced=bool(books.get("balanced", True)),
            sender_late_us=sent["late_p99_ns"] / 1e3,
        )

    def _settled(self) -> dict[str, int]:
        """Everything has arrived; the shard's books are read before, and say that nothing is under way."""
        return self.drain.settle(quiet_s=stage.QUIET_S if self.shard is None else stage.QUIET_ACCOUNTED_S)

    def _books(self, *, received: int) -> dict[str, Any]:
        return {} if self.shard is None else stage.ledger_of(self.shard, received=received)


@dataclass(frozen=True)
class Paced:
    """Frames sent on schedule, and when the subscriber had the last row of each.

    Attributes
    ----------
    sent, frames
        Ticks and frames.
    latencies_us
        Of the frames of which anything arrived; the others were conflated away whole.
    delivered, priced, missing, backwards
        At the subscriber: fresh rows, rows with Greeks, message numbers that never came, rows out of order.
    conflated, balanced
        The shard's books.
    sender_late_us
        99th percentile of how late the broker itself had a frame in the socket.
    """

    sent: int
    frames: int
    latencies_us: tuple[float, ...]
    delivered: int
    priced: int
    missing: int
    backwards: int
    conflated: int
    balanced: bool
    sender_late_us: float

    @property
    def sound(self) -> bool:
        """Nothing lost without a word, nothing out of order."""
        return self.balanced and not self.missing and not self.backwards


@dataclass(frozen=True)
class Flood:
    """Ticks sent as fast as taken, and what became of them; `seconds` from the first sent to the last message."""

    sent: int
    seconds: float
    delivered: int
    priced: int
    missing: int
    conflated: int
    balanced: bool

    @property
    def processed_per_s(self) -> float:
        """Received, checked, priced and accounted for, whether or not a newer value overtook it."""
        return self.sent / self.seconds

    @property
    def delivered_per_s(self) -> float:
        """What a subscriber really got."""
        return self.delivered / self.seconds


@contextmanager
def setting(instruments: int) -> Iterator[Setting]:
    """A Redis and a broker."""
    with tempfile.TemporaryDirectory() as work, redis_server() as server, stage.broker(instruments) as broker:
        yield Setting(Path(work), server, broker, instruments)


@contextmanager
def shard_line(
    shared: Setting, key: str, *, encoding: Encoding, frames: bool = False, **settings: object
) -> Iterator[Line]:
    """The product: a real shard process with its defaults."""
    with ExitStack() as stack:
        drain = stack.enter_context(
            stage.drain(shared.server, stage.channel_of(key), encoding=encoding.value, frames=frames)
        )
        shard = stack.enter_context(
            stage.shard(
                shared.work,
                key,
                server=shared.server,
                url=shared.broker.url,
                instruments=shared.instruments,
                encoding=encoding,
                **settings,  # type: ignore[arg-type]
            )
        )
        drain.await_rows(shared.instruments)
        drain.settle()
        yield Line(key, shared.broker, drain, shard.process.pid, shard)


@contextmanager
def careful_line(shared: Setting, *, frames: bool = False) -> Iterator[Line]:
    """The peer: `benchmarks.careful_assembly`, in the peers' own environment."""
    market = make_market(shared.instruments, today=dt.datetime.now(dt.UTC).date())
    contracts = Contracts(
        ticker_url=shared.broker.url,
        api_key="careful",
        redis_url=shared.server.url,
        channel="careful",
        tokens=market.tokens.tolist(),
        symbols=[market.symbol(position) for position in range(market.size)],
        strikes=market.strike.tolist(),
        flags=np.where(market.is_option, np.where(market.is_call, "c", "p"), "").tolist(),
        futures=market.future.tolist(),
        years=EXPIRY_DAYS / DAYS_PER_YEAR,
        rate=RATE,
    )
    path = shared.work / "contracts.json"
    path.write_text(json.dumps(asdict(contracts)))
    with ExitStack() as stack:
        drain = stack.enter_context(stage.drain(shared.server, "careful", encoding="tick", frames=frames))
        process = stack.enter_context(
            stage.child(
                "-m",
                "benchmarks.careful_assembly",
                str(path),
                name="careful assembly",
                asked=False,
                python=str(peers_python()),
                cwd=ROOT,
            )
        )
        drain.await_rows(shared.instruments)
        drain.settle()
        yield Line("careful", shared.broker, drain, process.pid)


@contextmanager
def floor_line(shared: Setting) -> Iterator[Line]:
    """The floor: `benchmarks.forward_only`."""
    with ExitStack() as stack:
        drain = stack.enter_context(stage.drain(shared.server, "floor", encoding="stamp", frames=True))
        arguments = (shared.broker.url, "floor", str(shared.server.port), "floor", str(shared.instruments))
        process = stack.enter_context(
            stage.child("-m", "benchmarks.forward_only", *arguments, name="floor", asked=False, python=sys.executable)
        )
        drain.await_rows(1)
        drain.settle()
        yield Line("floor", shared.broker, drain, process.pid)
