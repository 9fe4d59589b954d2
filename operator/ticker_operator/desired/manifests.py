"""A shard's objects, rendered: TickerShard, ServiceAccount, Role, RoleBinding, Deployment.

Pure: equal input, equal objects. Owner references come last (`owned_by`), because the owner's uid is known only once
the owner exists. The pod itself is in `pods`.
"""

from __future__ import annotations

from typing import Any, Final

from ticker_crds.constants import (
    ANNOTATION_RELEASE,
    ANNOTATION_RELEASE_HASH,
    ANNOTATION_TEMPLATE_HASH,
    API_VERSION,
    GROUP,
    INSTRUMENTS_PER_SOCKET_MAX,
    LABEL_SHARD,
    PLURALS,
    SOCKETS_MAX,
    Kind,
)
from ticker_crds.names import assignment_name
from ticker_operator.desired.hashes import canonical_hash
from ticker_operator.desired.knobs import ShardKnobs, knobs_text
from ticker_operator.desired.overlap import strategy_of
from ticker_operator.desired.pods import pod_labels, pod_template, release_hash
from ticker_operator.model import AccountView, DeploymentFacts, DesiredShard, Manifest, TableView

REVISIONS_KEPT: Final = 10
MIN_READY_S: Final = 5  # at least silence (4 s) + poll (0.5 s): the new pod has watched one whole window

# What a shard may do, each limited to its own objects (docs/contracts.md): group, resource, whose name, verbs.
_GRANTS: Final[tuple[tuple[str, str, str, tuple[str, ...]], ...]] = (
    ("", "configmaps", "assignment", ("get", "watch")),
    ("", "secrets", "secret", ("get", "watch")),
    ("coordination.k8s.io", "leases", "shard", ("get", "create", "update")),
    (GROUP, PLURALS[Kind.SHARD], "shard", ("get",)),
    (GROUP, f"{PLURALS[Kind.SHARD]}/status", "shard", ("patch",)),
)


def render_shard(
    account: AccountView,
    *,
    knobs: ShardKnobs,
    namespace: str,
    table: TableView,
    live: DeploymentFacts | None = None,
    suspend: bool = False,
) -> DesiredShard:
    """Everything of one account's shard, without owner references.

    Parameters
    ----------
    account
        Whose shard; not a refused one.
    knobs
        The release.
    namespace
        The pool.
    table
        The account's table as it will lie there.
    live
        The Deployment that this one replaces: whether the new pod finds room beside the old one.
    suspend
        No process is wanted.
    """
    assert account.refusal is None, f"{account.name}: nothing is rendered from a refused account"
    sockets, per_socket = carried_sockets(account, table)
    template = pod_template(account, knobs=knobs, namespace=namespace, sockets=sockets, per_socket=per_socket)
    released, hashed = release_hash(knobs), canonical_hash(template)
    name = account.shard
    return DesiredShard(
        account=account,
        name=name,
        shard=_shard(account, namespace, table, suspend=suspend),
        service_account=_object("v1", "ServiceAccount", account, namespace),
        role=_role(account, namespace),
        role_binding={
            **_object("rbac.authorization.k8s.io/v1", "RoleBinding", account, namespace),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        },
        deployment=_deployment(
            account,
            namespace,
            template=template,
            annotations={
                ANNOTATION_RELEASE_HASH: released,
                ANNOTATION_TEMPLATE_HASH: hashed,
                ANNOTATION_RELEASE: knobs_text(knobs),
            },
            replicas=0 if suspend else 1,
            strategy=strategy_of(live, sockets=sockets),
            deadline_s=knobs.rollout_deadline_s,
        ),
        release_hash=released,
        template_hash=hashed,
        suspend=suspend,
    )


def carried_sockets(account: AccountView, table: TableView) -> tuple[int, int]:
    """Sockets and instruments per socket that the shard is told.

    A process refuses a table that does not fit. So when an account is made smaller, its shard keeps carrying what is
    in its table until the surplus has moved away, and is made smaller only then.
    """
    rows = len(table.table.instruments) if table.table is not None else 0
    sockets, per_socket = account.sockets, account.instruments_per_socket
    if rows > sockets * per_socket:
        per_socket = min(INSTRUMENTS_PER_SOCKET_MAX, -(-rows // sockets))
    if rows > sockets * per_socket:
        sockets = min(SOCKETS_MAX, -(-rows // per_socket))
    return sockets, per_socket


def owned_by(manifest: Manifest, *, kind: Kind, name: str, uid: str) -> dict[str, Any]:
    """`manifest` with its one controlling owner."""
    owner = {"apiVersion": API_VERSION, "kind": kind.value, "name": name, "uid": uid, "controller": True}
    # Deleting the owner must not wait for what it owns: the operator itself removes a shard in order.
    owner["blockOwnerDeletion"] = False
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner]}}


def _object(api_version: str, kind: str, account: AccountView, namespace: str) -> dict[str, Any]:
    metadata = {"name": account.shard, "namespace": namespace, "labels": pod_labels(account)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _shard(account: AccountView, namespace: str, table: TableView, *, suspend: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"accountRef": {"name": account.name}, "suspend": suspend}
    if table.table is not None:
        spec["assignment"] = {
            "revision": table.table.revision,
            "digest": table.table.digest,
            "instruments": len(table.table.instruments),
            "configMapRef": {"name": assignment_name(account.name)},
        }
    return {**_object(API_VERSION, Kind.SHARD.value, account, namespace), "spec": spec}


def _role(account: AccountView, namespace: str) -> dict[str, Any]:
    names = {"assignment": assignment_name(account.name), "secret": account.secret, "shard": account.shard}
    rules = [
        {"apiGroups": [group], "resources": [resource], "resourceNames": [names[whose]], "verbs": list(verbs)}
        for group, resource, whose, verbs in _GRANTS
    ]
    return {**_object("rbac.authorization.k8s.io/v1", "Role", account, namespace), "rules": rules}


def _deployment(
    account: AccountView,
    namespace: str,
    *,
    template: dict[str, Any],
    annotations: dict[str, str],
    replicas: int,
    strategy: dict[str, Any],
    deadline_s: int,
) -> dict[str, Any]:
    deployment = _object("apps/v1", "Deployment", account, namespace)
    deployment["metadata"]["annotations"] = annotations
    deployment["spec"] = {
        "replicas": replicas,
        "revisionHistoryLimit": REVISIONS_KEPT,
        "minReadySeconds": MIN_READY_S,
        "progressDeadlineSeconds": max(deadline_s, MIN_READY_S + 1),
        "strategy": strategy,
        "selector": {"matchLabels": {LABEL_SHARD: account.shard}},
        "template": template,
    }
    return deployment
