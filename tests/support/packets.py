"""Packets in words of the trade, frames of them, and a processor that takes them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.ticks import (
    InstrumentState,
    PacketKind,
    ProcessedFrame,
    RejectReason,
    RowFlag,
    TickProcessor,
    ValidationRules,
    build_instruments,
)

R, F = RejectReason, RowFlag
SECOND_NS = 1_000_000_000
OPENING = int(datetime(2026, 11, 23, 3, 45, tzinfo=UTC).timestamp())  # Monday 09:15 in India
WEEK = 7 * 86_400
YESTERDAY = OPENING - 3 * 86_400 + 22_500  # Friday 15:30
OPTION, SHARE, INDEX, CRUDE, CURRENCY = 1001 * 256 + 2, 2002 * 256 + 1, 1 * 256 + 9, 3003 * 256 + 7, 4004 * 256 + 3
STRANGER = 77 * 256 + 2
CHANNEL = Channel("ticker:x")


def a_table(modes: dict[int, Mode], *, revision: int = 1, names: dict[int, str] | None = None) -> AssignmentTable:
    names = names or {}
    rows = tuple(
        AssignedInstrument(token, "NSE", names.get(token, f"S{token}"), mode, (CHANNEL.name,))
        for token, mode in modes.items()
    )
    return AssignmentTable("acc1", revision, (CHANNEL,), rows)


ALL_FULL = dict.fromkeys((OPTION, SHARE, INDEX, CRUDE, CURRENCY), Mode.FULL)


def a_processor(modes: dict[int, Mode] | None = None, **rules: Any) -> TickProcessor:
    processor = TickProcessor(state=InstrumentState(), rules=ValidationRules(**rules))
    processor.configure(build_instruments(a_table(modes or ALL_FULL)))
    return processor


@dataclass(frozen=True)
class Row:
    """One packet in words of the trade."""

    token: int = OPTION
    kind: PacketKind = PacketKind.FULL
    last: int = 18_765
    at: int = OPENING
    volume: int = 1_000
    open: int = 15_000
    low: int = 14_210

    def packet(self) -> bytes:
        def price(value: int) -> int:
            return value & 0xFFFFFFFF

        match self.kind:
            case PacketKind.LTP:
                return struct.pack(">II", self.token, price(self.last))
            case PacketKind.INDEX_QUOTE | PacketKind.INDEX_FULL:
                words = (self.token, self.last, 19_880, self.low, self.open, 14_980, 0, self.at)
                count = 7 if self.kind is PacketKind.INDEX_QUOTE else 8
                return struct.pack(f">{count}I", *map(price, words[:count]))
            case _:
                words = (self.token, self.last, 75, 17_590, self.volume, 10, 20, self.open, 19_880, self.low, 14_980)
                if self.kind is PacketKind.QUOTE:
                    return struct.pack(">11I", *map(price, words))
                return struct.pack(">16I", *map(price, (*words, self.at, 5, 6, 4, self.at))) + bytes(120)


def frame_of(*rows: Row) -> bytes:
    bodies = [row.packet() for row in rows]
    return struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def process(processor: TickProcessor, *rows: Row, now: int = OPENING) -> ProcessedFrame:
    return processor.process(frame_of(*rows), received_ns=now * SECOND_NS)


def counts(result: ProcessedFrame) -> dict[RejectReason, int]:
    return {reason: len(slots) for reason, slots in result.rejected.items()}


KINDS = list(PacketKind)


rows_of_any_sort = st.builds(
    Row,
    token=st.sampled_from([*ALL_FULL, OPTION, OPTION, STRANGER]),
    kind=st.sampled_from([*KINDS, PacketKind.FULL, PacketKind.FULL, PacketKind.FULL]),
    last=st.sampled_from([18_765, 18_765, 18_770, 5, 0, -5, 2**31 - 1, -(2**31)]),
    at=st.sampled_from(
        [
            OPENING,
            OPENING,
            OPENING + 1,
            OPENING + 2,
            OPENING - 5,
            YESTERDAY,
            0,
            5,
            OPENING + 400,
            2**32 - 1,
            OPENING + WEEK + 9,
        ]
    ),
    volume=st.sampled_from([1_000, 1_001, 999, 0, 2**32 - 1]),
    open=st.sampled_from([15_000, 15_000, 15_000, -1]),
)
orderly_rows = st.builds(
    Row, token=st.sampled_from([OPTION, SHARE, CRUDE]), last=st.integers(1, 50_000),
    at=st.integers(OPENING, OPENING + 3), volume=st.integers(1_000, 1_010),
)  # fmt: skip
