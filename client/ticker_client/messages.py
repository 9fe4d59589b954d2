"""What comes over a channel and what lies in its last values: the schema, and decoders that forgive the unknown.

A message is one object, the *envelope*, and its *rows*. The hash of last values holds rows alone, by
``EXCHANGE:TRADINGSYMBOL``. Field names are those of the broker's official client; every time is UTC. A channel is
written in JSON, with the rows in ``ticks``, or in msgpack, with ``rows`` (packed rows of one ``layout``, one behind the
other) and ``symbols`` (joined by newlines) in its place; the first byte tells them apart, so nobody needs to be told.

* Unknown members are ignored, so an older consumer reads a newer publisher. A higher ``v`` means that known members
  changed their meaning: such a message is `Undecodable`, never guessed at.
* Members that a packet's mode does not carry are absent (``ltp`` has a price only) and read as `None`.
* ``settling: true`` marks rows of an account that is taking an instrument over while its old account may still
  publish it (docs/consumers.md, duplicates).

::

    {"v":1,"shard":"default.acc1","process":"6f0c.../9a1b...","epoch":1763700000123,"seq":42,"source":"live",
     "sent_at":"2025-11-21T03:45:30.123456Z",
     "ticks":[{"instrument_token":408065,"symbol":"NSE:INFY","last_price":1573.15,
               "received_at":"2025-11-21T03:45:30.101112Z"}]}
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import ormsgpack

from ticker_client.packed import is_packed, row_bytes, unpack_row
from ticker_client.rows import Depth, DepthLevel, Ohlc, Row

SCHEMA_VERSION: Final = 1
MALFORMED: Final = (
    *(ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError),
    *(ZeroDivisionError, struct.error),
)


@dataclass(frozen=True, slots=True)
class Gap:
    """An interval in which instruments of one shard may have changed unseen.

    ``symbols`` is bounded; ``instruments`` is the full count.
    """

    shard: str
    instruments: int
    symbols: tuple[str, ...]
    start: datetime
    end: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class Source:
    """Who wrote a message: sequence numbers count within one source and channel, without holes."""

    shard: str
    process: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Message:
    """One envelope with its rows."""

    source: Source
    seq: int
    kind: str  # live, mock or replay
    sent_at: datetime
    ticks: tuple[Row, ...]
    gaps: tuple[Gap, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Undecodable:
    """Bytes that are no message or row of a version known here."""

    reason: str


Payload: TypeAlias = bytes | str


def decode_message(payload: Payload) -> Message | Undecodable:
    """The message in `payload`, as published on a channel, JSON or msgpack."""
    try:
        envelope = decode_envelope(payload)
        if (reason := _unknown_version(envelope)) is not None:
            return Undecodable(reason)
        ticks = tuple(_row(row) for row in envelope["ticks"]) if "ticks" in envelope else _packed_rows(envelope)
        return Message(
            source=Source(str(envelope["shard"]), str(envelope["process"]), int(envelope["epoch"])),
            seq=int(envelope["seq"]),
            kind=str(envelope.get("source", "live")),
            sent_at=_time(envelope["sent_at"]),
            ticks=ticks,
            gaps=tuple(_gap(gap) for gap in envelope.get("gaps", ())),
        )
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")


def decode_row(payload: Payload, *, symbol: str = "") -> Row | Undecodable:
    """The row in `payload`, as stored in a last-value hash.

    Parameters
    ----------
    payload
        The value.
    symbol
        The field under which it lies: a packed row does not repeat it.
    """
    try:
        if isinstance(payload, bytes) and is_packed(payload):
            if len(payload) != row_bytes(payload[0]):
                return Undecodable(f"a packed row of {len(payload)} bytes")
            return unpack_row(payload, symbol)
        return _row(json.loads(payload))
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")


def decode_gap(payload: Payload) -> Gap | Undecodable:
    """The gap record in `payload`, as stored in a gaps stream under ``gap``."""
    try:
        return _gap(json.loads(payload))
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")


def decode_number(shard: Payload, payload: Payload) -> tuple[Source, int] | Undecodable:
    """Who sent the last message that the last values hold, and its number: one entry of the numbers hash."""
    try:
        entry = json.loads(payload)
        name = shard.decode() if isinstance(shard, bytes) else shard
        return Source(name, str(entry["process"]), int(entry["epoch"])), int(entry["seq"])
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")


def decode_envelope(payload: Payload) -> dict[str, Any]:
    """A message's object as it was written, JSON or msgpack."""
    envelope = json.loads(payload) if isinstance(payload, str) or payload[:1] == b"{" else ormsgpack.unpackb(payload)
    if not isinstance(envelope, dict):
        raise TypeError(f"a message is an object, not a {type(envelope).__name__}")
    return envelope


