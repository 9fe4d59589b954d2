"""What the shard learns from outside and what it says about itself: four ports, each with two forms.

===================  ==========================================  ===================================
port                 Kubernetes                                  folder
===================  ==========================================  ===================================
`AssignmentSource`   ConfigMap ``<shard>-assignment``            ``assignment.json`` + ``instruments.csv.gz``
`CredentialsSource`  the account's Secret                        ``token``
`StatusSink`         ``tickershards/<shard>/status``             ``status.json``
`Voice`              Lease ``<shard>``                           a lock on ``lock``
===================  ==========================================  ===================================

Sources are level-triggered: what they yield is the newest state, never a change, so a missed event costs nothing.
They never end and never raise for what the world did to them: an absent, malformed or unreadable object is an
answer with a name, and the shard goes on with what it has. That is the first sentence of the design: the data
plane does not need the control plane in order to keep streaming.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from ticker_crds import AssignmentTable
from ticker_crds.constants import Reason


@dataclass(frozen=True, slots=True)
class TableRead:
    """A well-formed table, its digest checked. Whether it may be applied is `tables.TableGate`'s decision."""

    table: AssignmentTable


@dataclass(frozen=True, slots=True)
class TableAbsent:
    """The object is not there (yet). The table in force stays in force."""

    message: str


@dataclass(frozen=True, slots=True)
class TableMalformed:
    """The object is there and cannot be used. The table in force stays in force."""

    message: str


TableAnswer: TypeAlias = TableRead | TableAbsent | TableMalformed


@dataclass(frozen=True, slots=True)
class CredentialsRead:
    """A complete pair; its values are registered as secrets and never shown."""

    api_key: str = field(repr=False)
    access_token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CredentialsUnusable:
    """No usable pair: which rule is broken, in words a condition can carry. Open sockets go on."""

    reason: Reason  # SECRET_MISSING, SECRET_KEY_MISSING or SECRET_NOT_LABELLED
    message: str


CredentialsAnswer: TypeAlias = CredentialsRead | CredentialsUnusable


class AssignmentSource(Protocol):
    """Where the account's table comes from."""

    def follow(self) -> AsyncIterator[TableAnswer]:
        """The table now, then again whenever it may have changed; endless."""
        ...


class CredentialsSource(Protocol):
    """Where the account's key and token come from."""

    def follow(self) -> AsyncIterator[CredentialsAnswer]:
        """The credentials now, then again whenever they may have changed; endless."""
        ...


@dataclass(frozen=True, slots=True)
class KnownStatus:
    """What the status said when this process last read it.

    Attributes
    ----------
    revision_floor
        The highest of ``acknowledged``, its barrier and ``appliedRevision``: older tables are refused by a new process.
    acknowledged, conditions
        As a predecessor wrote them, to be carried on: a field this manager leaves out is deleted.
    generation
        ``metadata.generation`` for the conditions' ``observedGeneration``.
    """

    revision_floor: int = 0
    acknowledged: Mapping[str, Any] | None = None
    conditions: tuple[Mapping[str, Any], ...] = ()
    generation: int = 0


class WriteOutcome(StrEnum):
    """What became of a status."""

    WRITTEN = "written"
    REFUSED = "refused"  # forbidden, invalid, or the object is gone: repeating it at once would not help
    UNKNOWN = "unknown"  # no answer: the next complete set settles it


class StatusSink(Protocol):
    """Where the shard's status goes. Only called by the process that has the voice.

    Attributes
    ----------
    vitals_s
        How often it wants the vitals, changed or not; `None`: never.
    """

    vitals_s: float | None

    async def read(self) -> KnownStatus | None:
        """The status as it is, not from a cache; `None` when it cannot be read now."""
        ...

    async def write(self, status: Mapping[str, Any], *, vitals: Mapping[str, Any]) -> WriteOutcome:
        """Write the complete set of what this manager owns.

        Parameters
        ----------
        status
            ``acknowledged``, ``confirmed``, ``sockets``, ``epoch``, ``conditions``.
        vitals
            What only a machine's own files carry: ledger, latency, gaps, port, heartbeat. Ignored by Kubernetes,
            where nothing fast-changing belongs into an object.
        """
        ...

    @property
    def generation(self) -> int:
        """``metadata.generation`` as last seen; 0 where there is none."""
        ...


class LeaseState(StrEnum):
    """The Lease as seen by one process."""

    MINE = "mine"
    OTHER = "other"  # another process renewed it within the window
    VACANT = "vacant"  # absent, released, or unchanged for a whole window of uninterrupted reads
    UNKNOWN = "unknown"  # cannot be read, or not watched for a whole window yet


class Voice(Protocol):
    """Who speaks for the shard: held by one process at a time."""

    async def observe(self) -> LeaseState:
        """Read it."""
        ...

    async def take(self) -> bool:
        """Take or renew it as observed last; `False` when somebody was quicker or nobody answered."""
        ...

    async def release(self) -> None:
        """Give it away, if it is ours; the next process need not wait for the window."""
        ...
