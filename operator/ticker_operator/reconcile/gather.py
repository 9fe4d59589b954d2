"""From what was read to the frozen snapshot that planning works on. Pure.

Nothing that somebody wrote can make this fail: an object that breaks a rule of its kind (an older schema let it in, or
a newer one wrote it) becomes a view that carries the refusal, so that its status can say so and everybody else goes on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from ticker_crds.account import KiteAccount
from ticker_crds.base import InvalidObjectError
from ticker_crds.constants import (
    ANNOTATION_PAUSED,
    ANNOTATION_RESUME,
    API_URL,
    TICKER_URL,
    Condition,
    Reason,
)
from ticker_crds.shard import Acknowledged, TickerShard
from ticker_crds.subscription import TickerSubscription
from ticker_operator.desired import record_from_status
from ticker_operator.model import (
    AccountView,
    Acknowledgement,
    ConditionView,
    InstrumentCatalog,
    Manifest,
    Placement,
    PodsView,
    PoolSnapshot,
    Refusal,
    RequestedInstrument,
    ShardReport,
    ShardView,
    Signs,
    SubscriptionView,
    TableView,
)
from ticker_operator.reconcile.ports import CredentialsFact, StoredTable, WorkloadFacts
from ticker_operator.reconcile.store import PoolObjects

_SHARD_CONDITIONS: Final = frozenset(
    {Condition.CONNECTED, Condition.CREDENTIALS_VALID, Condition.STREAMING, Condition.DEGRADED}
)
ACCOUNT_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Readings:
    """All that a pass read, beside the store's objects.

    Attributes
    ----------
    tables, workloads, signs
        By account.
    credentials
        By Secret name.
    catalog
        The broker's instruments.
    dump_fault
        See `PoolSnapshot.dump_fault`.
    remembered
        See `PoolSnapshot.remembered`.
    today, now, now_ns
        Trading day, wall clock, monotonic clock.
    """

    tables: Mapping[str, StoredTable]
    workloads: Mapping[str, WorkloadFacts]
    signs: Mapping[str, Signs]
    credentials: Mapping[str, CredentialsFact]
    catalog: InstrumentCatalog | None
    dump_fault: str
    remembered: Placement
    today: date
    now: datetime
    now_ns: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator's settings say about accounts.

    Attributes
    ----------
    namespace
        The pool.
    endpoints_allowed
        Addresses beside the broker's own that an account may name.
    drain_deadline_s
        How long a deleted account may take to give its instruments away.
    """

    namespace: str
    endpoints_allowed: frozenset[str] = field(default_factory=frozenset)
    drain_deadline_s: float = 300.0


def gather(objects: PoolObjects, readings: Readings, *, rules: Rules) -> PoolSnapshot:
    """The pool at one moment."""
    accounts = tuple(account_view(manifest, readings, rules=rules) for manifest in objects.accounts)
    return PoolSnapshot(
        namespace=rules.namespace,
        accounts=accounts,
        subscriptions=tuple(subscription_view(manifest) for manifest in objects.subscriptions),
        shards=_shards(objects, readings, accounts),
        tables={
            account: TableView(version=stored.version, table=stored.table, fault=stored.fault)
            for account, stored in readings.tables.items()
        },
        catalog=readings.catalog,
        dump_fault=readings.dump_fault,
        remembered=readings.remembered,
        today=readings.today,
        now_ns=readings.now_ns,
        now=rfc3339(readings.now),
    )


