"""Carries a schedule out: one thread a lane, each step at its time or as soon as its lane is free.

What a step does is a hand's business (`hands`, `cluster_hands`). A hand that lacks what
the step needs says so, and the step is skipped and counted, never forced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.support.chaos.schedule import Lane, Step

LATE_S = 10.0  # after the last step's own time nothing new is begun
Hand = Callable[[Step], bool]  # whether it was done


@dataclass
class Driver:
    """One run of a schedule."""

    hands: Mapping[Lane, Hand]
    steps: Sequence[Step]
    skipped: list[Step] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def run(self, *, say: Callable[[str], None]) -> None:
        """Everything, in its lanes; returns when the last lane is through."""
        started_s = time.monotonic()
        threads = [
            threading.Thread(
                target=self._lane, args=(hand, [step for step in self.steps if step.lane is lane], started_s, say)
            )
            for lane, hand in self.hands.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _lane(self, hand: Hand, steps: Sequence[Step], started_s: float, say: Callable[[str], None]) -> None:
        try:
            for step in steps:
                time.sleep(max(0.0, started_s + step.at_s - time.monotonic()))
                if self.failures:
                    return
                if time.monotonic() - started_s > self.steps[-1].at_s + LATE_S:
                    self.skipped.append(step)  # its lane was held up; the run has its length
                    continue
                say(f"{time.monotonic() - started_s:7.1f} s  {step.lane}: {step.kind} {step.for_s or ''}")
                if not hand(step):
                    self.skipped.append(step)
        except BaseException as error:
            self.failures.append(error)
