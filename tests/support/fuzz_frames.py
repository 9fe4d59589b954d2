"""Coverage-guided bytes for the frame loop: ``python -m tests.support.fuzz_frames --seconds 600`` (``make fuzz``).

An input is a feed: frames, each behind one byte of pause and two of size. It is processed by both engines, options
priced and priced again as in a shard, and whatever raises, loses a packet, or is seen differently by the two ends the
run with the input that did it. Coverage is taken in the reference, which branches wherever the native engine does;
machine code itself cannot be instrumented.
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import atheris
import numpy as np

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode

MODULES = ("decode", "validate", "state", "processor", "engine", "greeks", "greeks_arrays", "underlying")
INSTRUMENTED = [f"ticker_shard.ticks.{name}" for name in MODULES]
with atheris.instrument_imports(include=INSTRUMENTED):
    from ticker_shard.ticks import processor as processors
    from ticker_shard.ticks.engine import Engine, load_market, load_pricer
    from ticker_shard.ticks.greeks import GreeksCalculator
    from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
    from ticker_shard.ticks.state import InstrumentState

if TYPE_CHECKING:
    from ticker_shard.ticks.processor import ProcessedFrame, TickProcessor
    from ticker_shard.ticks.rows import Slots, TickRows

START_S = 1_795_405_500  # Monday, 23 November 2026, 09:15 in India
SECOND_NS = 1_000_000_000
TOKENS = (1001 * 256 + 2, 2002 * 256 + 1, 1 * 256 + 9, 3003 * 256 + 7, 4004 * 256 + 3)
SPOT, FUTURE, CALL, PUT, WEEKLY = 256_265, 5001 * 256 + 2, 5002 * 256 + 2, 5003 * 256 + 2, 5004 * 256 + 2
RESTS_NS = SECOND_NS // 2


def a_table() -> InstrumentTable:
    """One instrument of each sort of segment, and a chain: spot, future, a pair, an option without a future."""
    plain = [AssignedInstrument(token, "NSE", f"S{token}", Mode.FULL, ("ticker:fuzz",)) for token in TOKENS]
    chain = [
        AssignedInstrument(
            token, "NFO", name, Mode.FULL, ("ticker:fuzz",),
            expiry=expiry, strike=strike, instrument_type=kind, underlying="x", underlying_token=SPOT, greeks=True,
        )
        for token, name, expiry, strike, kind in (
            (FUTURE, "XFUT", "2026-11-24", "0", "FUT"),
            (CALL, "X180CE", "2026-11-24", "180", "CE"),
            (PUT, "X180PE", "2026-11-24", "180", "PE"),
            (WEEKLY, "XW190CE", "2026-11-23", "190", "CE"),
        )
    ]  # fmt: skip
    spot = AssignedInstrument(SPOT, "NSE", "X", Mode.FULL, ("ticker:fuzz",), instrument_type="EQ", underlying="x")
    return build_instruments(AssignmentTable("fuzz", 1, (Channel("ticker:fuzz"),), (*plain, spot, *chain)))


def frames_in(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Pause in seconds (may be negative) and frame."""
    at = 0
    while at + 3 <= len(data):
        pause, size = struct.unpack_from(">bH", data, at)
        yield pause, data[at + 3 : at + 3 + size]
        at += 3 + size


@dataclass
class Subject:
    """A processor with what prices its options."""

    processor: TickProcessor
    greeks: GreeksCalculator

    @property
    def state(self) -> InstrumentState:
        return self.processor.state

    def process(self, frame: bytes, *, received_ns: int) -> ProcessedFrame:
        return self.processor.process(frame, received_ns=received_ns)

    def reprice(self, *, now_ns: int) -> Slots:
        return self.greeks.reprice(now_ns=now_ns)