def rfc3339(moment: datetime) -> str:
    """As Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- accounts ----------------------------------------------------------------------------------------------------


def secret_of(manifest: Manifest) -> str:
    """Name of the Secret an account names, or nothing."""
    spec = _mapping(manifest.get("spec"))
    return str(_mapping(spec.get("credentialsRef")).get("name") or "")


def account_view(manifest: Manifest, readings: Readings, *, rules: Rules) -> AccountView:
    """One KiteAccount, judged."""
    view = _bare_account(manifest, readings, rules=rules)
    try:
        account = KiteAccount.from_manifest(manifest)
    except InvalidObjectError as error:
        return replace(view, refusal=Refusal(Reason.INVALID, str(error)))
    spec = account.spec
    credentials = readings.credentials.get(spec.credentials_ref.name)
    view = replace(
        view,
        state=spec.state,
        sockets=spec.sockets,
        instruments_per_socket=spec.instruments_per_socket,
        secret=spec.credentials_ref.name,
        ticker_endpoint=spec.endpoints.ticker,
        api_endpoint=spec.endpoints.api,
        token_issued_at=credentials.issued_at if credentials else "",
        pod_template=spec.pod_template.to_manifest() if spec.pod_template else {},
    )
    return replace(view, refusal=_name_refusal(view) or _endpoint_refusal(view, rules) or _secret_refusal(credentials))


def _bare_account(manifest: Manifest, readings: Readings, *, rules: Rules) -> AccountView:
    """What the metadata alone says; good enough to say what is wrong with the rest."""
    meta = _mapping(manifest.get("metadata"))
    deleted_at = _moment(meta.get("deletionTimestamp"))
    deadline_ns = None
    if deleted_at is not None:
        left = deleted_at + timedelta(seconds=rules.drain_deadline_s) - readings.now
        deadline_ns = readings.now_ns + int(left.total_seconds() * 1e9)
    return AccountView(
        name=str(meta.get("name") or ""),
        uid=str(meta.get("uid") or ""),
        generation=_count(meta.get("generation")),
        created=str(meta.get("creationTimestamp") or ""),
        labels=_texts(meta.get("labels")),
        paused=_texts(meta.get("annotations")).get(ANNOTATION_PAUSED) == "true",
        deleting=deleted_at is not None,
        drain_deadline_ns=deadline_ns,
    )


def _name_refusal(view: AccountView) -> Refusal | None:
    # The schema cannot forbid a dot in a name, and labels and container names derived from it cannot hold one.
    if ACCOUNT_NAME.fullmatch(view.name):
        return None
    return Refusal(
        Reason.INVALID, f"An account's name has lower case letters, digits and '-' only; {view.name} has others."
    )


def _endpoint_refusal(view: AccountView, rules: Rules) -> Refusal | None:
    allowed = {TICKER_URL, API_URL} | {url.rstrip("/") for url in rules.endpoints_allowed}
    refused = [url for url in (view.ticker_endpoint, view.api_endpoint) if url.rstrip("/") not in allowed]
    if not refused:
        return None
    return Refusal(
        Reason.ENDPOINT_NOT_ALLOWED,
        f"{' and '.join(refused)} is not on the operator's list of endpoints: tokens go only where the operator's "
        "settings (endpoints_allowed) permit.",
    )


def _secret_refusal(fact: CredentialsFact | None) -> Refusal | None:
    return None if fact is None or fact.usable else Refusal(fact.reason, fact.message)


# -- subscriptions -----------------------------------------------------------------------------------------------


def subscription_view(manifest: Manifest) -> SubscriptionView:
    """One TickerSubscription, judged."""
    meta = _mapping(manifest.get("metadata"))
    view = SubscriptionView(
        name=str(meta.get("name") or ""),
        uid=str(meta.get("uid") or ""),
        generation=_count(meta.get("generation")),
        created=str(meta.get("creationTimestamp") or ""),
        paused=_texts(meta.get("annotations")).get(ANNOTATION_PAUSED) == "true",
        deleting=meta.get("deletionTimestamp") is not None,
    )
    try:
        spec = TickerSubscription.from_manifest(manifest).spec
    except InvalidObjectError as error:
        return replace(view, fault=str(error))
    return replace(
        view,
        instruments=tuple(RequestedInstrument(entry.symbol, entry.mode) for entry in spec.instruments or ()),
        selects=spec.selector is not None,
        mode=spec.mode,
        greeks=spec.greeks,
        channel=spec.channel,
        priority=spec.priority,
        encoding=spec.encoding,
        account_selector=spec.account_selector,
    )


# -- shards ------------------------------------------------------------------------------------------------------


def _shards(objects: PoolObjects, readings: Readings, accounts: tuple[AccountView, ...]) -> dict[str, ShardView]:
    """Shards by account; also those whose account is gone but of which anything is left."""
    manifests = {account_of_shard(manifest): manifest for manifest in objects.shards}
    names = {account.name for account in accounts} | set(manifests) | set(readings.workloads) | set(readings.tables)
    return {name: _shard(name, manifests.get(name), readings) for name in sorted(names) if name}


def account_of_shard(manifest: Manifest) -> str:
    """Whose shard a TickerShard is."""
    spec = _mapping(manifest.get("spec"))
    return str(_mapping(spec.get("accountRef")).get("name") or "")


def _shard(account: str, manifest: Manifest | None, readings: Readings) -> ShardView:
    facts = readings.workloads.get(account) or WorkloadFacts(pods=PodsView())
    view = ShardView(
        account,
        signs=readings.signs.get(account) or Signs(),
        pods=facts.pods,
        deployment=facts.deployment,
    )
    if manifest is None:
        return view
    meta, status = _mapping(manifest.get("metadata")), _mapping(manifest.get("status"))
    annotations = _texts(meta.get("annotations"))
    return replace(
        view,
        exists=True,
        uid=str(meta.get("uid") or ""),
        generation=_count(meta.get("generation")),
        applied_revision=_count(status.get("appliedRevision")),
        report=_report(manifest),
        rollout=record_from_status(status),
        resume=annotations.get(ANNOTATION_RESUME, ""),
        paused=annotations.get(ANNOTATION_PAUSED) == "true",
        status=status,
    )


def _report(manifest: Manifest) -> ShardReport | None:
    try:
        status = TickerShard.from_manifest(manifest).status
    except InvalidObjectError:
        return None
    conditions = {
        entry.type: ConditionView(
            entry.type,
            entry.status,
            entry.reason,
            entry.message,
            entry.observed_generation or 0,
            entry.last_transition_time,
        )
        for entry in status.conditions
        if entry.type in _SHARD_CONDITIONS
    }
    said = status.acknowledged
    if said is None and not conditions:
        return None
    return ShardReport(
        acknowledged=Acknowledgement() if said is None else _acknowledgement(said),
        confirmed=status.confirmed or 0,
        sockets=status.sockets or "",
        epoch=status.epoch or 0,
        conditions=conditions,
    )


def _acknowledgement(said: Acknowledged) -> Acknowledgement:
    barrier = said.barrier
    return Acknowledgement(
        said.revision,
        said.digest,
        said.process,
        frozenset(said.unconfirmed),
        barrier_revision=0 if barrier is None else barrier.revision,
        barrier_digest="" if barrier is None else barrier.digest,
    )


# -- tolerant reading --------------------------------------------------------------------------------------------


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(item) for key, item in _mapping(value).items()}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value >= 0 else 0


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)  # it is being deleted, whenever that was asked for
