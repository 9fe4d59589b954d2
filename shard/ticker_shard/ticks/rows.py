"""Rows of ticks as arrays: what decoding fills and everything behind it reads.

A row is the broker's full packet, 184 bytes, as 46 native-endian words; poorer packets fill the words they have and
leave the rest zero, and index packets, whose order differs on the wire, are put into the same places. So one
layout serves every kind, ``kind`` says which words mean something, and copying, selecting and "newest per
instrument" are each one array operation. Prices stay the broker's scaled integers (divide by the instrument's
divisor at the edge); price words are to be read as signed.

=====  =======================  =====  =====================
word   meaning                  word   meaning
=====  =======================  =====  =====================
0      instrument_token         8      high
1      last price               9      low
2      last traded quantity     10     close (previous)
3      average traded price     11     last trade time, s
4      volume                   12-14  oi, oi high, oi low
5      total buy quantity       15     exchange time, s
6      total sell quantity      16-45  depth, ten entries of
7      open                            (quantity, price, orders << 16)
=====  =======================  =====  =====================

Beside the words a row carries what was computed from it: implied volatility and Greeks of an option, or why there
are none (`PricingOutcome`). They are the only floats here. When an underlying moves, its options are priced again on
their old words; ``priced_ns`` then lies after ``received_ns``, and nobody mistakes the row for a trade.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint32]  # (n, WORDS)
Kinds: TypeAlias = NDArray[np.uint8]  # (n,)
Slots: TypeAlias = NDArray[np.int32]  # (n,)
Nanoseconds: TypeAlias = NDArray[np.int64]  # (n,)
Greeks: TypeAlias = NDArray[np.float64]  # (n, GREEKS), NaN where there is none
Outcomes: TypeAlias = NDArray[np.uint8]  # (n,) `PricingOutcome`

WORDS: Final = 46
DEPTH_ENTRIES: Final = 10  # five bids, best first, then five asks
UNKNOWN_SLOT: Final = -1
GREEKS: Final = 6


class Word(IntEnum):
    """Where a field stands in a row."""

    TOKEN = 0
    LAST_PRICE = 1
    LAST_TRADED_QUANTITY = 2
    AVERAGE_TRADED_PRICE = 3
    VOLUME_TRADED = 4
    TOTAL_BUY_QUANTITY = 5
    TOTAL_SELL_QUANTITY = 6
    OPEN = 7
    HIGH = 8
    LOW = 9
    CLOSE = 10
    LAST_TRADE_TIME = 11
    OI = 12
    OI_DAY_HIGH = 13
    OI_DAY_LOW = 14
    EXCHANGE_TIMESTAMP = 15
    DEPTH = 16


class PacketKind(IntEnum):
    """What a packet was, by its length on the wire."""

    LTP = 0  # 8 bytes
    INDEX_QUOTE = 1  # 28
    INDEX_FULL = 2  # 32
    QUOTE = 3  # 44
    FULL = 4  # 184


class Greek(IntEnum):
    """Where a computed value stands in `TickRows.greeks`."""

    IV = 0  # a year, as a fraction
    DELTA = 1
    GAMMA = 2
    THETA = 3  # a calendar day
    VEGA = 4  # a percentage point of volatility
    UNDERLYING_PRICE = 5  # rupees: what it was priced on


class PricingOutcome(IntEnum):
    """Whether a row was priced, or why not."""

    NOT_ASKED = 0  # not an option, or without Greeks by its subscription
    PRICED = 1
    NO_PRICE = 2  # its last price is zero or less
    NO_UNDERLYING = 3  # none is known, or its price is zero or less
    STALE_UNDERLYING = 4  # the underlying's last price is too old to price on
    EXPIRED = 5
    BELOW_INTRINSIC = 6  # no volatility gives so low a price
    ABOVE_BOUND = 7  # no volatility gives so high a price
    NOT_DETERMINED = 8  # the price resolves no volatility
    NO_CONTRACT = 9  # its strike or its expiry is unknown


@dataclass(frozen=True, slots=True)
class TickRows:
    """A block of `n` rows in arrival order.

    Attributes
    ----------
    words
        (n, 46), native byte order.
    kind
        (n,), `PacketKind`.
    slot
        (n,), the instrument's place in the `InstrumentTable`; `UNKNOWN_SLOT` where the table has none.
    received_ns
        (n,), wall clock nanoseconds at which the frame was handed over.
    greeks
        (n, 6), `Greek`; NaN where there is none.
    outcome
        (n,), `PricingOutcome`.
    priced_ns
        (n,), wall clock nanoseconds of the pricing; 0 where nothing was asked.
    """

    words: Words
    kind: Kinds
    slot: Slots
    received_ns: Nanoseconds
    greeks: Greeks
    outcome: Outcomes
    priced_ns: Nanoseconds

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_] | slice) -> TickRows:
        """The rows at `index` (positions or a mask), in that order; a copy unless a slice."""
        return TickRows(
            self.words[index],
            self.kind[index],
            self.slot[index],
            self.received_ns[index],
            self.greeks[index],
            self.outcome[index],
            self.priced_ns[index],
        )


def unpriced_rows(words: Words, kind: Kinds, slot: Slots, received_ns: Nanoseconds) -> TickRows:
    """Rows as they were decoded: nothing computed yet."""
    count = len(kind)
    return TickRows(
        words,
        kind,
        slot,
        received_ns,
        np.full((count, GREEKS), np.nan),
        np.full(count, PricingOutcome.NOT_ASKED, np.uint8),
        np.zeros(count, np.int64),
    )


def empty_rows() -> TickRows:
    """No rows."""
    return unpriced_rows(
        np.empty((0, WORDS), np.uint32), np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int64)
    )


def join_rows(blocks: list[TickRows]) -> TickRows:
    """All rows of `blocks`, in order."""
    if len(blocks) == 1:
        return blocks[0]
    if not blocks:
        return empty_rows()
    return TickRows(
        np.concatenate([block.words for block in blocks]),
        np.concatenate([block.kind for block in blocks]),
        np.concatenate([block.slot for block in blocks]),
        np.concatenate([block.received_ns for block in blocks]),
        np.concatenate([block.greeks for block in blocks]),
        np.concatenate([block.outcome for block in blocks]),
        np.concatenate([block.priced_ns for block in blocks]),
    )
