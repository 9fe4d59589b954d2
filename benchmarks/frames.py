"""Frames ready to be sent: WebSocket header and full packets in one buffer, in which only what must move is patched.

A sender that encodes while it sends measures itself. Here a *tape* holds every instrument once per state of the market
(a *sweep*), already cut into frames; before a sweep is sent, four columns are overwritten in place: the frame's number
(``step``, carried as total buy quantity), the day's volume (which grows with it), and the times of trade and exchange.
That costs some nanoseconds a tick, and no two packets of an instrument are alike.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.market import Market

PACKET: Final = np.dtype(
    [
        ("length", ">u2"),
        *[(name, ">u4") for name in ("token", "last", "last_quantity", "average", "volume", "step", "sell")],
        *[(name, ">u4") for name in ("open", "high", "low", "close", "traded_s", "oi", "oi_high", "oi_low")],
        ("exchange_s", ">u4"),
        ("depth", ">u4", (10, 3)),
    ]
)
PACKET_BYTES: Final = 184
VOLUME_BEFORE: Final = 100_000
STEP_AT: Final = 2 + PACKET.fields["step"][1]  # type: ignore[index]  # in a frame's payload: of its first packet

assert PACKET.itemsize == 2 + PACKET_BYTES, PACKET.itemsize


def header(payload_bytes: int) -> bytes:
    """Of a whole, unmasked binary message."""
    if payload_bytes < 126:
        return struct.pack(">BB", 0x82, payload_bytes)
    if payload_bytes < 1 << 16:
        return struct.pack(">BBH", 0x82, 126, payload_bytes)
    return struct.pack(">BBQ", 0x82, 127, payload_bytes)


def packets_of(market: Market, positions: NDArray[np.int64], *, variation: int) -> NDArray[np.void]:
    """(n,) packets of the instruments at `positions` in one state of the market; step and times are zero."""
    price = market.price[variation, positions]
    packets = np.zeros(len(positions), PACKET)
    packets["length"] = PACKET_BYTES
    packets["token"] = market.tokens[positions]
    packets["last"], packets["last_quantity"], packets["average"] = price, 75, price
    packets["sell"] = 120_000
    packets["open"], packets["high"], packets["low"], packets["close"] = price, price * 2, 5, price + 5
    packets["oi"], packets["oi_high"], packets["oi_low"] = 500_000, 510_000, 490_000
    for level in range(10):
        distance = 5 * (level % 5 + 1)
        packets["depth"][:, level, 0] = 75 * (level % 5 + 1)
        packets["depth"][:, level, 1] = np.maximum(price - distance, 5) if level < 5 else price + distance
        packets["depth"][:, level, 2] = (level + 1) << 16
    return packets


def single_frame(packets: NDArray[np.void]) -> bytes:
    """One message with all of `packets`, header included."""
    payload = struct.pack(">H", len(packets)) + packets.tobytes()
    return header(len(payload)) + payload


class Tape:
    """Sweeps over the instruments of one socket, cut into frames of equal size.

    Parameters
    ----------
    sweeps
        (variations, n) packets; n must be a multiple of `frame_packets`.
    frame_packets
        Packets in a frame.
    """

    def __init__(self, sweeps: NDArray[np.void], *, frame_packets: int) -> None:
        self._variations, instruments = sweeps.shape
        self.frames, rest = divmod(instruments, frame_packets)
        assert rest == 0, f"{instruments} instruments do not make whole frames of {frame_packets}"
        self.frame_packets = frame_packets
        lead = header(2 + frame_packets * PACKET.itemsize) + struct.pack(">H", frame_packets)
        self.frame_bytes = len(lead) + frame_packets * PACKET.itemsize
        self._buffer = np.zeros((self._variations, self.frames, self.frame_bytes), np.uint8)
        self._buffer[:, :, : len(lead)] = np.frombuffer(lead, np.uint8)
        self._packets: NDArray[np.void] = np.ndarray(
            (self._variations, self.frames, frame_packets),
            PACKET,
            buffer=self._buffer.data,
            offset=len(lead),
            strides=(self.frames * self.frame_bytes, self.frame_bytes, PACKET.itemsize),
        )
        self._packets[...] = sweeps.reshape(self._packets.shape)

    def stamped(self, sweep: int, *, steps: NDArray[np.int64], now_s: int) -> list[memoryview]:
        """The frames of one sweep, patched; valid until the same variation is stamped again.

        Parameters
        ----------
        sweep
            Its number; chooses the state of the market.
        steps
            (frames,): each frame's number; must grow from sweep to sweep.
        now_s
            Exchange time.
        """
        variation = sweep % self._variations
        packets = self._packets[variation]
        packets["step"] = steps[:, None]
        packets["volume"] = VOLUME_BEFORE + steps[:, None]
        packets["traded_s"] = now_s
        packets["exchange_s"] = now_s
        return [memoryview(frame) for frame in self._buffer[variation]]  # type: ignore[arg-type]

    def whole(self, sweep: int) -> memoryview:
        """All frames of the sweep in one piece, as last stamped."""
        return memoryview(self._buffer[sweep % self._variations].reshape(-1))  # type: ignore[arg-type]
