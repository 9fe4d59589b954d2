"""One pass's decisions, from the snapshot to everything that is to be done. Pure: runs in a thread, touches nothing.

The order is the argument: who can stream (verdicts), what is wanted (resolution), where it belongs (plan), which tables
follow from that now, what each shard should look like with its new table, who may roll.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ticker_operator.desired import (
    PoolRollout,
    Rollout,
    RolloutDecision,
    ShardKnobs,
    decide_rollout,
    drifted_paths,
    is_rolling,
    release_hash,
    released_knobs,
    render_shard,
    resting_strategy,
    roll_permits,
)
from ticker_operator.model import (
    AccountState,
    AccountView,
    DesiredShard,
    Drain,
    Health,
    Plan,
    PoolSnapshot,
    Resolution,
    RollPermit,
    ShardView,
    Strategy,
    TablePlan,
    TableView,
    TableWrite,
    Verdict,
)
from ticker_operator.planning import (
    FailoverLimits,
    drain_state,
    judge_accounts,
    next_deadline_ns,
    next_tables,
    plan,
    resolve,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator's settings say about planning and rendering."""

    knobs: ShardKnobs
    prefix: str = "ticker"
    strategy: Strategy = Strategy.ROUND_ROBIN
    limits: FailoverLimits = field(default_factory=FailoverLimits)


@dataclass(frozen=True, slots=True)
class Decisions:
    """All that one pass has decided.

    Attributes
    ----------
    verdicts, resolution, plan, tables
        See `ticker_operator.planning`.
    writes
        Table writes by account.
    drains
        By account, of every account.
    shards, rollouts
        By account, of those whose workload is to be touched in this pass.
    pool
        Who may roll.
    removals
        Accounts whose workload goes: deleted and drained, or no longer there at all.
    deadline_ns
        When a verdict may change by the clock alone.
    """

    verdicts: Mapping[str, Verdict]
    resolution: Resolution
    plan: Plan
    tables: TablePlan
    writes: Mapping[str, TableWrite]
    drains: Mapping[str, Drain]
    shards: Mapping[str, DesiredShard]
    rollouts: Mapping[str, RolloutDecision]
    pool: PoolRollout
    removals: tuple[str, ...]
    deadline_ns: int | None


def decide(snapshot: PoolSnapshot, *, policy: Policy, previous: Mapping[str, Verdict], moves_max: int) -> Decisions:
    """Everything that follows from `snapshot`.

    Parameters
    ----------
    snapshot
        The pool.
    policy
        Settings.
    previous
        The last pass's verdicts.
    moves_max
        See `ticker_operator.planning.plan`.
    """
    verdicts = judge_accounts(snapshot, limits=policy.limits, previous=previous)
    resolution = resolve(
        snapshot.subscriptions,
        accounts=snapshot.accounts,
        catalog=snapshot.catalog,
        tables=snapshot.tables,
        prefix=policy.prefix,
        today=snapshot.today,
    )
    placed = plan(snapshot, resolution=resolution, verdicts=verdicts, strategy=policy.strategy, moves_max=moves_max)
    tables = next_tables(snapshot, resolution=resolution, plan=placed, verdicts=verdicts)
    writes = {write.table.account: write for write in tables.writes}
    drains = {
        account.name: drain_state(account, snapshot, plan=placed, verdict=verdicts.get(account.name))
        for account in snapshot.accounts
    }
    removals = _removals(snapshot, drains)
    touched = [account for account in snapshot.accounts if _is_touched(account, snapshot, removals)]
    shards = {account.name: _render(account, snapshot, writes, drains, policy) for account in touched}
    pool = _permits(snapshot, shards, verdicts, policy)
    shards = {
        account.name: _on_last_good_release(shards[account.name], account, snapshot, writes, drains, pool, policy)
        for account in touched
    }
    return Decisions(
        verdicts=verdicts,
        resolution=resolution,
        plan=placed,
        tables=tables,
        writes=writes,
        drains=drains,
        shards=shards,
        rollouts={name: _rollout(shard, snapshot, pool) for name, shard in shards.items()},
        pool=pool,
        removals=removals,
        deadline_ns=next_deadline_ns(snapshot, limits=policy.limits, verdicts=verdicts),
    )


