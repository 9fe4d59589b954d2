"""One binary frame of the broker as columns: every packet kind, any mix, whatever the bytes.

A frame is a big-endian packet count (u16) and then, for each packet, its length (u16) and its bytes:

======  ===========================================================  ==========
bytes   packet                                                       kind
======  ===========================================================  ==========
8       token, last price                                            LTP
28      token, last, high, low, open, close, change                  INDEX_QUOTE
32      the same, exchange time                                      INDEX_FULL
44      the first 11 words of a row (`ticker_shard.ticks.rows`)      QUOTE
184     all 46 words of a row                                        FULL
======  ===========================================================  ==========

The kind follows from the length alone, as in the official client. Every field is a big-endian 32-bit word, except
that a depth entry ends in the number of orders (u16) and two bytes of padding; read as one word that is
``orders << 16``. So decoding is: bring all packets to one stride of 186 bytes, then copy and
swap bytes of all words at once.

A frame whose packets have one length has its stride already; that all lengths are equal is one comparison of two
strided slices of bytes. Any other mix is walked: runs of full packets are taken as they lie (a run's end is found by
stripping equal length bytes off a strided slice), shorter packets are filled up with zeros, index packets, whose
order differs, are cut and put together in the common order, and the pieces are joined. For the mixes that occur
(mostly full packets) that is quicker than gathering by offsets, and it needs no second path for malformed frames
(`benchmarks/decode.py`). The change that index packets carry is dropped: it follows from last price and close.
`native_decode` is the same walk in machine code.

Malformed bytes never raise. They become a `FrameReport` whose counts are taken separately and add up, and the good
packets of the frame survive. After a packet of unknown or zero length the walk goes on by its length; a packet cut
off by the end of the frame ends it. Bytes behind the declared number of packets are not read as packets.

Differences from the official parser (5.2.2), all deliberate: prices are signed (theirs are unsigned); a cut-off
length field and a zero or tiny length are reported (theirs raises and drops the socket); a cut-off body is
reported (theirs is silent); times stay epoch seconds, 0 = none (theirs are naive local times from 1970).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.rows import WORDS, Kinds, PacketKind, Word, Words

Frame: TypeAlias = bytes | bytearray | memoryview

PACKET_BYTES: Final[dict[PacketKind, int]] = {
    PacketKind.LTP: 8,
    PacketKind.INDEX_QUOTE: 28,
    PacketKind.INDEX_FULL: 32,
    PacketKind.QUOTE: 44,
    PacketKind.FULL: 184,
}
COUNT_BYTES: Final = 2
LENGTH_BYTES: Final = 2
ROW_BYTES: Final = 4 * WORDS
PACKET_STRIDE_MIN: Final = LENGTH_BYTES + min(PACKET_BYTES.values())
assert max(PACKET_BYTES.values()) == PACKET_BYTES[PacketKind.FULL] == ROW_BYTES
assert max(PACKET_BYTES.values()) < 256, "the quick walk reads the low byte of a length"

_STRIDE: Final = LENGTH_BYTES + ROW_BYTES
_KIND_OF_LENGTH: Final = {length: kind for kind, length in PACKET_BYTES.items()}
_KIND_BYTE: Final = {length: bytes((kind,)) for kind, length in PACKET_BYTES.items()}
_FILLING: Final = {length: bytes(ROW_BYTES - length) for length in PACKET_BYTES.values()}
_INDEX_LENGTHS: Final = (PACKET_BYTES[PacketKind.INDEX_QUOTE], PACKET_BYTES[PacketKind.INDEX_FULL])
_WINDOW: Final = 64 * _STRIDE  # how far ahead one slice looks for the end of a run of full packets
_FULL_LENGTH: Final = bytes((ROW_BYTES,))

# An index packet in the common order: its own words 0-1 (token, last), 4 (open), 2-3 (high, low), 5 (close), 7 (time).
_BEFORE_OPEN: Final = bytes(4 * (Word.OPEN - Word.LAST_TRADED_QUANTITY))
_BEFORE_TIME: Final = bytes(4 * (Word.EXCHANGE_TIMESTAMP - Word.LAST_TRADE_TIME))
_FROM_TIME: Final = bytes(4 * (WORDS - Word.EXCHANGE_TIMESTAMP))
_DEPTH: Final = bytes(4 * (WORDS - Word.DEPTH))


class FrameFault(StrEnum):
    """What was wrong with a frame. All but the last count packets; that one counts frames."""

    UNKNOWN_LENGTH = "unknown_length"  # a packet of a length that no kind has; skipped
    ZERO_LENGTH = "zero_length"  # a packet without a byte; skipped
    TRUNCATED_HEADER = "truncated_header"  # the frame ends inside a packet's length
    TRUNCATED_BODY = "truncated_body"  # the frame ends inside a packet
    MISSING_PACKETS = "missing_packets"  # declared, but the frame has ended
    TRAILING_BYTES = "trailing_bytes"  # bytes behind the last declared packet


@dataclass(frozen=True, slots=True)
class FrameReport:
    """What a frame held; ``declared == accepted +`` the packets counted in ``faults``.

    Attributes
    ----------
    size
        Bytes of the frame.
    declared
        The packet count in its head; 0 for a frame of fewer than two bytes (a heartbeat).
    accepted
        Packets decoded.
    faults
        `FrameFault` → count; empty for a well-formed frame.
    trailing_bytes
        Bytes behind the last declared packet.
    """

    size: int
    declared: int
    accepted: int
    faults: Mapping[FrameFault, int] = field(default_factory=dict)
    trailing_bytes: int = 0

    @property
    def faulty_packets(self) -> int:
        """Declared packets that were not decoded."""
        return sum(count for fault, count in self.faults.items() if fault is not FrameFault.TRAILING_BYTES)


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """The good packets of one frame, in order.

    Attributes
    ----------
    words
        (n, 46) native-endian rows as in `ticker_shard.ticks.rows`; never a view of the frame.
    kind
        (n,) `PacketKind`.
    report
        What the frame held.
    """

    words: Words
    kind: Kinds
    report: FrameReport


def decode_frame(frame: Frame) -> DecodedFrame:
    """Decode one binary message of the broker; any bytes are acceptable.

    Parameters
    ----------
    frame
        The payload of one binary WebSocket message. It is only read during the call.
    """
    size = len(frame)
    count = frame[0] << 8 | frame[1] if size >= COUNT_BYTES else 0
    if not count:
        trailing = max(0, size - COUNT_BYTES)
        faults = {FrameFault.TRAILING_BYTES: 1} if trailing else {}
        return DecodedFrame(
            np.empty((0, WORDS), np.uint32), np.empty(0, np.uint8), FrameReport(size, 0, 0, faults, trailing)
        )
    uniform = _decode_uniform(frame, size, count)
    if uniform is not None:
        return uniform
    pieces, kinds, report = _walk(bytes(frame), count)
    if not report.accepted:
        return DecodedFrame(np.empty((0, WORDS), np.uint32), np.empty(0, np.uint8), report)
    words = _rows_of(b"".join(pieces), report.accepted, WORDS, _STRIDE, LENGTH_BYTES)
    return DecodedFrame(words, np.frombuffer(bytearray().join(kinds), np.uint8), report)


def _rows_of(packets: Frame, count: int, width: int, stride: int, offset: int) -> Words:
    """`width` words of each packet as native integers: the one copy, and the one swap of bytes."""
    words: NDArray[np.uint32] = np.ndarray((count, width), ">u4", packets, offset, (stride, 4))
    return words.astype(np.uint32)


def _decode_uniform(frame: Frame, size: int, count: int) -> DecodedFrame | None:
    """The frame's rows when all its packets have one known length, else nothing."""
    stride, rest = divmod(size - COUNT_BYTES, count)
    length = stride - LENGTH_BYTES
    kind = _KIND_OF_LENGTH.get(length)
    if rest or kind is None or kind in (PacketKind.INDEX_QUOTE, PacketKind.INDEX_FULL):
        return None
    # High and low bytes of all lengths. Equal at this stride, they are what the walk would visit.
    if bytes(frame[2::stride]) != bytes(count) or bytes(frame[3::stride]) != bytes((length,)) * count:
        return None
    width = length // 4
    words = _rows_of(frame, count, width, stride, COUNT_BYTES + LENGTH_BYTES)
    if width < WORDS:
        rows = np.zeros((count, WORDS), np.uint32)
        rows[:, :width] = words
        words = rows
    return DecodedFrame(words, np.full(count, kind, np.uint8), FrameReport(size, count, count))


