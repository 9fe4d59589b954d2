"""When a shard's pod is Ready. Pure.

Ready is what lets a roll-out go on, and a roll-out going on stops the pod that streams now. So a pod is Ready when it
could take over this moment (standby) or has done so (active). A pod that cannot warm, because the broker refuses its
token or Redis does not answer, is Ready only when no other process is known to stream: then there is nothing to
protect, and a dead token at 07:00 does not block a release. Not knowing is not Ready.

Redis' records say who streams. When Redis does not answer, the Lease is the witness: who holds channels holds the
Lease or takes it (`assignment.voice`), so a Lease that is ours, or vacant for a whole window, means that nobody does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ticker_shard.assignment import LeaseState
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.standing import OtherHolder


class LiveHolder(StrEnum):
    """Whether another process is known to stream for this account."""

    NONE = "none"
    OTHER = "other"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of ``/readyz``."""

    ready: bool
    message: str


def live_holder(records: OtherHolder, lease: LeaseState, *, redis_answers: bool) -> LiveHolder:
    """Who else streams, by the records, or by the Lease while Redis does not answer."""
    if redis_answers:
        match records:
            case OtherHolder.ALIVE:
                return LiveHolder.OTHER
            case OtherHolder.NONE:
                return LiveHolder.NONE
            case OtherHolder.UNKNOWN:
                return LiveHolder.UNKNOWN
    match lease:
        case LeaseState.OTHER:
            return LiveHolder.OTHER
        case LeaseState.MINE | LeaseState.VACANT:
            return LiveHolder.NONE
        case LeaseState.UNKNOWN:
            return LiveHolder.UNKNOWN


def readiness(phase: Phase, *, obstacle: str | None, holder: LiveHolder) -> Readiness:
    """Whether the pod is Ready.

    Parameters
    ----------
    phase
        Where it is.
    obstacle
        Why it cannot warm, if something outside keeps it from it; `None` while it merely has not finished.
    holder
        Whether another process streams.
    """
    if phase in (Phase.STANDBY, Phase.ACTIVE):
        return Readiness(True, phase.value)
    if phase is Phase.GONE:
        return Readiness(False, "handed over; about to end")
    if obstacle is None:
        return Readiness(False, "warming: not everything assigned is confirmed yet")
    match holder:
        case LiveHolder.NONE:
            return Readiness(True, f"cannot warm ({obstacle}), and nobody else streams: nothing is to be protected")
        case LiveHolder.OTHER:
            return Readiness(False, f"cannot warm ({obstacle}); another process streams and must not be stopped for it")
        case LiveHolder.UNKNOWN:
            return Readiness(False, f"cannot warm ({obstacle}), and whether another process streams is not known")
