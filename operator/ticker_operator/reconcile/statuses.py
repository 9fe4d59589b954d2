"""Saying what is so: statuses of all three kinds, each written only when something other than a time changed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from ticker_crds.constants import Kind
from ticker_operator.desired.delivery import judge_delivery
from ticker_operator.desired.status import account_status, differs, shard_status, subscription_status
from ticker_operator.model import Manifest, PoolSnapshot, StatusWrite
from ticker_operator.reconcile.decide import Decisions
from ticker_operator.reconcile.outcomes import Again, Done, soonest
from ticker_operator.reconcile.ports import Conflict, Ports, Refused, Unchanged, Unknown, Written
from ticker_operator.reconcile.store import PoolObjects

LOOK_AGAIN_S = 2.0
REFUSED_AGAIN_S = 60.0

log = logging.getLogger(__name__)


def due_statuses(decisions: Decisions, *, snapshot: PoolSnapshot, objects: PoolObjects) -> list[StatusWrite]:
    """Statuses that differ from what stands there."""
    before = _statuses(objects)
    return [
        write
        for write in _all_statuses(decisions, snapshot=snapshot, before=before)
        # What this pass has let go is no longer in the store: nobody reads its status.
        if (write.kind, write.name) in before and differs(write.status, before[write.kind, write.name])
    ]


def _all_statuses(
    decisions: Decisions, *, snapshot: PoolSnapshot, before: Mapping[tuple[Kind, str], Mapping[str, Any]]
) -> Iterator[StatusWrite]:
    for account in snapshot.accounts:
        shard, verdict = snapshot.shard(account.name), decisions.verdicts[account.name]
        yield account_status(
            account,
            shard,
            snapshot=snapshot,
            plan=decisions.plan,
            verdict=verdict,
            drain=decisions.drains[account.name],
            previous=before.get((Kind.ACCOUNT, account.name), {}),
        )
        if shard.exists:
            yield shard_status(
                account,
                shard,
                snapshot=snapshot,
                plan=decisions.plan,
                tables=decisions.tables,
                verdict=verdict,
                rollout=decisions.rollouts.get(account.name),
                pool=decisions.pool,
            )
    delivery = judge_delivery(
        snapshot,
        resolution=decisions.resolution,
        plan=decisions.plan,
        tables=decisions.tables,
        verdicts=decisions.verdicts,
    )
    for subscription in snapshot.subscriptions:
        yield subscription_status(
            subscription,
            snapshot=snapshot,
            resolution=decisions.resolution,
            plan=decisions.plan,
            tables=decisions.tables,
            previous=before.get((Kind.SUBSCRIPTION, subscription.name), {}),
            delivery=delivery,
        )


def _statuses(objects: PoolObjects) -> dict[tuple[Kind, str], Mapping[str, Any]]:
    by_kind: tuple[tuple[Kind, tuple[Manifest, ...]], ...] = (
        (Kind.ACCOUNT, objects.accounts),
        (Kind.SUBSCRIPTION, objects.subscriptions),
        (Kind.SHARD, objects.shards),
    )
    return {
        (kind, manifest["metadata"]["name"]): manifest.get("status") or {}
        for kind, manifests in by_kind
        for manifest in manifests
    }


async def write_statuses(writes: list[StatusWrite], *, ports: Ports, fields: Mapping[str, object]) -> Done | Again:
    """Write them one after the other; what fails is looked at again by a later pass. Events follow their status."""
    outcomes: list[Done | Again] = []
    for write in writes:
        outcome = await ports.status.write_status(write.kind, write.name, write.status, uid=write.uid)
        about = {**fields, "object": f"{write.kind} {write.name}"}
        match outcome:
            case Written():
                for event in write.events:
                    await ports.status.record_event(event)
            case Unchanged():
                pass
            case Conflict(detail) | Unknown(detail):
                log.info("status not written", extra={**about, "detail": detail})
                outcomes.append(Again(LOOK_AGAIN_S, f"status of {write.name}"))
            case Refused(detail):
                log.warning("status refused", extra={**about, "detail": detail})
                outcomes.append(Again(REFUSED_AGAIN_S, f"status of {write.name} refused"))
    return soonest(outcomes)