def _removals(snapshot: PoolSnapshot, drains: Mapping[str, Drain]) -> tuple[str, ...]:
    accounts = {account.name for account in snapshot.accounts}
    deleted = [account.name for account in snapshot.accounts if account.deleting and drains[account.name].may_stop]
    orphans = [name for name in snapshot.shards if name not in accounts and _leaves_anything(name, snapshot)]
    return tuple(sorted({*deleted, *orphans}))


def _leaves_anything(name: str, snapshot: PoolSnapshot) -> bool:
    shard = snapshot.shard(name)
    return shard.exists or shard.deployment is not None or name in snapshot.tables or not shard.gone


def _is_touched(account: AccountView, snapshot: PoolSnapshot, removals: tuple[str, ...]) -> bool:
    """Whether this pass makes the account's workload as desired.

    A refused account's workload stays as it is: it may be streaming, and what would be rendered from a spec that is
    refused is nothing we may start.
    """
    paused = account.paused or snapshot.shard(account.name).paused
    return account.refusal is None and not paused and account.name not in removals


def _render(
    account: AccountView,
    snapshot: PoolSnapshot,
    writes: Mapping[str, TableWrite],
    drains: Mapping[str, Drain],
    policy: Policy,
) -> DesiredShard:
    """The shard as it should be once its table is written."""
    write = writes.get(account.name)
    table = snapshot.table(account.name) if write is None else TableView(version=write.expected, table=write.table)
    suspend = account.state is AccountState.SUSPENDED and drains[account.name].may_stop
    return render_shard(
        account,
        knobs=policy.knobs,
        namespace=snapshot.namespace,
        table=table,
        live=snapshot.shard(account.name).deployment,
        suspend=suspend,
    )


def _permits(
    snapshot: PoolSnapshot, shards: Mapping[str, DesiredShard], verdicts: Mapping[str, Verdict], policy: Policy
) -> PoolRollout:
    healthy = frozenset(name for name, verdict in verdicts.items() if verdict.health is Health.ALIVE)
    drifted = {
        name
        for name, shard in shards.items()
        if (live := snapshot.shard(name).deployment) is not None
        and live.template_hash == shard.template_hash
        and drifted_paths(shard.deployment["spec"]["template"], live.template)
    }
    return roll_permits(
        [snapshot.shard(name) for name in sorted(shards)],
        release=release_hash(policy.knobs),
        templates={name: shard.template_hash for name, shard in shards.items()},
        healthy=healthy,
        drifted=frozenset(drifted),
    )


def _on_last_good_release(
    shard: DesiredShard,
    account: AccountView,
    snapshot: PoolSnapshot,
    writes: Mapping[str, TableWrite],
    drains: Mapping[str, Drain],
    pool: PoolRollout,
    policy: Policy,
) -> DesiredShard:
    """A new shard of a pool whose roll-out stopped starts on the release that the others stayed on."""
    good = snapshot.shard(pool.last_good).deployment if pool.last_good else None
    if good is None or snapshot.shard(account.name).deployment is not None:
        return shard
    knobs = released_knobs(good.release, fallback=policy.knobs)
    return _render(account, snapshot, writes, drains, replace(policy, knobs=knobs))


def _rollout(shard: DesiredShard, snapshot: PoolSnapshot, pool: PoolRollout) -> RolloutDecision:
    view = snapshot.shard(shard.account.name)
    live = view.deployment
    template = shard.deployment["spec"]["template"]
    decision = decide_rollout(
        live,
        view.rollout,
        release=shard.release_hash,
        template=shard.template_hash,
        permit=pool.permits.get(shard.account.name, RollPermit.WAIT),
        resume=view.resume,
        paused=view.paused,
        replicas=0 if shard.suspend else 1,
        drift=() if live is None else drifted_paths(template, live.template),
    )
    return _at_rest(decision, view)


def _at_rest(decision: RolloutDecision, view: ShardView) -> RolloutDecision:
    """Where nothing rolls, the Deployment's strategy is the one that fits what runs."""
    live = view.deployment
    if live is None or decision.writes_template or decision.outcome is Rollout.PAUSED or is_rolling(view):
        return decision
    resting = resting_strategy(live)
    return decision if live.strategy == resting else replace(decision, strategy=resting)
