"""The bytes of a frame as rows, in one walk: what `decode` does with numpy, packet by packet in machine code.

Every answer is `decode`'s, bit for bit (`tests/unit/test_ticks_native.py`); the layout and what each fault means are
told there. A packet is a slice that begins at 0, because only of such indices does the compiler know that they are not
negative, and only then does the loop over a full packet's words become a few wide loads, shuffles and stores; a row of
the result is two indices, because a slice there would be one more object to count.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.compiled import kernel
from ticker_shard.ticks.decode import COUNT_BYTES, LENGTH_BYTES, PACKET_BYTES, PACKET_STRIDE_MIN, Frame, FrameFault
from ticker_shard.ticks.rows import WORDS, Kinds, PacketKind, Word, Words

Bytes: TypeAlias = NDArray[np.uint8]
Counters: TypeAlias = NDArray[np.int64]
Integer: TypeAlias = int | np.integer[Any]

FAULTS: Final = tuple(FrameFault)
DECODE_COUNTERS: Final = len(FAULTS) + 2  # a count per fault, then the two below
TRAILING: Final = len(FAULTS)  # bytes behind the last declared packet
ZERO_LENGTH_FIRST: Final = len(FAULTS) + 1  # 1 when a packet of length zero came before one of unknown length

_UNKNOWN, _ZERO, _CUT_HEADER, _CUT_BODY, _MISSING, _TRAILING_BYTES = range(len(FAULTS))
assert FAULTS == (
    FrameFault.UNKNOWN_LENGTH, FrameFault.ZERO_LENGTH, FrameFault.TRUNCATED_HEADER, FrameFault.TRUNCATED_BODY,
    FrameFault.MISSING_PACKETS, FrameFault.TRAILING_BYTES,
), "the order the kernel writes in"  # fmt: skip

_LTP, _INDEX_QUOTE, _INDEX_FULL, _QUOTE, _FULL = (np.uint8(kind) for kind in PacketKind)
_LTP_BYTES, _INDEX_QUOTE_BYTES, _INDEX_FULL_BYTES, _QUOTE_BYTES, _FULL_BYTES = (
    PACKET_BYTES[kind] for kind in PacketKind
)
_OPEN, _HIGH, _LOW, _CLOSE, _TIME = (
    int(word) for word in (Word.OPEN, Word.HIGH, Word.LOW, Word.CLOSE, Word.EXCHANGE_TIMESTAMP)
)
_COUNT_BYTES, _LENGTH_BYTES = int(COUNT_BYTES), int(LENGTH_BYTES)


@kernel
def _word(packet: Bytes, at: int) -> Integer:
    return (
        np.uint32(packet[at]) << np.uint32(24)
        | np.uint32(packet[at + 1]) << np.uint32(16)
        | np.uint32(packet[at + 2]) << np.uint32(8)
        | np.uint32(packet[at + 3])
    )


@kernel
def _put_plain(packet: Bytes, used: int, words: Words, number: Integer) -> None:
    """A packet whose words stand in the common order."""
    for place in range(used):
        words[number, place] = _word(packet, 4 * place)
    for place in range(used, WORDS):
        words[number, place] = 0


@kernel
def _put_index(packet: Bytes, words: Words, number: Integer) -> None:
    """An index packet: token, last, high, low, open, close, a change that nobody needs, and perhaps a time."""
    for place in range(WORDS):
        words[number, place] = 0
    words[number, 0] = _word(packet, 0)
    words[number, 1] = _word(packet, 4)
    words[number, _HIGH] = _word(packet, 8)
    words[number, _LOW] = _word(packet, 12)
    words[number, _OPEN] = _word(packet, 16)
    words[number, _CLOSE] = _word(packet, 20)
    if len(packet) == _INDEX_FULL_BYTES:
        words[number, _TIME] = _word(packet, 28)


@kernel
def walk(frame: Bytes, declared: Integer, words: Words, kind: Kinds, counters: Counters) -> Integer:
    """Decode every good packet of a frame; how many there were.

    Parameters
    ----------
    frame
        (size,) uint8.
    declared
        The packet count in its head.
    words, kind
        Room for as many rows as the frame can hold; written from the front.
    counters
        At least `DECODE_COUNTERS`, all zero; written where something was wrong.
    """
    size = len(frame)
    at: Integer = _COUNT_BYTES
    taken = 0
    for visited in range(declared):
        start = at + _LENGTH_BYTES
        if start > size:
            missing = declared - visited
            if at < size:
                counters[_CUT_HEADER] = 1
                missing -= 1
            counters[_MISSING] = missing
            at = size
            break
        length = np.int64(frame[at]) << 8 | np.int64(frame[at + 1])
        at = start + length
        if at > size:
            counters[_CUT_BODY] = 1
            at = size
        elif length == _FULL_BYTES:
            _put_plain(frame[start:at], WORDS, words, taken)  # a constant: unrolled
            kind[taken] = _FULL
            taken += 1
        elif length in (_QUOTE_BYTES, _LTP_BYTES):
            _put_plain(frame[start:at], int(length // 4), words, taken)
            kind[taken] = _QUOTE if length == _QUOTE_BYTES else _LTP
            taken += 1
        elif length in (_INDEX_QUOTE_BYTES, _INDEX_FULL_BYTES):
            _put_index(frame[start:at], words, taken)
            kind[taken] = _INDEX_FULL if length == _INDEX_FULL_BYTES else _INDEX_QUOTE
            taken += 1
        elif length:
            counters[_UNKNOWN] += 1
        else:
            counters[ZERO_LENGTH_FIRST] |= np.int64(counters[_UNKNOWN] == 0)
            counters[_ZERO] += 1
    if at < size:
        counters[_TRAILING_BYTES] = 1
        counters[TRAILING] = size - at
    return taken


def decode_natively(frame: Frame) -> tuple[Words, Kinds, Counters]:
    """Decode alone: rows, kinds and counters, as `decode_frame` does; any bytes are acceptable.

    Parameters
    ----------
    frame
        The payload; read only during the call.
    """
    size = len(frame)
    octets = np.frombuffer(frame, np.uint8) if size else np.empty(0, np.uint8)
    octets.flags.writeable = False
    declared = frame[0] << 8 | frame[1] if size >= COUNT_BYTES else 0
    room = min(declared, max(0, size - COUNT_BYTES) // PACKET_STRIDE_MIN)
    words, kind = np.empty((room, WORDS), np.uint32), np.empty(room, np.uint8)
    counters = np.zeros(DECODE_COUNTERS, np.int64)
    count = walk(octets, declared, words, kind, counters)
    return words[:count], kind[:count], counters
