"""What a pass ends with, and what happens then.

=============  =================================================================================================
`Done`         nothing is left to do: the next pass comes with a change, or at the time of the next list
`Again`        something goes on that no event tells us of, or a write met somebody else's: once more, soon
`Retry`        the world could not be read: everything stays as it is; once more after a back-off
`Terminal`     the world is not one this operator can work in: end the process, let the supervisor of processes act
=============  =================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True)
class Again:
    """Look again after so many seconds, because of `cause`."""

    after_s: float
    cause: str


@dataclass(frozen=True, slots=True)
class Retry:
    """The pass could not be carried through: `cause`."""

    cause: str


@dataclass(frozen=True, slots=True)
class Terminal:
    """No later pass can do better: `cause`."""

    cause: str


PassOutcome: TypeAlias = Done | Again | Retry | Terminal


def soonest(outcomes: list[Done | Again]) -> Done | Again:
    """The one that comes back first."""
    again = [outcome for outcome in outcomes if isinstance(outcome, Again)]
    return min(again, key=lambda outcome: outcome.after_s) if again else Done()
