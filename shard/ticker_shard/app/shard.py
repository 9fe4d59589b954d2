"""One shard: the pipeline, the outside, the voice and the probes, wired.

Everything but the path of a frame (`app.pipeline`) is a task of its own under the `TaskMonitor`. Which table may be
applied is decided by `TableGate`, which process speaks by `decide_voice`, whether the pod is Ready by `app.health`;
here is only what is done about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from ticker_crds import AssignmentTable
from ticker_crds.constants import Reason
from ticker_shard.app.health import Readiness, live_holder, readiness
from ticker_shard.app.http import ProbeServer
from ticker_shard.app.metrics import Counts, Sample, make_registry
from ticker_shard.app.monitor import TaskMonitor
from ticker_shard.app.pipeline import Pipeline
from ticker_shard.app.redis_url import RedisUrlFile
from ticker_shard.app.report import Parts, fault_of_redis
from ticker_shard.app.reporter import Reporter
from ticker_shard.app.settings import ShardSettings
from ticker_shard.assignment import (
    AssignmentSource,
    CredentialsRead,
    CredentialsSource,
    CredentialsUnusable,
    Fault,
    StatusSink,
    TableAbsent,
    TableAnswer,
    TableGate,
    TableMalformed,
    TableRead,
    Verdict,
    Voice,
)
from ticker_shard.assignment.voice import Held
from ticker_shard.feed import Credentials
from ticker_shard.publish.backpressure import Level
from ticker_shard.publish.standing import Holdings

log = logging.getLogger(__name__)

BEAT_S: Final = 0.5
LIVE_S: Final = 60.0  # a loop that has not turned for so long is hung; a turn with six timed-out API calls takes 30 s
FLOOR_RETRY_S: Final = 1.0
STOP_FEED_S: Final = 5.0
NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
MS_PER_S: Final = 1_000
REPRICE_PAUSE_S: Final = 0.005  # a little more than publishing one turn's rows takes


@dataclass(frozen=True, slots=True)
class Outside:
    """The four ports, in either form."""

    assignment: AssignmentSource
    credentials: CredentialsSource
    status: StatusSink
    voice: Voice


class Shard:
    """One process of one account.

    Parameters
    ----------
    settings
        Frozen.
    outside
        Where assignment and credentials come from and reports go to.
    process
        ``<instance>/<random>``.
    """

    def __init__(self, settings: ShardSettings, outside: Outside, *, process: str) -> None:
        self.settings, self.process = settings, process
        self._outside = outside
        self.counts = Counts()
        self.monitor = TaskMonitor()
        self._changed = asyncio.Event()
        self._redis_url = RedisUrlFile(settings.redis_url_file)
        self.pipeline = Pipeline(
            settings, process=process, redis_url=self._redis_url, counts=self.counts, changed=self._changed.set
        )
        self.publisher, self.pool = self.pipeline.publisher, self.pipeline.pool
        self._gate = TableGate(account=settings.account, capacity=settings.capacity, prefix=settings.prefix)
        self._table_fault: Fault | None = None
        self._credentials_given = False
        self._credentials_ns = 0
        self._credentials_fault: Fault | None = None
        self._terminating = False
        self._gone = False
        self._beats: dict[str, int] = {}
        self.reporter = Reporter(
            parts=self._parts,
            ledger=self.publisher.ledger,
            latency=self.publisher.latency,
            sink=outside.status,
            voice=outside.voice,
            counts=self.counts,
            held=self._held,
            leaving=lambda: self._terminating,
            other_holds=lambda: self.publisher.other_holder,
            phase=lambda: self.publisher.state,
            changed=self._changed,
            greeks=self.pipeline.greeks_counts,
            beat=lambda: self._beat("reporter"),
            monotonic_ns=time.monotonic_ns,
            wall_clock=lambda: datetime.now(tz=UTC),
        )
        self._probes = ProbeServer(
            live=self.live,
            ready=self.ready,
            started=self.started,
            registry=make_registry(self._sample),
            quarantine=self.pipeline.processor.quarantine.samples,
            details=self.details,
        )

    # -- life --------------------------------------------------------------------------------------------------------

    async def run(self) -> int:
        """Run until handed over or drained; the process's exit code."""
        self.reporter.port = await self._probes.start(self.settings.host, self.settings.port)
        log.info("probes and metrics listen", extra={"port": self.reporter.port, "holder": self.process})
        publisher = self.monitor.start("publisher", self._publish(), may_end=True)
        feed = self.monitor.start("feed", self._feed(), may_end=True)
        for name, work in (
            ("assignment", self._follow_assignment()),
            ("credentials", self._follow_credentials()),
            ("reporter", self.reporter.run()),
            ("beat", self._beats_of_the_loop()),
        ):
            self.monitor.start(name, work)
        if self.settings.reprice_ms:
            self.monitor.start("greeks", self._keep_greeks_fresh())
        death = asyncio.create_task(self.monitor.died())
        await asyncio.wait({publisher, death}, return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        died = any(self.monitor.deaths.values())
        self._gone = True
        self.reporter.hush()
        # A socket without a close frame counts against the key's three until the broker notices.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_FEED_S):
                self.pipeline.close()
                await asyncio.wait({feed})
        await self.monitor.stop()
        await self.reporter.finish(orderly=not died)
        await self._probes.stop()
        balance = self.publisher.ledger.balance()
        log.info("shard ends", extra={"orderly": not died, "ledger": balance, "difference": balance.difference})
        return 1 if died else 0

    def terminate(self) -> None:
        """SIGTERM: hand over or drain, then end. Idempotent."""
        if not self._terminating:
            log.info("asked to end: publishing goes on until another process takes over or the drain deadline")
            self._terminating = True
            self.publisher.terminate()
            self._changed.set()

    async def _publish(self) -> None:
        await self.publisher.run()
        if not self._terminating:
            raise RuntimeError("the publisher ended without having been asked to")

    async def _feed(self) -> None:
        await self.pool.run()
        if not self._gone:
            raise RuntimeError("the feed ended without having been asked to")

    async def _keep_greeks_fresh(self) -> None:
        """Often enough: half of the promised time is rest, a quarter is the longest wait for a turn after it.

        Without a long pause while more options are due.
        """
        turn_s = self.settings.reprice_ms / 4 / MS_PER_S
        while True:
            more = self.pipeline.reprice()
            await asyncio.sleep(REPRICE_PAUSE_S if more else turn_s)

    # -- what we are told --------------------------------------------------------------------------------------------

    async def _follow_assignment(self) -> None:
        floor = await self._read_floor()
        self._gate = replace(self._gate, floor=floor)
        async for answer in self._outside.assignment.follow():
            self._take_table(answer)

    async def _read_floor(self) -> int:
        """What was acknowledged before this process was born; nothing may be applied before it is known."""
        while True:
            known = await self._outside.status.read()
            if known is not None:
                return known.revision_floor
            await asyncio.sleep(FLOOR_RETRY_S)

    def _take_table(self, answer: TableAnswer) -> None:
        match answer:
            case TableRead(table=table):
                judged = self._gate.judge(table)
                self.counts.add(self.counts.tables, judged.verdict.value)
                match judged.verdict:
                    case Verdict.APPLY:
                        self._apply(table)
                        self._table_fault = None
                    case Verdict.SAME:
                        self._table_fault = None
                    case _:
                        self._complain(judged.message)
            case TableAbsent(message=message):
                self.counts.add(self.counts.tables, "absent")
                self._complain(message)
            case TableMalformed(message=message):
                self.counts.add(self.counts.tables, "malformed")
                self._complain(message)
        self._changed.set()

    def _complain(self, message: str) -> None:
        applied = self._gate.applied_revision
        if applied:
            message = f"{message}; revision {applied} stays in force"
        if self._table_fault is None or self._table_fault.message != message:
            log.warning("assignment table not applied", extra={"cause": message})
        self._table_fault = Fault(Reason.INVALID, message)

    def _apply(self, table: AssignmentTable) -> None:
        self.pipeline.apply(table)
        self._gate = replace(self._gate, applied_revision=table.revision, applied_digest=self.pipeline.table.digest)

    async def _follow_credentials(self) -> None:
        async for answer in self._outside.credentials.follow():
            match answer:
                case CredentialsRead(api_key=api_key, access_token=access_token):
                    self.counts.add(self.counts.credentials, "read")
                    self._credentials_given, self._credentials_fault = True, None
                    self._credentials_ns = time.monotonic_ns()
                    self.pool.set_credentials(Credentials(api_key, access_token))
                    log.info("credentials read")
                case CredentialsUnusable(reason=reason, message=message):
                    self.counts.add(self.counts.credentials, reason.value)
                    self._credentials_fault = Fault(reason, message)
                    log.warning("credentials cannot be used", extra={"reason": reason.value, "cause": message})
            self._changed.set()

    async def _beats_of_the_loop(self) -> None:
        """Measures how late the loop is, and looks after what only time can tell."""
        due_ns = time.monotonic_ns()
        while True:
            due_ns += int(BEAT_S * NS_PER_S)
            await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S))
            now_ns = time.monotonic_ns()
            self.counts.loop_lag_max_s = max(self.counts.loop_lag_max_s, (now_ns - due_ns) / NS_PER_S)
            due_ns = max(due_ns, now_ns - int(BEAT_S * NS_PER_S))
            self._beat("loop")
            if self._redis_url.changed:
                log.info("the Redis URL changed")
                self.publisher.reconnect()
            self.pipeline.look(now_ns=now_ns)

    # -- what we say -------------------------------------------------------------------------------------------------

    def live(self) -> Readiness:
        """Every loop has turned lately."""
        now_ns = time.monotonic_ns()
        hung = [name for name, beat_ns in self._beats.items() if now_ns - beat_ns > LIVE_S * NS_PER_S]
        return Readiness(not hung, f"hung: {', '.join(hung)}" if hung else "all loops turn")

    def started(self) -> Readiness:
        """The loops run."""
        running = {"loop", "reporter"} <= self._beats.keys()
        return Readiness(running, "started" if running else "starting")

    def ready(self) -> Readiness:
        """The rule of `app.health`."""
        parts = self._parts()
        obstacle = None
        redis_answers = self._redis_url.fault is None and self.publisher.usable
        if parts.redis_fault is not None and not redis_answers:
            obstacle = parts.redis_fault.message
        elif parts.feed.rejected_since_ns is not None:
            obstacle = "the broker refuses the token (403)"
        elif parts.credentials_fault is not None and not parts.credentials_given:
            obstacle = parts.credentials_fault.message
        holder = live_holder(self.publisher.other_holder, self.reporter.lease, redis_answers=redis_answers)
        return readiness(self.publisher.state, obstacle=obstacle, holder=holder)

    def details(self) -> dict[str, object]:
        """What a probe says besides, as JSON; nothing secret."""
        publisher = self.publisher
        redis = {
            "circuit_state": publisher.breaker.state.value,
            "failures": publisher.breaker.failures,
            "channels_refused": publisher.refused_channels,
            "trouble": publisher.trouble,
        }
        pressure = publisher.backpressure
        backpressure = {
            "level": pressure.level.word,
            "fill": round(pressure.load.fill, 3),
            "delay_ms": pressure.load.delay_ns // NS_PER_MS,
        }
        return {"phase": publisher.state.value, "redis": redis, "backpressure": backpressure}

    def _held(self) -> Held:
        """What this process holds; the publisher counts an account without channels as all, the voice as none."""
        return Held(self.publisher.holdings.value) if self.pipeline.table.channels else Held.NONE

    def _parts(self) -> Parts:
        feed = self.pool.status()
        publisher = self.publisher
        opened = [socket.opened_ns for socket in feed.sockets if socket.opened_ns is not None]
        accepted = feed.rejected_since_ns is None and (feed.open > 0 or max(opened, default=0) > self._credentials_ns)
        trouble = self._redis_url.fault or publisher.trouble
        return Parts(
            account=self.settings.account,
            process=self.process,
            table=self.pipeline.table,
            table_fault=self._table_fault,
            feed=feed,
            stalled=self.pipeline.stalled,
            credentials_given=self._credentials_given,
            credentials_fault=self._credentials_fault,
            accepted=accepted,
            redis_fault=fault_of_redis(trouble),
            holdings=publisher.holdings,
            duties_revision=publisher.acknowledged,
            barriers_revision=publisher.past_barriers,
            epoch=publisher.epoch,
            balanced=publisher.ledger.balance().balanced,
            shedding=publisher.backpressure.level is Level.SHED,
        )

    def _sample(self) -> Sample:
        publisher = self.publisher
        return Sample(
            circuit=self.publisher.breaker,
            backpressure=publisher.backpressure,
            refused_channels=self.publisher.refused_channels,
            ledger=publisher.ledger,
            latency=publisher.latency,
            feed=self.pool.status(),
            stalled=self.pipeline.stalled,
            counts=self.counts,
            deaths=self.monitor.deaths,
            pricings=self.pipeline.greeks.counts(),
            repriced=self.pipeline.greeks.repriced,
            phase=publisher.state,
            leaving=publisher.leaving,
            ready=self.ready().ready,
            speaks=self.reporter.speaks,
            assigned=self.pipeline.table.assigned,
            applied_revision=self.pipeline.table.revision,
            acknowledged_revision=self.reporter.acknowledged_revision,
            engine=self.pipeline.processor.engine.value,
            crowded_frames=self.pipeline.processor.crowded,
        )

    def _beat(self, name: str) -> None:
        self._beats[name] = time.monotonic_ns()


assert {held.value for held in Held} == {holdings.value for holdings in Holdings}, "two names for one idea"