def _walk(frame: bytes, count: int) -> tuple[list[bytes], list[bytes], FrameReport]:
    """Packet by packet or run by run: pieces of `_STRIDE` bytes a packet, their kinds, and what was wrong."""
    size = len(frame)
    pieces: list[bytes] = []
    kinds: list[bytes] = []
    faults: dict[FrameFault, int] = {}
    accepted = visited = 0
    position = COUNT_BYTES
    while visited < count:
        start = position + LENGTH_BYTES
        if start > size:
            if position < size:
                faults[FrameFault.TRUNCATED_HEADER] = 1
                visited += 1
            if visited < count:
                faults[FrameFault.MISSING_PACKETS] = count - visited
            position = size
            break
        length = frame[position] << 8 | frame[position + 1]
        if length == ROW_BYTES:
            low = frame[position + 1 : position + _WINDOW : _STRIDE]
            run = min(len(low) - len(low.lstrip(_FULL_LENGTH)), count - visited)
            if position + run * _STRIDE > size:  # the last one's head is there, its end is not
                run -= 1
            if frame[position : position + run * _STRIDE : _STRIDE] != bytes(run):
                run = 0  # a length above 255 among them: one by one until it is behind us
            if run:
                end = position + run * _STRIDE
                pieces.append(frame[position:end])
                kinds.append(_KIND_BYTE[ROW_BYTES] * run)
                accepted += run
                visited += run
                position = end
                continue
        visited += 1
        position = end = start + length
        if end > size:
            faults[FrameFault.TRUNCATED_BODY] = 1
            position = size
        elif length in _INDEX_LENGTHS:
            pieces.append(_common_order(frame, start, end))
            kinds.append(_KIND_BYTE[length])
            accepted += 1
        elif length in _KIND_BYTE:
            pieces.append(frame[start - LENGTH_BYTES : end])
            pieces.append(_FILLING[length])
            kinds.append(_KIND_BYTE[length])
            accepted += 1
        else:
            fault = FrameFault.UNKNOWN_LENGTH if length else FrameFault.ZERO_LENGTH
            faults[fault] = faults.get(fault, 0) + 1
    if position < size:
        faults[FrameFault.TRAILING_BYTES] = 1
    report = FrameReport(size, count, accepted, faults, size - position)
    assert report.accepted + report.faulty_packets == count, report
    return pieces, kinds, report


def _common_order(frame: bytes, start: int, end: int) -> bytes:
    """An index packet as a full packet with its length, in the common order of words."""
    time = frame[start + 28 : end] + _DEPTH if end - start == PACKET_BYTES[PacketKind.INDEX_FULL] else _FROM_TIME
    head, open_, high_low, close = (
        frame[start - LENGTH_BYTES : start + 8],
        frame[start + 16 : start + 20],
        frame[start + 8 : start + 16],
        frame[start + 20 : start + 24],
    )
    return b"".join((head, _BEFORE_OPEN, open_, high_low, close, _BEFORE_TIME, time))
