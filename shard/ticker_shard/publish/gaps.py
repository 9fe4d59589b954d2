"""Gap records: which instruments may have changed unseen, from when to when, and why.

A record travels with an ordinary fenced call: in the message's ``gaps`` for whoever listens, and into the channel's
gaps stream for whoever comes later. While Redis is away records are held, at most `GAPS_HELD_MAX` a channel; the
next one is merged into the last (their union: a hole is never reported smaller than it was).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.limits import GAP_SYMBOLS_MAX, GAPS_HELD_MAX


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


def gap_record(shard: str, symbols: Sequence[str], *, start_ns: int, end_ns: int, cause: str) -> GapRecord:
    """A record of all `symbols`; its list is bounded, its count is not. A clock that stepped back gives length zero."""
    return GapRecord(shard, len(symbols), tuple(symbols[:GAP_SYMBOLS_MAX]), start_ns, max(start_ns, end_ns), cause)


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
