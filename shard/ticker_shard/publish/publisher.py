"""The room's door: rows in, fenced and accounted messages out.

`RedisPublisher` is the shell around `PublisherCore`: it has the clocks, the connection and the one loop, and no rule;
what can be read of it is in `standing`. A turn of the loop lets time pass, connects if it must (as the breaker
allows), plans a round, carries it to Redis in one pipeline, and hands the answers back. Each call leaves as soon as
it is encoded, so within a round Redis and this process work at the same time. There is one connection and one round
at a time, so calls leave in order, and a broken connection is one event that voids everything at once.

Nearly every frame comes while the loop sleeps, and is not worth waking it (a task switch, three turns of asyncio and a
timer cost a paced shard a quarter of its processor): the round is planned and written in `flush_hint`, and settled in
the callback of the socket that brings the last answer, or of a frame that comes before the loop turns. So while the
loop sleeps it holds the connection out to them (`_open`), and takes it back when it wakes, together with a round that
is still on its way (`_posted`). It is woken for all that is not plain: an error, a lost term, something owed; and it
looks by itself once a beat, which is sooner than a call times out.

While Redis is away rows are kept, the newest per instrument; `offer` never waits for anything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ticker_crds import Encoding
from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX
from ticker_shard.publish.alarm import Alarm
from ticker_shard.publish.backpressure import BackpressureSettings
from ticker_shard.publish.backpressure_log import LevelLog
from ticker_shard.publish.breaker import REDIS, BreakerSettings, BreakerState, CircuitBreaker, Outcome
from ticker_shard.publish.calls import NewestValues
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.doors import AnyDoor, open_door
from ticker_shard.publish.encode import Encoder
from ticker_shard.publish.fence import CONFIGURATION, Accepted, Answer, Request, Unanswered, trouble_of_redis
from ticker_shard.publish.gaps import Hole
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS, SECOND_NS, TIMING, Timing
from ticker_shard.publish.standing import Standing
from ticker_shard.publish.trouble import RedisTroubleError
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots, TickRows

WINDOW_MS: Final = 100
TICKS_MAX: Final = 1_000
DRAIN_DEADLINE_S: Final = TIMING.drain_deadline_ns / SECOND_NS

_log = logging.getLogger(__name__)


class _Round(NamedTuple):
    """Requests on their way, and since when."""

    requests: list[Request]
    sent_ns: int


class RedisPublisher(Standing):
    """Publishes one account's rows, for as long as this process holds the account's channels.

    Parameters
    ----------
    redis_url
        Answers the Redis URL; asked again at every connect, so a changed secret is picked up.
    shard
        ``<namespace>.<account>``: the envelope's ``shard`` and the fence record's name.
    process
        ``<instance>/<random>``; instance is the pod's UID, so that a restarted container knows its own record.
    newest
        Where rewrites read; it knows a row before the row is offered, and a table before it is configured here.
    source
        ``live``, ``mock`` or ``replay``.
    window_ms, ticks_max
        When a batch leaves at the latest.
    drain_deadline_s
        After SIGTERM, the longest wait for a successor; 0 where there is no room for one.
    timing
        The other times of the hand-over.
    encoders
        Of this process alone; `encode.make_encoders` where nothing else is said.
    stream_max
        Messages that each channel's stream ``{<channel>}:stream`` keeps, about; 0 = there is none.
    breaker, backpressure
        When Redis counts as away, and when newest values must do.
    sockets, per_socket
        Of this process, and how many instruments one carries: with several it hands over lane by lane.
    on_change
        Called (synchronously, must not raise) when state, holdings, `acknowledged`, `trouble`, or which sockets are
        to be open may have changed.
    monotonic_ns, wall_ns, jitter
        Clocks, and a source of [0, 1).
    """

    def __init__(
        self,
        redis_url: Callable[[], str],
        *,
        shard: str,
        process: str,
        newest: NewestValues,
        source: str = "live",
        window_ms: int = WINDOW_MS,
        ticks_max: int = TICKS_MAX,
        drain_deadline_s: float = DRAIN_DEADLINE_S,
        timing: Timing = TIMING,
        encoders: Mapping[Encoding, Encoder] | None = None,
        stream_max: int = 0,
        breaker: BreakerSettings = REDIS,
        backpressure: BackpressureSettings = BackpressureSettings(),  # noqa: B008 - frozen
        sockets: int = 1,
        per_socket: int = INSTRUMENTS_PER_SOCKET_MAX,
        on_change: Callable[[], None] = lambda: None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        wall_ns: Callable[[], int] = time.time_ns,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        timing = replace(timing, drain_deadline_ns=int(drain_deadline_s * SECOND_NS))
        core = PublisherCore(
            shard=shard,
            process=process,
            newest=newest,
            source=source,
            window_ms=window_ms,
            ticks_max=ticks_max,
            timing=timing,
            encoders=encoders,
            stream_max=stream_max,
            backpressure=backpressure,
            sockets=sockets,
            per_socket=per_socket,
            watched=SOCKETS_MAX,
        )
        super().__init__(core, monotonic_ns=monotonic_ns)
        self.breaker = CircuitBreaker(jitter=jitter, settings=breaker)
        self._level_log = LevelLog(self.backpressure, shard=shard)
        self._redis_url, self._shard, self._timing, self._on_change = redis_url, shard, timing, on_change
        self._wall_ns, self._window_ns = wall_ns, window_ms * MS_NS
        self._alarm = Alarm(monotonic_ns)
        self._open: AnyDoor | None = None  # while the loop sleeps and has nothing else to do than rows
        self._posted: _Round | None = None  # on its way, while the loop sleeps
        self._quiet = False  # nothing is owed or wrong: accepted calls change nothing that others show
        self._permission_due_ns, self._url_changed = 0, False
        self._told: object = None

    # -- from the feed, the assignment and the supervisor; none of these waits or raises

    def configure(self, table: InstrumentTable) -> None:
        """Apply a table (revisions only grow; the caller judged it). Configure `newest` first."""
        self._core.configure(table, now_ns=self._monotonic_ns(), wall_ns=self._wall_ns())
        self._alarm.ring()

    def offer(self, rows: TickRows) -> None:
        """Take rows that validation passed. `newest` already knows them."""
        now_ns = self._monotonic_ns()
        self._core.offer(rows, now_ns=now_ns)
        if self._level_log.tell():
            self._on_change()
        if self._open is None:
            self._alarm.ring()
        else:
            self._alarm.ring_by(now_ns + self._window_ns)

    def refresh(self, slots: Slots) -> None:
        """Publish these newest rows once more, because `newest` has more to say about them; counted as repeated."""
        if len(slots):
            self._core.refresh(slots)
            self._alarm.ring()

    def reject(self, reason: str, slots: Slots) -> None:
        """Account for rows that validation refused; unknown slots count as unrouted."""
        self._core.reject(reason, slots)

    def flush_hint(self) -> None:
        """The frame is complete: what is queued may leave now, and does if nothing is outstanding."""
        self._core.batcher.frame_complete()
        if self._open is None:
            self._alarm.ring()
        elif self._posted is not None:
            self._open.look()
        elif not self._url_changed:
            self._post_aside(self._open)

    def set_feed(self, warm: bool, *, socket: int | None = None) -> None:
        """Tell whether a socket (from 1 on; `None`: each) is open and everything wanted of it is confirmed."""
        self._core.handover.feed(warm=warm, now_ns=self._monotonic_ns(), socket=socket)
        self._alarm.ring()

    def socket_closed(self, socket: int) -> None:
        """One of `sockets_done` is closed: its place at the broker is free."""
        self._core.handover.socket_closed(socket)
        self._alarm.ring()

    def report_gap(self, slots: Slots, *, start_ns: int, end_ns: int, cause: str) -> None:
        """Have a gap (wall clock) of these instruments published and stored."""
        self._core.holes.set_clock(now_ns=self._monotonic_ns(), wall_ns=self._wall_ns())
        self._core.report_gap(slots, start_ns=start_ns, end_ns=end_ns, cause=cause)
        self._alarm.ring()

    def set_holes(self, holes: Sequence[Hole]) -> None:
        """Say what the feed does not deliver at the moment: all of it, each time it changes."""
        self._core.holes.set_clock(now_ns=self._monotonic_ns(), wall_ns=self._wall_ns())
        self._core.holes.feed_misses(holes)
        self._alarm.ring()

    def terminate(self) -> None:
        """SIGTERM: hand over, or drain; then `run` returns."""
        self._core.handover.terminate(now_ns=self._monotonic_ns())
        self._alarm.ring()

    def reconnect(self) -> None:
        """The URL is another one now: use it from the next round on."""
        self._url_changed = True
        self._alarm.ring()

    # -- the loop

    async def run(self) -> None:
        """Publish until the process may go: handed over, drained, or never needed."""
        core = self._core
        timekeeper = asyncio.create_task(self._keep_time(), name="publisher-time")
        try:
            while True:
                self._alarm.hush()
                if timekeeper.done():
                    timekeeper.result()  # it has no end but a fault
                core.advance(now_ns=self._monotonic_ns())
                if core.handover.phase is Phase.GONE:
                    break
                if not self.breaker.allows(now_ns=self._monotonic_ns()):
                    await self._sleep_until(self.breaker.until_ns)
                    continue
                if self._url_changed:
                    self._url_changed = False
                    core.disconnected()
                    await self._disconnect()
                door = self._door or await self._connect()
                if door is not None and not await self._turn(door):
                    self.breaker.withdraw()
                    plain = self.breaker.state is BreakerState.CLOSED and self.state is Phase.ACTIVE
                    self._open = door if plain else None
                    await self._sleep_until(core.wake_ns(now_ns=self._monotonic_ns()))
                    self._open = None
                    if (posted := self._posted) is not None:
                        self._posted = None
                        await self._settle(door, posted)
                self._tell()
            core.close_books()
        finally:
            timekeeper.cancel()
            self._alarm.close()
            await self._disconnect()
            self._tell()

    async def _keep_time(self) -> None:
        """Beside the loop, which may wait for Redis: only a process that does not run at all stands still."""
        while True:
            self._core.handover.ran(now_ns=self._monotonic_ns())
            await asyncio.sleep(self._timing.beat_ns / 4 / SECOND_NS)

    async def _turn(self, door: AnyDoor) -> bool:
        """One round; `False` when nothing was due."""
        await self._ask_permission(door)
        if self._door is None:
            return True
        posted = self._post(door)
        if posted is None:
            return False
        await self._settle(door, posted)
        return True

    def _post(self, door: AnyDoor) -> _Round | None:
        """The next round, on its way, each request as soon as it is made; `None` when nothing is due."""
        sent_ns = self._monotonic_ns()
        requests: list[Request] = []
        for request in self._core.requests_due(now_ns=sent_ns, wall_ns=self._wall_ns()):
            door.post([request])
            requests.append(request)
        return _Round(requests, sent_ns) if requests else None

    async def _settle(self, door: AnyDoor, posted: _Round) -> None:
        """Await the answers to a round that was posted, and take them in."""
        answers = await door.collect(posted.requests)
        self._take_in(posted, answers)
        if any(isinstance(answer, Unanswered) for answer in answers):
            await self._disconnect()
        self._report_round(answers)

    def _take_in(self, posted: _Round, answers: list[Answer]) -> bool:
        """Let the core settle a round; whether channels were gained or lost."""
        core, before, now_ns = self._core, self._core.handover.held, self._monotonic_ns()
        core.settle_round(posted.requests, answers, sent_ns=posted.sent_ns, now_ns=now_ns, wall_ns=self._wall_ns())
        changed = core.handover.held != before
        if changed:
            _log.info(
                "channels held changed",
                extra={"held": list(core.handover.held), "state": str(self.state), "leaving": self.leaving},
            )
        return changed

    def _report_round(self, answers: list[Answer]) -> None:
        failures = [answer for answer in answers if trouble_of_redis(answer) is not None]
        self._report(Outcome.FAILURE if failures else Outcome.SUCCESS)

    # -- beside the loop, while it sleeps

    def _post_aside(self, door: AnyDoor) -> None:
        """Send what is due now."""
        self._posted = self._post(door)
        if not door.tells:
            self._alarm.ring()

    def _answered(self) -> None:
        """Something came from Redis. What goes wrong here must not end in the transport, which would only log it."""
        try:
            self._settle_aside()
        except Exception as error:
            self._alarm.fail(error)

    def _settle_aside(self) -> None:
        """Settle the round that is on its way, and send what was queued meanwhile."""
        door, posted = self._open, self._posted
        if door is None or posted is None:
            return  # the loop collects for itself
        answers = door.answered(posted.requests)
        if answers is None:
            self._alarm.ring()
            return
        self._posted = None
        changed = self._take_in(posted, answers)
        self._report_round(answers)
        if changed or not self._quiet or [answer for answer in answers if not isinstance(answer, Accepted)]:
            self._alarm.ring()
        elif self._core.batcher.anything_queued():
            self._post_aside(door)

    async def _connect(self) -> AnyDoor | None:
        try:
            door = open_door(
                self._redis_url(), member=self._shard, timeout_ns=self._timing.call_timeout_ns, told=self._answered
            )
            await door.connect()
        except RedisTroubleError as error:
            self._core.disconnected()
            self._core.trouble = error.trouble
            self._report(Outcome.FAILURE)
            return None
        self._door, self._permission_due_ns = door, 0
        return door

    async def _disconnect(self) -> None:
        door, self._door = self._door, None
        if door is not None:
            await door.close()

    async def _ask_permission(self, door: AnyDoor) -> None:
        """Part of the rehearsal: what Redis will not let this user do is found before anybody depends on it."""
        core, now_ns = self._core, self._monotonic_ns()
        if self.state is not Phase.WARMING or not core.handover.channels or now_ns < self._permission_due_ns:
            return
        self._permission_due_ns = now_ns + self._timing.beat_ns
        try:
            refusals = await door.permitted(door.rehearsed_commands(core.handover.channels[0]))
        except RedisTroubleError as error:
            core.trouble = error.trouble
            core.disconnected()
            await self._disconnect()
            self._report(Outcome.FAILURE)
            return
        core.rehearsal.forbidden = refusals[0] if refusals else None

    def _report(self, outcome: Outcome) -> None:
        """Tell the breaker what an attempt came to, and the queues what the breaker makes of it."""
        before, now_ns = self.breaker.state, self._monotonic_ns()
        after = self.breaker.report(outcome, now_ns=now_ns)
        if after is BreakerState.CLOSED and before is not BreakerState.CLOSED:
            self._core.redis_away(False)
            _log.info("Redis is back", extra={"shard": self._shard})
        elif after is BreakerState.OPEN:
            if before is BreakerState.CLOSED:
                self._core.redis_away(True)
                level = logging.ERROR if (why := self._trouble) and why.kind in CONFIGURATION else logging.WARNING
                _log.log(level, "Redis cannot be used", extra={"shard": self._shard, "cause": self.trouble})
            self._tell()

    async def _sleep_until(self, until_ns: int) -> None:
        """Until then, or until something happens."""
        self._alarm.ring_by(until_ns)
        await self._alarm.wait()

    def _tell(self) -> None:
        """Call `on_change` when something that others show has changed."""
        self._level_log.tell()
        if (now := self._shown) != self._told:
            self._told = now
            self._on_change()
        self._quiet = self.acknowledged == self._core.handover.revision and self._trouble is None
