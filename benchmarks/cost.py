"""What a whole account costs while it streams: 9,000 instruments in full mode on three sockets, Greeks on.

Kite's maximum is 9,000 instruments × 4 a second = 36,000 ticks/s; 268,000 ticks/s was once claimed for this job.
Processor time is the kernel's (``/proc``), of the shard and of Redis, while frames of 200 packets come on schedule.
Memory is the shard's resident set after all of that. Its slope over half a minute is shown, not judged: to tell an
hour's growth takes the ten minutes that ``make load`` has.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.lines import Line, Setting, setting, shard_line
from benchmarks.measured import Paced
from benchmarks.results import Bound, Result, at_most, slope
from benchmarks.stage import CpuMeter, Sampler, memory_mib
from ticker_crds import Encoding
from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX

INSTRUMENTS: Final = SOCKETS_MAX * INSTRUMENTS_PER_SOCKET_MAX
PACKETS: Final = 200
MAXIMUM: Final = INSTRUMENTS * 4
CLAIMED: Final = 268_000
PRICED_MIN: Final = 0.9
SHARD_BOUNDS: Final[dict[Encoding, tuple[Bound, Bound]]] = {
    Encoding.MSGPACK: (at_most(12, "%"), at_most(25, "%")),
    Encoding.JSON: (at_most(20, "%"), at_most(40, "%")),
}
REDIS_BOUNDS: Final = (at_most(20, "%"), at_most(30, "%"))
CLAIMED_GOAL: Final = at_most(60, "%")
MEMORY_BOUNDS: Final = (at_most(200, "MiB"), at_most(260, "MiB"))


@dataclass(frozen=True)
class Cost:
    """A paced run, and what it took.

    Attributes
    ----------
    shard, redis
        Percent of a core.
    memory
        (seconds, MiB) each second.
    """

    run: Paced
    shard: float
    redis: float
    memory: tuple[tuple[float, float], ...]

    @property
    def sustained(self) -> bool:
        """The broker was never held up for long, everything is accounted for, and options were priced."""
        return self.run.sound and self.run.priced >= PRICED_MIN * self.run.delivered > 0

    @property
    def growth(self) -> float:
        """Percent an hour by which memory grew over the second half."""
        half = self.memory[len(self.memory) // 2 :]
        times, sizes = zip(*half, strict=True)
        return slope(times, sizes) * 3_600 / sizes[0] * 100


def results(*, quick: bool = False) -> list[Result]:
    """Both encodings at Kite's maximum; then msgpack at the claimed rate, and its memory afterwards."""
    short, long = (3.0, 5.0) if quick else (12.0, 60.0)
    found: list[Result] = []
    for encoding in (Encoding.JSON, Encoding.MSGPACK):
        with ExitStack() as stack:
            shared = stack.enter_context(setting(INSTRUMENTS))
            line = stack.enter_context(shard_line(shared, "cost", encoding=encoding, frames=True))
            found += at_the_maximum(encoding, streamed(line, shared, rate=MAXIMUM, seconds=short))
            if encoding is Encoding.MSGPACK:
                found.append(at_the_claim(streamed(line, shared, rate=CLAIMED, seconds=long), long))
                found += memory(line, streamed(line, shared, rate=MAXIMUM, seconds=long / 2))
    return found


def streamed(line: Line, shared: Setting, *, rate: float, seconds: float) -> Cost:
    """Stream at `rate`; what it cost until the last frame was sent."""
    process = shared.server.process
    assert process is not None
    meter = CpuMeter([line.pid, process.pid])
    shares: list[float] = []
    with Sampler(lambda: memory_mib(line.pid)) as sampler:
        run = line.pace((rate, seconds), packets=PACKETS, when_sent=lambda: shares.extend(meter.shares()))
    return Cost(run, *shares, memory=tuple(sampler.seen))


def at_the_maximum(encoding: Encoding, cost: Cost) -> list[Result]:
    """Processor at Kite's maximum."""
    where = f"at {MAXIMUM:,} ticks/s, {encoding.value}, {PACKETS}-packet frames"
    return [
        _share(f"processor of the shard {where}{_fate(cost)}", cost.shard, SHARD_BOUNDS[encoding], cost.sustained),
        _share(f"processor of Redis {where}", cost.redis, REDIS_BOUNDS, cost.sustained),
    ]


def at_the_claim(cost: Cost, seconds: float) -> Result:
    """The claimed rate: sustained or not, and at what cost."""
    return Result(
        name=f"processor of the shard at {CLAIMED:,} ticks/s for {seconds:.0f} s, msgpack{_fate(cost)}, "
        f"p99 {cost.run.percentile_us(0.99) / 1e3:,.1f} ms, Redis {cost.redis:.0f} %",
        value=cost.shard,
        unit="% of a core",
        goal=None if cost.run.conflated else CLAIMED_GOAL,  # the goal is that nothing has to be
        gate=at_most(100, "% of a core, sustained, books balanced"),
        holds=cost.sustained,
    )


def memory(line: Line, cost: Cost) -> list[Result]:
    """Resident memory with all of it, and whether it grows."""
    goal, gate = MEMORY_BOUNDS
    name = f"memory of the shard, {INSTRUMENTS:,} instruments in full mode"
    return [
        Result(name=f"{name}, streaming", value=cost.memory[-1][1], unit="MiB", goal=goal, gate=gate),
        Result(name=f"{name}, highest", value=memory_mib(line.pid, "VmHWM"), unit="MiB", goal=goal, gate=gate),
        Result(
            name=f"{name}, growth over {cost.memory[-1][0] / 2:.0f} s, extrapolated (judged by make load)",
            value=cost.growth,
            unit="%/h",
        ),
    ]


def _share(name: str, value: float, bounds: tuple[Bound, Bound], holds: bool) -> Result:
    goal, gate = bounds
    return Result(name=name, value=value, unit="% of a core", goal=goal, gate=gate, holds=holds)


def _fate(cost: Cost) -> str:
    run = cost.run
    return (
        f" (delivered {run.delivered / run.sent:.1%}, conflated {run.conflated / run.sent:.1%}, {run.priced:,} priced)"
    )
