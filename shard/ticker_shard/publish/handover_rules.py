"""The hand-over's rules as data: where a process may go, which records it may claim, what an answer may mean.

`handover` walks these tables; docs/handover.md shows them. A pair that `PHASES` does not have is a bug and changes
nothing. The first rule of `CLAIM_RULES` that holds for an observed record is the reason to claim it; no rule, no claim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from ticker_shard.publish.fence import ChannelState, ClaimReason, Record


class Phase(StrEnum):
    """Where a process stands; leaving is a mark beside it."""

    WARMING = "warming"  # not everything is confirmed and rehearsed yet
    STANDBY = "standby"  # could publish, holds nothing
    ACTIVE = "active"  # holds at least one channel
    GONE = "gone"  # may exit


class Move(Enum):
    """What changes the phase."""

    REHEARSED = "all confirmed, rehearsal refused as it must be"
    TOOK_FIRST = "a channel was claimed while none was held"
    LOST_LAST = "the last channel is another process's now"
    LEFT = "nothing is held and SIGTERM came, or the drain is over"


PHASES: Final[dict[tuple[Phase, Move], Phase]] = {
    (Phase.WARMING, Move.REHEARSED): Phase.STANDBY,
    (Phase.WARMING, Move.LEFT): Phase.GONE,
    (Phase.STANDBY, Move.TOOK_FIRST): Phase.ACTIVE,
    (Phase.STANDBY, Move.LEFT): Phase.GONE,
    (Phase.ACTIVE, Move.LOST_LAST): Phase.STANDBY,
    (Phase.ACTIVE, Move.LEFT): Phase.GONE,
}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of a record that another process holds (or nobody), at a successful poll."""

    record: Record | None
    mine: bool  # its holder is a process of this instance
    silent: bool  # unchanged, or missing, over a whole uninterrupted window
    terminating: bool  # SIGTERM came to this process


@dataclass(frozen=True, slots=True)
class ClaimRule:
    """A reason to claim, and when it holds."""

    reason: ClaimReason
    holds: Callable[[Sighting], bool]


CLAIM_RULES: Final[tuple[ClaimRule, ...]] = (
    # The kubelet runs one process of a container at a time: that one is dead. Or it is this very process, whose
    # claim was carried out while its answer got lost.
    ClaimRule(ClaimReason.OWN, lambda seen: seen.mine),
    ClaimRule(ClaimReason.FREE, lambda seen: seen.record is not None and seen.record.state is ChannelState.FREE),
    # A process that was told to go must not take from another one that gives way: nobody would be left.
    ClaimRule(
        ClaimReason.LEAVING,
        lambda seen: seen.record is not None and seen.record.state is ChannelState.LEAVING and not seen.terminating,
    ),
    # Missing is not free: the living holder puts it back within one beat.
    ClaimRule(ClaimReason.SILENT, lambda seen: seen.silent),
)


def reason_to_claim(seen: Sighting) -> ClaimReason | None:
    """The first rule that holds; `None` means hands off."""
    return next((rule.reason for rule in CLAIM_RULES if rule.holds(seen)), None)