def _packed_rows(envelope: Mapping[str, Any]) -> tuple[Row, ...]:
    rows, symbols = packed_part(envelope)
    size = row_bytes(envelope["layout"])
    return tuple(unpack_row(rows, symbol, at=place * size) for place, symbol in enumerate(symbols))


def packed_part(envelope: Mapping[str, Any]) -> tuple[bytes, list[str]]:
    """Packed rows of a msgpack message, and their symbols."""
    rows, text = envelope["rows"], envelope["symbols"].decode()
    symbols = text.split("\n") if text else []
    if len(rows) != len(symbols) * row_bytes(envelope["layout"]):
        raise ValueError(f"{len(rows)} bytes of rows, {len(symbols)} symbols")
    return rows, symbols


def _unknown_version(envelope: Mapping[str, Any]) -> str | None:
    version = envelope["v"]
    return None if version == SCHEMA_VERSION else f"schema version {version!r}, this client reads {SCHEMA_VERSION}"


def _row(row: Mapping[str, Any]) -> Row:
    ohlc, depth = row.get("ohlc"), row.get("depth")
    return Row(
        instrument_token=int(row["instrument_token"]),
        symbol=str(row["symbol"]),
        last_price=float(row["last_price"]),
        received_at=_time(row["received_at"]),
        last_traded_quantity=row.get("last_traded_quantity"),
        average_traded_price=row.get("average_traded_price"),
        volume_traded=row.get("volume_traded"),
        total_buy_quantity=row.get("total_buy_quantity"),
        total_sell_quantity=row.get("total_sell_quantity"),
        ohlc=None if ohlc is None else Ohlc(ohlc["open"], ohlc["high"], ohlc["low"], ohlc["close"]),
        change=row.get("change"),
        last_trade_time=_maybe_time(row.get("last_trade_time")),
        oi=row.get("oi"),
        oi_day_high=row.get("oi_day_high"),
        oi_day_low=row.get("oi_day_low"),
        exchange_timestamp=_maybe_time(row.get("exchange_timestamp")),
        depth=None if depth is None else Depth(_levels(depth["buy"]), _levels(depth["sell"])),
        iv=row.get("iv"),
        delta=row.get("delta"),
        gamma=row.get("gamma"),
        theta=row.get("theta"),
        vega=row.get("vega"),
        underlying_price=row.get("underlying_price"),
        no_greeks=row.get("no_greeks"),
        priced_at=_maybe_time(row.get("priced_at")),
        settling=row.get("settling") is True,
    )


def _levels(levels: list[Mapping[str, Any]]) -> tuple[DepthLevel, ...]:
    return tuple(DepthLevel(level["quantity"], level["price"], level["orders"]) for level in levels)


def _gap(gap: Mapping[str, Any]) -> Gap:
    return Gap(
        shard=str(gap["shard"]),
        instruments=int(gap["instruments"]),
        symbols=tuple(str(symbol) for symbol in gap.get("symbols", ())),
        start=_time(gap["start"]),
        end=_time(gap["end"]),
        cause=str(gap["cause"]),
    )


def _maybe_time(text: str | None) -> datetime | None:
    return None if text is None else _time(text)


def _time(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
