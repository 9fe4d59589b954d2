"""What a measurement says, how rounds are interleaved, and when a gate is met.

Two rules make a figure worth printing. A contender is measured **beside its peer in the same run**, round by round in
alternating order, so that whatever else the machine does meets all alike; and what is quoted is the **median over
rounds of the ratio within a round**, not a ratio of two figures from different minutes.

A *goal* is what is to be reached, a *gate* what even a noisy machine must show. Where a result has a ratio, both speak
of the ratio; else of the value. A missed gate is a finding: it is printed in capitals, never left out.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

SEED: Final = 20


class Verdict(StrEnum):
    """What became of goal and gate."""

    GOAL = "goal"  # as good as we want it
    GATE = "gate"  # good enough, and not yet the goal
    MISSED = "MISSED"
    NONE = ""  # a figure that nobody judges


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit and its side: ``at_least(8)`` (×), ``at_most(260, "MiB")``."""

    limit: float
    unit: str
    at_most: bool

    def met_by(self, number: float) -> bool:
        """Whether `number` keeps the limit; NaN keeps none."""
        return number <= self.limit if self.at_most else number >= self.limit

    def __str__(self) -> str:
        unit = self.unit if self.unit in ("×", "") else f" {self.unit}"
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}{unit}"


def at_least(limit: float, unit: str = "×") -> Bound:
    """The number must reach `limit`."""
    return Bound(limit, unit, at_most=False)


def at_most(limit: float, unit: str = "×") -> Bound:
    """The number must stay within `limit`."""
    return Bound(limit, unit, at_most=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the table.

    Attributes
    ----------
    name
        What was measured, with the sizes that matter.
    value, unit
        The product's own figure.
    peer
        Who was measured beside it, and what it showed, in words; empty without one.
    ratio
        How many times better than the peer (or, with an `at_most` bound, how many times the peer's figure).
    goal, gate
        Of the ratio where there is one, else of the value.
    holds
        What else had to be true of the run (books balanced, options priced); false misses the gate at any figure.
    """

    name: str
    value: float
    unit: str
    peer: str = ""
    ratio: float | None = None
    goal: Bound | None = None
    gate: Bound | None = None
    holds: bool = True

    @property
    def verdict(self) -> Verdict:
        """Goal, gate, missed, or nothing to judge."""
        if not self.holds:
            return Verdict.MISSED
        judged = self.value if self.ratio is None else self.ratio
        if self.goal is not None and self.goal.met_by(judged):
            return Verdict.GOAL
        if self.gate is not None:
            return Verdict.GATE if self.gate.met_by(judged) else Verdict.MISSED
        return Verdict.NONE

    @property
    def ok(self) -> bool | None:
        """Whether the gate is met; `None` where there is nothing to judge."""
        return {Verdict.MISSED: False, Verdict.NONE: None}.get(self.verdict, True)

    def as_json(self) -> dict[str, Any]:
        """For ``build/bench.json``."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "peer": self.peer or None,
            "ratio": self.ratio,
            "goal": str(self.goal) if self.goal else None,
            "gate": str(self.gate) if self.gate else None,
            "ok": self.ok,
            "verdict": self.verdict.value,
        }


@dataclass(frozen=True, slots=True)
class Rounds:
    """What each contender showed, one figure a round, in the same order of rounds."""

    figures: Mapping[str, Sequence[float]]

    def median(self, name: str) -> float:
        """The contender's middle figure."""
        return statistics.median(self.figures[name])

    def ratio(self, above: str, below: str) -> float:
        """Median over rounds of one contender's figure divided by another's of the same round."""
        pairs = zip(self.figures[above], self.figures[below], strict=True)
        return statistics.median(a / b for a, b in pairs)


def interleave(contenders: Mapping[str, Callable[[], float]], *, rounds: int) -> Rounds:
    """Run all contenders, `rounds` times; every other round backwards, so that nobody is always the one after another.

    Parameters
    ----------
    contenders
        Each answers the figure of one round: seconds, ticks/s, whatever the ratio is to be of.
    rounds
        How often.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        order = list(contenders.items())
        for name, measure in reversed(order) if number % 2 else order:
            figures[name].append(measure())
    return Rounds(figures)


def seconds_of(call: Callable[[], object], *, repeats: int) -> Callable[[], float]:
    """A contender: mean wall-clock seconds of one call among `repeats` in a row."""

    def measure() -> float:
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - started) / repeats

    return measure


def percentile(samples: Iterable[float], share: float) -> float:
    """The smallest sample that at least `share` (0…1) of all do not exceed: a value that was really seen.

    Raises
    ------
    ValueError
        Without samples there is no percentile.
    """
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("a percentile of no samples")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Least-squares growth of `values` per unit of `times`; needs two different times."""
    return statistics.linear_regression(times, values).slope


def shown(number: float | None) -> str:
    """A figure as the tables print it: three digits that count, no exponent."""
    if number is None:
        return ""
    if math.isnan(number):
        return "–"
    size = abs(number)
    return f"{number:,.0f}" if size >= 100 else f"{number:,.1f}" if size >= 10 else f"{number:,.2f}"
