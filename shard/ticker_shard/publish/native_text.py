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

FIXED_MAX: Final = 9e15  # beyond, a double has no decimals left; such a value is written null


def literal(text: str) -> Bytes:
    """Text that is always the same; a constant of the compiled code."""
    return np.frombuffer(text.encode(), np.uint8)


_TENS: Final = np.array([48 + pair // 10 for pair in range(100)], np.uint8)
_ONES: Final = np.array([48 + pair % 10 for pair in range(100)], np.uint8)
_ZERO, _MINUS, _POINT, _QUOTE, _Z, _T, _DASH, _COLON = (ord(sign) for sign in '0-."ZT-:')
_ONE, _TWO, _HUNDRED = np.uint64(1), np.uint64(2), np.uint64(100)  # signed and unsigned together would make a float
NULL: Final = literal("null")
_DAY_S: Final = 86_400
CHANGE_DIGITS: Final = 8
_CHANGE_UNITS: Final = 10**CHANGE_DIGITS


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
def put_digits(out: Bytes, at: Int, value: Int, count: Int) -> Int:
    """Exactly `count` digits, with zeros in front."""
    rest = np.uint64(value)
    place = np.uint64(at + count)
    for _ in range(count >> 1):
        above = rest // _HUNDRED
        pair = rest - above * _HUNDRED
        rest = above
        place -= _TWO
        out[place] = _TENS[pair]
        out[place + _ONE] = _ONES[pair]
    if count & 1:
        out[at] = np.uint8(rest) + _ZERO
    return at + count


@kernel
def put_unsigned(out: Bytes, at: Int, value: Int) -> Int:
    """As many digits as the value has."""
    if value < 10:
        out[at] = _ZERO + value
        return at + 1
    count, limit = 2, 100
    while value >= limit and count < 18:
        count += 1
        limit *= 10
    return put_digits(out, at, value, count)


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
def put_price(out: Bytes, at: Int, scaled: Int, divisor: Int, digits: Int) -> Int:
    """A scaled price, any sign, as the exact decimal."""
    if scaled < 0:
        out[at] = _MINUS
        at += 1
        scaled = -scaled
    if divisor == 100:  # nearly always: dividing by a constant is several times quicker
        whole = scaled // 100
        part = scaled - whole * 100
        at = put_unsigned(out, at, whole)
        out[at] = _POINT
        out[at + 1] = _TENS[part]
        out[at + 2] = _ONES[part]
        return at + 3 if out[at + 2] != _ZERO else at + 2
    return put_decimal(out, at, scaled // divisor, scaled % divisor, digits)


@kernel
def put_fixed(out: Bytes, at: Int, value: float, digits: Int) -> Int:
    """A double rounded to `digits` decimals (halves up); null where it is no number, or too large to have any."""
    if not abs(value) < FIXED_MAX:
        return put(out, at, NULL)
    units = 1
    for _ in range(digits):
        units *= 10
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
def _put_second(out: Bytes, at: Int, seconds: Int) -> Int:
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
    at = put_digits(out, at, year, 4)
    out[at] = _DASH
    at = put_digits(out, at + 1, month, 2)
    out[at] = _DASH
    at = put_digits(out, at + 1, day, 2)
    out[at] = _T
    at = put_digits(out, at + 1, rest // 3_600, 2)
    out[at] = _COLON
    at = put_digits(out, at + 1, rest // 60 % 60, 2)
    out[at] = _COLON
    return put_digits(out, at + 1, rest % 60, 2)


@kernel
def put_time(out: Bytes, at: Int, seconds: Int) -> Int:
    """A time of the exchange in quotes; zero is null."""
    if seconds == 0:
        return put(out, at, NULL)
    out[at] = _QUOTE
    at = _put_second(out, at + 1, seconds)
    out[at] = _Z
    out[at + 1] = _QUOTE
    return at + 2


@kernel
def put_moment(out: Bytes, at: Int, wall_ns: Int) -> Int:
    """A wall clock time in quotes, with microseconds."""
    seconds = wall_ns // 1_000_000_000
    out[at] = _QUOTE
    at = _put_second(out, at + 1, seconds)
    out[at] = _POINT
    at = put_digits(out, at + 1, (wall_ns - seconds * 1_000_000_000) // 1_000, 6)
    out[at] = _Z
    out[at + 1] = _QUOTE
    return at + 2
