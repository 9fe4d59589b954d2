"""The fence: requests and answers of the three scripts, as values.

A *record* per (channel, account) in Redis says which process may publish. This file is what both sides of the room
speak: pure decisions make requests and read answers, the door (`door.py`) carries them to Redis. Across a network
there are three kinds of answer: done (`Accepted`, `Claimed`, `Asserted`, …), refused (`Fenced`, `Stale`, `Conflict`,
`Refused`, …) and unknown (`Unanswered`: the request may have been carried out, or may be yet).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ticker_shard.publish.resp import NO_ROWS, CallRows


class ChannelState(StrEnum):
    """What a holder says about its intent."""

    ACTIVE = "active"
    LEAVING = "leaving"  # publishes, and gives way to whoever is warm
    FREE = "free"  # publishes no more


class ClaimReason(StrEnum):
    """Why a record may be claimed; a healthy holder's never is."""

    OWN = "own"  # its holder is this process or an earlier one of this pod: dead, by the kubelet's word
    FREE = "free"
    LEAVING = "leaving"
    SILENT = "silent"  # unchanged (or missing) over a whole window


@dataclass(frozen=True, slots=True)
class Record:
    """The fence record of one account in one channel."""

    epoch: int
    holder: str
    n: int
    state: ChannelState
    revision: int = 0


# -- requests


@dataclass(frozen=True, slots=True)
class Read:
    """Read the record."""

    channel: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Take the channel over, if the record is still `expected`; `revision` bounds the record's table."""

    channel: str
    holder: str
    reason: ClaimReason
    expected: Record | None
    seen: int
    revision: int


@dataclass(frozen=True, slots=True)
class Assert:
    """Put the own record back after Redis lost it."""

    channel: str
    epoch: int
    holder: str
    n: int
    state: ChannelState
    revision: int


@dataclass(frozen=True, slots=True)
class Call:
    """Write rows and publish one message; without any, a beat."""

    channel: str
    epoch: int
    holder: str
    n: int
    state: ChannelState
    revision: int
    message: bytes = b""
    numbers: bytes = b""  # process, epoch and number of the message, beside the last values
    rows: CallRows = NO_ROWS
    deletes: tuple[str, ...] = ()
    gaps: tuple[bytes, ...] = ()
    holes: bytes = b""  # what is missing at the moment, kept in the record for a successor; empty = as it is
    takes: tuple[str, ...] = ()  # fields of the last values that the account takes
    stream_max: int = 0  # messages the channel's stream keeps; 0 = there is none


@dataclass(frozen=True, slots=True)
class Owned:
    """List fields of the last values that the account took, from `cursor` on; 0 begins."""

    channel: str
    cursor: int = 0


Request: TypeAlias = Read | Claim | Assert | Call | Owned


# -- answers


@dataclass(frozen=True, slots=True)
class Seen:
    """The record that was read, or that it is missing."""

    record: Record | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """The channel is ours under this epoch; so long nobody published there (`None`: not known)."""

    epoch: int
    pause_ms: int | None = None
    holes: bytes = b""  # what the predecessor knew to be missing
    stalled_ms: tuple[int, int] | None = None  # ago, from and to: a standstill that it may not have lived to declare


@dataclass(frozen=True, slots=True)
class Conflict:
    """Not what was observed; observe anew."""

    record: Record | None


@dataclass(frozen=True, slots=True)
class Behind:
    """The record's table is newer than the claimant's."""

    record: Record


@dataclass(frozen=True, slots=True)
class Asserted:
    """The record is back."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The record was ours all along."""

    record: Record


@dataclass(frozen=True, slots=True)
class Accepted:
    """Written and published; `previous_n` is the call before it in Redis's eyes.

    `run_n` to `previous_n` is the unbroken run of accepted calls that ends with that call.
    """

    previous_n: int
    run_n: int = 1


@dataclass(frozen=True, slots=True)
class OwnedPage:
    """Some of the account's fields; the list goes on at `cursor`, unless that is 0."""

    cursor: int
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stale:
    """A later call of this process was carried out before; nothing written."""

    record: Record


