"""Status of the three kinds, computed; written only when something other than a time changed.

Every function answers the operator's *complete* part: under server-side apply a member that is left out is deleted.
Nothing in it changes from second to second. A message says what is so in plain words with numbers, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ticker_crds.account import AccountState
from ticker_crds.conditions import Finding, Truth, merge_conditions
from ticker_crds.constants import Condition, Kind, Reason
from ticker_crds.names import shard_name
from ticker_operator.desired.events import condition_events, move_events
from ticker_operator.desired.overlap import overlaps
from ticker_operator.desired.pods import CONTAINER
from ticker_operator.desired.pool import PoolRollout, is_rolling, is_stalled
from ticker_operator.desired.readiness import StreamFacts, known_reason, ready, silent
from ticker_operator.desired.rollout import Rollout, RolloutDecision
from ticker_operator.desired.status_subscription import subscription_status
from ticker_operator.model import (
    AccountView,
    ConditionView,
    Drain,
    Plan,
    PoolSnapshot,
    ShardView,
    StatusWrite,
    TablePlan,
    Verdict,
)

__all__ = ["account_status", "differs", "shard_status", "subscription_status"]

# What other managers write into a TickerShard's status.
_FOREIGN: Final = frozenset({"acknowledged", "confirmed", "sockets", "epoch", "rollout", "conditions"})
_SECRET_REASONS: Final = frozenset({Reason.SECRET_MISSING, Reason.SECRET_KEY_MISSING, Reason.SECRET_NOT_LABELLED})


def shard_status(
    account: AccountView,
    shard: ShardView,
    *,
    snapshot: PoolSnapshot,
    plan: Plan,
    tables: TablePlan,
    verdict: Verdict,
    rollout: RolloutDecision | None,
    pool: PoolRollout,
) -> StatusWrite:
    """The operator's part of a TickerShard's status (manager ``ticker-operator``).

    Parameters
    ----------
    account, shard
        Whose; the TickerShard exists.
    snapshot, plan, tables
        Of this pass.
    verdict
        Its health.
    rollout
        What was decided about its Deployment; `None` where its workload is not touched.
    pool
        Who may roll.
    """
    facts = StreamFacts(account, shard, snapshot.table(account.name), verdict)
    findings = (
        ready(facts),
        _progressing(account, shard, rollout, pool),
        _rolled_back(rollout),
        _paused(account.paused or shard.paused, shard),
        _capacity(account, facts.assigned, snapshot),
        _zero_gap(account),
    )
    status: dict[str, Any] = {
        "observedGeneration": shard.generation,
        "appliedRevision": shard.revision_floor,
        "assigned": facts.assigned,
        "capacity": account.capacity,
    }
    image = _image(shard)
    if image:
        status["image"] = image
    return _write(
        Kind.SHARD, account.shard, shard.uid, status, findings,
        previous=shard.status, generation=shard.generation, now=snapshot.now,
    )  # fmt: skip


def account_status(
    account: AccountView,
    shard: ShardView,
    *,
    snapshot: PoolSnapshot,
    plan: Plan,
    verdict: Verdict,
    drain: Drain,
    previous: Mapping[str, Any],
) -> StatusWrite:
    """A KiteAccount's status.

    Parameters
    ----------
    account, shard
        The account, and what is known of its shard.
    snapshot, plan
        Of this pass.
    verdict, drain
        Its health; how far it has given its instruments away.
    previous
        Its status as it stands.
    """
    facts = StreamFacts(account, shard, snapshot.table(account.name), verdict)
    findings = (
        ready(facts),
        _credentials(facts),
        _connected(facts),
        _draining(account, facts, drain),
        _paused(account.paused, None),
    )
    status: dict[str, Any] = {
        "observedGeneration": account.generation,
        "capacity": account.capacity,
        "assigned": facts.assigned,
    }
    if shard.exists:
        status["shardRef"] = {"name": account.shard}
    if account.token_issued_at:
        status["tokenIssuedAt"] = account.token_issued_at
    write = _write(
        Kind.ACCOUNT, account.name, account.uid, status, findings,
        previous=previous, generation=account.generation, now=snapshot.now,
    )  # fmt: skip
    moved = move_events(account.name, plan.moves)
    return StatusWrite(write.kind, write.name, write.uid, write.status, (*write.events, *moved))


def differs(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether anything but a time changed in the operator's part."""
    if any(old.get(key) != value for key, value in new.items() if key != "conditions"):
        return True
    if any(key not in new for key in old if key not in _FOREIGN):
        return True
    before = {entry.get("type"): _timeless(entry) for entry in _conditions_of(old)}
    return any(before.get(entry["type"]) != _timeless(entry) for entry in _conditions_of(new))


