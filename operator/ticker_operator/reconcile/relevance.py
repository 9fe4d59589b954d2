"""Which change of an object asks for a pass, and how soon. Pure.

The operator's own status writes come back as events; if they counted, every pass would ask for the next one. So an
object is reduced to what a pass reads of it, and only a difference of that is a change. Unknown members, times, field
ownership and the operator's own part of a status are left out.

What a shard acknowledged moves instruments on, and what it says about its token moves them away: urgent. What people
write settles first. Everything a shard counts (``confirmed``, ``sockets``) only changes what is displayed: settles too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ticker_crds.constants import Condition, Kind
from ticker_operator.model.actions import Manifest
from ticker_operator.reconcile.ports import WORKLOAD
from ticker_operator.reconcile.reloader import Urgency

_SHARD_CONDITIONS: Final = frozenset(
    {Condition.CONNECTED, Condition.CREDENTIALS_VALID, Condition.STREAMING, Condition.DEGRADED}
)
_URGENT_STATUS: Final = ("acknowledged",)
_SETTLING_STATUS: Final = ("confirmed", "sockets", "rollout")
_TIMES: Final = frozenset({"lastTransitionTime", "lastUpdateTime", "lastProbeTime", "lastHeartbeatTime"})


def urgency_of_change(kind: str, *, before: Manifest | None, after: Manifest | None) -> Urgency | None:
    """How soon a pass must see this change; `None` if no pass reads a difference.

    Parameters
    ----------
    kind
        A `Kind`, or `WORKLOAD`.
    before, after
        `None` where the object did not, or does no longer, exist.
    """
    if before is None or after is None:
        # A vanished workload is healed, a new one is our own write: neither waits for people to finish typing.
        return Urgency.URGENT if kind == WORKLOAD and after is None else Urgency.SETTLE
    if _urgent_part(kind, before) != _urgent_part(kind, after):
        return Urgency.URGENT
    if _settling_part(kind, before) != _settling_part(kind, after):
        return Urgency.SETTLE
    return None


def _urgent_part(kind: str, obj: Manifest) -> object:
    if kind == WORKLOAD:
        # A roll-out that waits for this one to end goes on with it.
        return _workload_status(obj)
    if kind != Kind.SHARD:
        return None
    status = _mapping(obj.get("status"))
    return [status.get(name) for name in _URGENT_STATUS], _conditions(status)


def _settling_part(kind: str, obj: Manifest) -> object:
    meta = _mapping(obj.get("metadata"))
    head = (
        meta.get("generation"),
        meta.get("uid"),
        meta.get("labels"),
        _annotations(meta),
        meta.get("deletionTimestamp"),
        meta.get("finalizers"),
    )
    if "generation" not in meta:
        head = (*head, obj.get("spec"))  # type: ignore[assignment]
    status = _mapping(obj.get("status"))
    return (head, [status.get(name) for name in _SETTLING_STATUS] if kind == Kind.SHARD else None)


def _annotations(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = _mapping(meta.get("annotations"))
    return {name: value for name, value in annotations.items() if not name.startswith("kubectl.kubernetes.io/")}


def _conditions(status: Mapping[str, Any]) -> list[object]:
    listed = status.get("conditions")
    conditions = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    return [
        (one.get("type"), one.get("status"), one.get("reason"), one.get("observedGeneration"))
        for one in conditions
        if one.get("type") in _SHARD_CONDITIONS
    ]


def _workload_status(obj: Manifest) -> object:
    status = _mapping(obj.get("status"))
    conditions = status.get("conditions")
    listed = conditions if isinstance(conditions, list) else []
    without_times = [{k: v for k, v in one.items() if k not in _TIMES} for one in listed if isinstance(one, Mapping)]
    return {name: value for name, value in status.items() if name != "conditions"}, without_times


def _mapping(value: object) -> Mapping[str, Any]:
    """Objects of others may hold anything anywhere."""
    return value if isinstance(value, Mapping) else {}
