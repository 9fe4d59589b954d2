"""What somebody changed in a live template, and the repair of field ownership after an edit or an undo.

Our hash annotation proves nothing about the live template: `kubectl rollout undo` followed by a forced apply leaves an
environment variable that only the old template had, although the annotation says all is ours. So the template is
compared field by field. What the API server fills in by itself (`DEFAULTS`, and the restart mark of
`kubectl rollout restart`) is no difference.

The leftover survives an apply because its owner is ``kubectl``. What works is measured: one JSON patch, guarded by
resourceVersion, that merges foreign ownership of what we render into *our* Apply entry of managedFields; then one
ordinary server-side apply, which drops everything that is ours and no longer rendered.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from ticker_crds.constants import ANNOTATION_RELEASE, ANNOTATION_RELEASE_HASH, ANNOTATION_TEMPLATE_HASH

RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"
PATHS_MAX: Final = 20  # a message names the first few; a template that is wholly another is one finding
OUR_ANNOTATIONS: Final = (ANNOTATION_RELEASE, ANNOTATION_RELEASE_HASH, ANNOTATION_TEMPLATE_HASH)

# What the API server writes into a pod template where nothing was said, by member name.
DEFAULTS: Final[dict[str, tuple[Any, ...]]] = {
    "restartPolicy": ("Always",),
    "dnsPolicy": ("ClusterFirst",),
    "schedulerName": ("default-scheduler",),
    "terminationGracePeriodSeconds": (30,),
    "terminationMessagePath": ("/dev/termination-log",),
    "terminationMessagePolicy": ("File",),
    "imagePullPolicy": ("Always", "IfNotPresent"),  # which of the two depends on the image's tag
    "protocol": ("TCP",),
    "scheme": ("HTTP",),
    "successThreshold": (1,),
    "failureThreshold": (3,),
    "timeoutSeconds": (1,),
    "periodSeconds": (10,),
    "defaultMode": (420,),
    "apiVersion": ("v1",),
}
_COPIES: Final = {"serviceAccount": "serviceAccountName"}  # a deprecated member that the API server keeps equal
_KEYS: Final = ("name", "mountPath", "containerPort", "topologyKey", "key")
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+)(m|[kMGTPE]i?|e[+-]?[0-9]+|E[+-]?[0-9]+)?")
_FACTORS: Final = {"": Decimal(1), "m": Decimal("0.001")} | {
    unit: Decimal(1000) ** (power + 1) for power, unit in enumerate("kMGTPE")
} | {f"{unit}i": Decimal(1024) ** (power + 1) for power, unit in enumerate("KMGTPE")}  # fmt: skip


def drifted_paths(rendered: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths at which the live template differs from the rendered one, in order; at most `PATHS_MAX` of them."""
    found = sorted(set(_differences(rendered, live, "")))
    return tuple(found[:PATHS_MAX])


def _differences(rendered: Any, live: Any, path: str) -> Iterator[str]:
    if isinstance(rendered, Mapping) and isinstance(live, Mapping):
        for key in [*rendered, *(key for key in live if key not in rendered)]:
            place = f"{path}.{key}" if path else str(key)
            if key not in rendered:
                if not _filled_in(str(key), live, path):
                    yield place
            elif key not in live:
                if not _empty(rendered[key]):
                    yield place
            else:
                yield from _differences(rendered[key], live[key], place)
    elif isinstance(rendered, list | tuple) and isinstance(live, list | tuple):
        yield from _list_differences(rendered, live, path)
    elif rendered != live and not _same_quantity(rendered, live, path):
        yield path


def _list_differences(rendered: Sequence[Any], live: Sequence[Any], path: str) -> Iterator[str]:
    key = next((key for key in _KEYS if _keyed_by(rendered, key) and _keyed_by(live, key)), None)
    if key is None:
        if len(rendered) != len(live):
            yield path
            return
        for index, (ours, theirs) in enumerate(zip(rendered, live, strict=True)):
            yield from _differences(ours, theirs, f"{path}[{index}]")
        return
    ours, theirs = {entry[key]: entry for entry in rendered}, {entry[key]: entry for entry in live}
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        place = f"{path}[{name}]"
        if name in ours and name in theirs:
            yield from _differences(ours[name], theirs[name], place)
        else:
            yield place


def _keyed_by(entries: Sequence[Any], key: str) -> bool:
    if not all(isinstance(entry, Mapping) and isinstance(entry.get(key), str | int) for entry in entries):
        return False
    return len({entry[key] for entry in entries}) == len(entries)


