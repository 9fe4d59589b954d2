"""REST's view of a row: short names, rupees, times as text in India. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

from ticker_sim import wire
from ticker_sim.contracts import Kind
from ticker_sim.instruments import Instrument
from ticker_sim.trading_days import IST

QUOTE_KEYS_MAX: Final[dict[str, int]] = {"/quote": 500, "/quote/ohlc": 1_000, "/quote/ltp": 1_000}
CIRCUIT: Final = 0.2  # width of the price band shown as circuit limits


def ist_text(seconds: int) -> str | None:
    """``yyyy-mm-dd hh:mm:ss`` in India; nothing for time zero."""
    return dt.datetime.fromtimestamp(seconds, IST).strftime("%Y-%m-%d %H:%M:%S") if seconds else None


def ltp(instrument: Instrument, row: Any) -> dict[str, Any]:
    """What /quote/ltp says."""
    return {"instrument_token": instrument.token, "last_price": _rupees(instrument, row["last_price"])}


def ohlc(instrument: Instrument, row: Any) -> dict[str, Any]:
    """What /quote/ohlc says."""
    prices = {name: _rupees(instrument, row[name]) for name in ("open", "high", "low", "close")}
    return {**ltp(instrument, row), "ohlc": prices}


def quote(instrument: Instrument, row: Any) -> dict[str, Any]:
    """What /quote says: an index has no volumes and no book."""
    close = _rupees(instrument, row["close"])
    shown = {
        **ohlc(instrument, row),
        "timestamp": ist_text(int(row["exchange_timestamp"])),
        "net_change": round(_rupees(instrument, row["last_price"]) - close, 6),
    }
    if instrument.kind is Kind.INDEX:
        return shown
    return {
        **shown,
        "last_trade_time": ist_text(int(row["last_trade_time"])),
        "last_quantity": int(row["last_traded_quantity"]),
        "buy_quantity": int(row["total_buy_quantity"]),
        "sell_quantity": int(row["total_sell_quantity"]),
        "volume": int(row["volume_traded"]),
        "average_price": _rupees(instrument, row["average_traded_price"]),
        **{name: int(row[name]) for name in ("oi", "oi_day_high", "oi_day_low")},
        "lower_circuit_limit": round(close * (1 - CIRCUIT), 2),
        "upper_circuit_limit": round(close * (1 + CIRCUIT), 2),
        "depth": {
            side: [
                {
                    "price": _rupees(instrument, entry["price"]),
                    "quantity": int(entry["quantity"]),
                    "orders": int(entry["orders"]),
                }
                for entry in row[side]
            ]
            for side in ("buy", "sell")
        },
    }


def _rupees(instrument: Instrument, scaled: Any) -> float:
    return int(scaled) / wire.divisor_of(instrument.token)
