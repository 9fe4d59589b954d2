"""Coverage-guided bytes for the frame loop: ``python -m tests.support.fuzz_frames --seconds 600`` (``make fuzz``).

An input is a feed: frames, each behind one byte of pause and two of size. It is processed by both engines, and whatever
raises, loses a packet, or is seen differently by the two ends the run with the input that did it. Coverage is taken
in the reference, which branches wherever the native engine does; machine code itself cannot be instrumented.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode

INSTRUMENTED = [f"ticker_shard.ticks.{name}" for name in ("decode", "validate", "state", "processor", "engine")]
with atheris.instrument_imports(include=INSTRUMENTED):
    from ticker_shard.ticks import processor as processors
    from ticker_shard.ticks.engine import Engine
    from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
    from ticker_shard.ticks.state import InstrumentState

if TYPE_CHECKING:
    from ticker_shard.ticks.processor import ProcessedFrame, TickProcessor

START_S = 1_795_405_500  # Monday, 23 November 2026, 09:15 in India
SECOND_NS = 1_000_000_000
TOKENS = (1001 * 256 + 2, 2002 * 256 + 1, 1 * 256 + 9, 3003 * 256 + 7, 4004 * 256 + 3)


def a_table() -> InstrumentTable:
    rows = tuple(AssignedInstrument(token, "NSE", f"S{token}", Mode.FULL, ("ticker:fuzz",)) for token in TOKENS)
    return build_instruments(AssignmentTable("fuzz", 1, (Channel("ticker:fuzz"),), rows))


def frames_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Pause in seconds (may be negative) and frame."""
    at = 0
    while at + 3 <= len(data):
        pause, size = struct.unpack_from(">bH", data, at)
        yield pause, data[at + 3 : at + 3 + size]
        at += 3 + size


def check(data: bytes, engines: Sequence[TickProcessor]) -> None:
    """Feed all alike; balanced and equal, or an assertion."""
    now_s = START_S
    for pause, frame in frames_in(data):
        now_s += pause
        results = [engine.process(frame, received_ns=now_s * SECOND_NS) for engine in engines]
        for result in results:
            rejected = sum(map(len, result.rejected.values()))
            assert result.received == len(result.rows) + rejected, (result.received, len(result.rows), rejected)
        assert len({_seen(result) for result in results}) == 1, [_seen(result) for result in results]
    states = {tuple(column.tobytes() for column in (*one.state.marks, *one.state.kept)) for one in engines}
    assert len(states) == 1, "the engines keep different states"


def _seen(result: ProcessedFrame) -> tuple[object, ...]:
    rejected = sorted((reason.value, tuple(slots.tolist())) for reason, slots in result.rejected.items())
    faults = sorted((fault.value, count) for fault, count in result.malformed.items())
    flags = sorted((flag.value, count) for flag, count in result.flagged.items())
    return result.rows.words.tobytes(), result.rows.slot.tobytes(), tuple(rejected), tuple(faults), tuple(flags)


TABLE = a_table()


def fresh_engines() -> list[TickProcessor]:
    made = []
    for engine in (Engine.NATIVE, Engine.NUMPY):
        one = processors.TickProcessor(state=InstrumentState(), engine=engine)
        one.configure(TABLE)
        made.append(one)
    return made


def one_input(data: bytes) -> None:
    check(data, fresh_engines())


def seeds() -> Iterator[bytes]:
    """Feeds to start from: every kind alone, a mix, and the mix repeated later."""
    packets = []
    for token in TOKENS:
        words = [token, 18_765, 75, 17_590, 1_000, 10, 20, 15_000, 19_880, 14_210, 14_980, START_S, 5, 6, 4, START_S]
        full = struct.pack(">16I", *words) + b"".join(
            struct.pack(">IIHH", 750, 18_760 - level if level < 5 else 18_760 + level, 4, 0) for level in range(10)
        )
        index = struct.pack(">8I", token, 18_765, 19_880, 14_210, 15_000, 14_980, 7, START_S)
        packets += [full, full[:44], full[:8], index, index[:28]]
    frames = [_frame([packet]) for packet in packets] + [_frame(packets)]
    for frame in frames:
        yield struct.pack(">bH", 1, len(frame)) + frame
    yield b"".join(struct.pack(">bH", pause, len(frames[-1])) + frames[-1] for pause in (0, 1, -3, 12))


def _frame(packets: list[bytes]) -> bytes:
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the frame loop of both engines.")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds()):
            (Path(folder) / str(number)).write_bytes(data)
        limits = [
            f"-max_total_time={options.seconds}",
            f"-seed={options.seed}",
            "-max_len=4096",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
