"""Making decisions true, one account beside the other.

Each account has its own steps and its own back-off: what goes wrong at one (a quota, an invalid podTemplate) keeps
nobody else waiting. Within an account the order is: hold its deletion, give the table something to belong to, write the
table, make the workload as desired. Every step bears an end after it, and is looked at anew by the next pass. No step
is repeated here.

A step's answer leads to one of three things: nothing more to do, "look again" (somebody else wrote, or nobody knows),
or a refusal, which a person is told of in an event once, and which waits with growing pauses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from ticker_crds.constants import Kind, Reason
from ticker_operator.desired import RolloutDecision
from ticker_operator.model import AccountView, DesiredShard, Event, PoolSnapshot, ShardView, TableWrite
from ticker_operator.reconcile.backoff import BackoffBook
from ticker_operator.reconcile.decide import Decisions
from ticker_operator.reconcile.memory import Memory
from ticker_operator.reconcile.outcomes import Again, Done, soonest
from ticker_operator.reconcile.ports import Conflict, Ports, Refused, Removal, Unchanged, Unknown, WriteOutcome, Written

ACCOUNTS_AT_ONCE_MAX: Final = 8  # below the gateway's own ceiling, so that polls of Leases find a free slot
ACCOUNT_S: Final = 60.0
LOOK_AGAIN_S: Final = 2.0
LEAVING_S: Final = 300.0  # more than twice a pod's grace period

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PassMark:
    """Which pass a line belongs to."""

    number: int
    trigger: str

    def fields(self, **more: object) -> dict[str, object]:
        """For a log call's ``extra``."""
        return {"pass": self.number, "trigger": self.trigger, **more}


