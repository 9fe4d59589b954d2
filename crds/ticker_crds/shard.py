"""TickerShard (``tsh``): one account's process, as the operator wants it and as it reports itself.

Its status has three writers, field by field; each always sends its complete set, because whatever a manager applied
before and now omits is deleted:

=========================  ====================================================================================
``ticker-shard``           ``acknowledged``, ``confirmed``, ``sockets``, ``epoch`` and the conditions Connected,
                           CredentialsValid, Streaming, Degraded
``ticker-operator``        ``observedGeneration``, ``appliedRevision``, ``assigned``, ``capacity``, ``image`` and the
                           conditions Ready, Progressing, RolledBack, Paused, CapacityExceeded, ZeroGap
``ticker-operator-rollout``  ``rollout``, guarded by resourceVersion
=========================  ====================================================================================
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from ticker_crds.base import ATOMIC, Conditions, Count, Flag, Int64, KindModel, Part, Reference, Rule
from ticker_crds.constants import (
    MANAGER_OPERATOR,
    MANAGER_SHARD,
    ROLLOUT_HISTORY_MAX,
    SYMBOL_CHARS_MAX,
    UNCONFIRMED_LISTED_MAX,
    Condition,
    Kind,
)

Hash = Annotated[str, Field(max_length=128)]
Word = Annotated[str, Field(max_length=256)]

CONDITIONS_BY_MANAGER: Final[dict[str, tuple[Condition, ...]]] = {
    MANAGER_SHARD: (Condition.CONNECTED, Condition.CREDENTIALS_VALID, Condition.STREAMING, Condition.DEGRADED),
    MANAGER_OPERATOR: (
        Condition.READY,
        Condition.PROGRESSING,
        Condition.ROLLED_BACK,
        Condition.PAUSED,
        Condition.CAPACITY_EXCEEDED,
        Condition.ZERO_GAP,
    ),
}


class AssignmentReference(Part):
    """The assignment table in short; the ConfigMap is the truth and is written first."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.configMapRef.name == oldSelf.configMapRef.name",
            "configMapRef is immutable: it is derived from the account's name",
        ),
    )

    revision: Count = Field(description="Revision of the table; rises with every change of it.")
    digest: Hash = Field(description="Digest of header and rows.")
    instruments: Count = Field(description="Rows of the table.")
    config_map_ref: Reference = Field(description="The ConfigMap that holds the table.")


class TickerShardSpec(Part):
    """What the operator wants of the shard."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.accountRef.name == oldSelf.accountRef.name",
            "accountRef is immutable: the operator makes one TickerShard for each KiteAccount",
        ),
    )

    account_ref: Reference = Field(description="The KiteAccount. Immutable.")
    suspend: Flag = Field(default=False, description="Whether the shard runs no pod.")
    assignment: AssignmentReference | None = Field(
        default=None, description="The assignment table in short, for people; the shard reads the ConfigMap."
    )


class Barrier(Part):
    """A table of which nothing outgoing is published any more, though it is not in force completely yet."""

    revision: Count = Field(description="Its revision.")
    digest: Hash = Field(description="Its digest.")


class Acknowledged(Part):
    """The table that the shard's process has in force."""

    revision: Count = Field(description="Revision in force: its publishing duties are taken up.")
    digest: Hash = Field(description="Its digest.")
    process: Word = Field(description="Which process says so: <instance>/<random>.")
    unconfirmed: Annotated[
        tuple[Annotated[str, Field(max_length=SYMBOL_CHARS_MAX)], ...],
        Field(max_length=UNCONFIRMED_LISTED_MAX, json_schema_extra=ATOMIC),
    ] = Field(default=(), description="Instruments that sent no packet in time, the first 100 of them.")
    barrier: Barrier | None = Field(
        default=None,
        description="The table after it, if what is outgoing there is published no more, but something else is to do.",
    )


class Rollout(Part):
    """What the operator remembers of releases: hashes, never templates. Members it does not know are kept."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="allow")

    applied: Hash | None = Field(default=None, description="The release that was last applied completely.")
    blocked: Hash | None = Field(default=None, description="The release that somebody rolled back: held until another.")
    intent: Hash | None = Field(default=None, description="The release that is being applied.")
    resumed: Hash | None = Field(
        default=None, description="The blocked release that the resume annotation released: it is obeyed once."
    )
    intent_revision: Count | None = Field(default=None, description="The Deployment's revision before that.")
    history: Annotated[tuple[Hash, ...], Field(max_length=ROLLOUT_HISTORY_MAX, json_schema_extra=ATOMIC)] = Field(
        default=(), description="Releases applied so far, the newest last."
    )


class TickerShardStatus(Part):
    """How the shard does; see the module's opening for who writes what."""

    observed_generation: Count | None = Field(default=None, description="Generation that the operator acted on.")
    acknowledged: Acknowledged | None = Field(default=None, description="The table the process has in force.")
    applied_revision: Count | None = Field(default=None, description="Revision in force, as the operator saw it.")
    assigned: Count | None = Field(default=None, description="Instruments assigned to the account.")
    confirmed: Count | None = Field(default=None, description="Instruments whose first packet arrived.")
    capacity: Count | None = Field(default=None, description="Instruments the account can carry.")
    sockets: Word | None = Field(default=None, description="Open and wanted sockets, e.g. 1/1.")
    epoch: Int64 | None = Field(default=None, description="Fence epoch of the first channel, for people.")
    image: Annotated[str, Field(max_length=1_024)] | None = Field(default=None, description="Image of the live pod.")
    rollout: Rollout | None = Field(default=None, description="Releases applied, held and in progress.")
    conditions: Conditions = ()


class TickerShard(KindModel):
    """One account's shard. Made by the operator; people read it."""

    kind_name: ClassVar[Kind] = Kind.SHARD
    conditions_used: ClassVar[tuple[Condition, ...]] = (
        *CONDITIONS_BY_MANAGER[MANAGER_OPERATOR],
        *CONDITIONS_BY_MANAGER[MANAGER_SHARD],
    )

    spec: TickerShardSpec = Field(description="What the operator wants of the shard.")
    status: TickerShardStatus = Field(default_factory=TickerShardStatus, description="How the shard does.")
