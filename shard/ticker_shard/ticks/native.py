"""One native pass per frame: decode, find the slot, judge, keep; row by row, in the order of arrival.

The numpy path (`decode`, `validate`, `state`, joined by `processor`) says what is right; this says the same, bit for
bit, without an array per question. `tests/unit/test_ticks_native.py` holds the two together over random feeds. The
order is plain here: a row is judged after all earlier ones of its frame were kept, so there are no passes.

A frame has two phases. First all packets become rows with slots, and occurrences of each instrument are counted; until
then nothing but scratch has been written. More than `SAME_INSTRUMENT_MAX` of one instrument ends it there: the answer
is `TOO_CROWDED` and the reference takes the frame, for it is the oldest ones that are refused, which a walk cannot know
in time. (No feed ever sent such a frame; it is counted.) Then rows are judged and their marks (newest time, volume,
when refused) are kept at once. The rows themselves are kept at the end, or, where options are priced, by `keep_rows`
after pricing, so that the state never has a row without its Greeks.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.native_decode import DECODE_COUNTERS, ZERO_LENGTH_FIRST, Bytes, Counters, Integer, walk
from ticker_shard.ticks.rows import (
    DEPTH_ENTRIES,
    GREEKS,
    UNKNOWN_SLOT,
    WORDS,
    Greeks,
    Kinds,
    Nanoseconds,
    Outcomes,
    PacketKind,
    PricingOutcome,
    Slots,
    Word,
    Words,
)
from ticker_shard.ticks.validate import (
    AHEAD_S,
    DAY_S,
    IST_OFFSET_S,
    SAME_INSTRUMENT_MAX,
    SECOND_NS,
    STUCK_NS,
    YEAR_2000_S,
    RejectReason,
    RowFlag,
)

Facts: TypeAlias = NDArray[np.void]  # (capacity,) `validate.FACTS`
Marks: TypeAlias = NDArray[np.int64]  # (capacity,)
Lookup: TypeAlias = NDArray[np.int64]  # (2**k, 2): token or `_FREE`, slot
Scratch: TypeAlias = NDArray[np.int32]  # (capacity,), zero between two frames
Instruments: TypeAlias = tuple[Lookup, Facts, Scratch]
# Plain tuples, because numba takes twice as long to recognise named ones: the columns of `TickRows` and, by slot, the
# kept rows and the marks of `InstrumentState`.
RowColumns: TypeAlias = tuple[Words, Kinds, Slots, Nanoseconds, Greeks, Outcomes, Nanoseconds]
KeptColumns: TypeAlias = tuple[Words, Kinds, Nanoseconds, Greeks, Outcomes, Nanoseconds, NDArray[np.bool_]]
MarkColumns: TypeAlias = tuple[Marks, Marks, Marks]  # newest exchange time, volume, refused since
Moment: TypeAlias = tuple[int, int, int, bool]  # received_ns, midnight in India, tolerance in seconds, all checks

REASONS: Final = tuple(RejectReason)
FLAGS: Final = tuple(RowFlag)
FLAGS_AT: Final = DECODE_COUNTERS  # where the counts of flags begin
COUNTERS: Final = DECODE_COUNTERS + len(FLAGS)
__all__ = [
    "COUNTERS", "COUNT_BITS", "FLAGGED", "FLAGS_AT", "ODD_BYTES", "REJECTED", "REPEATED", "TOO_CROWDED",
    "ZERO_LENGTH_FIRST", "fill_lookup", "keep_rows", "take_frame",
]  # fmt: skip

# What the answer of `take_frame` holds beside the number of rows.
COUNT_BITS: Final = 16
ODD_BYTES: Final = 1 << 16  # some counter of decoding is not zero
REJECTED: Final = 1 << 17  # `verdict` is not zero everywhere
FLAGGED: Final = 1 << 18  # some counter of flags is not zero
REPEATED: Final = 1 << 19  # `turn` is not zero everywhere
TOO_CROWDED: Final = -1

# Verdicts: 0 = accepted, else 1 + the place in `REASONS`.
(
    _UNKNOWN_TOKEN, _TOO_MANY, _FUTURE, _OUT_OF_ORDER, _NO_TIMESTAMP, _BEFORE_2000, _NEGATIVE, _OUT_OF_BOUNDS,
    _ZERO_PRICE, _VOLUME_BACKWARDS,
) = range(1, len(REASONS) + 1)  # fmt: skip
assert (REASONS[0], REASONS[-1]) == (RejectReason.UNKNOWN_TOKEN, RejectReason.VOLUME_BACKWARDS)
(
    _FORM_MISMATCH, _POORER, _NOT_TRADED, _NOT_TODAY, _TIME_AHEAD, _TIME_WENT_BACK, _VOLUME_DECREASED, _DISORDERED,
    _CROSSED, _CLOSED,
) = range(FLAGS_AT, COUNTERS)  # fmt: skip
assert (FLAGS[0], FLAGS[-1]) == (RowFlag.FORM_MISMATCH, RowFlag.MARKET_CLOSED)

_LTP, _INDEX_QUOTE, _INDEX_FULL, _QUOTE, _FULL = (int(kind) for kind in PacketKind)
_LAST, _VOLUME, _OPEN, _CLOSE, _TIME, _DEPTH = (
    int(word)
    for word in (
        Word.LAST_PRICE, Word.VOLUME_TRADED, Word.OPEN, Word.CLOSE, Word.EXCHANGE_TIMESTAMP, Word.DEPTH,
    )
)  # fmt: skip
_SIDE: Final = DEPTH_ENTRIES // 2
_NOT_ASKED = np.uint8(PricingOutcome.NOT_ASKED)
_FREE: Final = -1
_NO_SLOT = np.int32(UNKNOWN_SLOT)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # spreads tokens, which differ in some middle bits, over the upper ones
_HASH_SHIFT = np.uint64(32)


@kernel
def fill_lookup(tokens: NDArray[np.uint32], slots: Slots, lookup: Lookup) -> None:
    """Index `tokens` by open addressing; `lookup` must be at most half full afterwards."""
    lookup[:, 0] = _FREE
    mask = len(lookup) - 1
    for number in range(len(tokens)):
        place = np.int64(np.uint64(tokens[number]) * _GOLDEN >> _HASH_SHIFT) & mask
        while lookup[place, 0] != _FREE:
            place = (place + 1) & mask
        lookup[place, 0] = tokens[number]
        lookup[place, 1] = slots[number]


@kernel
def _slot_of(token: Integer, lookup: Lookup) -> Integer:
    mask = len(lookup) - 1
    place = np.int64(np.uint64(token) * _GOLDEN >> _HASH_SHIFT) & mask
    while lookup[place, 0] != _FREE:
        if lookup[place, 0] == token:
            return np.int64(lookup[place, 1])
        place = (place + 1) & mask
    return np.int64(_NO_SLOT)


@kernel
def _signed(word: Integer) -> Integer:
    return np.int64(np.int32(word))


@kernel
def _day(time_s: Integer) -> Integer:
    return (time_s + IST_OFFSET_S) // DAY_S


@kernel
def _count_odd_book(words: Words, number: Integer, counters: Counters) -> Integer:
    """`validate.odd_books` of one full packet; how many flags were counted."""
    disordered = 0
    for side in range(2):
        first = _DEPTH + 3 * _SIDE * side
        for at in range(first + 3, first + 3 * _SIDE, 3):
            if words[number, at] > 0:
                before, price = _signed(words[number, at - 2]), _signed(words[number, at + 1])
                if words[number, at - 3] == 0 or (before <= price if side == 0 else before >= price):
                    disordered = 1
    bid, ask = _DEPTH, _DEPTH + 3 * _SIDE
    crossed = 0
    if words[number, bid] > 0 and words[number, ask] > 0:
        crossed = int(_signed(words[number, bid + 1]) >= _signed(words[number, ask + 1]))
    counters[_DISORDERED] += disordered
    counters[_CROSSED] += crossed
    return disordered + crossed


@kernel
def _refusal(
    words: Words,
    number: Integer,
    form: Integer,
    fact: np.void,
    moment: Moment,
    known_s: Integer,
    known_volume: Integer,
    refused_ns: Integer,
) -> Integer:
    """The first reason that applies, in the order of `RejectReason`; 0 = believed."""
    received_ns, today_s, tolerance_s, checked = moment
    full = form == _FULL
    timed, counted = full or form == _INDEX_FULL, full or form == _QUOTE
    time_s, volume, last = (
        np.int64(words[number, _TIME]),
        np.int64(words[number, _VOLUME]),
        _signed(words[number, _LAST]),
    )
    if timed:
        if time_s > received_ns // SECOND_NS + tolerance_s:
            return _FUTURE
        if 0 < time_s < known_s and not (refused_ns > 0 and received_ns - refused_ns >= STUCK_NS):
            return _OUT_OF_ORDER
        if time_s == 0 and known_s >= today_s:
            return _NO_TIMESTAMP
    if not checked:
        return 0
    if timed and 0 < time_s < YEAR_2000_S:
        return _BEFORE_2000
    if not fact["maybe_negative"]:
        for place in range(_OPEN, _CLOSE + 1):
            if _signed(words[number, place]) < 0:
                return _NEGATIVE
        if last < 0:
            return _NEGATIVE
    if abs(last) > fact["price_limit"]:
        return _OUT_OF_BOUNDS
    if last == 0 and counted and volume > 0 and not fact["maybe_negative"]:
        return _ZERO_PRICE
    if full and time_s > 0 and time_s == known_s and volume < known_volume:
        return _VOLUME_BACKWARDS
    return 0


@kernel
def _count_flags(
    words: Words,
    number: Integer,
    form: Integer,
    fact: np.void,
    moment: Moment,
    known_s: Integer,
    known_volume: Integer,
    counters: Counters,
) -> Integer:
    """Count what is odd about a believed row; how much that was."""
    received_ns, today_s, _, _ = moment
    full = form == _FULL
    timed = full or form == _INDEX_FULL
    time_s = np.int64(words[number, _TIME])
    richness = 2 if timed else (0 if form == _LTP else 1)
    found = 0
    if richness > 0 and (form in (_INDEX_FULL, _INDEX_QUOTE)) != fact["is_index"]:
        counters[_FORM_MISMATCH] += 1
        found += 1
    if richness < fact["wanted"]:
        counters[_POORER] += 1
        found += 1
    if words[number, _LAST] == 0 or (timed and time_s == 0):
        counters[_NOT_TRADED] += 1
        found += 1
    if fact["closed"]:
        counters[_CLOSED] += 1
        found += 1
    if time_s == 0:
        return found
    if time_s < today_s:
        counters[_NOT_TODAY] += 1
        found += 1
    if time_s > received_ns // SECOND_NS + AHEAD_S:
        counters[_TIME_AHEAD] += 1
        found += 1
    if time_s < known_s:
        counters[_TIME_WENT_BACK] += 1
        found += 1
    if full and time_s > known_s and words[number, _VOLUME] < known_volume and _day(time_s) == _day(known_s):
        counters[_VOLUME_DECREASED] += 1
        found += 1
    return found


@kernel
def _find_slots(count: Integer, words: Words, slots: Slots, turn: Kinds, lookup: Lookup, scratch: Scratch) -> Integer:
    """Fill in slots, and how often each came earlier in the frame; the most that one did."""
    most = np.int32(0)
    for number in range(count):
        slot = _slot_of(words[number, 0], lookup)
        slots[number] = slot
        turn[number] = 0
        if slot >= 0:
            earlier = scratch[slot]
            scratch[slot] = earlier + 1
            turn[number] = min(earlier, 255)
            most = max(most, earlier)
    for number in range(count):
        if slots[number] >= 0:
            scratch[slots[number]] = 0
    return most


@kernel
def _judge(
    count: Integer,
    rows: RowColumns,
    moment: Moment,
    facts: Facts,
    marks: MarkColumns,
    verdict: Kinds,
    counters: Counters,
) -> tuple[Integer, Integer]:
    """Judge the rows and keep the marks of those that are believed; how many are refused, how much is flagged."""
    words, kind, slots, received, greeks, outcome, priced = rows
    known_s, known_volume, refused_ns = marks
    refused = flagged = 0
    for number in range(count):
        received[number] = moment[0]
        for place in range(GREEKS):
            greeks[number, place] = np.nan
        outcome[number] = _NOT_ASKED
        priced[number] = 0
        slot = slots[number]
        if slot < 0:
            verdict[number] = _UNKNOWN_TOKEN
            refused += 1
            continue
        form, fact = kind[number], facts[slot]
        found = _refusal(words, number, form, fact, moment, known_s[slot], known_volume[slot], refused_ns[slot])
        verdict[number] = found
        if found:
            refused += 1
            if found == _OUT_OF_ORDER and refused_ns[slot] == 0:
                refused_ns[slot] = moment[0]
            continue
        flagged += _count_flags(words, number, form, fact, moment, known_s[slot], known_volume[slot], counters)
        if form == _FULL:
            flagged += _count_odd_book(words, number, counters)
        if words[number, _TIME] > 0:
            known_s[slot] = words[number, _TIME]
            refused_ns[slot] = 0
        if form in (_FULL, _QUOTE):
            known_volume[slot] = words[number, _VOLUME]
    return refused, flagged


@kernel
def _keep_row(number: Integer, rows: RowColumns, kept: KeptColumns) -> None:
    words, kind, slots, received, greeks, outcome, priced = rows
    kept_words, kept_kind, kept_received, kept_greeks, kept_outcome, kept_priced, has_row = kept
    slot = slots[number]
    for place in range(WORDS):
        kept_words[slot, place] = words[number, place]
    for place in range(GREEKS):
        kept_greeks[slot, place] = greeks[number, place]
    kept_kind[slot] = kind[number]
    kept_received[slot] = received[number]
    kept_outcome[slot] = outcome[number]
    kept_priced[slot] = priced[number]
    has_row[slot] = True


@kernel
def keep_rows(rows: RowColumns, kept: KeptColumns) -> None:
    """Keep rows whose marks `take_frame` has kept already, in order."""
    for number in range(len(rows[1])):
        _keep_row(number, rows, kept)


@kernel
def take_frame(
    frame: Bytes, declared: Integer, moment: Moment, keep: bool, instruments: Instruments, rows: RowColumns,
    verdict: Kinds, turn: Kinds, counters: Counters, marks: MarkColumns, kept: KeptColumns,
) -> Integer:  # fmt: skip
    """Take one frame; the number of rows in the lowest `COUNT_BITS` and what is to be looked at, or `TOO_CROWDED`.

    Parameters
    ----------
    frame, declared
        Its bytes, and the packet count in its head.
    moment
        When, and how strictly.
    keep
        Keep the believed rows at once, unpriced.
    instruments
        The table's tokens, what is known of its instruments, and room to count in.
    rows
        Room for as many rows as the frame can hold; refused ones are written too.
    verdict, turn
        For each row: 0 or 1 + the place in `REASONS`; how often its instrument came earlier in the frame.
    counters
        `COUNTERS`, of this frame afterwards.
    marks, kept
        The state.
    """
    lookup, facts, scratch = instruments
    for number in range(COUNTERS):
        counters[number] = 0
    count = walk(frame, declared, rows[0], rows[1], counters)
    most = _find_slots(count, rows[0], rows[2], turn, lookup, scratch)
    if most >= SAME_INSTRUMENT_MAX:
        return TOO_CROWDED
    refused, flagged = _judge(count, rows, moment, facts, marks, verdict, counters)
    if keep:
        for number in range(count):
            if verdict[number] == 0:
                _keep_row(number, rows, kept)
    answer = count
    for number in range(DECODE_COUNTERS):
        if counters[number]:
            answer |= ODD_BYTES
    if refused:
        answer |= REJECTED
    if flagged:
        answer |= FLAGGED
    if most:
        answer |= REPEATED
    return answer
