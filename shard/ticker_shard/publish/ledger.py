"""The books of the data plane: every row of every channel is somewhere, and the sum says so.

One unit is one row in one channel (a row of an instrument in two channels is two units)::

    received = published + conflated + rejected + dropped + withheld + superseded + in flight

===========  =========================================================================================
received     offered by the feed, rejected ones included
published    accepted by Redis
conflated    replaced by a newer value of the same instrument before it left
rejected     refused by validation, by reason
dropped      lost, by cause: ``unanswered`` (sent, and nobody can say any more whether it arrived), ``lost`` (sent,
             and it certainly did not arrive), ``refused`` (Redis answered with an error), ``removed`` (the
             instrument left the table while the row was queued), ``shutdown`` (queued when the process ended)
withheld     received while another process holds the channel, or while the instrument's role is silent
superseded   queued or refused when another process took the channel over
in flight    *counted where the rows lie* (queues, calls without an answer), never derived: a derived term could not
             disagree
===========  =========================================================================================

A message that did not arrive is never sent again under its number: the newest values are rewritten under new
numbers and counted apart as ``repeated``. So a dropped row says "this very value may be missing", not "the last
value is wrong". What became of an unanswered call is decided by the next accepted one, whose answer names the
last call number that Redis knew: lower or equal numbers were published, higher ones can never be any more.

A mismatch fails a test; in production it is exported and shown, because ticks flow on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class DropCause(StrEnum):
    """Why a row is known to be lost, or can no longer be accounted for."""

    UNANSWERED = "unanswered"
    LOST = "lost"
    REFUSED = "refused"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Balance:
    """The books at one moment.

    ``difference`` is received minus all other terms: zero, or a bug.
    """

    received: int
    published: int
    conflated: int
    rejected: int
    dropped: int
    withheld: int
    superseded: int
    in_flight: int

    @property
    def difference(self) -> int:
        """Rows that are nowhere (positive) or counted twice (negative)."""
        return self.received - (
            self.published
            + self.conflated
            + self.rejected
            + self.dropped
            + self.withheld
            + self.superseded
            + self.in_flight
        )

    @property
    def balanced(self) -> bool:
        """Whether every row is somewhere, exactly once."""
        return self.difference == 0


@dataclass(slots=True)
class Ledger:
    """Plain counters over rows and channels; whoever holds rows adds itself to `holders`.

    Attributes
    ----------
    received, published, conflated, withheld, superseded
        As in the module's table.
    rejected
        By reason.
    dropped
        By `DropCause`.
    repeated
        Rows that Redis accepted once more (rewrites, options priced again); outside the balance.
    messages, lost_messages
        Messages accepted; messages given up (their sequence numbers are the holes that consumers see).
    unrouted
        Rows (not per channel) for instruments that the table does not have.
    gaps, lost_gaps
        Gap records accepted; those given up with the channel (its next holder finds them in the fence record).
    gap_instrument_ns
        Instruments times nanoseconds of the accepted records, by cause.
    holders
        Each answers how many rows lie with it now.
    """

    received: int = 0
    published: int = 0
    conflated: int = 0
    withheld: int = 0
    superseded: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    dropped: dict[DropCause, int] = field(default_factory=lambda: dict.fromkeys(DropCause, 0))
    repeated: int = 0
    messages: int = 0
    lost_messages: int = 0
    unrouted: int = 0
    gaps: int = 0
    lost_gaps: int = 0
    gap_instrument_ns: dict[str, int] = field(default_factory=dict)
    holders: list[Callable[[], int]] = field(default_factory=list, repr=False)

    def reject(self, reason: str, units: int) -> None:
        """Count `units` rows per channel as received and refused by validation."""
        self.received += units
        self.rejected[reason] = self.rejected.get(reason, 0) + units

    def drop(self, cause: DropCause, units: int) -> None:
        """Count `units` rows per channel as lost."""
        self.dropped[cause] += units

    def declare(self, cause: str, *, instrument_ns: int) -> None:
        """Count a gap record that Redis accepted; merged records count under their first cause."""
        self.gaps += 1
        cause = cause.partition("+")[0]
        self.gap_instrument_ns[cause] = self.gap_instrument_ns.get(cause, 0) + instrument_ns

    def in_flight(self) -> int:
        """Rows per channel that lie in a queue or in a call without an answer, counted there."""
        return sum(count() for count in self.holders)

    def balance(self) -> Balance:
        """The books now."""
        return Balance(
            received=self.received,
            published=self.published,
            conflated=self.conflated,
            rejected=sum(self.rejected.values()),
            dropped=sum(self.dropped.values()),
            withheld=self.withheld,
            superseded=self.superseded,
            in_flight=self.in_flight(),
        )
