"""What comes over a channel and what lies in its last values: the schema, and a decoder that forgives the unknown.

A message is one JSON object, the *envelope*; its ``ticks`` are *rows*. The hash of last values holds rows alone, by
``EXCHANGE:TRADINGSYMBOL``. Field names are those of the broker's official client; every time is UTC.

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
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

SCHEMA_VERSION: Final = 1
MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True)
class Ohlc:
    """The day's open, high, low; the previous session's close."""

    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True)
class DepthLevel:
    """One price of the book."""

    quantity: int
    price: float
    orders: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Five bids and five offers, best first."""

    buy: tuple[DepthLevel, ...]
    sell: tuple[DepthLevel, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One instrument's newest state, as its packet told it.

    ``change`` is percent against the previous close, `None` where there is none. ``received_at`` is when the shard
    had the frame in hand, the only time finer than a second on this feed.

    An option that was priced has ``iv`` to ``vega`` (theta per calendar day, vega per percentage point); one that
    could not be priced says why in ``no_greeks``, e.g. ``below_intrinsic``. ``priced_at`` is there when the row was
    priced later than it was received: its underlying moved, the option itself did not trade.
    """

    instrument_token: int
    symbol: str
    last_price: float
    received_at: datetime
    last_traded_quantity: int | None = None
    average_traded_price: float | None = None
    volume_traded: int | None = None
    total_buy_quantity: int | None = None
    total_sell_quantity: int | None = None
    ohlc: Ohlc | None = None
    change: float | None = None
    last_trade_time: datetime | None = None
    oi: int | None = None
    oi_day_high: int | None = None
    oi_day_low: int | None = None
    exchange_timestamp: datetime | None = None
    depth: Depth | None = None
    iv: float | None = None
    delta: float | None = None
    gamma: float | None = None
    theta: float | None = None
    vega: float | None = None
    underlying_price: float | None = None
    no_greeks: str | None = None
    priced_at: datetime | None = None
    settling: bool = False


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
    """The message in `payload`, as published on a channel."""
    try:
        envelope = json.loads(payload)
        if (reason := _unknown_version(envelope)) is not None:
            return Undecodable(reason)
        return Message(
            source=Source(str(envelope["shard"]), str(envelope["process"]), int(envelope["epoch"])),
            seq=int(envelope["seq"]),
            kind=str(envelope.get("source", "live")),
            sent_at=_time(envelope["sent_at"]),
            ticks=tuple(_row(row) for row in envelope["ticks"]),
            gaps=tuple(_gap(gap) for gap in envelope.get("gaps", ())),
        )
    except MALFORMED as error:
        return Undecodable(f"{type(error).__name__}: {error}")


def decode_row(payload: Payload) -> Row | Undecodable:
    """The row in `payload`, as stored in a last-value hash."""
    try:
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