class Applier:
    """Carries a pass's decisions out.

    Parameters
    ----------
    ports
        The world.
    memory
        Learns which tables were written.
    clock, chance
        Monotonic seconds and jitter, for back-off.
    """

    def __init__(
        self, ports: Ports, *, memory: Memory, clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._ports = ports
        self._memory = memory
        self._clock = clock
        self._chance = chance
        self.backoff = BackoffBook()

    async def apply(self, decisions: Decisions, *, snapshot: PoolSnapshot, mark: PassMark) -> Done | Again:
        """Everything, at most `ACCOUNTS_AT_ONCE_MAX` accounts at a time."""
        accounts = {account.name: account for account in snapshot.accounts}
        slots = asyncio.Semaphore(ACCOUNTS_AT_ONCE_MAX)
        names = sorted(accounts.keys() | set(decisions.removals))
        self.backoff.keep_only(frozenset(f"{step} {name}" for name in names for step in _STEPS))

        async def one(name: str) -> Done | Again:
            async with slots:
                try:
                    async with asyncio.timeout(ACCOUNT_S):
                        return await self._account(name, accounts.get(name), decisions, snapshot, mark)
                except TimeoutError:
                    log.warning("account not finished in time", extra=mark.fields(account=name, limit_s=ACCOUNT_S))
                    return Again(LOOK_AGAIN_S, f"{name}: not finished in {ACCOUNT_S:.0f} s")

        return soonest(await asyncio.gather(*(one(name) for name in names)))

    async def _account(
        self,
        name: str,
        account: AccountView | None,
        decisions: Decisions,
        snapshot: PoolSnapshot,
        mark: PassMark,
    ) -> Done | Again:
        if name in decisions.removals:
            return await self._remove(name, account, mark)
        assert account is not None, f"{name} is neither an account nor to be removed"
        shard, write = decisions.shards.get(name), decisions.writes.get(name)
        step = _Steps(self, account, mark)
        if not account.deleting and not account.paused:
            await step.take("hold", lambda: self._ports.status.hold_deletion(name, held=True))
        if shard is not None and not snapshot.shard(name).exists:
            await step.take("prepare", lambda: self._ports.workloads.prepare_shard(shard))
        if write is not None:
            await step.take("table", lambda: self._write_table(write, mark))
        if shard is not None:
            live, rollout = snapshot.shard(name), decisions.rollouts[name]
            await step.take(
                "workload", lambda: self._ensure(shard, rollout, live=live, mark=mark), about=shard.template_hash
            )
        return step.outcome

    async def _write_table(self, write: TableWrite, mark: PassMark) -> WriteOutcome:
        account = write.table.account
        outcome = await self._ports.tables.write_table(write.table, expected=write.expected)
        self._memory.table_written(write, outcome)
        if isinstance(outcome, Written):
            log.info(
                "table written",
                extra=mark.fields(account=account, revision=write.table.revision, steps=write.summary),
            )
        return outcome

    async def _ensure(
        self, shard: DesiredShard, rollout: RolloutDecision, *, live: ShardView, mark: PassMark
    ) -> WriteOutcome:
        outcome = await self._ports.workloads.ensure_shard(shard, live=live, rollout=rollout)
        if isinstance(outcome, Written):
            log.info(
                "workload written",
                extra=mark.fields(account=shard.account.name, rollout=rollout.outcome.value, why=rollout.message),
            )
        return outcome

    async def _remove(self, name: str, account: AccountView | None, mark: PassMark) -> Done | Again:
        removal = await self._ports.workloads.remove_shard(name)
        if removal is not Removal.GONE and not (removal is Removal.LEAVING and self._gave_up(account)):
            return Again(LOOK_AGAIN_S, f"{name}: its workload is {removal.value}")
        self._memory.table_gone(name)
        log.info("workload removed", extra=mark.fields(account=name, left=removal.value))
        if account is None:
            return Done()
        step = _Steps(self, account, mark)
        await step.take("hold", lambda: self._ports.status.hold_deletion(name, held=False))
        return step.outcome

    def _gave_up(self, account: AccountView | None) -> bool:
        """A pod whose node is dead never ends: its account must not hang for ever, the cluster removes the rest."""
        if account is None or account.drain_deadline_ns is None:
            return False
        return self._clock() > account.drain_deadline_ns / 1e9 + LEAVING_S

    # -- one step --------------------------------------------------------------------------------------------

    async def judge(
        self, key: str, outcome: WriteOutcome, *, account: AccountView, about: str, mark: PassMark
    ) -> Done | Again:
        """What follows from a step's answer."""
        match outcome:
            case Written() | Unchanged():
                self.backoff.succeeded(key)
                return Done()
            case Conflict(detail):
                # Somebody else wrote: what we decided was decided on yesterday's state. No fault of anybody's.
                self._memory.distrust(account.name)
                log.info("somebody else wrote first", extra=mark.fields(account=account.name, step=key, detail=detail))
                return Again(LOOK_AGAIN_S, f"{key}: conflict")
            case Unknown(detail):
                self._memory.distrust(account.name)
                wait_s = self.backoff.failed(key, now=self._clock(), chance=self._chance(), generation=about)
                log.warning(
                    "no answer to a write",
                    extra=mark.fields(account=account.name, step=key, detail=detail, again_in_s=round(wait_s, 1)),
                )
                return Again(wait_s, f"{key}: unknown")
            case Refused(detail):
                first = self.backoff.failures(key) == 0
                wait_s = self.backoff.failed(key, now=self._clock(), chance=self._chance(), generation=about)
                log.warning(
                    "write refused",
                    extra=mark.fields(account=account.name, step=key, detail=detail, again_in_s=round(wait_s, 1)),
                )
                if first:
                    await self._ports.status.record_event(
                        Event(Kind.ACCOUNT, account.name, Reason.INVALID, detail, warning=True)
                    )
                return Again(wait_s, f"{key}: refused")

    def may_try(self, key: str, *, about: str) -> bool:
        """Whether this step's wait is over."""
        return self.backoff.may_try(key, now=self._clock(), generation=about)


_STEPS: Final = ("hold", "prepare", "table", "workload")


class _Steps:
    """An account's steps in one pass: the first that does not succeed ends them."""

    def __init__(self, applier: Applier, account: AccountView, mark: PassMark) -> None:
        self._applier = applier
        self._account = account
        self._mark = mark
        self.outcome: Done | Again = Done()

    async def take(self, step: str, work: Callable[[], Awaitable[WriteOutcome]], *, about: str = "") -> None:
        """Do `work`, unless an earlier step failed or this one's wait is not over."""
        if isinstance(self.outcome, Again):
            return
        key, about = f"{step} {self._account.name}", f"{self._account.generation} {about}"
        if not self._applier.may_try(key, about=about):
            self.outcome = Again(LOOK_AGAIN_S, f"{key}: waits")
            return
        answer = await work()
        self.outcome = await self._applier.judge(key, answer, account=self._account, about=about, mark=self._mark)


def summary_of(decisions: Decisions) -> Mapping[str, object]:
    """A pass's decisions for one log line."""
    return {
        "wanted": len(decisions.resolution.wanted),
        "placed": len(decisions.plan.placement),
        "moves": len(decisions.plan.moves),
        "moving": decisions.tables.moving,
        "unassigned": len(decisions.plan.unassigned),
        "table_writes": len(decisions.writes),
        "removals": len(decisions.removals),
        "rolling": decisions.pool.rolling,
    }
