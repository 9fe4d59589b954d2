"""T: how late is late, from the product's own settings and nothing else.

A run prints these numbers. None may be raised to make a run pass: a longer time is a change of a setting's default,
which is the product's business, or a finding.
"""

from __future__ import annotations

from tests.support.delivery.history import SECOND_NS, Bounds
from ticker_client.stream import WRONG_TIME_S
from ticker_operator.planning.failover import FailoverLimits
from ticker_shard.app.settings import ShardSettings
from ticker_shard.feed import FeedSettings
from ticker_shard.publish.holes import STALL_BEATS
from ticker_shard.publish.limits import MS_NS, TIMING

_FEED = FeedSettings(url="ws://defaults")
_WINDOW_NS = int(ShardSettings.model_fields["window_ms"].default) * MS_NS
_SILENCE_NS = int(ShardSettings.model_fields["silence_ms"].default) * MS_NS
_CONFIRM_NS = _FEED.confirm_ms * MS_NS
# The first back-off after a connection that lived, the spacing of attempts, and one lost subscription.
RECONNECT_NS = (2 * _FEED.backoff_ms + _FEED.spacing_ms) * MS_NS + _CONFIRM_NS
# docs/handover.md, times: fault with a warm process and a reachable Redis.
TAKE_OVER_NS = TIMING.silent_ns + TIMING.poll_ns + 2 * TIMING.call_timeout_ns + 3 * SECOND_NS // 2
# Back within one beat and one rewrite; the subscriber's own wait for its next attempt comes on top and is not ours.
REDIS_BACK_NS = TIMING.call_timeout_ns + TIMING.beat_ns + _WINDOW_NS
SILENCE_NS = _SILENCE_NS
# A connection that was refused again and again may have reached the longest wait, and after 429 the longer one.
NEW_TOKEN_NS = 5 * SECOND_NS  # docs/architecture.md: a new Secret streams within that, without a restart
REFUSED_NS = _FEED.backoff_max_ms * MS_NS + RECONNECT_NS
# A lone pod's successor: scheduled, started, warm, and a window of silence (docs/handover.md, drain deadline).
POD_NS = int(ShardSettings.model_fields["drain_deadline_s"].default * SECOND_NS)
RATE_LIMITED_NS = _FEED.rate_limited_ms[1] * MS_NS + RECONNECT_NS


def from_settings(*, moves_slack: int = 0) -> Bounds:
    """The bounds of a shard with default settings.

    A hole of up to `STALL_BEATS` beats without an accepted call is not worth a record by the product's rule, and the
    window is how long a batch may wait after it.
    """
    hole_ns = STALL_BEATS * TIMING.beat_ns
    return Bounds(
        fresh_ns=hole_ns + _WINDOW_NS,
        hole_ns=hole_ns + _WINDOW_NS,
        beat_ns=TIMING.beat_ns,
        wrong_time_ns=int(WRONG_TIME_S * SECOND_NS),
        moves_slack=moves_slack,
        decided_ns=FailoverLimits().detect_after_ns,  # as old as what the operator knows of an account may be
    )