def _timeless(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key != "lastTransitionTime"}


def _conditions_of(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = status.get("conditions")
    return [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list | tuple) else []


def _write(
    kind: Kind,
    name: str,
    uid: str,
    status: dict[str, Any],
    findings: Iterable[Finding],
    *,
    previous: Mapping[str, Any],
    generation: int,
    now: str,
) -> StatusWrite:
    before = _conditions_of(previous)
    conditions = merge_conditions(findings, previous=before, generation=generation, now=now)
    events = condition_events(kind, name, previous=before, current=conditions)
    return StatusWrite(kind, name, uid, {**status, "conditions": conditions}, events)


# -- findings -----------------------------------------------------------------------------------------------------


def _finding(kind: Condition, is_so: bool, reason: Reason, message: str) -> Finding:
    return Finding(kind, "True" if is_so else "False", reason, message)


def _progressing(account: AccountView, shard: ShardView, rollout: RolloutDecision | None, pool: PoolRollout) -> Finding:
    kind, live = Condition.PROGRESSING, shard.deployment
    if rollout is None:
        return _finding(kind, False, Reason.PAUSED, "its workload is not touched: paused, or the account is refused")
    match rollout.outcome:
        case Rollout.PAUSED:
            return _finding(kind, False, Reason.PAUSED, rollout.message)
        case Rollout.HOLD:
            return _finding(kind, False, Reason.ROLLED_BACK, rollout.message)
        case Rollout.QUEUE:
            told = f" ({pool.message})" if pool.stopped_by else f" ({pool.rolling} rolls)" if pool.rolling else ""
            return _finding(kind, True, Reason.WAITING_FOR_OTHER_SHARD, rollout.message + told)
        case Rollout.HEAL if rollout.drift:
            return _finding(kind, True, Reason.DRIFT_HEALED, rollout.message)
        case Rollout.CREATE | Rollout.APPLY | Rollout.HEAL | Rollout.WAIT:
            return _finding(kind, True, Reason.ROLLING_OUT, rollout.message)
    if is_stalled(shard):
        told = live.progressing_message if live is not None else ""
        return _finding(
            kind, False, Reason.STALLED, f"the roll-out is past its deadline: {told}; the pool's has stopped"
        )
    if is_rolling(shard):
        return _finding(kind, True, Reason.ROLLING_OUT, "a new pod is on its way; the next shard waits for the old one")
    if account.state is AccountState.SUSPENDED:
        return _finding(kind, False, Reason.SUSPENDED, "no pod is wanted")
    return _finding(kind, False, Reason.CURRENT, rollout.message)


def _rolled_back(rollout: RolloutDecision | None) -> Finding:
    kind = Condition.ROLLED_BACK
    if rollout is not None and rollout.outcome is Rollout.HOLD:
        return _finding(kind, True, Reason.ROLLED_BACK, rollout.message)
    return _finding(kind, False, Reason.CURRENT, "no release is held")


def _paused(paused: bool, shard: ShardView | None) -> Finding:
    kind = Condition.PAUSED
    if paused:
        return _finding(kind, True, Reason.PAUSED, "annotated as paused: remove the annotation to go on")
    if shard is not None and shard.deployment is not None and shard.deployment.paused:
        name = f"`kubectl rollout resume deployment/{shard_name(shard.account)}`"
        return _finding(kind, True, Reason.PAUSED, f"its Deployment is paused: {name} lets its roll-outs go on")
    return _finding(kind, False, Reason.NOT_PAUSED, "not paused")


def _capacity(account: AccountView, assigned: int, snapshot: PoolSnapshot) -> Finding:
    kind = Condition.CAPACITY_EXCEEDED
    if assigned > account.capacity:
        message = (
            f"{assigned:,} instruments are assigned, {account.capacity:,} fit on {account.sockets} socket(s): the rest "
            "moves away as others have room; raise sockets or add an account"
        )
        return _finding(kind, True, Reason.CAPACITY_EXCEEDED, message)
    fault = snapshot.table(account.name).fault
    told = f"; its table cannot be read and is written anew: {fault}" if fault else ""
    return _finding(kind, False, Reason.WITHIN_CAPACITY, f"{assigned:,} of {account.capacity:,} places are taken{told}")


def _zero_gap(account: AccountView) -> Finding:
    kind = Condition.ZERO_GAP
    if overlaps(account.sockets, account.sockets):
        how = "" if account.sockets == 1 else ", socket by socket through the broker's third place"
        return _finding(kind, True, Reason.SURGE, f"in a roll-out the new pod streams before the old one stops{how}")
    message = (
        f"with {account.sockets} of the broker's 3 sockets in use there is none for a second pod: in a roll-out the "
        "old pod stops first"
    )
    return _finding(kind, False, Reason.NO_SPARE_SOCKET, message)


def _credentials(facts: StreamFacts) -> Finding:
    kind, refusal = Condition.CREDENTIALS_VALID, facts.account.refusal
    if refusal is not None and refusal.reason in _SECRET_REASONS:
        return _finding(kind, False, refusal.reason, refusal.message)
    return _copied(kind, facts, "the broker has not been asked yet")


def _connected(facts: StreamFacts) -> Finding:
    return _copied(Condition.CONNECTED, facts, "no report from its shard yet")


def _copied(kind: Condition, facts: StreamFacts, otherwise: str) -> Finding:
    """What the shard says, while it shows signs of life."""
    unseen = silent(facts)
    if unseen is not None:
        return Finding(kind, *unseen)
    told: ConditionView | None = facts.shard.report.condition(kind) if facts.shard.report is not None else None
    if told is None:
        return Finding(kind, "Unknown", Reason.STARTING, otherwise)
    truth: Truth = "True" if told.status == "True" else "False" if told.status == "False" else "Unknown"
    return Finding(kind, truth, known_reason(told), told.message)


def _draining(account: AccountView, facts: StreamFacts, drain: Drain) -> Finding:
    kind, left = Condition.DRAINING, facts.assigned
    match drain:
        case Drain.NOT_DRAINING:
            return _finding(kind, False, Reason.NOT_DRAINING, "it keeps its instruments")
        case Drain.DRAINED:
            return _finding(kind, False, Reason.DRAINED, "other accounts stream what it had; it can be removed")
        case Drain.DEADLINE:
            message = f"its deadline is over with {left:,} instruments left: it is let go"
            return _finding(kind, False, Reason.DRAIN_DEADLINE, message)
        case Drain.STUCK:
            message = f"{left:,} instruments are left, and no other account has room for them: add one or raise sockets"
            return _finding(kind, True, Reason.CAPACITY_EXCEEDED, message)
    return _finding(kind, True, Reason.DRAINING, f"{left:,} instruments are on their way to other accounts")


def _image(shard: ShardView) -> str:
    template = shard.deployment.template if shard.deployment is not None else {}
    spec = template.get("spec")
    containers = spec.get("containers") if isinstance(spec, Mapping) else None
    for container in containers if isinstance(containers, list | tuple) else ():
        if isinstance(container, Mapping) and container.get("name") == CONTAINER:
            return str(container.get("image", ""))
    return ""
