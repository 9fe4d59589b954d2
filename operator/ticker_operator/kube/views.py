"""Deployments, ReplicaSets and pods as the model's facts. Pure, and tolerant: controllers fill these over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ticker_crds.constants import ANNOTATION_RELEASE, ANNOTATION_RELEASE_HASH, ANNOTATION_TEMPLATE_HASH
from ticker_operator.desired import sockets_of
from ticker_operator.model import DeploymentFacts, PodsView, ReplicaSetView

REVISION: Final = "deployment.kubernetes.io/revision"
ENDED: Final = frozenset({"Succeeded", "Failed"})


def deployment_facts(body: Mapping[str, Any], replica_sets: Iterable[Mapping[str, Any]]) -> DeploymentFacts:
    """One live Deployment."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    annotations = meta.get("annotations") or {}
    progressing = _condition(status, "Progressing")
    return DeploymentFacts(
        version=str(meta.get("resourceVersion", "")),
        generation=meta.get("generation") or 0,
        observed_generation=status.get("observedGeneration") or 0,
        revision=_number(annotations.get(REVISION)),
        release_hash=annotations.get(ANNOTATION_RELEASE_HASH, ""),
        template_hash=annotations.get(ANNOTATION_TEMPLATE_HASH, ""),
        release=annotations.get(ANNOTATION_RELEASE, ""),
        paused=bool(spec.get("paused")),
        replicas=spec.get("replicas", 1),
        strategy=spec.get("strategy") or {},
        pods_updated=status.get("updatedReplicas") or 0,
        pods_ready=status.get("readyReplicas") or 0,
        pods_available=status.get("availableReplicas") or 0,
        pods_terminating=status.get("terminatingReplicas") or 0,
        pods_total=status.get("replicas") or 0,
        progressing_reason=progressing.get("reason", ""),
        progressing_message=progressing.get("message", ""),
        replica_sets=tuple(
            sorted((_replica_set(one) for one in replica_sets if _owned_by(one, meta)), key=lambda one: one.revision)
        ),
        template=spec.get("template") or {},
        managed_fields=tuple(meta.get("managedFields") or ()),
    )


def pods_view(pods: Iterable[Mapping[str, Any]]) -> PodsView:
    """Processes of one shard. A pod that has ended runs nothing; one that is terminating still does."""
    alive = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in ENDED]
    ends = [until for pod in alive if (until := pod["metadata"].get("deletionTimestamp"))]
    ready = [pod for pod in alive if _condition(pod.get("status") or {}, "Ready").get("status") == "True"]
    return PodsView(alive=len(alive), ready=len(ready), terminating=len(ends), ends=max(ends, default=""))


def _replica_set(body: Mapping[str, Any]) -> ReplicaSetView:
    annotations, status = body["metadata"].get("annotations") or {}, body.get("status") or {}
    return ReplicaSetView(
        name=body["metadata"]["name"],
        revision=_number(annotations.get(REVISION)),
        release_hash=annotations.get(ANNOTATION_RELEASE_HASH, ""),
        sockets=sockets_of((body.get("spec") or {}).get("template") or {}),
        replicas=status.get("replicas") or 0,
        pods_ready=status.get("readyReplicas") or 0,
    )


def _owned_by(body: Mapping[str, Any], owner: Mapping[str, Any]) -> bool:
    references = body["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner.get("uid") for reference in references)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), {})


def _number(text: object) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() else 0
