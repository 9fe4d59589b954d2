"""A *line*: one contender with all that belongs to it, from its sockets at the broker to its own subscriber.

Lines of one measurement share the broker and Redis and are fed in turns, so each has the machine to itself while it is
measured. A line is ready when its subscriber has seen every instrument once.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import stage
from benchmarks.careful_assembly import Contracts
from benchmarks.market import DAYS_PER_YEAR, EXPIRY_DAYS, RATE, make_market
from benchmarks.measured import Flood, Paced, difference
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


@dataclass
class Line:
    """One contender.

    Attributes
    ----------
    key
        Its API key: what the broker knows it by.
    pid
        The process that is measured.
    shard
        The product's process; `None` for peers. Whoever starts another one says so here.
    """

    key: str
    broker: BrokerProcess
    drain: DrainProcess
    pid: int
    shard: ShardProcess | None = None

    def flood(self, *, seconds: float, packets: int) -> Flood:
        """Send as fast as the line takes it for `seconds`; what the subscriber got of it."""
        before, books_before = self.drain.counts(), self.books()
        sent = self.broker.tell("flood", self.key, seconds=seconds, packets=packets)
        ticks = sent["frames"] * packets
        books = self.books(received=books_before.get("received", 0) + ticks)
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
        self,
        *phases: tuple[float, float],
        packets: int,
        cuts_s: Sequence[float] = (),
        when_sent: Callable[[], object] = lambda: None,
        accounted: bool = True,
    ) -> Paced:
        """Send on schedule.

        Parameters
        ----------
        phases
            (ticks/s, seconds), one after the other without a pause.
        packets
            Ticks in a frame.
        cuts_s
            When the broker cuts the sockets, from the first frame.
        when_sent
            Called when the last frame has been sent, before waiting for what is under way.
        accounted
            The process that began will have received all of it; not so where it is killed or its sockets are cut.
        """
        self.drain.frames()
        pid, before, books_before = self.pid, self.drain.counts(), self.books()
        sent = self.broker.tell("pace", self.key, phases=phases, packets=packets, cuts_s=cuts_s)
        when_sent()
        received = books_before.get("received", 0) + (sent["frames"] - sent["unsent"]) * packets
        books = self.books(received=received if accounted else 0)
        after = self._settled()
        due_ns, latency_us = _schedule(sent, self.drain.frames())
        newest = self.broker.tell("newest", self.key)["steps"]
        seen = self.drain.newest()
        return Paced(
            packets=packets,
            due_s=(due_ns - due_ns[0]) / NS_PER_S,
            latency_us=latency_us,
            unsent=sent["unsent"],
            delivered=after["fresh"] - before["fresh"],
            priced=after["priced"] - before["priced"],
            missing=after["missing"] - before["missing"],
            backwards=after["backwards"] - before["backwards"],
            books=difference(books, books_before if self.pid == pid else {}),
            balanced=bool(books.get("balanced", True)),
            newest_arrived=sum(seen.get(token) == step for token, step in newest.items()),
            instruments=len(newest),
            sender_late_us=sent["late_p99_ns"] / 1e3,
            sender_behind_s=sent["late_max_ns"] / NS_PER_S,
        )

    def books(self, *, received: int = 0) -> dict[str, Any]:
        """The ledger, once nothing is in flight; empty of peers, who keep none."""
        return {} if self.shard is None else stage.ledger_of(self.shard, received=received)

    def _settled(self) -> dict[str, int]:
        """Everything has arrived; the shard's books are read before, and say that nothing is under way."""
        return self.drain.settle(quiet_s=stage.QUIET_S if self.shard is None else stage.QUIET_ACCOUNTED_S)


def _schedule(
    sent: dict[str, Any], seen: dict[int, tuple[int, int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each frame was due (ns), and how much later (µs) its last row arrived."""
    due_ns = np.concatenate(
        [phase["started_ns"] + np.arange(phase["frames"]) * phase["interval_ns"] for phase in sent["phases"]]
    )
    arrived_ns = np.full(len(due_ns), np.nan)
    for step, (_, _, last_ns) in seen.items():
        if 0 <= step - sent["first"] < len(arrived_ns):
            arrived_ns[step - sent["first"]] = last_ns
    return due_ns, (arrived_ns - due_ns) / 1e3


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
