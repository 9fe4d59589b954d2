"""One chaos run: at component level two accounts, three pods, real Redis; at every level the same judge and report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.chaos.drive import Driver
from tests.support.chaos.hands import hands_on_processes
from tests.support.chaos.report import Samples, memory_of, summary_of
from tests.support.chaos.schedule import schedule
from tests.support.delivery.check import Judgement, judge, summary
from tests.support.delivery.history import SECOND_NS, Bounds, History, Property, Violation
from tests.support.delivery.measure import measure
from tests.support.delivery.world import delivery_world

ACCOUNTS = {"acc1": 2, "acc2": 1}  # the second one's process is never hurt: somebody lives long enough to be weighed
TICKS_PER_SECOND = 150
MOST = 15  # violations of one promise that are shown
AROUND_NS = 2 * SECOND_NS


def chaos(folder: Path, *, seed: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a seed's schedule and judge it; the run's numbers, violations told by `say`."""
    steps = schedule(seed, seconds=seconds)
    with delivery_world(folder, accounts=ACCOUNTS, seed=seed, ticks_per_second=TICKS_PER_SECOND) as world:
        world.begin()
        say(f"bounds: {world.bounds}")
        driver = Driver(hands_on_processes(world), steps)
        driver.run(say=say)
        history = world.finish()
        memory = {pod.name: pod.memory for pod in world.pods}
    return judged(history, world.bounds, seed=seed, memory=memory, skipped=len(driver.skipped), say=say)


def judged(
    history: History,
    bounds: Bounds,
    *,
    seed: int,
    memory: Mapping[str, Samples],
    skipped: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """The judge's word on a run, told by `say`, and its numbers."""
    judgement = judge(history, bounds)
    if judgement.violations or judgement.excused:
        _tell(history, judgement, say)
    return summary_of(
        history,
        seed=seed,
        bounds=bounds,
        judged=judgement,
        measured=[one for one in measure(history, bounds) if one.fault.start_ns >= history.start_ns],
        memory=[found for pod, samples in memory.items() if (found := memory_of(pod, samples)) is not None],
        skipped=skipped,
    )


def _tell(history: History, judgement: Judgement, say: Callable[[str], None]) -> None:
    say(summary(judgement.violations, most=0) + f"\n{judgement.outcome}; only excused: {len(judgement.excused)}")
    for fault in sorted(history.faults, key=lambda one: one.start_ns):
        start_s, end_s = ((at_ns - history.start_ns) / 1e9 for at_ns in (fault.start_ns, fault.end_ns))
        say(f"  {start_s:7.2f} to {end_s:7.2f} s  {fault.kind} {fault.shard or ''}")
    for violation in [*some_of_each(judgement.violations), *some_of_each(judgement.excused)]:
        share = waiting_share(history, violation.at_ns)
        say(
            f"  at {(violation.at_ns - history.start_ns) / 1e9:7.2f} s  {violation.promise}: {violation.text}"
            f" (waited for a CPU: {share:.0%})"
        )


def some_of_each(violations: Sequence[Violation]) -> list[Violation]:
    """The first of each promise, in order of time: one fault may break one promise thirty times."""
    return [
        one
        for promise in Property
        for one in [violation for violation in violations if violation.promise is promise][:MOST]
    ]


def waiting_share(history: History, at_ns: int) -> float:
    """How much of the seconds around a moment the processes of the path waited for a CPU, together."""
    near = [one for one in history.starved if one.start_ns < at_ns + AROUND_NS and at_ns - AROUND_NS < one.end_ns]
    return sum(one.waited_ns for one in near) / max(1, sum(one.end_ns - one.start_ns for one in near))
