"""Numbers, decimals and times as text, written into a byte array by native code.

Every function takes the array and the place to write at, and answers the place behind what it wrote; the caller sees to
room, and expects that a little behind that place is written over. Values are 64-bit and not negative where nothing else
is said. No float is turned into text by way of its bits: a price is an integer with a point in it, and a computed value
is rounded to a stated number of decimals first.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.compiled import kernel

Bytes: TypeAlias = NDArray[np.uint8]
Int: TypeAlias = int | np.int64
Word: TypeAlias = np.uint64
Second: TypeAlias = tuple[Word, Word, Word]  # its 19 letters, the first in the lowest byte; the rest zero

ARRAY_BYTES: Final = 5  # of the opening of a msgpack array, at most
FIXED_MAX: Final = 9e15  # beyond, a double has no decimals left; such a value is written null


def literal(text: str) -> Bytes:
    """Text that is always the same; a constant of the compiled code."""
    return np.frombuffer(text.encode(), np.uint8)


_ZERO, _MINUS, _POINT, _QUOTE, _Z, _T, _DASH, _COLON = (ord(sign) for sign in '0-."ZT-:')
NULL: Final = literal("null")
_DAY_S: Final = 86_400
CHANGE_DIGITS: Final = 8
_CHANGE_UNITS: Final = 10**CHANGE_DIGITS

_UNITS: Final = np.array([10**digits for digits in range(17)])

# Eight digits are computed at once, in the lanes of one word. These are unsigned, and so is all that they meet: signed
# and unsigned together would make a float.
_EIGHT_DIGITS, _FOUR_DIGITS, _HUNDRED, _TEN, _ONE = (np.uint64(10**digits) for digits in (8, 4, 2, 1, 0))
_BYTE, _BIT_8, _BIT_10, _BIT_16, _BIT_20, _BIT_24 = (np.uint64(bits) for bits in (8, 8, 10, 16, 20, 24))
_BIT_32, _BIT_40, _BIT_48, _BIT_56 = (np.uint64(bits) for bits in (32, 40, 48, 56))
_PER_HUNDRED, _HUNDREDS = np.uint64(10_486), np.uint64(0x0000_007F_0000_007F)  # over 2**20: right for four digits
_PER_TEN, _TENS = np.uint64(103), np.uint64(0x000F_000F_000F_000F)  # over 2**10: right for two
_ASCII, _ASCII_PAIR = np.uint64(0x3030_3030_3030_3030), np.uint64(0x3030)
_POINT_WORD, _ZERO_WORD, _COLON_WORD = np.uint64(_POINT), np.uint64(_ZERO), np.uint64(_COLON)
_SHORT_PRICE: Final = 10**7  # with its point it fits into eight bytes
# What stands between the numbers of a time, where it stands in its words.
_DATE_SIGNS, _DAY_SIGNS = np.uint64(_DASH << 32 | _DASH << 56), np.uint64(_T << 16 | _COLON << 40)
_TIME_END, _MOMENT_POINT = np.uint64(_Z << 24 | _QUOTE << 32), np.uint64(_POINT << 24)
_MOMENT_END: Final = np.uint64(_Z << 48 | _QUOTE << 56)


@kernel
def put(out: Bytes, at: Int, text: Bytes) -> Int:
    """The text as it is."""
    for place in range(len(text)):
        out[np.uintp(at + place)] = text[np.uintp(place)]
    return at + len(text)


@kernel
def put_slice(out: Bytes, at: Int, text: Bytes, start: Int, end: Int) -> Int:
    """A part of the text."""
    for place in range(end - start):
        out[np.uintp(at + place)] = text[np.uintp(start + place)]
    return at + end - start


@kernel
def _eight_digits(value: Word) -> Word:
    """The text of a value below 10**8 with zeros in front, its first digit in the lowest byte."""
    high = value // _FOUR_DIGITS
    fours = high | (value - high * _FOUR_DIGITS) << _BIT_32
    hundreds = (fours * _PER_HUNDRED >> _BIT_20) & _HUNDREDS
    twos = hundreds | (fours - hundreds * _HUNDRED) << _BIT_16
    tens = (twos * _PER_TEN >> _BIT_10) & _TENS
    return (tens | (twos - tens * _TEN) << _BIT_8) + _ASCII


@kernel
def _length(value: Word) -> Int:
    """How many digits a value below 10**8 has; added up, because a guess would often be wrong."""
    short = 1 + (value >= 10) + (value >= 100) + (value >= 1_000)
    return short + (value >= 10_000) + (value >= 100_000) + (value >= 1_000_000) + (value >= 10_000_000)


@kernel
def _put_word(out: Bytes, at: Int, word: Word) -> None:
    """Eight bytes, the lowest first: one store."""
    for place in range(8):
        out[np.uintp(at + place)] = np.uint8(word >> np.uint64(8 * place))


@kernel
def put_digits(out: Bytes, at: Int, value: Int, count: Int) -> Int:
    """Exactly `count` digits (at most 16), with zeros in front."""
    rest = np.uint64(value)
    if count > 8:
        above = rest // _EIGHT_DIGITS
        rest -= above * _EIGHT_DIGITS
        _put_word(out, at, _eight_digits(above) >> (np.uint64(16 - count) * _BYTE))
        _put_word(out, at + count - 8, _eight_digits(rest))
    else:
        _put_word(out, at, _eight_digits(rest) >> (np.uint64(8 - count) * _BYTE))
    return at + count


@kernel
def put_unsigned(out: Bytes, at: Int, value: Int) -> Int:
    """As many digits as the value has, at most 16."""
    rest = np.uint64(value)
    if rest >= _EIGHT_DIGITS:
        above = rest // _EIGHT_DIGITS
        count = _length(above)
        _put_word(out, at, _eight_digits(above) >> (np.uint64(8 - count) * _BYTE))
        _put_word(out, at + count, _eight_digits(rest - above * _EIGHT_DIGITS))
        return at + count + 8
    count = _length(rest)
    _put_word(out, at, _eight_digits(rest) >> (np.uint64(8 - count) * _BYTE))
    return at + count


@kernel
def put_decimal(out: Bytes, at: Int, whole: Int, part: Int, digits: Int) -> Int:
    """``whole.part``, `part` having `digits` digits; zeros at the end are left out, but for the first."""
    at = put_unsigned(out, at, whole)
    out[at] = _POINT
    end = put_digits(out, at + 1, part, digits)
    while end > at + 2 and out[end - 1] == _ZERO:
        end -= 1
    return end


@kernel
def _put_short_price(out: Bytes, at: Int, scaled: Word) -> Int:
    """Hundredths: seven digits at most, three at least, the point put between them in the same word."""
    text = _eight_digits(scaled)
    count = max(_length(scaled), 3)
    digits = text >> (np.uint64(8 - count) * _BYTE)
    behind = np.uint64(count - 2) * _BYTE
    whole = digits & ((_ONE << behind) - _ONE)
    _put_word(out, at, whole | (_POINT_WORD << behind) | (digits >> behind) << (behind + _BYTE))
    return at + count + int(text >> _BIT_56 != _ZERO_WORD)  # a zero at the end is left out


@kernel
def put_price(out: Bytes, at: Int, scaled: Int, divisor: Int, digits: Int) -> Int:
    """A scaled price, any sign, as the exact decimal."""
    if scaled < 0:
        out[at] = _MINUS
        at += 1
        scaled = -scaled
    if divisor == 100 and scaled < _SHORT_PRICE:  # nearly always
        return _put_short_price(out, at, np.uint64(scaled))
    return put_decimal(out, at, scaled // divisor, scaled % divisor, digits)


@kernel
def put_fixed(out: Bytes, at: Int, value: float, digits: Int) -> Int:
    """A double rounded to `digits` decimals (halves up); null where it is no number, or too large to have any."""
    if not abs(value) < FIXED_MAX:
        return put(out, at, NULL)
    units = _UNITS[digits]
    size = abs(value)
    whole = np.int64(size)
    part = np.int64((size - whole) * units + 0.5)
    if part >= units:
        whole += 1
        part = np.int64(0)
    if value < 0 and (whole > 0 or part > 0):
        out[at] = _MINUS
        at += 1
    return put_decimal(out, at, whole, part, digits)


@kernel
def put_change(out: Bytes, at: Int, last: Int, close: Int) -> Int:
    """`ticker_client.packed.change_of`, in integers of 64 bits: percent to 1e-8; null without a close."""
    if close == 0:
        return put(out, at, NULL)
    moved = (last - close) * 100
    size: Int = moved if moved >= 0 else -moved
    base: Int = close if close >= 0 else -close
    whole = size // base
    part = (2 * (size - whole * base) * _CHANGE_UNITS + base) // (2 * base)
    if part >= _CHANGE_UNITS:
        whole += 1
        part = 0
    if (moved < 0) != (close < 0) and (whole > 0 or part > 0):
        out[at] = _MINUS
        at += 1
    return put_decimal(out, at, whole, part, CHANGE_DIGITS)


@kernel
def _two_digits(value: Int) -> Word:
    """The text of a value below 100, its first digit in the lowest byte."""
    both = np.uint64(value)
    ten = both * _PER_TEN >> _BIT_10
    return (ten | (both - ten * _TEN) << _BIT_8) + _ASCII_PAIR


@kernel
def second_text(seconds: Int) -> Second:
    """``2025-11-21T03:45:30``, for times since 1970."""
    days = seconds // _DAY_S
    rest = seconds - days * _DAY_S
    # Civil date from days, in eras of 400 years that begin on 1 March (H. Hinnant, "chrono-compatible algorithms").
    shifted = days + 719_468
    era = shifted // 146_097
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return (
        _eight_digits(np.uint64(year)) >> _BIT_32 | _two_digits(month) << _BIT_40 | _DATE_SIGNS,
        _two_digits(day) | _two_digits(rest // 3_600) << _BIT_24 | _two_digits(rest // 60 % 60) << _BIT_48 | _DAY_SIGNS,
        _two_digits(rest % 60) << _BIT_8 | _COLON_WORD,
    )


@kernel
def put_time(out: Bytes, at: Int, seconds: Int, text: Second) -> Int:
    """A time of the exchange in quotes, `text` being that of its second; zero is null."""
    if seconds == 0:
        return put(out, at, NULL)
    out[at] = _QUOTE
    _put_word(out, at + 1, text[0])
    _put_word(out, at + 9, text[1])
    _put_word(out, at + 17, text[2] | _TIME_END)
    return at + 22


@kernel
def put_moment(out: Bytes, at: Int, wall_ns: Int, text: Second) -> Int:
    """A wall clock time in quotes, `text` being that of its second; with microseconds."""
    micros = np.uint64(wall_ns // 1_000 % 1_000_000)
    out[at] = _QUOTE
    _put_word(out, at + 1, text[0])
    _put_word(out, at + 9, text[1])
    _put_word(out, at + 17, text[2] | _MOMENT_POINT)
    _put_word(out, at + 21, _eight_digits(micros) >> _BIT_16 | _MOMENT_END)
    return at + 29


@kernel
def put_array(out: Bytes, at: Int, count: Int) -> Int:
    """The opening of a msgpack array."""
    if count < 16:
        out[at] = 0x90 | count
        return at + 1
    if count < 1 << 16:
        out[at], out[at + 1], out[at + 2] = 0xDC, count >> 8, count & 0xFF
        return at + 3
    out[at], out[at + 1], out[at + 2] = 0xDD, count >> 24, count >> 16 & 0xFF
    out[at + 3], out[at + 4] = count >> 8 & 0xFF, count & 0xFF
    return at + 5


@kernel
def put_size(out: Bytes, at: Int, size: Int) -> Int:
    """A number below 65,536 in msgpack."""
    if size < 1 << 7:
        out[at] = size
        return at + 1
    if size < 1 << 8:
        out[at], out[at + 1] = 0xCC, size
        return at + 2
    out[at], out[at + 1], out[at + 2] = 0xCD, size >> 8, size & 0xFF
    return at + 3
