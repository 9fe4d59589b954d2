"""The judge: a history in, the broken promises out, in order of time. Pure.

It is itself under test: `tests/unit/test_delivery_checker.py` plants one violation of each kind into clean histories.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from tests.support.delivery.accounts import check_books, check_moves
from tests.support.delivery.history import Bounds, History, Violation
from tests.support.delivery.order import check_numbers, check_owners, check_someone_owns, check_times
from tests.support.delivery.values import (
    check_false_gaps,
    check_invention,
    check_staleness,
    check_stored,
    staleness,
    versions_of,
)


def check(history: History, bounds: Bounds) -> list[Violation]:
    """Every violation of the seven properties (`history.Property`)."""
    versions = versions_of(history)
    found = [
        *check_staleness(history, bounds, staleness(history, versions)),
        *check_stored(history, bounds, versions),
        *check_invention(history, versions),
        *check_numbers(history),
        *check_times(history, bounds),
        *check_books(history),
        *check_owners(history, bounds),
        *check_someone_owns(history, bounds),
        *check_false_gaps(history, bounds),
        *check_moves(history, bounds),
    ]
    return sorted(found, key=lambda violation: violation.at_ns)


class Outcome(StrEnum):
    """What a run on a busy machine came to."""

    CLEAN = "clean"  # by the wall clock
    CLEAN_ALLOWING = "clean, allowing for time without a CPU"
    STARVED = "not judged: processes waited for a CPU for most of what is held against them"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Violations after the allowance for time without a CPU, and those that only the allowance took away."""

    outcome: Outcome
    violations: list[Violation]
    excused: list[Violation]


def judge(history: History, bounds: Bounds) -> Judgement:
    """`check`, and what the machine had to do with it."""
    found = check(history, bounds)
    if not found:
        excused = check(replace(history, credit=0.0), bounds)
        return Judgement(Outcome.CLEAN_ALLOWING if excused else Outcome.CLEAN, [], excused)
    starved = not check(replace(history, credit=1.0), bounds)
    return Judgement(Outcome.STARVED if starved else Outcome.BROKEN, found, [])


def summary(violations: list[Violation], *, most: int = 12) -> str:
    """For an assertion's message: how many of each kind, and the first ones in full."""
    counts: dict[str, int] = {}
    for violation in violations:
        counts[violation.promise.value] = counts.get(violation.promise.value, 0) + 1
    lines = [f"  {violation.promise.value}: {violation.text}" for violation in violations[:most]]
    return "\n".join([f"violations: {counts}", *lines])
