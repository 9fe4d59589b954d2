"""One chaos run at component level: two accounts, three pods, real Redis, one judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.chaos.drive import Driver
from tests.support.chaos.report import memory_of, summary_of
from tests.support.chaos.schedule import schedule
from tests.support.delivery.check import check, summary
from tests.support.delivery.measure import measure
from tests.support.delivery.world import delivery_world

ACCOUNTS = {"acc1": 2, "acc2": 1}  # the second one's process is never hurt: somebody lives long enough to be weighed
TICKS_PER_SECOND = 150


def chaos(folder: Path, *, seed: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a seed's schedule and judge it; the run's numbers, violations told by `say`."""
    steps = schedule(seed, seconds=seconds)
    with delivery_world(folder, accounts=ACCOUNTS, seed=seed, ticks_per_second=TICKS_PER_SECOND) as world:
        world.begin()
        say(f"bounds: {world.bounds}")
        driver = Driver(world, steps)
        driver.run(say=say)
        history = world.finish()
        memory = [found for pod in world.pods if (found := memory_of(pod.name, pod.memory)) is not None]
    violations = check(history, world.bounds)
    if violations:
        say(summary(violations, most=40))
        for fault in sorted(history.faults, key=lambda one: one.start_ns):
            start_s, end_s = ((at_ns - history.start_ns) / 1e9 for at_ns in (fault.start_ns, fault.end_ns))
            say(f"  {start_s:7.2f} to {end_s:7.2f} s  {fault.kind} {fault.shard or ''}")
        for violation in violations[:40]:
            say(f"  at {(violation.at_ns - history.start_ns) / 1e9:7.2f} s  {violation.promise}: {violation.text}")
    return summary_of(
        history,
        seed=seed,
        bounds=world.bounds,
        violations=violations,
        measured=measure(history, world.bounds),
        memory=memory,
        skipped=len(driver.skipped),
    )
