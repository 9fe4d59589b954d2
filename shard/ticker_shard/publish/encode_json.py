"""What a row says in JSON; written by the library, row by row: the reference for the native writer.

Prices are the broker's scaled integers divided by a power of ten: both are exact in binary floating point, so the
quotient is the double nearest to the true decimal, and the shortest text that names this double is that decimal (an
integer of ten digits stays far below the seventeen that a double could blur). So 157315 / 100 is written 1573.15,
never 1573.1499999.

Members by packet: ltp has a price only; index packets add ohlc and change (and a time, when full); quote adds
quantities; full adds trade time, open interest and depth. A time of zero means *none* and is written null, as is
``change`` where there is no previous close.

An option that was priced has its Greeks, and one that was to be priced and could not be has ``no_greeks``, the reason;
``underlying_price`` stands in both cases where one is known. ``priced_at`` is there only when the row was priced
again after it was received, because its underlying had moved: that is no trade.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from typing import Any, Final

import numpy as np
import orjson
import ormsgpack

from ticker_client.packed import OUTCOMES, change_of
from ticker_shard.publish.encode_times import exchange_time, iso_utc
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.rows import DEPTH_ENTRIES, Greek, PacketKind, PricingOutcome, TickRows, Word

DEPTH_LEVELS: Final = DEPTH_ENTRIES // 2

# Plain integers: indexing with members of an enum costs three times as much, thirty times a row.
_TOKEN, _LAST, _LAST_QUANTITY, _AVERAGE, _VOLUME, _BUY, _SELL = (int(word) for word in list(Word)[:7])
_OPEN, _HIGH, _LOW, _CLOSE, _TRADED_AT, _OI, _OI_HIGH, _OI_LOW, _EXCHANGE_AT = (int(word) for word in list(Word)[7:16])
_LEVELS: Final = tuple((at, at + 1, at + 2) for at in range(Word.DEPTH, Word.DEPTH + 3 * DEPTH_ENTRIES, 3))
_LTP: Final = int(PacketKind.LTP)
_UNDERLYING: Final = int(Greek.UNDERLYING_PRICE)
_NOT_ASKED, _PRICED = int(PricingOutcome.NOT_ASKED), int(PricingOutcome.PRICED)


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of one message as text.

    Attributes
    ----------
    rows
        Joined by commas; good until the writer is used again.
    fields
        Their fields of the last values, each a packed argument.
    sizes
        Of the rows, as a msgpack array.
    """

    rows: bytes | memoryview
    fields: bytes
    sizes: bytes


class JsonRows:
    """Rows as JSON, one by one."""

    def encode(self, rows: TickRows, *, book: SymbolBook) -> Written:
        """The rows, and what is told of them."""
        encoded = [orjson.dumps(row) for row in row_objects(rows, book=book)]
        fields = b"".join(map(book.fields.__getitem__, rows.slot.tolist()))
        return Written(b",".join(encoded), fields, ormsgpack.packb([len(row) for row in encoded]))


def row_objects(rows: TickRows, *, book: SymbolBook) -> Iterator[dict[str, Any]]:
    """Each row as plain values, members in the order in which they are written."""
    unsigned = rows.words.tolist()
    scaled = rows.words.view(np.int32)
    prices = (scaled / book.divisor[rows.slot][:, None]).tolist()
    columns = (rows.kind, rows.slot, rows.received_ns, rows.outcome, rows.greeks, rows.priced_ns)
    changes = map(change_of, scaled[:, _LAST].tolist(), scaled[:, _CLOSE].tolist())
    for kind, slot, received_ns, outcome, greeks, priced_ns, words, price, change in zip(
        *(column.tolist() for column in columns), unsigned, prices, changes, strict=True
    ):
        row: dict[str, Any] = {
            "instrument_token": words[_TOKEN],
            "symbol": book.symbols[slot],
            "last_price": price[_LAST],
        }
        if kind != _LTP:
            _BY_KIND[kind](row, words, price, change)
        if outcome != _NOT_ASKED:
            _pricing(row, outcome, greeks, 0 if priced_ns == received_ns else priced_ns)
        row["received_at"] = iso_utc(received_ns)
        if book.settling[slot]:
            row["settling"] = True
        yield row


def _index_quote(row: dict[str, Any], words: list[int], price: list[float], change: float | None) -> None:
    row["ohlc"] = {"open": price[_OPEN], "high": price[_HIGH], "low": price[_LOW], "close": price[_CLOSE]}
    row["change"] = change


def _index_full(row: dict[str, Any], words: list[int], price: list[float], change: float | None) -> None:
    _index_quote(row, words, price, change)
    row["exchange_timestamp"] = exchange_time(words[_EXCHANGE_AT])


def _quote(row: dict[str, Any], words: list[int], price: list[float], change: float | None) -> None:
    row["last_traded_quantity"] = words[_LAST_QUANTITY]
    row["average_traded_price"] = price[_AVERAGE]
    row["volume_traded"] = words[_VOLUME]
    row["total_buy_quantity"] = words[_BUY]
    row["total_sell_quantity"] = words[_SELL]
    _index_quote(row, words, price, change)


def _full(row: dict[str, Any], words: list[int], price: list[float], change: float | None) -> None:
    _quote(row, words, price, change)
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
        row["no_greeks"] = OUTCOMES[outcome]
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
