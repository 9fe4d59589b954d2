"""Wrong frames and wrong values, made from right ones. Pure."""

from __future__ import annotations

import json
from typing import Final

import numpy as np

from ticker_sim import wire
from ticker_sim.faults import Distort, Malformed, SendText, Timestamps
from ticker_sim.wire import Rows

OVERSIZED_BYTES: Final = 5 << 20  # 3,000 full packets have 558,002
_JUNK: Final = "\x00{not json"


def spoil_frame(frame: bytes, fault: Malformed) -> bytes:
    """A frame as no reader should have to see it.

    ``truncated``: the last packet is cut short · ``count_too_high``: one more packet is announced than is there ·
    ``count_too_low``: one fewer · ``zero_length``: a packet of no bytes comes first · ``unknown_length``: a packet of
    16 bytes comes first · ``trailing_bytes``: four bytes too many · ``two_bytes``: only the count · ``oversized``:
    `OVERSIZED_BYTES` too many.
    """
    count = int.from_bytes(frame[:2], "big")
    body = frame[2:]
    match fault.how:
        case "truncated":
            return frame[: max(4, len(frame) - 5)]
        case "count_too_high":
            return min(count + 1, 0xFFFF).to_bytes(2, "big") + body
        case "count_too_low":
            return max(count - 1, 0).to_bytes(2, "big") + body
        case "zero_length":
            return min(count + 1, 0xFFFF).to_bytes(2, "big") + b"\x00\x00" + body
        case "unknown_length":
            return min(count + 1, 0xFFFF).to_bytes(2, "big") + b"\x00\x10" + body[2:6] + b"\xab" * 12 + body
        case "trailing_bytes":
            return frame + b"\xde\xad\xbe\xef"
        case "two_bytes":
            return frame[:2]
        case "oversized":
            return frame + bytes(OVERSIZED_BYTES)


def unexpected_text(fault: SendText) -> str:
    """The text that the fault sends."""
    match fault.what:
        case "junk":
            return _JUNK
        case "non_object":
            return json.dumps(["not", "an", "object"])
        case "unknown_type":
            return json.dumps({"type": "app_code", "timestamp": "2026-01-01T09:15:00+05:30"})
        case "given":
            return fault.text


def shift_times(rows: Rows, fault: Timestamps) -> Rows:
    """The rows with zero or shifted times; a time that is zero stays so."""
    out = rows.copy()
    for name in ("exchange_timestamp", "last_trade_time"):
        times = rows[name].astype(np.int64)
        shifted = np.clip(times + fault.shift_s, 0, wire.QUANTITY_MAX)
        out[name] = 0 if fault.zero else np.where(times == 0, 0, shifted)
    return out


def distort(rows: Rows, fault: Distort) -> Rows:
    """The rows with values that cannot be."""
    out = rows.copy()
    match fault.how:
        case "negative_price":
            out["last_price"] = -np.abs(rows["last_price"].astype(np.int64))
        case "volume_backwards":
            out["volume_traded"] = rows["volume_traded"] // 2
        case "crossed_book":
            out["buy"]["price"], out["sell"]["price"] = rows["sell"]["price"].copy(), rows["buy"]["price"].copy()
        case "empty_book":
            out["buy"] = out["sell"] = np.zeros((), wire.DEPTH_ENTRY)
    return out