def _filled_in(key: str, live: Mapping[str, Any], path: str) -> bool:
    """Whether a member that we did not render is one the API server adds, or kubectl's restart mark."""
    value = live[key]
    if _empty(value) or value in DEFAULTS.get(key, ()):
        return True
    if key in _COPIES:
        return bool(value == live.get(_COPIES[key]))
    if path == "metadata" and key == "annotations":
        return set(value) <= {RESTARTED_AT}
    return path == "metadata.annotations" and key == RESTARTED_AT


def _empty(value: Any) -> bool:
    return value is None or value in ({}, [], "", ())


def _same_quantity(ours: Any, theirs: Any, path: str) -> bool:
    """``0.5`` is ``500m``: the API server writes quantities in its own way."""
    if ".resources." not in path and not path.endswith("sizeLimit"):
        return False
    amounts = [_amount(value) for value in (ours, theirs)]
    return amounts[0] is not None and amounts[0] == amounts[1]


def _amount(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _QUANTITY.fullmatch(str(value))
    if match is None or match[1].count(".") > 1 or not any(digit.isdigit() for digit in match[1]):
        return None
    unit = match[2] or ""
    factor = _FACTORS.get(unit)
    return Decimal(match[1]) * (Decimal(10) ** int(unit[1:]) if factor is None else factor)


# -- ownership ----------------------------------------------------------------------------------------------------


def ownership_patch(
    managed_fields: Sequence[Mapping[str, Any]], *, version: str, manager: str, api_version: str = "apps/v1"
) -> list[dict[str, Any]] | None:
    """JSON patch that merges foreign ownership of what we render into our Apply entry; `None`: nothing to merge.

    Parameters
    ----------
    managed_fields
        ``metadata.managedFields`` as read.
    version
        The resourceVersion it was read at. The patch's ``test`` guards it; a failed test comes back as an invalid
        request, not as a conflict.
    manager
        Our field manager.
    api_version
        Of the object, for an entry of ours that has to be made.
    """
    entries = [copy.deepcopy(dict(entry)) for entry in managed_fields]
    ours = next((entry for entry in entries if _is_apply(entry, manager)), None)
    taken: dict[str, Any] = {}
    for entry in entries:
        if entry is not ours and not entry.get("subresource"):
            fields = entry.get("fieldsV1") or {}
            _merge(taken, _rendered_part(fields))
            entry["fieldsV1"] = _without(fields, _rendered_part(fields))
    if not taken:
        return None
    if ours is None:
        ours = {"manager": manager, "operation": "Apply", "apiVersion": api_version, "fieldsType": "FieldsV1"}
        entries.append(ours)
    ours["fieldsV1"] = _merge(dict(ours.get("fieldsV1") or {}), taken)
    kept = [entry for entry in entries if entry.get("fieldsV1")]
    return [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": kept},
    ]


def _is_apply(entry: Mapping[str, Any], manager: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")


def _rendered_part(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What of these fields we render: the whole template but for the restart mark, the strategy, our annotations."""
    part: dict[str, Any] = {}
    template = (fields.get("f:spec") or {}).get("f:template")
    if template:
        template = copy.deepcopy(template)
        annotations = (template.get("f:metadata") or {}).get("f:annotations")
        if annotations and f"f:{RESTARTED_AT}" in annotations:
            # `rollout restart` is meant to last: kubectl keeps its mark, or our next apply would undo it.
            del annotations[f"f:{RESTARTED_AT}"]
            if set(annotations) <= {"."}:
                del template["f:metadata"]["f:annotations"]
            if not template["f:metadata"]:
                del template["f:metadata"]
        if template:
            part["f:spec"] = {"f:template": template}
    strategy = (fields.get("f:spec") or {}).get("f:strategy")
    if strategy:
        # `Recreate` is refused beside a `rollingUpdate` that somebody else still owns.
        part.setdefault("f:spec", {})["f:strategy"] = copy.deepcopy(strategy)
    annotations = (fields.get("f:metadata") or {}).get("f:annotations") or {}
    ours = {f"f:{name}": annotations[f"f:{name}"] for name in OUR_ANNOTATIONS if f"f:{name}" in annotations}
    if ours:
        part["f:metadata"] = {"f:annotations": ours}
    return part


def _merge(into: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    for key, below in fields.items():
        into[key] = _merge(dict(into.get(key) or {}), below or {})
    return into


def _without(fields: Mapping[str, Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    """`fields` without the leaves of `taken`; branches that became empty go too."""
    left: dict[str, Any] = {}
    for key, below in fields.items():
        if key not in taken:
            left[key] = below
        elif below and taken[key]:
            rest = _without(below, taken[key])
            if rest and set(rest) != {"."}:
                left[key] = rest
    return left
