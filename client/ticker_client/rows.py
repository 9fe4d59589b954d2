"""One instrument's state, as consumers have it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
