"""The burst after a (re)subscribe: 3,000 full packets in one frame, until the subscriber has the last of them.

It is the one moment of a day on which everything comes at once, and everybody waits for it: after a start, a reconnect,
a fail-over. Beside the careful assembly, in turns.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.lines import Line, careful_line, setting, shard_line
from benchmarks.results import Result, at_least, interleave
from ticker_crds import Encoding

INSTRUMENTS: Final = 3_000
WAIT_S: Final = 20.0


def results(*, quick: bool = False) -> list[Result]:
    """Each contender in turn; the figure is the time until the last of the rows is there."""
    with ExitStack() as stack:
        shared = stack.enter_context(setting(INSTRUMENTS))
        lines: dict[str, Line] = {
            encoding.value: stack.enter_context(shard_line(shared, encoding.value, encoding=encoding, frames=True))
            for encoding in Encoding
        }
        lines["careful"] = stack.enter_context(careful_line(shared, frames=True))
        contenders = {name: partial(until_the_last_ms, line) for name, line in lines.items()}
        interleave(contenders, rounds=2)  # the first ones find cold caches on all sides
        rounds = interleave(contenders, rounds=5 if quick else 15)
    return [
        Result(
            name=f"burst of {INSTRUMENTS:,} full packets until the last is delivered, {encoding.value}",
            value=rounds.median(encoding.value),
            unit="ms",
            peer=f"careful assembly: {rounds.median('careful'):,.0f}",
            ratio=rounds.ratio("careful", encoding.value),
            goal=at_least(15) if encoding is Encoding.MSGPACK else None,
            gate=at_least(8) if encoding is Encoding.MSGPACK else None,
        )
        for encoding in Encoding
    ]


def until_the_last_ms(line: Line) -> float:
    """Milliseconds from the first byte sent to the last row received."""
    line.drain.frames()
    sent = line.broker.tell("burst", line.key)
    deadline = time.monotonic() + WAIT_S
    rows, last_ns = 0, 0
    while rows < INSTRUMENTS:
        time.sleep(0.1)  # the subscriber notes the times itself; asking it would disturb
        got, _, last_ns = line.drain.frames().get(sent["first"], (0, 0, last_ns))
        rows += got
        assert time.monotonic() < deadline, f"{line.key}: {rows:,} of {INSTRUMENTS:,} rows after {WAIT_S:.0f} s"
    return (last_ns - sent["started_ns"]) / 1e6
