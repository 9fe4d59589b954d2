"""Which tables may be applied. Pure.

Revisions only grow. A table below the applied one is a late delivery (a cache, a restored backup, an operator that
lost its place) and is ignored; one below the floor, what the status says was acknowledged before this process was
born, would take this account back to roles that others have acted upon since, and is refused (docs/handover.md).
The same revision with another digest is nobody's table: two writers, or an edit by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ticker_crds import AssignmentTable


class Verdict(StrEnum):
    """What to do with a table that was read."""

    APPLY = "apply"
    SAME = "same"  # applied already
    OLDER = "older"  # below the applied revision or the floor
    CONTRADICTS = "contradicts"  # the applied revision with other content
    FOREIGN = "foreign"  # another account's, or channels outside our part of Redis
    TOO_LARGE = "too_large"  # more instruments than the account's sockets carry


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with its sentence."""

    verdict: Verdict
    message: str = ""


@dataclass(frozen=True, slots=True)
class TableGate:
    """The rule, with what it needs to know of this process.

    Attributes
    ----------
    account
        Whose tables are taken.
    capacity
        Instruments that fit on its sockets.
    prefix
        What every channel's name begins with (and a colon): the part of Redis that is ours.
    floor
        The highest revision the status knew when this process started.
    applied_revision, applied_digest
        The table in force; revision 0 where there is none.
    """

    account: str
    capacity: int
    prefix: str
    floor: int = 0
    applied_revision: int = 0
    applied_digest: str = ""

    def judge(self, table: AssignmentTable) -> Judged:
        """Whether `table` may be applied now."""
        if table.account != self.account:
            return Judged(Verdict.FOREIGN, f"the table is account {table.account}'s, this shard is {self.account}'s")
        outside = [channel.name for channel in table.channels if not channel.name.startswith(f"{self.prefix}:")]
        if outside:
            return Judged(
                Verdict.FOREIGN,
                f"{len(outside)} of {len(table.channels)} channels, {outside[0]!r} for one, do not begin with "
                f"'{self.prefix}:'; operator and shard must have the same prefix",
            )
        if table.revision < max(self.floor, self.applied_revision):
            newest = max(self.floor, self.applied_revision)
            return Judged(
                Verdict.OLDER, f"revision {table.revision} is older than revision {newest}, which was applied before"
            )
        if table.revision == self.applied_revision:
            if table.digest == self.applied_digest:
                return Judged(Verdict.SAME)
            return Judged(
                Verdict.CONTRADICTS,
                f"revision {table.revision} was applied with another content; write a higher revision",
            )
        if len(table.instruments) > self.capacity:
            return Judged(
                Verdict.TOO_LARGE,
                f"revision {table.revision} has {len(table.instruments):,} instruments, {self.capacity:,} fit on the "
                "account's sockets; raise sockets or add an account",
            )
        return Judged(Verdict.APPLY)
