"""Whole-frame decode beside the official client's parser, on the same frames, interleaved in one run.

Two frames of 200 packets: full packets only, and a shuffled mix of 90 % full (184 bytes), 5 % quote (44) and 5 % index
(32). The peer makes a list of dicts, we make rows of columns; that difference is the point, and nobody downstream of
us asks for dicts.
"""

from __future__ import annotations

import random
import struct
from functools import partial
from typing import Final

from kiteconnect import KiteTicker

from benchmarks.results import SEED, Result, at_least, interleave, seconds_of
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.ticks import InstrumentState, TickProcessor, build_instruments, decode_frame

PACKETS: Final = 200
BOUNDS: Final = {"full": (at_least(190), at_least(100)), "mix": (at_least(150), at_least(50))}
TIME_S: Final = 1_763_696_730  # 21 November 2025, 09:15:30 in India
PEER: Final = "kiteconnect KiteTicker._parse_binary"


def results(*, quick: bool = False) -> list[Result]:
    """Decoding alone, which the peer does too, and with validation and state, which it does not."""
    parser = KiteTicker.__new__(KiteTicker)  # the parser needs no connection
    found = []
    for name, frame in {"full": full_frame(), "mix": mixed_frame()}.items():
        processor = processor_for(frame)
        rounds = interleave(
            {
                "decode": seconds_of(partial(decode_frame, frame), repeats=50),
                "peer": seconds_of(partial(parser._parse_binary, frame), repeats=2),
                "process": seconds_of(
                    partial(processor.process, frame, received_ns=TIME_S * 1_000_000_000), repeats=20
                ),
            },
            rounds=7 if quick else 31,
        )
        peer = f"{PEER}: {PACKETS / rounds.median('peer'):,.0f}"
        goal, gate = BOUNDS[name]
        found += [
            Result(
                name=f"decode {PACKETS} packets, {name}",
                value=PACKETS / rounds.median("decode"),
                unit="ticks/s",
                peer=peer,
                ratio=rounds.ratio("peer", "decode"),
                goal=goal,
                gate=gate,
            ),
            Result(
                name=f"decode, validate and keep {PACKETS} packets, {name}",
                value=PACKETS / rounds.median("process"),
                unit="ticks/s",
                peer=f"{peer} (decodes only)",
                ratio=rounds.ratio("peer", "process"),
            ),
        ]
    return found


def full_frame() -> bytes:
    return frame_of([full_packet(number * 256 + 2) for number in range(1, PACKETS + 1)])


def mixed_frame() -> bytes:
    chance = random.Random(SEED)
    bodies = []
    for number in range(1, PACKETS + 1):
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
    depth = b"".join(struct.pack(">IIHH", 750 + level, 18_760 - level, 4, 0) for level in range(10))
    return struct.pack(">16I", *head, TIME_S - 1, 8_765_400, 9_012_300, 8_123_400, TIME_S) + depth


def index_packet(token: int) -> bytes:
    return struct.pack(">8I", token, 2_619_215, 2_624_680, 2_608_430, 2_610_005, 2_606_815, 12_400, TIME_S)


def frame_of(bodies: list[bytes]) -> bytes:
    return struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def processor_for(frame: bytes) -> TickProcessor:
    tokens = decode_frame(frame).words[:, 0].tolist()
    rows = tuple(
        AssignedInstrument(token, "NFO", f"T{token}", Mode.FULL, ("ticker:bench:options",)) for token in tokens
    )
    processor = TickProcessor(state=InstrumentState())
    processor.configure(build_instruments(AssignmentTable("bench", 1, (Channel("ticker:bench:options"),), rows)))
    return processor
