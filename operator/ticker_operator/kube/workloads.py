"""Shards as Deployments: everything an account's shard needs, written in an order that bears an end anywhere.

``TickerShard → ServiceAccount, Role, RoleBinding → status.rollout (intent) → Deployment → status.rollout (applied)``

All of it by server-side apply as one manager, each object only when it differs from what is there. The Deployment's
template is written only as the rollout decision says; before it goes over somebody's edit or undo, foreign ownership of
the template is merged into our own Apply entry, because a field that a stranger co-owns would survive us. Between the
two writes of ``status.rollout`` the operator may die: the intent tells the next one what was going on.

Removal goes the other way: Deployment, then (when no pod is left) everything else, the TickerShard last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ticker_crds.constants import (
    LABEL_ACCOUNT,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    MANAGER_OPERATOR,
    MANAGER_ROLLOUT,
    Kind,
)
from ticker_crds.names import assignment_name, shard_name
from ticker_operator.desired import RolloutDecision, owned_by, ownership_patch, record_from_status, record_to_status
from ticker_operator.kube.gateway import (
    CONFIG_MAPS,
    CUSTOM,
    DEPLOYMENTS,
    LEASES,
    PODS,
    REPLICA_SETS,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    AbsentError,
    ApiError,
    Body,
    ConflictError,
    Gateway,
    Resource,
)
from ticker_operator.kube.matching import holds
from ticker_operator.kube.outcomes import outcome_of, read_failure
from ticker_operator.kube.views import deployment_facts, pods_view
from ticker_operator.model import DeploymentFacts, DesiredShard, Manifest, RolloutRecord, ShardView
from ticker_operator.reconcile.ports import Removal, Unchanged, WorkloadFacts, WriteOutcome, Written

OURS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ACCOUNT}"
SHARDS: Final = CUSTOM[Kind.SHARD]
RECHECK_S: Final = 60.0

Seen = Callable[[str, Manifest], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Applied:
    body: Body
    checked_at: float


class KubeWorkloads:
    """`WorkloadPort`, and the reading of what runs.

    Parameters
    ----------
    gateway
        The API.
    seen
        Told of every object that a write answered with, so that the store has it before the watch does.
    uid_of
        Account → uid of its TickerShard, empty while there is none.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, gateway: Gateway, *, seen: Seen, uid_of: Callable[[str], str], clock: Callable[[], float]
    ) -> None:
        self._gateway = gateway
        self._seen = seen
        self._uid_of = uid_of
        self._clock = clock
        self._applied: dict[tuple[str, str], _Applied] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    async def read_workloads(self) -> dict[str, WorkloadFacts]:
        """Deployments with their ReplicaSets and pods, by account.

        Raises
        ------
        Unreachable
        """
        try:
            deployments = await self._by_account(DEPLOYMENTS)
            replica_sets = await self._by_account(REPLICA_SETS)
            pods = await self._by_account(PODS)
        except ApiError as error:
            raise read_failure(error) from error
        facts: dict[str, WorkloadFacts] = {}
        for account in deployments.keys() | pods.keys():
            live = deployments.get(account)
            facts[account] = WorkloadFacts(
                deployment=deployment_facts(live[0], replica_sets.get(account, ())) if live else None,
                pods=pods_view(pods.get(account, ())),
            )
        return facts

    async def _by_account(self, resource: Resource) -> dict[str, list[Body]]:
        answer = await self._gateway.list_all(resource, labels=OURS)
        found: dict[str, list[Body]] = {}
        for body in answer.get("items") or ():
            found.setdefault(body["metadata"]["labels"][LABEL_ACCOUNT], []).append(body)
        return found

    # -- writing ---------------------------------------------------------------------------------------------

    async def prepare_shard(self, shard: DesiredShard) -> WriteOutcome:
        """The TickerShard, owned by its account: what everything else of the shard belongs to."""
        try:
            return await self._apply_shard(shard)
        except ApiError as error:
            return outcome_of(error)

    async def ensure_shard(self, shard: DesiredShard, *, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        """Everything of this shard as desired, its template only as `rollout` says."""
        try:
            steps = [await self._apply_shard(shard)]
            steps += [await self._apply_owned(*part, shard) for part in _parts(shard)]
            steps.append(await self._roll(shard, live, rollout))
        except ApiError as error:
            return outcome_of(error)
        return next((step for step in steps if isinstance(step, Written)), steps[-1])

    async def _apply_shard(self, shard: DesiredShard) -> WriteOutcome:
        owner = shard.account
        return await self._apply_once(SHARDS, owned_by(shard.shard, kind=Kind.ACCOUNT, name=owner.name, uid=owner.uid))

    async def _apply_owned(self, resource: Resource, manifest: Manifest, shard: DesiredShard) -> WriteOutcome:
        return await self._apply_once(resource, self._owned(manifest, shard))

    def _owned(self, manifest: Manifest, shard: DesiredShard) -> Body:
        uid = self._uid_of(shard.account.name)
        if not uid:
            raise ConflictError(f"TickerShard {shard.name} vanished")
        return owned_by(manifest, kind=Kind.SHARD, name=shard.name, uid=uid)

    async def _apply_once(self, resource: Resource, body: Body) -> WriteOutcome:
        """Apply `body` when it is new to this process; from time to time look whether it is still so."""
        key = (resource.kind, str(body["metadata"]["name"]))
        known, now = self._applied.get(key), self._clock()
        if known is not None and known.body == body:
            if now - known.checked_at < RECHECK_S:
                return Unchanged("")
            live = await self._get_or_none(resource, key[1])
            if live is not None and holds(live, body):
                self._applied[key] = _Applied(body, now)
                return Unchanged(str(live["metadata"]["resourceVersion"]))
        # An apply that changes nothing leaves the object's version alone, so the first one after a start is harmless.
        answer = await self._gateway.apply(resource, body, manager=MANAGER_OPERATOR)
        self._applied[key] = _Applied(body, now)
        self._seen(resource.kind, answer)
        version = str(answer["metadata"]["resourceVersion"])
        return Written(version)

    async def _get_or_none(self, resource: Resource, name: str) -> Body | None:
        try:
            return await self._gateway.get(resource, name)
        except AbsentError:
            return None

    # -- roll-out --------------------------------------------------------------------------------------------

    async def _roll(self, shard: DesiredShard, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        """Intent, template, applied: each only after the one before it."""
        if rollout.before is not None:
            await self._write_record(shard, expected=live.rollout, record=rollout.before)
        outcome = await self._write_deployment(shard, live, rollout)
        if rollout.after is not None:
            await self._write_record(shard, expected=rollout.before or live.rollout, record=rollout.after)
        return outcome

    async def _write_record(self, shard: DesiredShard, *, expected: RolloutRecord, record: RolloutRecord) -> None:
        """``status.rollout``, unless somebody else has written another one since it was read."""
        top = await self._gateway.get(SHARDS, shard.name)
        if record_from_status(top.get("status") or {}) != expected:
            raise ConflictError(f"status.rollout of {shard.name} is not the one that was read")
        body = {
            "apiVersion": SHARDS.api_version,
            "kind": SHARDS.kind,
            "metadata": {"name": shard.name, "resourceVersion": top["metadata"]["resourceVersion"]},
            "status": {"rollout": record_to_status(record)},
        }
        answer = await self._gateway.apply(SHARDS, body, manager=MANAGER_ROLLOUT, subresource="status")
        self._seen(SHARDS.kind, answer)

    async def _write_deployment(self, shard: DesiredShard, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        facts = live.deployment
        if rollout.writes_template:
            body = self._owned(shard.deployment, shard)
            if facts is not None:
                version = await self._merge_ownership(shard, facts) if rollout.merge_ownership else facts.version
                body["metadata"] = {**body["metadata"], "resourceVersion": version}
            answer = await self._gateway.apply(DEPLOYMENTS, body, manager=MANAGER_OPERATOR)
        elif facts is not None and (rollout.restores_scale or rollout.strategy):
            answer = await self._write_beside_template(shard, facts, rollout)
        else:
            return Unchanged("" if facts is None else facts.version)
        self._seen(DEPLOYMENTS.kind, answer)
        return Written(str(answer["metadata"]["resourceVersion"]))

    async def _merge_ownership(self, shard: DesiredShard, facts: DeploymentFacts) -> str:
        """Take over what strangers own of the template; the version to guard the apply with."""
        patch = ownership_patch(facts.managed_fields, version=facts.version, manager=MANAGER_OPERATOR)
        if patch is None:
            return facts.version
        answer = await self._gateway.json_patch(DEPLOYMENTS, shard.name, patch, manager=MANAGER_OPERATOR)
        return str(answer["metadata"]["resourceVersion"])

    async def _write_beside_template(
        self, shard: DesiredShard, facts: DeploymentFacts, rollout: RolloutDecision
    ) -> Body:
        # The template is held as it is, so an apply (which must name all of ours) is not possible.
        patch: list[Body] = [{"op": "test", "path": "/metadata/resourceVersion", "value": facts.version}]
        if rollout.restores_scale:
            replicas = shard.deployment["spec"]["replicas"]
            patch.append({"op": "replace", "path": "/spec/replicas", "value": replicas})
        if rollout.strategy:
            patch.append({"op": "replace", "path": "/spec/strategy", "value": dict(rollout.strategy)})
        return await self._gateway.json_patch(DEPLOYMENTS, shard.name, patch, manager=MANAGER_OPERATOR)

    # -- removal ---------------------------------------------------------------------------------------------

    async def remove_shard(self, account: str) -> Removal:
        """Stop the account's shard, and remove what was made for it (its table too) once nothing runs."""
        try:
            if await self._is_wanted(account):
                return Removal.UNKNOWN
            ours = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ACCOUNT}={account}"
            await self._delete_deployment(account, ours)
            pods = await self._gateway.list_all(PODS, labels=ours)
            if pods_view(pods.get("items") or ()).alive:
                return Removal.LEAVING
            for resource, name in _leftovers(account):
                await self._delete_ours(resource, name, account)
                self._applied.pop((resource.kind, name), None)
        except ApiError as error:
            log.warning("shard not removed", extra={"account": account, "detail": str(error)})
            return Removal.UNKNOWN
        return Removal.GONE

    async def _delete_deployment(self, account: str, labels: str) -> None:
        """Delete the shard's Deployment: the one with our labels and of this name, as it was seen; no stranger's."""
        found = await self._gateway.list_all(DEPLOYMENTS, labels=labels)
        for live in found.get("items") or ():
            if live["metadata"]["name"] == shard_name(account):
                await self._gateway.delete(DEPLOYMENTS, shard_name(account), uid=live["metadata"]["uid"])

    async def _delete_ours(self, resource: Resource, name: str, account: str) -> None:
        """Delete what was made for the shard, as it was seen; an object of that name without our labels stays."""
        live = await self._get_or_none(resource, name)
        if live is None:
            return
        # A TickerShard is nobody else's by its kind, whatever became of its labels.
        if resource is SHARDS or _is_labelled(live, account):
            await self._gateway.delete(resource, name, uid=live["metadata"]["uid"])
        else:
            log.warning(
                "left alone: it lacks our labels", extra={"account": account, "object": f"{resource.kind}/{name}"}
            )

    async def _is_wanted(self, account: str) -> bool:
        """The last guard before anything is deleted: the account itself, asked now."""
        live = await self._get_or_none(CUSTOM[Kind.ACCOUNT], account)
        return live is not None and not live["metadata"].get("deletionTimestamp")


def _parts(shard: DesiredShard) -> tuple[tuple[Resource, Manifest], ...]:
    return (
        (SERVICE_ACCOUNTS, shard.service_account),
        (ROLES, shard.role),
        (ROLE_BINDINGS, shard.role_binding),
    )


def _is_labelled(live: Body, account: str) -> bool:
    labels = live["metadata"].get("labels") or {}
    return labels.get(LABEL_MANAGED_BY) == MANAGED_BY and labels.get(LABEL_ACCOUNT) == account


def _leftovers(account: str) -> tuple[tuple[Resource, str], ...]:
    """What is deleted when no pod is left, the TickerShard last: it is what the sweep finds the rest by."""
    name = shard_name(account)
    return (
        (ROLE_BINDINGS, name),
        (ROLES, name),
        (SERVICE_ACCOUNTS, name),
        (LEASES, name),
        (CONFIG_MAPS, assignment_name(account)),
        (SHARDS, name),
    )
