"""When a table counts as done, and what is said about it. Pure: the operator's moves stand on this answer.

An acknowledgement of revision *r* means, for every instrument the table lists in role

``incoming``
    the feed has confirmed it: its first packet in the wanted mode came;
``settling``
    Redis has accepted a value of it from this process;
``outgoing``
    a barrier: nothing of it was outstanding, and one later call was accepted in each of its channels;
``owner``
    its last value was rewritten when it became ours.

The last three are the publisher's duties; it says up to which revision they are done. The first is the feed's.
An instrument that stays silent although it was subscribed several times (illiquid, expired, not known to the broker)
must not hold up the others: the feed gives it up, it is listed in ``unconfirmed``, and the operator treats a listed one
as *not* acknowledged. The list is bounded, and only instruments that are on the move need to be on it, so those come
first; should even they not fit, nothing is acknowledged, because an unlisted silent instrument would pass for a
confirmed one and be taken from the account that still streams it.

Only a process that holds every channel of the account acknowledges (or one whose account has no channel): with two
processes at work, "done" said by one of them would be about half of the account.

What is outgoing does not wait for all this. As soon as its barriers are passed the table is named as the `barrier` of
the acknowledgement that stands: the account that an instrument moves to writes its value once more then, because
the last row of this one may have landed behind a newer one. A new channel (its first claim waits for a window of
silence) or an instrument that is slow to confirm would hold that up for seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ticker_crds import Role
from ticker_crds.constants import UNCONFIRMED_LISTED_MAX

MOVING_ROLES: Final = frozenset({Role.INCOMING, Role.SETTLING, Role.OUTGOING})


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The status member ``acknowledged``: this process has done all of that revision, but for what is listed."""

    revision: int
    digest: str
    process: str
    unconfirmed: tuple[str, ...] = ()

    def as_status(self) -> dict[str, Any]:
        """As it stands in the status."""
        return {
            "revision": self.revision,
            "digest": self.digest,
            "process": self.process,
            "unconfirmed": list(self.unconfirmed),
        }


@dataclass(frozen=True, slots=True)
class Barrier:
    """A table of which nothing outgoing can be published any more by this account."""

    revision: int
    digest: str

    def as_status(self) -> dict[str, Any]:
        """As it stands in the status."""
        return {"revision": self.revision, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class NotYet:
    """What is still missing, in words, and the barrier that was passed all the same."""

    message: str
    barrier: Barrier | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the decision looks at.

    Attributes
    ----------
    process
        This process.
    revision, digest
        The table in force.
    connected
        Every socket that the table needs is open.
    waiting
        Instruments without a packet in their wanted mode that the feed still waits for.
    silent
        (symbol, role) of each instrument that the feed waits for no more.
    duties_revision
        Up to which revision the publisher has done its part.
    barriers_revision
        Of which revision nothing outgoing can be published any more; 0 = of none, or nothing is outgoing.
    holds_all
        Whether this process holds every channel (true for an account without channels).
    """

    process: str
    revision: int
    digest: str
    connected: bool
    waiting: int
    silent: Sequence[tuple[str, Role]]
    duties_revision: int
    barriers_revision: int
    holds_all: bool


def acknowledge(evidence: Evidence) -> Acknowledged | NotYet:
    """The acknowledgement that is due now, from what feed and publisher have shown."""
    passed = evidence.barriers_revision == evidence.revision
    barrier = Barrier(evidence.revision, evidence.digest) if passed else None
    missing = _missing(evidence)
    if missing:
        return NotYet(missing, barrier)
    moving = sorted(symbol for symbol, role in evidence.silent if role in MOVING_ROLES)
    if len(moving) > UNCONFIRMED_LISTED_MAX:
        return NotYet(
            f"revision {evidence.revision}: {len(moving):,} moving instruments without a packet, "
            f"{UNCONFIRMED_LISTED_MAX} can be listed",
            barrier,
        )
    resting = sorted(symbol for symbol, role in evidence.silent if role not in MOVING_ROLES)
    listed = (*moving, *resting)[:UNCONFIRMED_LISTED_MAX]
    return Acknowledged(evidence.revision, evidence.digest, evidence.process, listed)


def _missing(evidence: Evidence) -> str:
    """What of the table is not done, apart from silent instruments; the first that applies."""
    revision = evidence.revision
    if revision <= 0:
        return "no assignment yet"
    if not evidence.holds_all:
        return f"revision {revision}: this process does not hold every channel of the account"
    if evidence.duties_revision < revision:
        return f"revision {revision}: published up to revision {evidence.duties_revision}"
    if not evidence.connected:
        return f"revision {revision}: not every socket is open"
    if evidence.waiting:
        return f"revision {revision}: {evidence.waiting:,} instruments have not sent a first packet"
    return ""


StatusAcknowledged: TypeAlias = Mapping[str, Any] | None


def carry_on(answer: Acknowledged | NotYet, *, previous: StatusAcknowledged) -> StatusAcknowledged:
    """What the status says: the new acknowledgement, else the one before it with the newest barrier.

    An acknowledgement is history, also when a predecessor made it; leaving it out would delete it and with it the
    floor below which a new process refuses tables. A lower revision never replaces a higher one. A barrier is said
    beside an acknowledgement only: an account that has none yet has given up nothing.
    """
    if isinstance(answer, NotYet):
        if previous is None or answer.barrier is None or answer.barrier.revision <= acted_on(previous):
            return previous
        return {**previous, "barrier": answer.barrier.as_status()}
    if previous is None or acted_on(previous) <= answer.revision:
        return answer.as_status()
    return previous if revision_of(previous) > answer.revision else {**previous, **answer.as_status()}


def revision_of(acknowledged: StatusAcknowledged) -> int:
    """Its revision, 0 where there is none or where it is not a number (somebody else's bytes)."""
    value = (acknowledged or {}).get("revision")
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def acted_on(acknowledged: StatusAcknowledged) -> int:
    """The highest revision it speaks of: that of its barrier, if that is above its own."""
    barrier = (acknowledged or {}).get("barrier")
    return max(revision_of(acknowledged), revision_of(barrier if isinstance(barrier, Mapping) else None))
