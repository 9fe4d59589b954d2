"""Statuses that the operator would write for a small pool, and what the shard of acc0 says or suffers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.pool import Pool, a_subscription, an_account, option_symbol
from ticker_crds.constants import Condition, Reason
from ticker_operator.desired.pool import PoolRollout
from ticker_operator.desired.rollout import Rollout, RolloutDecision
from ticker_operator.desired.status import account_status, shard_status, subscription_status
from ticker_operator.model import ConditionView, Drain, Health, ShardView, StatusWrite, TablePlan, Verdict
from ticker_operator.planning import next_tables

CONFIRMED = RolloutDecision(Rollout.CONFIRM, "release sha256-1 is applied")
NOBODY_ROLLS = PoolRollout({})


def a_pool(instruments: int = 4) -> Pool:
    pool = Pool(
        [an_account("acc0", generation=3), an_account("acc1")],
        [a_subscription("s", [option_symbol(index) for index in range(instruments)], generation=2)],
        options=instruments,
    )
    pool.settle()
    return pool


def tables_of(pool: Pool) -> TablePlan:
    plan = pool.planned()
    return next_tables(pool.snapshot(), resolution=pool.resolved(), plan=plan, verdicts=pool.health())


def shard_of(pool: Pool, rollout: RolloutDecision | None = CONFIRMED, name: str = "acc0") -> StatusWrite:
    return shard_status(
        pool.accounts[name],
        pool.shards.get(name) or ShardView(name, exists=True),
        snapshot=pool.snapshot(),
        plan=pool.planned(),
        tables=tables_of(pool),
        verdict=pool.health()[name],
        rollout=rollout,
        pool=NOBODY_ROLLS,
    )


def account_of(pool: Pool, *, drain: Drain = Drain.NOT_DRAINING, previous: dict[str, Any] | None = None) -> StatusWrite:
    return account_status(
        pool.accounts["acc0"],
        pool.shards.get("acc0") or ShardView("acc0"),
        snapshot=pool.snapshot(),
        plan=pool.planned(),
        verdict=pool.health()["acc0"],
        drain=drain,
        previous=previous or {},
    )


def subscription_of(pool: Pool, *, previous: dict[str, Any] | None = None, name: str = "s") -> StatusWrite:
    return subscription_status(
        pool.subscriptions[name],
        snapshot=pool.snapshot(),
        resolution=pool.resolved(),
        plan=pool.planned(),
        tables=tables_of(pool),
        previous=previous or {},
    )


def condition(write: StatusWrite, kind: Condition) -> tuple[str, str, str]:
    entry = next(entry for entry in write.status["conditions"] if entry["type"] == kind.value)
    return entry["status"], entry["reason"], entry["message"]


def report(pool: Pool, kind: Condition, status: str, reason: Reason, message: str = "told so") -> None:
    """The shard of acc0 says this about itself."""
    shard = pool.shards["acc0"]
    assert shard.report is not None
    told = {**shard.report.conditions, kind.value: ConditionView(kind.value, status, reason.value, message)}
    pool.shards["acc0"] = replace(shard, report=replace(shard.report, conditions=told))


def kill(pool: Pool) -> None:
    report(pool, Condition.CREDENTIALS_VALID, "False", Reason.TOKEN_REJECTED, "the broker answered 403")
    pool.verdicts["acc0"] = Verdict(Health.DEAD, "the broker answered 403")


def silence(pool: Pool) -> None:
    pool.verdicts["acc0"] = Verdict(Health.SILENT, "no sign of life for more than 5 s")
