"""What the loop needs from the world: six doors, each with a Kubernetes and a one-machine form.

Objects travel as plain mappings in the shape of the Kubernetes API (``metadata``, ``spec``, ``status``), because
that is what both a watch and a YAML file give, and because a mapping keeps members that an older operator does not
know. They are judged (never trusted) by ``ticker_operator.model``.

Promises an adapter gives
-------------------------
* A listing is complete or an `Unreachable` is raised: never a part, never an empty one for a failure.
* A write is answered by one of the outcomes below. `Unknown` means just that: it may have happened. The loop
  never repeats a write by itself; it looks again in its next pass, so a write must bear being done twice.
* ``version`` is opaque and compared for equality only.
* Secret values never pass a port, only whether a Secret may be used and has its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, TypeAlias

from ticker_crds import AssignmentTable
from ticker_crds.constants import Kind, Reason
from ticker_operator.desired.rollout import RolloutDecision
from ticker_operator.model.actions import DesiredShard, Event, Manifest
from ticker_operator.model.shards import DeploymentFacts, PodsView, ShardView

WORKLOAD: Final = "Deployment"  # the fourth watched kind; on one machine nothing answers to it


class Unreachable(Exception):  # noqa: N818 - it says what is so
    """The other side could not be asked, or did not answer completely: which, and why.

    `permanent`: it has answered that there is no such thing to ask for; only a person can change that.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


# ---------------------------------------------------------------------------------------------------------------
# Outcomes of one write
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """It is so now; `version` guards the next write."""

    version: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """It was so already; nothing was written."""

    version: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else wrote meanwhile: nothing was written; look again before deciding anew."""

    detail: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The other side will not take it however often it is asked: a person has to act."""

    detail: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer, or an answer that promises nothing: it may have been written."""

    detail: str


WriteOutcome: TypeAlias = Written | Unchanged | Conflict | Refused | Unknown


# ---------------------------------------------------------------------------------------------------------------
# What is read
# ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of one kind; `version` is the collection's, at which the watch would go on."""

    objects: tuple[Manifest, ...]
    version: str = ""


@dataclass(frozen=True, slots=True)
class StoredTable:
    """An account's assignment table as it is stored. `table` is `None` where it cannot be read: `fault` says why."""

    account: str
    version: str
    table: AssignmentTable | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class CredentialsFact:
    """Whether an account's Secret may be used: `Reason.ACCEPTED`, or what is wrong, in words, without any value.

    `version` changes whenever the Secret does; `issued_at` (RFC 3339) is when its values last did, as far as is known.
    """

    reason: Reason
    message: str
    version: str = ""
    issued_at: str = ""

    @property
    def usable(self) -> bool:
        """Whether a shard can start with it."""
        return self.reason is Reason.ACCEPTED


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """What runs for one account. `pods` `None` = not known, which is never "none"."""

    deployment: DeploymentFacts | None = None
    pods: PodsView | None = None


class PoolReader(Protocol):
    """What people declared, what shards reported, what runs, and what there is of tables."""

    async def list_kind(self, kind: str) -> Listing:
        """Every object of `kind` (a `Kind`, or `WORKLOAD`), asked afresh.

        Raises
        ------
        Unreachable
        """

    async def read_tables(self) -> Mapping[str, StoredTable]:
        """Every stored table by account, asked afresh.

        Raises
        ------
        Unreachable
        """

    async def read_workloads(self) -> Mapping[str, WorkloadFacts]:
        """What runs, by account, asked afresh; also of accounts that are no more. An absent account runs nothing.

        Raises
        ------
        Unreachable
        """

    async def read_credentials(self, secret: str) -> CredentialsFact:
        """Whether this Secret may be used by an account.

        Raises
        ------
        Unreachable
        """

    async def read_heartbeats(self) -> Mapping[str, str]:
        """By account, a text that changes for as long as the shard lives (holder and renewal of its Lease).

        Raises
        ------
        Unreachable
        """


class TablePort(Protocol):
    """Assignment tables: written whole, guarded by the version the decision was read from."""

    async def write_table(self, table: AssignmentTable, *, expected: str | None) -> WriteOutcome:
        """Store `table`; `expected` is the stored version, `None` where there must be none yet."""


class InstrumentPort(Protocol):
    """The broker's list of instruments."""

    async def fetch_dump(self, endpoint: str) -> bytes:
        """``GET <endpoint>/instruments``: the CSV, unpacked.

        Raises
        ------
        Unreachable
        """


# ---------------------------------------------------------------------------------------------------------------
# Workloads: one shard's process and what it needs
# ---------------------------------------------------------------------------------------------------------------


class Removal(StrEnum):
    """What is left of an account's workload."""

    GONE = "gone"
    LEAVING = "leaving"  # asked to stop; a process still runs
    UNKNOWN = "unknown"


class StatusPort(Protocol):
    """What the operator says about objects. It is the only writer of what it writes."""

    async def write_status(self, kind: Kind, name: str, status: Manifest, *, uid: str) -> WriteOutcome:
        """Make `status` the operator's complete part; members it wrote before and are absent now go away."""

    async def record_event(self, event: Event) -> None:
        """Tell it once; never raises, never waits for long: a lost event costs nothing but itself."""

    async def hold_deletion(self, account: str, *, held: bool) -> WriteOutcome:
        """Keep a deleted account (finalizer) until it is drained, or let it go."""


class WorkloadPort(Protocol):
    """Shards as running processes."""

    async def prepare_shard(self, shard: DesiredShard) -> WriteOutcome:
        """Make what the account's table can belong to (TickerShard; folder). Starts nothing."""

    async def ensure_shard(self, shard: DesiredShard, *, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        """Make everything of this shard as desired, its template only as `rollout` says.

        Each write is guarded by what `live` was read from, and any end between two writes is healed by the next call.
        """

    async def remove_shard(self, account: str) -> Removal:
        """Stop the account's shard, and remove what was made for it (its table too) once nothing runs.

        Nothing is touched while an account of this name exists that nobody deletes.
        """


@dataclass(frozen=True, slots=True)
class Ports:
    """All doors of one world."""

    reader: PoolReader
    tables: TablePort
    instruments: InstrumentPort
    workloads: WorkloadPort
    status: StatusPort