def check(data: bytes, engines: Sequence[Subject]) -> None:
    """Feed all alike; balanced and equal, or an assertion."""
    now_s = START_S
    for pause, frame in frames_in(data):
        now_s += pause
        results = [engine.process(frame, received_ns=now_s * SECOND_NS) for engine in engines]
        for result in results:
            rejected = sum(map(len, result.rejected.values()))
            assert result.received == len(result.rows) + rejected, (result.received, len(result.rows), rejected)
        assert len({_seen(result) for result in results}) == 1, [_seen(result) for result in results]
        _priced_alike([result.rows for result in results])
        repriced = [sorted(engine.reprice(now_ns=now_s * SECOND_NS).tolist()) for engine in engines]
        assert repriced.count(repriced[0]) == len(repriced), repriced
    states = {tuple(column.tobytes() for column in one.state.marks) for one in engines}
    assert len(states) == 1, "the engines keep different marks"
    every = np.arange(TABLE.capacity, dtype=np.int32)
    newest = [one.state.newest(every) for one in engines]
    assert len({(rows.words.tobytes(), rows.slot.tobytes(), rows.received_ns.tobytes()) for rows in newest}) == 1
    _priced_alike(newest)


def _priced_alike(found: Sequence[TickRows]) -> None:
    """The same answer or reason; numbers as near as two libraries' logarithms allow."""
    first = found[0]
    for other in found[1:]:
        assert first.outcome.tolist() == other.outcome.tolist()
        assert first.priced_ns.tolist() == other.priced_ns.tolist()
        np.testing.assert_allclose(first.greeks, other.greeks, rtol=1e-9, atol=1e-12)


def _seen(result: ProcessedFrame) -> tuple[object, ...]:
    rejected = sorted((reason.value, tuple(slots.tolist())) for reason, slots in result.rejected.items())
    faults = sorted((fault.value, count) for fault, count in result.malformed.items())
    flags = sorted((flag.value, count) for flag, count in result.flagged.items())
    return result.rows.words.tobytes(), result.rows.slot.tobytes(), tuple(rejected), tuple(faults), tuple(flags)


TABLE = a_table()


def fresh_engines() -> list[Subject]:
    made = []
    for engine in (Engine.NATIVE, Engine.NUMPY):
        state = InstrumentState()
        pricer, market = load_pricer(engine), load_market(engine)
        greeks = GreeksCalculator(state=state, pricer=pricer, market=market, rest_ns=RESTS_NS)
        processor = processors.TickProcessor(state=state, greeks=greeks, engine=engine)
        processor.configure(TABLE)
        made.append(Subject(processor, greeks))
    return made


def one_input(data: bytes) -> None:
    check(data, fresh_engines())


def seeds() -> Iterator[bytes]:
    """Feeds to start from: every kind alone, a mix, and the mix repeated later."""
    packets = []
    lasts = dict.fromkeys(TOKENS, 18_765) | {SPOT: 18_700, FUTURE: 18_765, CALL: 900, PUT: 120, WEEKLY: 250}
    for token, last in lasts.items():
        words = [token, last, 75, 17_590, 1_000, 10, 20, 15_000, 19_880, 14_210, 14_980, START_S, 5, 6, 4, START_S]
        full = struct.pack(">16I", *words) + b"".join(
            struct.pack(">IIHH", 750, last - 1 - level if level < 5 else last + level - 5, 4, 0) for level in range(10)
        )
        index = struct.pack(">8I", token, last, 19_880, 14_210, 15_000, 14_980, 7, START_S)
        packets += [full, full[:44], full[:8], index, index[:28]]
    frames = [_frame([packet]) for packet in packets] + [_frame(packets)]
    for frame in frames:
        yield struct.pack(">bH", 1, len(frame)) + frame
    chain = _frame(packets[5 * len(TOKENS) :: 5])  # the full packets of the chain alone
    yield b"".join(struct.pack(">bH", pause, len(chain)) + chain for pause in (0, 1, 1, 20))
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
            "-rss_limit_mb=8192",  # the instrumentation keeps some 50 kB of each run; without it nothing grows
        ]
        atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
