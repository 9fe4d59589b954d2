"""How many moves the planner may make of its own accord.

Only moves for balance are counted: a person who drains an account, and a dead token, do not wait. A bucket that holds
one minute's moves and fills evenly; time comes from the caller, so a restarted operator starts with a full one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

MINUTE_NS: Final = 60_000_000_000


@dataclass(frozen=True, slots=True)
class MoveBudget:
    """A value; every method answers a new one."""

    per_minute: int
    left: float
    filled_ns: int

    @classmethod
    def full(cls, per_minute: int, *, now_ns: int) -> MoveBudget:
        """A full bucket."""
        assert per_minute >= 0, per_minute
        return cls(per_minute, float(per_minute), now_ns)

    def at(self, now_ns: int) -> MoveBudget:
        """The bucket as it is at `now_ns`."""
        passed_ns = max(0, now_ns - self.filled_ns)
        left = min(float(self.per_minute), self.left + self.per_minute * passed_ns / MINUTE_NS)
        return replace(self, left=left, filled_ns=max(now_ns, self.filled_ns))

    @property
    def moves_max(self) -> int:
        """Whole moves that may be made now."""
        return int(self.left)

    def spend(self, moves: int) -> MoveBudget:
        """After `moves` moves."""
        assert 0 <= moves <= self.moves_max, (moves, self.left)
        return replace(self, left=self.left - moves)
