"""Latency end to end: from a frame's scheduled send to the moment a subscriber has its last row.

Open loop: frames are due at fixed times whether or not anybody keeps up, and latency counts from the due time, so a
stall shows in every frame that waited behind it. The floor (`benchmarks.forward_only`) receives the same frames with
the same library and publishes twenty bytes a frame; it is measured in turns with the shard, and the ratio of a round is
what counts: what decoding, checking, pricing, fencing and writing the rows cost on top of two hops and two wake-ups.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Final

from benchmarks.lines import Line, floor_line, setting, shard_line
from benchmarks.measured import Paced
from benchmarks.results import Result, Rounds, at_most
from ticker_crds import Encoding

INSTRUMENTS: Final = 3_000
PACKETS: Final = 200
SECONDS_BY_RATE: Final = {9_000: 4.0, 27_000: 3.0, 90_000: 2.0}
SHARES: Final = {"p50": 0.50, "p99": 0.99}
GOAL: Final = at_most(2)
GATE: Final = at_most(3.5)


def results(*, quick: bool = False) -> list[Result]:
    """Each rate in turn; in each round the contenders one after the other, every other round backwards."""
    rounds = 1 if quick else 3
    with ExitStack() as stack:
        shared = stack.enter_context(setting(INSTRUMENTS))
        lines: dict[str, Line] = {
            encoding.value: stack.enter_context(shard_line(shared, encoding.value, encoding=encoding, frames=True))
            for encoding in Encoding
        }
        lines["floor"] = stack.enter_context(floor_line(shared))
        found = []
        for rate, seconds in SECONDS_BY_RATE.items():
            runs: dict[str, list[Paced]] = {name: [] for name in lines}
            for number in range(rounds):
                for name in sorted(lines, reverse=bool(number % 2)):
                    runs[name].append(lines[name].pace((rate, seconds), packets=PACKETS))
            found += [judged(encoding, rate, name, runs) for encoding in Encoding for name in SHARES]
        return found


def judged(encoding: Encoding, rate: int, share: str, runs: dict[str, list[Paced]]) -> Result:
    """One line of the table."""
    ours = runs[encoding.value]
    latencies = Rounds({name: [run.percentile_us(SHARES[share]) for run in paced] for name, paced in runs.items()})
    gated = encoding is Encoding.MSGPACK
    return Result(
        name=f"latency {share} at {rate:,} ticks/s, {encoding.value}, {PACKETS}-packet frames",
        value=latencies.median(encoding.value),
        unit="µs",
        peer=f"forward only: {latencies.median('floor'):,.0f}",
        ratio=latencies.ratio(encoding.value, "floor"),
        goal=GOAL if gated else None,
        gate=GATE if gated else None,
        holds=all(run.sound for run in ours),
    )
