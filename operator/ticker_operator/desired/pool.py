"""At most one shard of a pool rolls at a time; the next only when no old pod is left.

A release that breaks must break one account, not all of them. So a shard that is held (somebody rolled it back) or
stalled (its deadline is over) stops the pool's roll-out: the others keep the release they have. Every shard that
rolls also takes one of its account's three sockets for a moment; a second roll-out before the last old pod is gone
would take another.

A shard that is unhealthy without rolling (token dead, node gone) is not waited for, and is rolled after the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ticker_operator.desired.rollout import held_release
from ticker_operator.model import RollPermit, ShardView

_DEADLINE_OVER = "ProgressDeadlineExceeded"
_SETTLED = frozenset({"", "NewReplicaSetAvailable", _DEADLINE_OVER})


@dataclass(frozen=True, slots=True)
class PoolRollout:
    """Who may roll.

    Attributes
    ----------
    permits
        By account.
    rolling
        The shard that rolls now, or is about to.
    stopped_by, message
        The shard at which the pool's roll-out stopped, and why.
    last_good
        While it is stopped, a shard whose live release is the one people went back to, or have kept.
    waiting
        Shards with another release or template than the rendered one that may not roll yet.
    """

    permits: Mapping[str, RollPermit]
    rolling: str = ""
    stopped_by: str = ""
    message: str = ""
    last_good: str = ""
    waiting: tuple[str, ...] = ()


def roll_permits(
    shards: Sequence[ShardView],
    *,
    release: str,
    templates: Mapping[str, str],
    healthy: frozenset[str],
    drifted: frozenset[str] = frozenset(),
) -> PoolRollout:
    """Who may replace its process now.

    Parameters
    ----------
    shards
        Every shard of the pool.
    release, templates
        Hashes rendered now; templates by account.
    healthy
        Accounts whose shard streams: those roll first.
    drifted
        Accounts whose live template somebody edited.
    """
    ordered = sorted(shards, key=lambda shard: (shard.account not in healthy, shard.account))
    due = [shard.account for shard in ordered if _is_due(shard, release, templates, drifted)]
    stops = {shard.account: reason for shard in ordered if (reason := _stops(shard, release)) is not None}
    # A shard that hangs on the rendered release has stopped, not rolls; given another one, it is the first to go on.
    hangs = {shard.account for shard in ordered if shard.account in stops and is_stalled(shard)}
    rolling = sorted(shard.account for shard in ordered if is_rolling(shard) and shard.account not in hangs)
    permits = {shard.account: RollPermit.WAIT for shard in ordered}
    if rolling:
        # Whoever rolls already may be given something newer (a repaired release), once its old pod is gone.
        first = next(shard for shard in ordered if shard.account == rolling[0])
        if len(rolling) == 1 and not _terminating(first):
            permits[first.account] = RollPermit.MAY_ROLL
        current = first.account
    else:
        behind = {shard.account for shard in ordered if _is_behind(shard, release)}
        if stops:
            permits |= {name: RollPermit.STOPPED for name in behind if name not in stops}
        free = [name for name in due if not stops or name in stops or name not in behind]
        current = free[0] if free else ""
        if current:
            permits[current] = RollPermit.MAY_ROLL
        elif not due:
            permits |= {name: RollPermit.MAY_ROLL for name in permits if name not in behind}
    stopped_by = min(stops, default="")
    behind_all = sorted(shard.account for shard in ordered if _is_behind(shard, release)) if stops else []
    return PoolRollout(
        permits=permits,
        rolling=current,
        stopped_by=stopped_by,
        message=stops.get(stopped_by, ""),
        # A held shard runs the good release itself; a stalled one hangs on the bad one, so somebody behind is asked.
        last_good=stopped_by if stopped_by in behind_all else next(iter(behind_all), ""),
        waiting=tuple(sorted(name for name in due if name != current and name not in stops)),
    )


def is_rolling(shard: ShardView) -> bool:
    """Whether its Deployment is still replacing pods; a pod that is merely unhealthy is not rolling."""
    live = shard.deployment
    if live is None or live.paused:
        return False
    if _terminating(shard) or live.pods_total > live.pods_updated:
        return True
    if live.progressing_reason == _DEADLINE_OVER:
        return False
    return not live.current or (live.replicas > 0 and live.progressing_reason not in _SETTLED)


def is_stalled(shard: ShardView) -> bool:
    """Whether its roll-out is past its deadline."""
    live = shard.deployment
    return live is not None and live.current and not live.paused and live.progressing_reason == _DEADLINE_OVER


def _terminating(shard: ShardView) -> bool:
    live, pods = shard.deployment, shard.pods
    return (live is not None and live.pods_terminating > 0) or (pods is not None and pods.terminating > 0)


def _is_behind(shard: ShardView, release: str) -> bool:
    return shard.deployment is not None and shard.deployment.release_hash != release


def _is_due(shard: ShardView, release: str, templates: Mapping[str, str], drifted: frozenset[str]) -> bool:
    live = shard.deployment
    if live is None or live.paused or shard.paused:
        return False
    if _is_behind(shard, release):
        return held_release(live, shard.rollout, release=release, resume=shard.resume) is None
    return live.template_hash != templates.get(shard.account, live.template_hash) or shard.account in drifted


def _stops(shard: ShardView, release: str) -> str | None:
    """Why the pool's roll-out stops at this shard, if it does."""
    live = shard.deployment
    if live is None:
        return None
    if _is_behind(shard, release):
        reason = held_release(live, shard.rollout, release=release, resume=shard.resume)
        return None if reason is None else f"{shard.account}: {reason}"
    if is_stalled(shard):
        told = f" ({live.progressing_message})" if live.progressing_message else ""
        return f"{shard.account}: its roll-out to release {release} is past its deadline{told}"
    return None
