"""Rows and messages as bytes. One encoder per `ticker_crds.Encoding`; json is the one that exists.

A row is encoded once; the same bytes stand in the message and in the last-value hash. Prices are the broker's scaled
integers divided by a power of ten: both are exact in binary floating point, so the quotient is the double nearest to
the true decimal, and the shortest text that names this double is that decimal (an integer of ten digits stays far
below the seventeen that a double could blur). So 157315 / 100 is written 1573.15, never 1573.1499999.

Members by packet: ltp has a price only; index packets add ohlc and change (and a time, when full); quote adds
quantities; full adds trade time, open interest and depth. A time of zero means *none* and is written null, as is
``change`` where there is no previous close.

An option that was priced has its Greeks, and one that was to be priced and could not be has ``no_greeks``, the reason;
``underlying_price`` stands in both cases where one is known. ``priced_at`` is there only when the row was priced
again after it was received, because its underlying had moved: that is no trade.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import isnan
from typing import Any, Final, Protocol

import numpy as np
import orjson

from ticker_client import SCHEMA_VERSION
from ticker_crds import Encoding, Role
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import DEPTH_ENTRIES, Greek, PacketKind, PricingOutcome, TickRows, Word

DEPTH_LEVELS: Final = DEPTH_ENTRIES // 2

# Plain integers: indexing with members of an enum costs three times as much, thirty times a row.
_TOKEN, _LAST, _LAST_QUANTITY, _AVERAGE, _VOLUME, _BUY, _SELL = (int(word) for word in list(Word)[:7])
_OPEN, _HIGH, _LOW, _CLOSE, _TRADED_AT, _OI, _OI_HIGH, _OI_LOW, _EXCHANGE_AT = (int(word) for word in list(Word)[7:16])
_LEVELS: Final = tuple((at, at + 1, at + 2) for at in range(Word.DEPTH, Word.DEPTH + 3 * DEPTH_ENTRIES, 3))
_LTP: Final = int(PacketKind.LTP)
_UNDERLYING: Final = int(Greek.UNDERLYING_PRICE)
_NOT_ASKED, _PRICED = int(PricingOutcome.NOT_ASKED), int(PricingOutcome.PRICED)
NO_GREEKS: Final = tuple(outcome.name.lower() for outcome in PricingOutcome)  # by outcome, as consumers read it


class Encoder(Protocol):
    """Writes rows, and messages made of such rows."""

    def rows(self, rows: TickRows, *, table: InstrumentTable) -> list[tuple[bytes, bytes]]:
        """(field of the last-value hash, the row's bytes) of each row, in order."""
        ...

    def message(self, head: Head, *, rows: Sequence[tuple[bytes, bytes]], gaps: Sequence[bytes]) -> bytes:
        """One message with these rows and gap records."""
        ...


class Head:
    """What a message says about itself; all but the running parts is written once."""

    __slots__ = ("_opening", "epoch", "process", "sent_ns", "seq", "source")

    def __init__(self, *, shard: str, process: str, epoch: int, seq: int, source: str, sent_ns: int) -> None:
        self._opening = _opening(shard, process)
        self.process, self.epoch, self.seq, self.source, self.sent_ns = process, epoch, seq, source, sent_ns

    def numbers(self) -> bytes:
        """Process, epoch and number alone, as kept beside the last values."""
        return orjson.dumps({"process": self.process, "epoch": self.epoch, "seq": self.seq})

    def json(self) -> bytes:
        """The envelope's members before ``ticks``, without the closing brace."""
        return b'%b"epoch":%d,"seq":%d,"source":"%b","sent_at":"%b"' % (
            self._opening,
            self.epoch,
            self.seq,
            self.source.encode(),
            iso_utc(self.sent_ns).encode(),
        )


@lru_cache(maxsize=16)
def _opening(shard: str, process: str) -> bytes:
    return orjson.dumps({"v": SCHEMA_VERSION, "shard": shard, "process": process})[:-1] + b","


@lru_cache(maxsize=4_096)
def _iso_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=256)
def iso_utc(wall_ns: int) -> str:
    """A wall clock time as UTC text with microseconds."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{_iso_seconds(seconds)[:-1]}.{rest_ns // 1_000:06d}Z"


def exchange_time(seconds: int) -> str | None:
    """A time of the exchange; zero is none."""
    return _iso_seconds(seconds) if seconds else None


class JsonEncoder:
    """The default: for people, and for any language."""

    def rows(self, rows: TickRows, *, table: InstrumentTable) -> list[tuple[bytes, bytes]]:
        """(field, bytes) of each row, in order."""
        if not len(rows):
            return []
        unsigned = rows.words.tolist()
        prices = (rows.words.view(np.int32) / table.divisor[rows.slot][:, None]).tolist()
        encoded = []
        columns = (rows.kind, rows.slot, rows.received_ns, rows.outcome, rows.greeks, rows.priced_ns)
        for kind, slot, received_ns, outcome, greeks, priced_ns, words, price in zip(
            *(column.tolist() for column in columns), unsigned, prices, strict=True
        ):
            instrument = table.instruments[slot]
            assert instrument is not None, f"slot {slot} is free"
            row: dict[str, Any] = {
                "instrument_token": words[_TOKEN],
                "symbol": instrument.symbol,
                "last_price": price[_LAST],
            }
            if kind != _LTP:
                _BY_KIND[kind](row, words, price)
            if outcome != _NOT_ASKED:
                _pricing(row, outcome, greeks, priced_ns if priced_ns != received_ns else 0)
            row["received_at"] = iso_utc(received_ns)
            if instrument.role is Role.SETTLING:
                row["settling"] = True
            encoded.append((row["symbol"].encode(), orjson.dumps(row)))
        return encoded

    def message(self, head: Head, *, rows: Sequence[tuple[bytes, bytes]], gaps: Sequence[bytes]) -> bytes:
        """One message; ``gaps`` is there only when there are some."""
        ticks = b",".join([row for _, row in rows])
        tail = b',"gaps":[%b]}' % b",".join(gaps) if gaps else b"}"
        return b'%b,"ticks":[%b]%b' % (head.json(), ticks, tail)


def _prices_of_day(row: dict[str, Any], price: list[float]) -> None:
    last, close = price[_LAST], price[_CLOSE]
    row["ohlc"] = {"open": price[_OPEN], "high": price[_HIGH], "low": price[_LOW], "close": close}
    row["change"] = (last - close) * 100 / close if close else None


def _index_quote(row: dict[str, Any], words: list[int], price: list[float]) -> None:
    _prices_of_day(row, price)


def _index_full(row: dict[str, Any], words: list[int], price: list[float]) -> None:
    _prices_of_day(row, price)
    row["exchange_timestamp"] = exchange_time(words[_EXCHANGE_AT])


def _quote(row: dict[str, Any], words: list[int], price: list[float]) -> None:
    row["last_traded_quantity"] = words[_LAST_QUANTITY]
    row["average_traded_price"] = price[_AVERAGE]
    row["volume_traded"] = words[_VOLUME]
    row["total_buy_quantity"] = words[_BUY]
    row["total_sell_quantity"] = words[_SELL]
    _prices_of_day(row, price)


def _full(row: dict[str, Any], words: list[int], price: list[float]) -> None:
    _quote(row, words, price)
    row["last_trade_time"] = exchange_time(words[_TRADED_AT])
    row["oi"] = words[_OI]
    row["oi_day_high"] = words[_OI_HIGH]
    row["oi_day_low"] = words[_OI_LOW]
    row["exchange_timestamp"] = exchange_time(words[_EXCHANGE_AT])
    levels = [
        {"quantity": words[quantity], "price": price[at], "orders": words[orders] >> 16}
        for quantity, at, orders in _LEVELS
    ]
    row["depth"] = {"buy": levels[:DEPTH_LEVELS], "sell": levels[DEPTH_LEVELS:]}


def _pricing(row: dict[str, Any], outcome: int, greeks: list[float], again_ns: int) -> None:
    """What became of the option's pricing; `again_ns` is when, if that was not when it was received."""
    if outcome == _PRICED:
        row["iv"], row["delta"], row["gamma"], row["theta"], row["vega"] = greeks[:_UNDERLYING]
    else:
        row["no_greeks"] = NO_GREEKS[outcome]
    if not isnan(greeks[_UNDERLYING]):
        row["underlying_price"] = greeks[_UNDERLYING]
    if again_ns:
        row["priced_at"] = iso_utc(again_ns)


_BY_KIND: Final = {
    int(PacketKind.INDEX_QUOTE): _index_quote,
    int(PacketKind.INDEX_FULL): _index_full,
    int(PacketKind.QUOTE): _quote,
    int(PacketKind.FULL): _full,
}

ENCODERS: Final[dict[Encoding, Encoder]] = {Encoding.JSON: JsonEncoder()}


def encoder_for(encoding: Encoding) -> Encoder:
    """The channel's encoder; a channel whose encoding does not exist yet is written as json, never not at all."""
    return ENCODERS.get(encoding, ENCODERS[Encoding.JSON])
