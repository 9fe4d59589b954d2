"""The pod of one shard, rendered.

No API default is rendered: then "the hash changed" equals "the API server sees a change" equals "there is a new
revision", and the roll-out decision can stand on it. Whoever adds a member here looks up its default first.

Two templates come from one function. The *release* is rendered for nobody: an account that does not exist, without a
podTemplate. What differs from account to account (its sockets, its Secret, its endpoint, its podTemplate) is thereby
not part of a release, and changing one does not lift a hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ticker_crds.constants import LABEL_ACCOUNT, LABEL_MANAGED_BY, LABEL_SHARD, MANAGED_BY
from ticker_operator.desired.hashes import canonical_hash
from ticker_operator.desired.knobs import ShardKnobs
from ticker_operator.desired.overlap import HAND_OVER_S, overlaps
from ticker_operator.model import AccountView

CONTAINER: Final = "shard"
PORT_NAME: Final = "http"
PORT: Final = 8080
REDIS_FOLDER: Final = "/etc/tickershard/redis"
REDIS_KEY: Final = "url"
EXIT_S: Final = 30  # after the drain deadline: flush, close with a close frame, exit
GRACE_DEFAULT_S: Final = 30  # the API's default, which is not rendered
LIVENESS_GRACE_S: Final = 10  # a hung process must not "drain" for two minutes
TMP_SIZE: Final = "64Mi"
# 9,000 full-mode instruments take less than 200 MiB; the limit leaves room for a burst.
RESOURCES: Final[dict[str, Any]] = {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}}
NOBODY: Final = AccountView(name="release", secret="release")  # noqa: S106 - a placeholder's name


def release_hash(knobs: ShardKnobs) -> str:
    """``D``: the same for every shard of the pool."""
    return canonical_hash(pod_template(NOBODY, knobs=knobs, namespace="release", sockets=1, per_socket=1))


def pod_labels(account: AccountView) -> dict[str, str]:
    """The labels by which everything of a shard is found."""
    return {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: account.name, LABEL_SHARD: account.shard}


def pod_template(
    account: AccountView, *, knobs: ShardKnobs, namespace: str, sockets: int, per_socket: int
) -> dict[str, Any]:
    """``spec.template`` of the Deployment.

    Parameters
    ----------
    account
        Whose pod.
    knobs
        The release.
    namespace
        The pool.
    sockets, per_socket
        What the shard is told; above the account's own while its table still has more than that carries.
    """
    own = account.pod_template
    drain_s = knobs.drain_deadline_s if overlaps(sockets, sockets) else HAND_OVER_S
    metadata: dict[str, Any] = {"labels": {**knobs.pod_labels, **_texts(own, "labels"), **pod_labels(account)}}
    annotations = {**knobs.pod_annotations, **_texts(own, "annotations")}
    if annotations:
        metadata["annotations"] = annotations
    spec: dict[str, Any] = {
        "serviceAccountName": account.shard,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [_container(account, knobs, namespace, sockets, per_socket, drain_s)],
        "volumes": [
            {"name": "redis", "secret": {"secretName": knobs.redis_secret}},
            {"name": "tmp", "emptyDir": {"sizeLimit": TMP_SIZE}},
        ],
        "nodeSelector": {**knobs.node_selector, **_texts(own, "nodeSelector")},
        "tolerations": [*knobs.tolerations, *own.get("tolerations", ())],
        "affinity": own.get("affinity") or dict(knobs.affinity),
        "topologySpreadConstraints": list(own.get("topologySpreadConstraints", ())),
        "priorityClassName": own.get("priorityClassName") or knobs.priority_class,
        "imagePullSecrets": [{"name": name} for name in knobs.image_pull_secrets],
    }
    if drain_s + EXIT_S != GRACE_DEFAULT_S:
        spec["terminationGracePeriodSeconds"] = drain_s + EXIT_S
    return {"metadata": metadata, "spec": {key: value for key, value in spec.items() if value not in (None, {}, [])}}


def _container(
    account: AccountView, knobs: ShardKnobs, namespace: str, sockets: int, per_socket: int, drain_s: int
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": knobs.image,
        "args": _args(account, knobs, namespace, sockets, per_socket, drain_s),
        "env": [{"name": "TICKERSHARD_SHARD_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}],
        "ports": [{"name": PORT_NAME, "containerPort": PORT}],
        # Ready is asked every second, because a hand-over waits for it; a start may take two minutes (429, warm-up).
        "startupProbe": _probe("/startupz", periodSeconds=2, failureThreshold=60, timeoutSeconds=2),
        "readinessProbe": _probe("/readyz", periodSeconds=1, timeoutSeconds=2),
        "livenessProbe": _probe(
            "/livez",
            periodSeconds=5,
            failureThreshold=6,
            timeoutSeconds=3,
            terminationGracePeriodSeconds=LIVENESS_GRACE_S,
        ),
        "resources": own_resources(account, knobs),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "redis", "mountPath": REDIS_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a volume of the pod's own
        ],
    }
    if knobs.image_pull_policy is not None:
        container["imagePullPolicy"] = knobs.image_pull_policy
    return container


def own_resources(account: AccountView, knobs: ShardKnobs) -> dict[str, Any]:
    """The account's, else the operator's, else ours; empty halves left out."""
    chosen = account.pod_template.get("resources") or knobs.resources or RESOURCES
    return {half: dict(values) for half, values in chosen.items() if values}


def _args(
    account: AccountView, knobs: ShardKnobs, namespace: str, sockets: int, per_socket: int, drain_s: int
) -> list[str]:
    """The command line (docs/contracts.md). Flags without a value of ours are left to the program."""
    flags: dict[str, object] = {
        "account": account.name,
        "namespace": namespace,
        "source": "kubernetes",
        "secret-name": account.secret,
        "ticker-url": account.ticker_endpoint,
        "sockets": sockets,
        "instruments-per-socket": per_socket,
        "redis-url-file": f"{REDIS_FOLDER}/{REDIS_KEY}",
        "prefix": knobs.prefix,
        "window-ms": knobs.window_ms,
        "ticks-max": knobs.ticks_max,
        "silence-ms": knobs.silence_ms,
        "mute-ms": knobs.mute_ms,
        "market-hours": knobs.market_hours,
        "confirm-after-s": knobs.confirm_after_s,
        "rate": knobs.rate,
        "dividend-yield": knobs.dividend_yield,
        "underlying-stale-s": knobs.underlying_stale_s,
        "reprice-ms": knobs.reprice_ms,
        "stream-max": knobs.stream_max,
        "circuit-failures": knobs.circuit_failures,
        "circuit-wait-first-ms": knobs.circuit_wait_first_ms,
        "circuit-wait-max-ms": knobs.circuit_wait_max_ms,
        "backpressure-fill": knobs.backpressure_fill,
        "backpressure-conflate-ms": knobs.backpressure_conflate_ms,
        "backpressure-shed-ms": knobs.backpressure_shed_ms,
        "backpressure-calm-ms": knobs.backpressure_calm_ms,
        "drain-deadline-s": drain_s,
        "port": PORT,
        "log-level": knobs.log_level,
    }
    return ["shard", *(f"--{name}={value}" for name, value in flags.items() if value is not None)]


def _probe(path: str, **timing: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": PORT_NAME}, **timing}


def _texts(own: Mapping[str, Any], key: str) -> dict[str, str]:
    return dict(own.get(key) or {})
