"""Gap records: which instruments may have changed unseen, from when to when, and why.

A record travels with an ordinary fenced call: in the message's ``gaps`` for whoever listens, and into the channel's
gaps stream for whoever comes later. While Redis is away records are held, at most `GAPS_HELD_MAX` a channel; the
next one is merged into the last (their union: a hole is never reported smaller than it was).

A *hole* is a gap that has no end yet. What a holder knows to be missing (open holes, and records that Redis has not
accepted) stands in its fence record, so that whoever takes the channel over can declare it: a process that
gives way because its feed is lost cannot, for it will not publish the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.limits import GAP_SYMBOLS_MAX, GAPS_HELD_MAX
from ticker_shard.ticks.rows import Slots


@dataclass(frozen=True, slots=True)
class GapRecord:
    """One hole in one channel; times are wall clock nanoseconds."""

    shard: str
    instruments: int
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int
    cause: str

    def __post_init__(self) -> None:
        assert len(self.symbols) <= min(self.instruments, GAP_SYMBOLS_MAX), self
        assert self.start_ns <= self.end_ns, self

    def encode(self) -> bytes:
        """As it is published and stored."""
        record: dict[str, Any] = {
            "shard": self.shard,
            "instruments": self.instruments,
            "symbols": self.symbols,
            "start": iso_utc(self.start_ns),
            "end": iso_utc(self.end_ns),
            "cause": self.cause,
        }
        return orjson.dumps(record)


@dataclass(frozen=True, slots=True)
class Hole:
    """Instruments that the feed does not deliver since `start_ns` (wall clock); it is not over."""

    slots: Slots
    start_ns: int
    cause: str


def gap_record(shard: str, symbols: Sequence[str], *, start_ns: int, end_ns: int, cause: str) -> GapRecord:
    """A record of all `symbols`; its list is bounded, its count is not. A clock that stepped back gives length zero."""
    return GapRecord(shard, len(symbols), tuple(symbols[:GAP_SYMBOLS_MAX]), start_ns, max(start_ns, end_ns), cause)


def encode_holes(open_holes: Sequence[GapRecord], held: Sequence[GapRecord]) -> bytes:
    """What is missing, as the fence record keeps it; the end of an open hole is not known."""
    return orjson.dumps(
        [
            [record.instruments, record.symbols, record.start_ns, end_ns, record.cause]
            for record, end_ns in (
                *((record, None) for record in open_holes),
                *((record, record.end_ns) for record in held),
            )
        ]
    )


NO_HOLES: Final = encode_holes((), ())


def close_holes(text: bytes, *, shard: str, end_ns: int) -> list[GapRecord]:
    """The gaps that a predecessor's holes make, those that were open ending now."""
    try:
        return [
            GapRecord(shard, instruments, tuple(symbols), start_ns, max(start_ns, end or end_ns), cause)
            for instruments, symbols, start_ns, end, cause in orjson.loads(text or b"[]")
        ]
    except (ValueError, TypeError, AssertionError):  # not written by a holder: it says nothing
        return []


def hold_gap(held: list[GapRecord], record: GapRecord) -> None:
    """Add `record` to those that wait."""
    if len(held) < GAPS_HELD_MAX:
        held.append(record)
        return
    last = held[-1]
    causes = last.cause if record.cause in last.cause.split("+") else f"{last.cause}+{record.cause}"
    symbols = tuple(dict.fromkeys((*last.symbols, *record.symbols)))[:GAP_SYMBOLS_MAX]
    held[-1] = replace(
        last,
        instruments=max(last.instruments, record.instruments, len(symbols)),
        symbols=symbols,
        start_ns=min(last.start_ns, record.start_ns),
        end_ns=max(last.end_ns, record.end_ns),
        cause=causes,
    )
