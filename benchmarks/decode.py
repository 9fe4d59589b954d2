"""Whole-frame decode beside the official client's parser, on the same frames, interleaved in one run.

Frames of 50, 200 and 1,000 packets: full packets only, and a shuffled mix of 90 % full (184 bytes), 5 % quote (44) and
5 % index (32). Goals and gates are those of 200. Decoding alone is what the peer does too; with validation and state
is what nobody but us does, so that line has no goal. The peer makes a list of dicts, we make rows of columns; that
difference is the point, and nobody downstream of us asks for dicts.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from kiteconnect import KiteTicker

from benchmarks.results import SEED, Bound, Result, at_least, interleave, seconds_of
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.ticks import Engine, InstrumentState, TickProcessor, build_instruments, decode_frame
from ticker_shard.ticks.native_decode import decode_natively

SIZES: Final = (50, 200, 1_000)
JUDGED: Final = 200
GATES: Final = {"full": at_least(100), "mix": at_least(50)}
GOALS: Final = {
    ("full", Engine.NATIVE): at_least(190), ("full", Engine.NUMPY): at_least(190),
    ("mix", Engine.NATIVE): at_least(150), ("mix", Engine.NUMPY): at_least(70),
}  # fmt: skip
TIME_S: Final = 1_763_696_730  # 21 November 2025, 09:15:30 in India
PEER: Final = "kiteconnect KiteTicker._parse_binary"
ENGINES: Final = (Engine.NATIVE, Engine.NUMPY)


def results(*, quick: bool = False) -> list[Result]:
    """Decoding alone, which the peer does too, and with validation and state, which it does not."""
    found = []
    for packets in SIZES:
        for mix, frame in {"full": full_frame(packets), "mix": mixed_frame(packets)}.items():
            found += compared(mix, packets, frame, rounds=5 if quick else 21)
    return found


def compared(mix: str, packets: int, frame: bytes, *, rounds: int) -> list[Result]:
    """One frame by everybody."""
    parser = KiteTicker.__new__(KiteTicker)  # the parser needs no connection
    # About ten milliseconds each: on a busy machine a short turn slips between two interruptions, a long one does not.
    turn = partial(repeats_for, packets)
    contenders: dict[str, Callable[[], float]] = {
        "peer": seconds_of(partial(parser._parse_binary, frame), repeats=turn(600)),
        "decode native": seconds_of(partial(decode_natively, frame), repeats=turn(300_000)),
        "decode numpy": seconds_of(partial(decode_frame, frame), repeats=turn(60_000)),
    }
    assert np.array_equal(decode_natively(frame)[0], decode_frame(frame).words), "they decode alike"
    for engine in ENGINES:
        process = partial(processor_for(frame, engine).process, frame, received_ns=TIME_S * 1_000_000_000)
        first = process()
        assert len(first.rows) == packets, first
        assert set(first.flagged) <= ({"poorer_than_wanted"} if mix == "mix" else set()), first.flagged
        contenders[f"process {engine}"] = seconds_of(
            process, repeats=turn(60_000 if engine is Engine.NATIVE else 15_000)
        )
    took = interleave(contenders, rounds=rounds)
    peer = f"{PEER}: {packets / took.median('peer'):,.0f}"
    found = []
    for engine in ENGINES:
        goal: Bound | None = GOALS[mix, engine] if packets == JUDGED else None
        gate: Bound | None = GATES[mix] if packets == JUDGED else None
        found += [
            Result(
                name=f"decode {packets} packets, {mix}, {engine}",
                value=packets / took.median(f"decode {engine}"),
                unit="ticks/s",
                peer=peer,
                ratio=took.ratio("peer", f"decode {engine}"),
                goal=goal,
                gate=gate,
            ),
            Result(
                name=f"decode, validate and keep {packets} packets, {mix}, {engine}",
                value=packets / took.median(f"process {engine}"),
                unit="ticks/s",
                peer=f"{peer} (decodes only)",
                ratio=took.ratio("peer", f"process {engine}"),
            ),
        ]
    return found


def repeats_for(packets: int, rows: int) -> int:
    """How often a frame is to be taken for so many rows."""
    return max(1, rows // packets)


def full_frame(packets: int) -> bytes:
    return frame_of([full_packet(number * 256 + 2) for number in range(1, packets + 1)])


def mixed_frame(packets: int) -> bytes:
    chance = random.Random(SEED)
    bodies = []
    for number in range(1, packets + 1):
        match number % 20:
            case 0:
                bodies.append(full_packet(number * 256 + 1)[:44])
            case 1:
                bodies.append(index_packet(number * 256 + 9))
            case _:
                bodies.append(full_packet(number * 256 + 2))
    chance.shuffle(bodies)
    return frame_of(bodies)


def full_packet(token: int) -> bytes:
    head = (token, 18765, 75, 17590, 21_345_600, 1_876_425, 1_523_700, 15_000, 19_880, 14_210, 14_980)
    prices = [18_760 - level for level in range(5)] + [18_770 + level for level in range(5)]
    depth = b"".join(struct.pack(">IIHH", 750 + level, price, 4, 0) for level, price in enumerate(prices))
    return struct.pack(">16I", *head, TIME_S - 1, 8_765_400, 9_012_300, 8_123_400, TIME_S) + depth


def index_packet(token: int) -> bytes:
    return struct.pack(">8I", token, 2_619_215, 2_624_680, 2_608_430, 2_610_005, 2_606_815, 12_400, TIME_S)


def frame_of(bodies: list[bytes]) -> bytes:
    return struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def processor_for(frame: bytes, engine: Engine = Engine.AUTO) -> TickProcessor:
    tokens = decode_frame(frame).words[:, 0].tolist()
    rows = tuple(
        AssignedInstrument(token, "NFO", f"T{token}", Mode.FULL, ("ticker:bench:options",)) for token in tokens
    )
    processor = TickProcessor(state=InstrumentState(), engine=engine)
    processor.configure(build_instruments(AssignmentTable("bench", 1, (Channel("ticker:bench:options"),), rows)))
    return processor
