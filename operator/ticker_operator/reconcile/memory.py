"""What this process remembers between passes. All of it can be lost: it only saves work, or softens a judgement.

Tables are read back from the world at the start and whenever a write of one was not clearly answered; between that,
what was written is what is stored, because every write is guarded by the version before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ticker_operator.model import Placement, TableWrite, Verdict
from ticker_operator.planning import MoveBudget
from ticker_operator.reconcile.ports import CredentialsFact, StoredTable, WriteOutcome, Written


@dataclass(frozen=True, slots=True)
class CheckedSecret:
    """A fact about a Secret, and when it was looked at (monotonic seconds)."""

    fact: CredentialsFact
    at: float


@dataclass(slots=True)
class Memory:
    """See the module's opening.

    Attributes
    ----------
    budget
        Moves that may still be made for balance.
    tables
        As stored, by account; `None` = read them before the next decision.
    secrets
        By name.
    verdicts
        The last pass's.
    placement
        Where things were placed last: for instruments whose table was lost.
    """

    budget: MoveBudget
    tables: dict[str, StoredTable] | None = None
    secrets: dict[str, CheckedSecret] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    placement: Placement = field(default_factory=dict)

    def table_written(self, write: TableWrite, outcome: WriteOutcome) -> None:
        """Learn what became of a table's write."""
        if self.tables is None or not isinstance(outcome, Written):
            return
        self.tables[write.table.account] = StoredTable(write.table.account, outcome.version, write.table)

    def table_gone(self, account: str) -> None:
        """The account's table was removed."""
        if self.tables is not None:
            self.tables.pop(account, None)

    def distrust(self, account: str) -> None:
        """What is stored for this account may be something else now: read the tables again."""
        del account  # one list gives all of them
        self.tables = None

    def learn(self, verdicts: Mapping[str, Verdict], placement: Placement, *, moves: int) -> None:
        """Keep what the next pass builds on."""
        self.verdicts = verdicts
        self.placement = placement
        self.budget = self.budget.spend(moves)

    def refill(self, now_ns: int) -> int:
        """Moves for balance that may be made now."""
        self.budget = replace(self.budget.at(now_ns))
        return self.budget.moves_max
