"""JSON rows by native code: from scaled integers, in one pass and without an object a row.

`encode_json.JsonRows` says what is to be written and stays the reference; tests compare. The kernel writes into one
array that lives as long as the writer (a call has a bounded number of rows): the rows, then what Redis is told of them.
It is compiled for exactly the arrays that `TickRows` and `SymbolBook` have: contiguous ones. The rows of a frame share
their times, so a second is turned into text when it is another one than in the row before.

Decimals of computed values in JSON: ten for iv and delta, twelve for gamma, eight for theta, vega, change and the
underlying's price. Prices of the wire are exact.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_client.packed import OUTCOMES
from ticker_shard.publish.encode_json import Written
from ticker_shard.publish.native_text import (
    ARRAY_BYTES,
    Bytes,
    Int,
    Second,
    literal,
    put,
    put_array,
    put_change,
    put_fixed,
    put_moment,
    put_price,
    put_size,
    put_slice,
    put_time,
    put_unsigned,
    second_text,
)
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.rows import DEPTH_ENTRIES, PacketKind, PricingOutcome, TickRows, Word

ROW_BYTES_MAX: Final = 2_048  # of a JSON row without its symbol, and its size; a test writes the widest
LITERAL_BYTES: Final = 32

_LAST, _CLOSE, _DEPTH = int(Word.LAST_PRICE), int(Word.CLOSE), int(Word.DEPTH)
_NOT_ASKED, _PRICED = int(PricingOutcome.NOT_ASKED), int(PricingOutcome.PRICED)
_NOTHING, _UNSIGNED, _PRICE, _ORDERS, _TIME, _SYMBOL, _CHANGE = range(7)  # what follows a literal

_Step = tuple[str, int, int]  # a literal; what follows; of which word


def _steps_of(kind: PacketKind) -> list[_Step]:
    """How a row of this kind is written, up to what is computed."""
    steps: list[_Step] = [
        ('{"instrument_token":', _UNSIGNED, Word.TOKEN),
        (',"symbol":', _SYMBOL, 0),
        (',"last_price":', _PRICE, Word.LAST_PRICE),
    ]
    if kind >= PacketKind.QUOTE:
        steps += [
            (',"last_traded_quantity":', _UNSIGNED, Word.LAST_TRADED_QUANTITY),
            (',"average_traded_price":', _PRICE, Word.AVERAGE_TRADED_PRICE),
            (',"volume_traded":', _UNSIGNED, Word.VOLUME_TRADED),
            (',"total_buy_quantity":', _UNSIGNED, Word.TOTAL_BUY_QUANTITY),
            (',"total_sell_quantity":', _UNSIGNED, Word.TOTAL_SELL_QUANTITY),
        ]
    if kind != PacketKind.LTP:
        steps += [
            (',"ohlc":{"open":', _PRICE, Word.OPEN),
            (',"high":', _PRICE, Word.HIGH),
            (',"low":', _PRICE, Word.LOW),
            (',"close":', _PRICE, Word.CLOSE),
            ('},"change":', _CHANGE, 0),
        ]
    if kind == PacketKind.FULL:
        steps += [
            (',"last_trade_time":', _TIME, Word.LAST_TRADE_TIME),
            (',"oi":', _UNSIGNED, Word.OI),
            (',"oi_day_high":', _UNSIGNED, Word.OI_DAY_HIGH),
            (',"oi_day_low":', _UNSIGNED, Word.OI_DAY_LOW),
        ]
    if kind in (PacketKind.INDEX_FULL, PacketKind.FULL):
        steps.append((',"exchange_timestamp":', _TIME, Word.EXCHANGE_TIMESTAMP))
    if kind == PacketKind.FULL:
        for entry in range(DEPTH_ENTRIES):
            opening = {0: ',"depth":{"buy":[', DEPTH_ENTRIES // 2: '}],"sell":['}.get(entry, "},")
            word = _DEPTH + 3 * entry
            steps.append((opening + '{"quantity":', _UNSIGNED, word))
            steps += [(',"price":', _PRICE, word + 1), (',"orders":', _ORDERS, word + 2)]
        steps.append(("}]}", _NOTHING, 0))
    return steps


_STEPS: Final = [_steps_of(kind) for kind in PacketKind]
_ALL: Final = [step for steps in _STEPS for step in steps]
_STEP_AT: Final = np.cumsum([0, *map(len, _STEPS)])  # by kind: its first step, and the one behind its last
# Literals have one length in memory, so that copying one is two instructions; what is too much is written over.
_LITERALS: Final = np.array([list(step[0].ljust(LITERAL_BYTES).encode()) for step in _ALL], np.uint8)
_LENGTHS: Final = np.array([len(step[0]) for step in _ALL])
_WHATS: Final = np.array([step[1] for step in _ALL])
_WORDS: Final = np.array([step[2] for step in _ALL])

_GREEK_NAMES: Final = [literal(f',"{name}":') for name in ("iv", "delta", "gamma", "theta", "vega")]
_GREEKS, _GREEK_AT = np.concatenate(_GREEK_NAMES), np.cumsum([0, *map(len, _GREEK_NAMES)])
_GREEK_DIGITS: Final = np.array([10, 10, 12, 8, 8])
_UNDERLYING_DIGITS: Final = 8
_UNDERLYING, _PRICED_AT, _NO_GREEKS = (
    literal(',"underlying_price":'),
    literal(',"priced_at":'),
    literal(',"no_greeks":"'),
)
_REASONS, _REASON_AT = literal("".join(OUTCOMES)), np.cumsum([0, *map(len, OUTCOMES)])
_SECOND_NS: Final = 1_000_000_000
_NO_TEXT: Final[Second] = (np.uint64(0), np.uint64(0), np.uint64(0))
_RECEIVED, _SETTLING = literal(',"received_at":'), literal(',"settling":true')
_COMMA, _BRACE_END, _MARK = (ord(sign) for sign in ',}"')


@kernel
def _put_pricing(out: Bytes, at: Int, outcome: Int, greeks: NDArray[np.float64], received_ns: Int, ns: Int) -> Int:
    if outcome == _PRICED:
        for greek in range(len(_GREEK_DIGITS)):
            at = put_slice(out, at, _GREEKS, _GREEK_AT[greek], _GREEK_AT[greek + 1])
            at = put_fixed(out, at, greeks[greek], _GREEK_DIGITS[greek])
    else:
        at = put_slice(out, put(out, at, _NO_GREEKS), _REASONS, _REASON_AT[outcome], _REASON_AT[outcome + 1])
        out[at] = _MARK
        at += 1
    if not np.isnan(greeks[5]):
        at = put_fixed(out, put(out, at, _UNDERLYING), greeks[5], _UNDERLYING_DIGITS)
    if ns not in (0, received_ns):
        at = put_moment(out, put(out, at, _PRICED_AT), ns, second_text(ns // _SECOND_NS))
    return at


@kernel
def _write_json(
    ticks: Bytes,
    words: NDArray[np.uint32],
    kind: NDArray[np.uint8],
    slot: NDArray[np.int32],
    received_ns: NDArray[np.int64],
    greeks: NDArray[np.float64],
    outcome: NDArray[np.uint8],
    priced_ns: NDArray[np.int64],
    quoted: Bytes,
    quoted_at: NDArray[np.int64],
    fields: Bytes,
    fields_at: NDArray[np.int64],
    divisor: NDArray[np.int64],
    digits: NDArray[np.int64],
    settling: NDArray[np.bool_],
    sizes: NDArray[np.int64],
) -> tuple[Int, Int, Int]:
    """Rows joined by commas, field arguments, sizes as a msgpack array; the place behind each of the three."""
    at: Int = 0
    made_s = came_s = np.int64(-1)
    made = came = _NO_TEXT
    for place in range(len(kind)):
        first = at
        mine, of = slot[place], kind[place]
        for step in range(_STEP_AT[of], _STEP_AT[of + 1]):
            # Without a sign: an index that might be negative is wrapped around, and then this is 32 steps, not one.
            for letter in range(LITERAL_BYTES):
                ticks[np.uintp(at + letter)] = _LITERALS[step, letter]
            at += _LENGTHS[step]
            what = _WHATS[step]
            word = np.int64(words[place, _WORDS[step]])
            if what == _PRICE:
                at = put_price(ticks, at, np.int64(np.int32(word)), divisor[mine], digits[mine])
            elif what == _UNSIGNED:
                at = put_unsigned(ticks, at, word)
            elif what == _ORDERS:
                at = put_unsigned(ticks, at, word >> 16)
            elif what == _TIME:
                if word != made_s:
                    made_s, made = word, second_text(word)
                at = put_time(ticks, at, word, made)
            elif what == _SYMBOL:
                at = put_slice(ticks, at, quoted, quoted_at[mine], quoted_at[mine + 1])
            elif what == _CHANGE:
                last, close = np.int32(words[place, _LAST]), np.int32(words[place, _CLOSE])
                at = put_change(ticks, at, np.int64(last), np.int64(close))
        if outcome[place] != _NOT_ASKED:
            at = _put_pricing(ticks, at, np.int64(outcome[place]), greeks[place], received_ns[place], priced_ns[place])
        if received_ns[place] // _SECOND_NS != came_s:
            came_s = received_ns[place] // _SECOND_NS
            came = second_text(came_s)
        at = put_moment(ticks, put(ticks, at, _RECEIVED), received_ns[place], came)
        if settling[mine]:
            at = put(ticks, at, _SETTLING)
        ticks[at] = _BRACE_END
        sizes[place] = at + 1 - first
        ticks[at + 1] = _COMMA
        at += 2
    rows_end = at = at - 1
    for place in range(len(kind)):
        at = put_slice(ticks, at, fields, fields_at[slot[place]], fields_at[slot[place] + 1])
    fields_end = at
    at = put_array(ticks, at, len(kind))
    for place in range(len(kind)):
        at = put_size(ticks, at, sizes[place])
    return rows_end, fields_end, at


class NativeJsonRows:
    """`encode_json.JsonRows` by native code."""

    def __init__(self) -> None:
        self._room, self._sizes = np.empty(0, np.uint8), np.empty(0, np.int64)

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Written:
        """The rows, and what is told of them."""
        count = len(rows)
        if len(self._sizes) < count:
            self._sizes = np.empty(count, np.int64)
        room_bytes = ARRAY_BYTES + count * (ROW_BYTES_MAX + book.quoted.longest + book.arguments.longest)
        if len(self._room) < room_bytes:
            self._room = np.empty(room_bytes, np.uint8)
        rows_end, fields_end, end = _write_json(
            self._room,
            np.ascontiguousarray(rows.words),
            np.ascontiguousarray(rows.kind),
            np.ascontiguousarray(rows.slot),
            np.ascontiguousarray(rows.received_ns),
            np.ascontiguousarray(rows.greeks),
            np.ascontiguousarray(rows.outcome),
            np.ascontiguousarray(rows.priced_ns),
            book.quoted.bytes,
            book.quoted.start,
            book.arguments.bytes,
            book.arguments.start,
            book.divisor,
            book.digits,
            book.settling,
            self._sizes,
        )
        written = self._room.data
        return Written(written[:rows_end], bytes(written[rows_end:fields_end]), bytes(written[fields_end:end]))
