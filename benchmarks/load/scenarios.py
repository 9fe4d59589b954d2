"""The scenarios: what is offered, what is broken on purpose, and what must be true afterwards.

1. baseline: 1,000 instruments
2. scale: 5,000 and 9,000 instruments
3. burst: 10,000 ticks/s, and ten times Kite's maximum with its maximum before and after
4. sustained: the maximum, ten times as long, with the slope of memory
5. storm at 5,000 instruments: sockets cut, Redis away, the process killed; each alone, then all at once

Every instrument ticks four times a second unless said otherwise; Greeks are on; frames have `PACKETS` packets.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from benchmarks.lines import Line, Setting, setting, shard_line
from benchmarks.load.report import Measured, at_most_rule, honest_rules, steady_rules, whole_rules
from benchmarks.measured import Paced
from benchmarks.results import slope
from benchmarks.stage import CpuMeter, Sampler, memory_mib, running
from ticker_crds import Encoding

PACKETS: Final = 100
PER_INSTRUMENT: Final = 4
KITE_MAXIMUM: Final = 36_000
OVERLOAD: Final = 10 * KITE_MAXIMUM
OVERLOAD_S: Final = 5.0
RECOVERY_S_MAX: Final = 2.0
CALM_MS: Final = 100.0
WINDOW_S: Final = 0.5  # 180 frames at Kite's maximum
MEMORY_MIB_MAX: Final = 260.0
SLOPE_MAX: Final = 1.0  # percent an hour
SLOPE_MEASURED_S: Final = 300.0  # below, an hour's slope is guesswork and is not judged
FAULT_S: Final = 5.0  # from the start of a part to its fault
HEALING_S: Final = 20.0
REDIS_AWAY_S: Final = 3.0
REPAIR_S_MAX: Final = {"cut": 5.0, "redis": 5.0, "killed": 10.0, "storm": 15.0}


@dataclass(frozen=True)
class Plan:
    """How long, and in which encoding."""

    seconds: float
    encoding: Encoding


def scenarios(plan: Plan) -> Iterator[tuple[str, Callable[[], list[Measured]]]]:
    """Name and what runs it, in order."""
    yield "baseline", lambda: [steady(plan, "baseline", instruments=1_000)]
    yield "scale", lambda: [steady(plan, "scale", instruments=size) for size in (5_000, 9_000)]
    yield "burst", lambda: [burst(plan), overload(plan)]
    yield "sustained", lambda: [sustained(plan)]
    yield "storm", lambda: storm(plan)


@dataclass
class Scene:
    """A shard, and what else a scenario may break."""

    shared: Setting
    line: Line
    stack: ExitStack = field(repr=False)

    @property
    def redis_pid(self) -> int:
        """Of the server as it runs now."""
        assert self.shared.server.process is not None
        return self.shared.server.process.pid

    def restart_shard(self) -> None:
        """Kill the process without warning and start it again on the same folder, as a kubelet does."""
        assert self.line.shard is not None
        self.line.shard.kill()
        folder = self.line.shard.folder
        again = self.stack.enter_context(
            running(folder, url=self.shared.broker.url, instruments=self.shared.instruments, name="again")
        )
        self.line.shard, self.line.pid = again, again.process.pid

    def restart_redis(self) -> None:
        """Kill Redis, with all it holds, and start an empty one after a while."""
        self.shared.server.stop()
        time.sleep(REDIS_AWAY_S)
        self.shared.server.start()


@contextmanager
def scene(plan: Plan, instruments: int) -> Iterator[Scene]:
    """Warm and quiet."""
    with ExitStack() as stack:
        shared = stack.enter_context(setting(instruments))
        line = stack.enter_context(shard_line(shared, "load", encoding=plan.encoding, frames=True))
        yield Scene(shared, line, stack)


def observed(scene: Scene, name: str, offered: str, run: Callable[[Callable[[], object]], Paced]) -> Measured:
    """Run with processor and memory watched; no rules yet."""
    meter, shares = CpuMeter([scene.line.pid, scene.redis_pid]), []
    with Sampler(lambda: memory_mib(scene.line.pid)) as sampler:
        paced = run(lambda: shares.extend(meter.shares()))
    memory = tuple((second, size) for second, size in sampler.seen if not math.isnan(size))
    return Measured(name, offered, paced, shares[0], shares[1], memory, ())


def steady(
    plan: Plan, name: str, *, instruments: int, rate: float | None = None, seconds: float | None = None
) -> Measured:
    """One rate, nothing broken."""
    rate, seconds = rate or instruments * PER_INSTRUMENT, seconds or plan.seconds
    with scene(plan, instruments) as stage:
        measured = observed(
            stage,
            f"{name}, {instruments:,} instruments",
            f"{rate:,.0f}/s for {seconds:.0f} s",
            lambda sent: stage.line.pace((rate, seconds), packets=PACKETS, when_sent=sent),
        )
    rules = (
        *steady_rules(measured.run),
        at_most_rule("resident memory", measured.peak_mib, MEMORY_MIB_MAX, "MiB"),
    )
    return replace(measured, rules=rules)


def burst(plan: Plan) -> Measured:
    """Ten thousand ticks a second."""
    return steady(plan, "burst", instruments=3_000, rate=10_000)


def overload(plan: Plan) -> Measured:
    """Kite's maximum, ten times as much for a while, and the maximum again."""
    calm_s = max(10.0, plan.seconds / 4)
    with scene(plan, 9_000) as stage:
        measured = observed(
            stage,
            "overload, 9,000 instruments",
            f"{KITE_MAXIMUM:,}/s, then {OVERLOAD:,}/s for {OVERLOAD_S:.0f} s, then {KITE_MAXIMUM:,}/s",
            lambda sent: stage.line.pace(
                (KITE_MAXIMUM, calm_s),
                (OVERLOAD, OVERLOAD_S),
                (KITE_MAXIMUM, calm_s),
                packets=PACKETS,
                when_sent=sent,
            ),
        )
    run = measured.run
    over_s = calm_s + OVERLOAD_S
    recovery_s = run.calm_after_s(fault_s=over_s, window_s=WINDOW_S, share=0.99, limit_us=CALM_MS * 1e3)
    afterwards_ms = run.late_us(0.99, since_s=over_s + RECOVERY_S_MAX) / 1e3
    rules = (
        *whole_rules(run),
        at_most_rule("resident memory", measured.peak_mib, MEMORY_MIB_MAX, "MiB"),
        at_most_rule(
            f"P99 of {WINDOW_S:g} s back below {CALM_MS:.0f} ms after the overload", recovery_s, RECOVERY_S_MAX, "s"
        ),
        at_most_rule(f"P99 of all that is due {RECOVERY_S_MAX:g} s after it or later", afterwards_ms, CALM_MS, "ms"),
    )
    return replace(measured, rules=rules)


