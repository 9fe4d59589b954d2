"""What the operator's own settings say about every shard: the release that an undo is about.

The knobs travel on the Deployment as an annotation, which Kubernetes rewinds together with the template. So during a
hold the held shard's Deployment says what the release was that people went back to, and a shard that is new then
starts on that one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from ticker_operator.desired.hashes import canonical_json

RELEASE_CHARS_MAX: Final = 32_768  # annotations of an object may have 262,144 bytes in all


@dataclass(frozen=True, slots=True)
class ShardKnobs:
    """Settings of all shards of the pool.

    Attributes
    ----------
    image, image_pull_policy, image_pull_secrets
        The shards' image.
    redis_secret
        Secret whose key ``url`` is mounted.
    prefix, window_ms, ticks_max, silence_ms, mute_ms, market_hours, confirm_after_s, drain_deadline_s, log_level,
    rate, dividend_yield, underlying_stale_s, reprice_ms, stream_max, circuit_failures, circuit_wait_first_ms,
    circuit_wait_max_ms, backpressure_fill, backpressure_conflate_ms, backpressure_shed_ms, backpressure_calm_ms
        Settings of ``tickershard shard``; `None` leaves the program's default.
    rollout_deadline_s
        A roll-out that takes longer is stalled.
    resources
        Of the container, unless the account's podTemplate has its own.
    pod_labels, pod_annotations, node_selector, tolerations, affinity, priority_class
        Of the pod, likewise.
    """

    image: str
    redis_secret: str
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    prefix: str = "ticker"
    window_ms: int | None = None
    ticks_max: int | None = None
    silence_ms: int | None = None
    mute_ms: int | None = None
    market_hours: str | None = None
    confirm_after_s: float | None = None
    rate: float | None = None
    dividend_yield: float | None = None
    underlying_stale_s: float | None = None
    reprice_ms: int | None = None
    stream_max: int | None = None
    circuit_failures: int | None = None
    circuit_wait_first_ms: int | None = None
    circuit_wait_max_ms: int | None = None
    backpressure_fill: float | None = None
    backpressure_conflate_ms: int | None = None
    backpressure_shed_ms: int | None = None
    backpressure_calm_ms: int | None = None
    drain_deadline_s: int = 90
    log_level: str = "info"
    rollout_deadline_s: int = 600
    resources: Mapping[str, Any] = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    affinity: Mapping[str, Any] = field(default_factory=dict)
    priority_class: str | None = None


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "image": (str,), "redis_secret": (str,), "prefix": (str,), "log_level": (str,),
    "image_pull_policy": (str, type(None)), "priority_class": (str, type(None)),
    "window_ms": (int, type(None)), "ticks_max": (int, type(None)), "silence_ms": (int, type(None)),
    "mute_ms": (int, type(None)), "market_hours": (str, type(None)),
    "rate": (int, float, type(None)), "dividend_yield": (int, float, type(None)),
    "underlying_stale_s": (int, float, type(None)), "reprice_ms": (int, type(None)),
    "stream_max": (int, type(None)),
    "circuit_failures": (int, type(None)), "circuit_wait_first_ms": (int, type(None)),
    "circuit_wait_max_ms": (int, type(None)), "backpressure_fill": (int, float, type(None)),
    "backpressure_conflate_ms": (int, type(None)), "backpressure_shed_ms": (int, type(None)),
    "backpressure_calm_ms": (int, type(None)),
    "confirm_after_s": (int, float, type(None)), "drain_deadline_s": (int,), "rollout_deadline_s": (int,),
    "resources": (dict,), "pod_labels": (dict,), "pod_annotations": (dict,), "node_selector": (dict,),
    "affinity": (dict,), "image_pull_secrets": (list,), "tolerations": (list,),
}  # fmt: skip

assert set(_KINDS) == {entry.name for entry in fields(ShardKnobs)}, "every knob has a kind"


def knobs_text(knobs: ShardKnobs) -> str:
    """As it is annotated."""
    return canonical_json(asdict(knobs))


def released_knobs(text: str, *, fallback: ShardKnobs) -> ShardKnobs:
    """The knobs annotated on a live Deployment (`DeploymentFacts.release`).

    The annotation is somebody else's bytes. Knobs it does not have (an older operator wrote it) or that are not of
    their kind are taken from `fallback`; without an image there is nothing to go back to, and `fallback` it is.
    """
    try:
        said = json.loads(text[:RELEASE_CHARS_MAX])
    except ValueError:
        return fallback
    if not isinstance(said, dict) or not isinstance(said.get("image"), str):
        return fallback
    values = {entry.name: getattr(fallback, entry.name) for entry in fields(ShardKnobs)}
    for name, kinds in _KINDS.items():
        if name in said and isinstance(said[name], kinds) and not isinstance(said[name], bool):
            values[name] = tuple(said[name]) if isinstance(said[name], list) else said[name]
    return ShardKnobs(**values)
