"""A row turned back into its packet is the packet, for every mode: so a digest tells any changed field."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.delivery.bodies import DIVISORS, body_of, digest_of
from ticker_client import Depth, DepthLevel, Ohlc, Row
from ticker_sim import wire
from ticker_sim.wire import Mode

SHARE, INDEX, CURRENCY = 408065, 256265, 412675
NOW = dt.datetime(2026, 11, 20, 4, tzinfo=dt.UTC)


def a_packet_row(token: int, seed: int = 3) -> wire.Rows:
    """One row with every field set, prices of both signs."""
    chance = np.random.default_rng(seed)
    rows = np.frombuffer(chance.bytes(wire.ROW.itemsize), wire.ROW).copy()
    rows["instrument_token"] = token
    for side in ("buy", "sell"):
        rows[side]["padding"] = 0
    return rows


def as_given(fields: dict[str, Any]) -> Row:
    """The row that the client library would give out for a packet's fields."""
    divisor = DIVISORS.get(fields["instrument_token"] & 0xFF, 100)
    plain: dict[str, Any] = {}
    for name, value in fields.items():
        match name:
            case "last_price" | "average_traded_price":
                plain[name] = value / divisor
            case "last_trade_time" | "exchange_timestamp":
                plain[name] = dt.datetime.fromtimestamp(value, dt.UTC)
            case "open" | "high" | "low" | "close" | "price_change" | "buy" | "sell":
                pass
            case _:
                plain[name] = value
    if "open" in fields:
        plain["ohlc"] = Ohlc(*(fields[name] / divisor for name in ("open", "high", "low", "close")))
    if "buy" in fields:
        plain["depth"] = Depth(
            *(
                tuple(DepthLevel(each["quantity"], each["price"] / divisor, each["orders"]) for each in fields[side])
                for side in ("buy", "sell")
            )
        )
    return Row(symbol="X:Y", received_at=NOW, **plain)


@pytest.mark.parametrize("mode", [Mode.LTP, Mode.QUOTE, Mode.FULL])
@pytest.mark.parametrize("token", [SHARE, INDEX, CURRENCY])
def test_a_row_becomes_its_packet_again(token: int, mode: Mode) -> None:
    packet = a_packet_row(token)
    row = as_given(wire.row_fields(packet[0], mode=mode))

    assert body_of(row, index_full=mode is Mode.FULL) == wire.encode_packet(packet, mode=mode)


def test_one_changed_level_of_the_book_is_another_digest() -> None:
    row = as_given(wire.row_fields(a_packet_row(SHARE)[0], mode=Mode.FULL))
    assert row.depth is not None
    last = row.depth.sell[-1]
    other = Depth(row.depth.buy, (*row.depth.sell[:-1], replace(last, orders=(last.orders + 1) % 65_536)))

    assert digest_of(replace(row, depth=other)) != digest_of(row)
    assert digest_of(replace(row, received_at=NOW + dt.timedelta(1), settling=True)) == digest_of(row)
