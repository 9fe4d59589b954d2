"""What a shard should look like: manifests, template hashes, the rollout decision, status and conditions. Pure."""

from ticker_operator.desired.drift import drifted_paths, ownership_patch
from ticker_operator.desired.hashes import canonical_hash
from ticker_operator.desired.knobs import ShardKnobs, released_knobs
from ticker_operator.desired.manifests import owned_by, render_shard
from ticker_operator.desired.overlap import resting_strategy, sockets_of
from ticker_operator.desired.pods import release_hash
from ticker_operator.desired.pool import PoolRollout, is_rolling, is_stalled, roll_permits
from ticker_operator.desired.rollout import (
    Rollout,
    RolloutDecision,
    decide_rollout,
    record_from_status,
    record_to_status,
)

__all__ = [
    "PoolRollout",
    "Rollout",
    "RolloutDecision",
    "ShardKnobs",
    "canonical_hash",
    "decide_rollout",
    "drifted_paths",
    "is_rolling",
    "is_stalled",
    "owned_by",
    "ownership_patch",
    "record_from_status",
    "record_to_status",
    "release_hash",
    "released_knobs",
    "render_shard",
    "resting_strategy",
    "roll_permits",
    "sockets_of",
]