@dataclass(frozen=True, slots=True)
class Fenced:
    """Somebody else holds the channel, or a later term of this process; nothing written."""

    record: Record


@dataclass(frozen=True, slots=True)
class Rewound:
    """Redis does not know this term (any more); nothing written."""

    record: Record | None


class TroubleKind(StrEnum):
    """Why Redis cannot be used, or not for this; each shows in status and metrics under its name."""

    UNREACHABLE = "Unreachable"  # no connection, or it broke
    TIMEOUT = "Timeout"  # no answer in time
    NO_AUTH = "NoAuth"  # credentials are missing
    WRONG_PASSWORD = "WrongPassword"  # noqa: S105 - a name of an outcome
    NO_PERMISSION = "NoPermission"  # the ACL forbids a command, key or channel
    OUT_OF_MEMORY = "OutOfMemory"
    READ_ONLY = "ReadOnly"  # a replica
    LOADING = "Loading"  # its data set is not in memory yet
    BUSY = "Busy"  # somebody's script blocks it
    CLUSTER = "Cluster"  # moved, asking, cluster down: this address does not serve the slot
    NOT_WRITABLE = "NotWritable"  # too few replicas, or its disk fails: it takes no writes
    WRONG_TYPE = "WrongType"  # a key of the channel holds something else
    REFUSED = "Refused"  # any other error answer


CONFIGURATION: frozenset[TroubleKind] = frozenset(
    {
        TroubleKind.NO_AUTH,
        TroubleKind.WRONG_PASSWORD,
        TroubleKind.NO_PERMISSION,
        TroubleKind.READ_ONLY,
        TroubleKind.CLUSTER,
    }
)  # waiting does not help: somebody must change something


LOCAL: frozenset[TroubleKind] = frozenset({TroubleKind.WRONG_TYPE, TroubleKind.REFUSED})
# About one channel's keys or one request: says nothing of Redis, and other channels go on.


NO_ANSWER: frozenset[TroubleKind] = frozenset({TroubleKind.UNREACHABLE, TroubleKind.TIMEOUT, TroubleKind.LOADING})


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind with Redis's own words; they hold no secret."""

    kind: TroubleKind
    message: str

    @property
    def text(self) -> str:
        """For a condition or a log line."""
        return f"{self.kind}: {'' if self.kind in NO_ANSWER else 'refused by Redis: '}{self.message}"


@dataclass(frozen=True, slots=True)
class Refused:
    """Redis answered with an error: the request was certainly not carried out to its end."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Nobody knows whether it was carried out, or will be yet."""

    trouble: Trouble


Answer: TypeAlias = (
    Seen
    | Claimed
    | Conflict
    | Behind
    | Asserted
    | Kept
    | Accepted
    | Stale
    | Fenced
    | Rewound
    | OwnedPage
    | Refused
    | Unanswered
)


def trouble_of_redis(answer: Answer) -> Trouble | None:
    """What an answer says against Redis as a whole; `None` where it works, or refuses one channel only."""
    if isinstance(answer, Unanswered) or (isinstance(answer, Refused) and answer.trouble.kind not in LOCAL):
        return answer.trouble
    return None


_STATES = {state.value: state for state in ChannelState}


def parse_record(fields: list[bytes | None]) -> Record | None:
    """The record in a reply's (epoch, holder, n, state, revision).

    `None` where there is none, as the scripts judge it: without a numeric epoch it is nobody's record.
    """
    if not fields or (epoch := _number(fields[0])) is None:
        return None
    holder, state = fields[1] or b"", (fields[3] or b"").decode("utf-8", "replace")
    return Record(
        epoch=epoch,
        holder=holder.decode("utf-8", "replace"),
        n=_number(fields[2]) or 0,
        state=_STATES.get(state, ChannelState.ACTIVE),  # an unknown state gives nobody a right to claim
        revision=_number(fields[4]) or 0,
    )


def _number(text: bytes | None) -> int | None:
    try:
        return int(text or b"")
    except ValueError:
        return None
