"""What the shard is told and what it says about itself: sources, status, voice; acknowledgements and conditions."""

from ticker_shard.assignment.acknowledge import Acknowledged, Evidence, NotYet, acknowledge, carry_on, revision_of
from ticker_shard.assignment.conditions import Fault, ShardFacts, conditions
from ticker_shard.assignment.ports import (
    AssignmentSource,
    CredentialsAnswer,
    CredentialsRead,
    CredentialsSource,
    CredentialsUnusable,
    KnownStatus,
    LeaseState,
    StatusSink,
    TableAbsent,
    TableAnswer,
    TableMalformed,
    TableRead,
    Voice,
    WriteOutcome,
)
from ticker_shard.assignment.tables import Judged, TableGate, Verdict

__all__ = [
    "Acknowledged",
    "AssignmentSource",
    "CredentialsAnswer",
    "CredentialsRead",
    "CredentialsSource",
    "CredentialsUnusable",
    "Evidence",
    "Fault",
    "Judged",
    "KnownStatus",
    "LeaseState",
    "NotYet",
    "ShardFacts",
    "StatusSink",
    "TableAbsent",
    "TableAnswer",
    "TableGate",
    "TableMalformed",
    "TableRead",
    "Verdict",
    "Voice",
    "WriteOutcome",
    "acknowledge",
    "carry_on",
    "conditions",
    "revision_of",
]
