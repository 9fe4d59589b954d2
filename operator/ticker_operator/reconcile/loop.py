"""The level-triggered loop: one pass over the whole pool, again and again.

Any single event may be lost, late or doubled, because a pass never looks at events: it looks at what is so, decides
what should be so, and writes the difference. A pass is::

    list (when due) → read → gather → decide → apply → status

and ends with one of the outcomes of `reconcile.outcomes`. Beside it run two small watchers that only ever ask for a
pass: signs of life of the shards, and the broker's list of instruments. A failed read changes nothing in the world; an
empty list is only believed when it is complete.

Here is no kopf, no API client, no branching on the kind of an event, and no waiting for anything to become ready.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ticker_crds.constants import Kind
from ticker_operator.model import PoolSnapshot
from ticker_operator.planning import MoveBudget, parse_dump
from ticker_operator.reconcile.apply import Applier, PassMark, summary_of
from ticker_operator.reconcile.backoff import BackoffBook
from ticker_operator.reconcile.decide import Decisions, Policy, decide
from ticker_operator.reconcile.gather import Readings, Rules, gather, secret_of
from ticker_operator.reconcile.heartbeats import POLL_S, HeartbeatBook
from ticker_operator.reconcile.instruments import InstrumentRegistry, trading_day
from ticker_operator.reconcile.memory import CheckedSecret, Memory
from ticker_operator.reconcile.outcomes import Again, Done, PassOutcome, Retry, Terminal, soonest
from ticker_operator.reconcile.ports import CredentialsFact, Ports, Unreachable
from ticker_operator.reconcile.reloader import SubscriptionReloader, Timing, Trigger, Urgency
from ticker_operator.reconcile.statuses import due_statuses, write_statuses
from ticker_operator.reconcile.store import WATCHED, PoolObjects, Store

READ_S: Final = 30.0
DECIDE_S: Final = 120.0
SECRET_FRESH_S: Final = 60.0
SECRET_BAD_FRESH_S: Final = 4.0  # somebody is about to repair it
INSTRUMENTS_LOOK_S: Final = 1.0
WHOLE_POOL: Final = "pool"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """What the operator was told, as far as the loop is concerned."""

    rules: Rules
    policy: Policy
    timing: Timing = field(default_factory=Timing)
    moves_per_minute_max: int = 600


class TerminalError(Exception):
    """No later pass can do better; the process has to end."""


@dataclass(slots=True)
class Vitals:
    """What probes and metrics look at.

    Attributes
    ----------
    passes, outcomes
        Passes ended, by outcome.
    finished_at, listed_at
        Monotonic seconds of the last pass that ended and of the last complete list.
    duration_s
        Of the last pass.
    trigger
        Of the last pass.
    """

    passes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    finished_at: float = 0.0
    listed_at: float = 0.0
    duration_s: float = 0.0
    trigger: str = ""


class PoolLoop:
    """One pool's loop.

    Parameters
    ----------
    ports
        The world.
    settings
        See `LoopSettings`.
    clock_ns, wall, chance
        Monotonic clock, wall clock and jitter.
    """

    def __init__(
        self,
        ports: Ports,
        settings: LoopSettings,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._ports = ports
        self._settings = settings
        self._clock_ns = clock_ns
        self._wall = wall
        self._chance = chance
        self.reloader = SubscriptionReloader(settings.timing, clock=self._clock)
        self.store = Store(lambda cause, urgency: self.reloader.trigger(cause, urgency=urgency))
        limits = settings.policy.limits
        self.heartbeats = HeartbeatBook(detect_after_ns=limits.detect_after_ns, move_after_ns=limits.move_after_ns)
        self.instruments = InstrumentRegistry(
            ports.instruments,
            parse=lambda raw, endpoint: parse_dump(raw, endpoint=endpoint),
            wall=wall,
            clock=self._clock,
            chance=chance,
        )
        self.memory = Memory(MoveBudget.full(settings.moves_per_minute_max, now_ns=clock_ns()))
        self.vitals = Vitals()
        self.decisions: Decisions | None = None
        self._applier = Applier(ports, memory=self.memory, clock=self._clock, chance=chance)
        self._backoff = BackoffBook()
        self._relist_at = 0.0
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Steps that wait after a failure."""
        return self._backoff.waiting + self._applier.backoff.waiting

    def _clock(self) -> float:
        return self._clock_ns() / 1e9

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Pass after pass, until `stop`; the pass that is going on is finished first.

        Raises
        ------
        TerminalError
        """
        watchers = [
            asyncio.create_task(self._watch_heartbeats(), name="heartbeats"),
            asyncio.create_task(self._watch_instruments(), name="instruments"),
        ]
        try:
            while not self._stopping:
                self._follow_up(await self.run_pass(await self.reloader.wait()))
                _raise_ended(watchers)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await asyncio.gather(*watchers, return_exceptions=True)

    def stop(self) -> None:
        """Take no new work: `run` returns after the pass that is going on."""
        self._stopping = True
        self.reloader.trigger("stop", urgency=Urgency.URGENT)

    def _follow_up(self, outcome: PassOutcome) -> None:
        match outcome:
            case Done():
                self._backoff.succeeded(WHOLE_POOL)
            case Again(after_s):
                self._backoff.succeeded(WHOLE_POOL)
                self.reloader.wake_after(after_s)
            case Retry():
                self.reloader.wake_after(self._backoff.failed(WHOLE_POOL, now=self._clock(), chance=self._chance()))
            case Terminal(cause):
                raise TerminalError(cause)

    async def run_pass(self, trigger: Trigger) -> PassOutcome:
        """One pass, its outcome, and one log line about both."""
        if self._stopping:
            return Done()
        mark = PassMark(self.vitals.passes + 1, str(trigger))
        started = self._clock()
        try:
            outcome = await self._pass(mark)
        except Unreachable as error:
            outcome = Terminal(str(error)) if error.permanent else Retry(str(error))
        except TimeoutError:
            outcome = Retry(f"reading ({READ_S:.0f} s) or deciding ({DECIDE_S:.0f} s) took too long")
        except Exception as error:
            # A fault of ours, met with this pool's data. Ending would only meet it again after a restart, and nobody
            # would say anything any more meanwhile; shards stream on either way. It is counted, and tried again.
            log.exception("a pass broke", extra=mark.fields())
            outcome = Retry(f"{type(error).__name__}: {error}")
        self._record(outcome, mark, started)
        return outcome

    def _record(self, outcome: PassOutcome, mark: PassMark, started: float) -> None:
        now, name = self._clock(), type(outcome).__name__.lower()
        vitals = self.vitals
        vitals.passes, vitals.trigger = mark.number, mark.trigger
        vitals.finished_at, vitals.duration_s = now, now - started
        vitals.outcomes[name] = vitals.outcomes.get(name, 0) + 1
        decided = {} if self.decisions is None else summary_of(self.decisions)
        line = mark.fields(
            outcome=name, seconds=round(now - started, 3), cause=getattr(outcome, "cause", ""), **decided
        )
        log.log(logging.WARNING if isinstance(outcome, Retry | Terminal) else logging.INFO, "pass", extra=line)

    # -- one pass --------------------------------------------------------------------------------------------

    async def _pass(self, mark: PassMark) -> PassOutcome:
        async with asyncio.timeout(READ_S):
            await self._relist_if_due()
            objects = self.store.snapshot()
            readings = await self._read(objects)
        snapshot = gather(objects, readings, rules=self._settings.rules)
        self._follow(snapshot)
        decisions = await self._decide(snapshot)
        self._learn(decisions)
        applied = await self._applier.apply(decisions, snapshot=snapshot, mark=mark)
        due = due_statuses(decisions, snapshot=snapshot, objects=self.store.snapshot())
        told = await write_statuses(due, ports=self._ports, fields=mark.fields())
        return soonest([applied, told, *self._unfinished(decisions, snapshot)])

    async def _relist_if_due(self) -> None:
        """Replace the store by complete lists, at the start and every `resync_s`."""
        now = self._clock()
        if self.store.complete and now < self._relist_at:
            return
        for kind in WATCHED:
            begun = self.store.begin_list(kind)
            self.store.replace(begun, await self._ports.reader.list_kind(kind))
        self.memory.tables = None
        # Spread a little, so that pools started together do not list together.
        self._relist_at = now + self._settings.timing.resync_s * (0.9 + 0.2 * self._chance())
        self.vitals.listed_at = now

    async def _read(self, objects: PoolObjects) -> Readings:
        if self.memory.tables is None:
            self.memory.tables = dict(await self._ports.reader.read_tables())
        now = self._wall()
        return Readings(
            tables=dict(self.memory.tables),
            workloads=await self._ports.reader.read_workloads(),
            signs={account: self.heartbeats.signs(account) for account in self.heartbeats.accounts()},
            credentials=await self._read_secrets(objects),
            catalog=self.instruments.best(),
            dump_fault="; ".join(self.instruments.faults().values()),
            remembered=self.memory.placement,
            today=trading_day(now),
            now=now,
            now_ns=self._clock_ns(),
        )

    async def _read_secrets(self, objects: PoolObjects) -> Mapping[str, CredentialsFact]:
        """Facts about every Secret an account names, looked at again when they are no longer fresh."""
        now = self._clock()
        known = self.memory.secrets
        names = {name for manifest in objects.accounts if (name := secret_of(manifest))}
        for name in sorted(names):
            checked = known.get(name)
            fresh_s = SECRET_FRESH_S if checked and checked.fact.usable else SECRET_BAD_FRESH_S
            if checked is None or now - checked.at >= fresh_s:
                known[name] = CheckedSecret(await self._ports.reader.read_credentials(name), now)
        self.memory.secrets = {name: known[name] for name in names}
        return {name: checked.fact for name, checked in self.memory.secrets.items()}

    def _follow(self, snapshot: PoolSnapshot) -> None:
        """Tell the watchers whom this is about."""
        self.heartbeats.follow(frozenset(account.name for account in snapshot.accounts), now_ns=self._clock_ns())
        self.instruments.follow(
            account.api_endpoint
            for account in sorted(snapshot.accounts, key=lambda account: account.name)
            if account.refusal is None
        )

    async def _decide(self, snapshot: PoolSnapshot) -> Decisions:
        """In a thread: twenty accounts with sixty thousand instruments must not hold up Lease and probes."""
        moves_max = self.memory.refill(snapshot.now_ns)
        async with asyncio.timeout(DECIDE_S):
            return await asyncio.to_thread(
                decide, snapshot, policy=self._settings.policy, previous=self.memory.verdicts, moves_max=moves_max
            )

    def _learn(self, decisions: Decisions) -> None:
        self.decisions = decisions
        balance = sum(move.reason.value == "Balance" for move in decisions.plan.moves)
        self.memory.learn(decisions.verdicts, decisions.plan.placement, moves=balance)

    def _unfinished(self, decisions: Decisions, snapshot: PoolSnapshot) -> list[Done | Again]:
        """What goes on without telling us: pods that end, Secrets that are repaired, windows of silence."""
        waits: list[Done | Again] = []
        if decisions.pool.rolling or any(shard.pods and shard.pods.terminating for shard in snapshot.shards.values()):
            waits.append(Again(2.0, "a shard rolls"))
        if any(not checked.fact.usable for checked in self.memory.secrets.values()):
            waits.append(Again(SECRET_BAD_FRESH_S, "a Secret cannot be used"))
        if decisions.plan.balance_left:
            waits.append(Again(self._settings.timing.interval_s, "moves are left"))
        if decisions.deadline_ns is not None:
            waits.append(Again(max(0.1, (decisions.deadline_ns - self._clock_ns()) / 1e9), "a window of silence"))
        return waits

    # -- watchers --------------------------------------------------------------------------------------------

    async def _watch_heartbeats(self) -> None:
        """Look at the shards' signs of life; a shard that falls silent, or comes back, asks for a pass."""
        while True:
            await asyncio.sleep(POLL_S)
            if not self.heartbeats.accounts():
                continue
            try:
                beats = await self._ports.reader.read_heartbeats()
            except Unreachable as error:
                # Nothing is concluded from not seeing; the book notices the gap by itself.
                log.debug("signs of life cannot be read", extra={"cause": str(error)})
                continue
            for account in self.heartbeats.look(beats, now_ns=self._clock_ns()):
                self.reloader.trigger(f"{Kind.SHARD} {account} signs of life", urgency=Urgency.URGENT)

    async def _watch_instruments(self) -> None:
        """Fetch the broker's list when it is due; a new one, or a new reason why there is none, asks for a pass."""
        while True:
            if await self.instruments.refresh():
                self.reloader.trigger("list of instruments", urgency=Urgency.URGENT)
            await asyncio.sleep(INSTRUMENTS_LOOK_S)


def _raise_ended(watchers: list[asyncio.Task[None]]) -> None:
    """A watcher never ends by itself: one that did has met a bug, and silence about it would be worse than an end."""
    for watcher in watchers:
        if watcher.done():
            watcher.result()