def sustained(plan: Plan) -> Measured:
    """The maximum, ten times as long; memory must not grow."""
    measured = steady(plan, "sustained", instruments=9_000, seconds=10 * plan.seconds)
    half = measured.memory[len(measured.memory) // 2 :]
    seconds = half[-1][0] - half[0][0]
    if seconds < SLOPE_MEASURED_S / 2:
        return measured
    growth = slope(*zip(*half, strict=True)) * 3_600 / half[0][1] * 100
    return replace(measured, rules=(*measured.rules, at_most_rule("memory grows", growth, SLOPE_MAX, "%/h")))


def storm(plan: Plan) -> list[Measured]:
    """One fault after another on one shard, then all at once."""
    with scene(plan, 5_000) as stage:
        return [
            _broken(stage, "cut", "sockets cut", cuts_s=[FAULT_S]),
            _broken(stage, "redis", f"Redis away for {REDIS_AWAY_S:.0f} s", fault=stage.restart_redis),
            _broken(stage, "killed", "process killed and started again", fault=stage.restart_shard),
            _broken(stage, "storm", "all of that at once", cuts_s=[FAULT_S], fault=lambda: _everything(stage)),
        ]


def _everything(stage: Scene) -> None:
    stage.restart_shard()
    stage.restart_redis()


def _broken(
    stage: Scene, key: str, what: str, *, cuts_s: list[float] | None = None, fault: Callable[[], None] | None = None
) -> Measured:
    """A part of the storm: stream, break at `FAULT_S`, stream on; how long until all is well again."""
    rate = 5_000 * PER_INSTRUMENT
    timer = threading.Timer(FAULT_S, fault or (lambda: None))
    timer.start()
    measured = observed(
        stage,
        f"storm: {what}, 5,000 instruments",
        f"{rate:,}/s, broken after {FAULT_S:.0f} s",
        lambda sent: stage.line.pace(
            (rate, FAULT_S + HEALING_S), packets=PACKETS, cuts_s=cuts_s or [], when_sent=sent, accounted=False
        ),
    )
    timer.join()
    recovery_s = measured.run.recovery_s(fault_s=FAULT_S - 0.5, limit_us=CALM_MS * 1e3) - 0.5
    rules = (
        *honest_rules(measured.run),
        at_most_rule("all instruments flow again after", recovery_s, REPAIR_S_MAX[key], "s"),
    )
    return replace(measured, rules=rules)
