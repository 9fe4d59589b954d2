"""A row at the edge: what may stand in it, member by member, for whoever does not want to trust the publisher.

`Tick.model_validate_json` reads one json row as it is published and as it lies in the last values, and refuses what
the publisher itself would have refused on the row alone, under the same name (`error["type"]`): whatever depends on
earlier rows (order, volume going back) is the publisher's to judge. `Tick.model_json_schema()` is the same for any
language. Reading every row this way costs a hundred times what `decode_row` does: it is meant for tests, for samples
and for whoever takes rows from elsewhere.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from pydantic_core import PydanticCustomError

YEAR_2000: Final = datetime(2000, 1, 1, tzinfo=UTC)
FUTURE_TOLERANCE: Final = timedelta(days=7)
PRICE_MAX: Final = 10_000_000  # rupees
SEGMENTS_MAYBE_NEGATIVE: Final = frozenset({7, 8, 12})  # commodities; the segment is the token's last byte

Word = Annotated[int, Field(ge=0, le=2**32 - 1)]  # the broker's unsigned words


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # an older reader, a newer publisher


class OhlcPart(_Part):
    """The day's open, high, low; the previous session's close."""

    open: FiniteFloat
    high: FiniteFloat
    low: FiniteFloat
    close: FiniteFloat


class DepthLevelPart(_Part):
    """One price of the book."""

    quantity: Word
    price: FiniteFloat
    orders: Annotated[int, Field(ge=0, le=2**16 - 1)]


class DepthPart(_Part):
    """Five bids and five offers, best first."""

    buy: Annotated[tuple[DepthLevelPart, ...], Field(min_length=5, max_length=5)]
    sell: Annotated[tuple[DepthLevelPart, ...], Field(min_length=5, max_length=5)]


class Tick(_Part):
    """One row; members that its packet does not carry are absent."""

    instrument_token: Word
    symbol: Annotated[str, Field(min_length=3, pattern=r"^[^:]+:.+$")]
    last_price: FiniteFloat
    received_at: AwareDatetime
    last_traded_quantity: Word | None = None
    average_traded_price: FiniteFloat | None = None
    volume_traded: Word | None = None
    total_buy_quantity: Word | None = None
    total_sell_quantity: Word | None = None
    ohlc: OhlcPart | None = None
    change: FiniteFloat | None = None
    last_trade_time: AwareDatetime | None = None
    oi: Word | None = None
    oi_day_high: Word | None = None
    oi_day_low: Word | None = None
    exchange_timestamp: AwareDatetime | None = None
    depth: DepthPart | None = None
    iv: FiniteFloat | None = None
    delta: FiniteFloat | None = None
    gamma: FiniteFloat | None = None
    theta: FiniteFloat | None = None
    vega: FiniteFloat | None = None
    underlying_price: FiniteFloat | None = None
    no_greeks: str | None = None
    priced_at: AwareDatetime | None = None
    settling: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        """The first reason for which the publisher refuses such a row whatever came before it."""
        maybe_negative = self.instrument_token & 0xFF in SEGMENTS_MAYBE_NEGATIVE
        ohlc = self.ohlc
        prices = (self.last_price, *((ohlc.open, ohlc.high, ohlc.low, ohlc.close) if ohlc else ()))
        at = self.exchange_timestamp
        if at is not None and at > self.received_at + FUTURE_TOLERANCE:
            raise PydanticCustomError("future_timestamp", "exchange_timestamp lies more than a week ahead")
        if at is not None and at < YEAR_2000:
            raise PydanticCustomError("timestamp_before_2000", "exchange_timestamp is before 2000")
        if min(prices) < 0 and not maybe_negative:
            raise PydanticCustomError("negative_price", "a price is below zero in a segment where none can be")
        if abs(self.last_price) > PRICE_MAX:
            raise PydanticCustomError("price_out_of_bounds", "last_price is beyond 10,000,000 rupees")
        if self.last_price == 0 and self.volume_traded and not maybe_negative:
            raise PydanticCustomError("zero_price", "last_price is 0 although there is volume")
        return self
