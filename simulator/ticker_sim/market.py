"""The market as columns, and the one function that moves it.

Underlying paths (indices, shares, currencies, metals) are random walks with one common factor; everything else is
derived from its path: a share or index *is* its path on the tick grid, a future the path carried forward, an option
Black-76 on that. `step` moves the paths by the simulated time that went by and lets a chosen number of instruments
trade or change their book: each of those, and only those, gets a new row. Prices therefore respect the bounds of
`ticker_sim.pricing` at the moment they are set; between two of its trades an option may lag behind its underlying, as
it does in life (if it lags below what is certain, it trades when its turn comes). Instruments that nobody watches are
kept up to date by `refresh`.

No clock and no chance of its own: time is an argument, all randomness is the generator made from the seed. The same
seed, day and sequence of calls gives the same bytes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_sim import pricing, wire
from ticker_sim.contracts import Kind
from ticker_sim.instruments import Instrument, price_paths
from ticker_sim.pricing import Floats
from ticker_sim.trading_days import epoch_seconds

Places: TypeAlias = NDArray[np.intp]  # positions in the market's columns

TRADING_YEAR_S: Final = 252 * 22_500
PATH_PERIOD_NS: Final = 250_000_000  # indices are computed a few times a second, not with each trade
COMMON_FACTOR: Final = 0.65  # share of a path's variance that moves the whole market
TRADE_SHARE: Final = 0.75  # of the changes; the others only change the book
CLOSING: Final = dt.time(15, 30)
INDEX_TICK: Final = 5  # scaled; the dump says 0, prices move by 0.05
BOOK_LOTS_MAX: Final = 60
BOOK_ORDERS_MAX: Final = 25


@dataclass(frozen=True, slots=True)
class _Columns:
    """What never changes in a day, by place."""

    divisor: Floats
    tick: NDArray[np.int64]
    lot: NDArray[np.int64]
    path: NDArray[np.intp]
    strike: Floats
    expires_s: Floats
    is_option: NDArray[np.bool_]
    is_call: NDArray[np.bool_]
    is_future: NDArray[np.bool_]
    is_index: NDArray[np.bool_]


class Market:
    """The day's market.

    Parameters
    ----------
    instruments
        The dump, in the order of the columns.
    day, open_at, seed
        When the clock starts, and what chance is made of.
    """

    def __init__(self, instruments: Sequence[Instrument], *, day: dt.date, open_at: dt.time, seed: int) -> None:
        self.instruments = tuple(instruments)
        self.tokens = np.array([row.token for row in self.instruments], np.uint32)
        self.place_of = {row.token: place for place, row in enumerate(self.instruments)}
        self.place_of_key = {row.key: place for place, row in enumerate(self.instruments)}
        self.opened_ns = epoch_seconds(day, open_at) * 1_000_000_000
        self._random = np.random.default_rng(seed)
        paths = price_paths()
        self._columns = _columns(self.instruments, [path.key for path in paths])
        self._volatility = np.array([path.volatility for path in paths])
        self._levels = np.array([path.level for path in paths])
        self._moved_ns = self.opened_ns
        self._now_s = self.opened_ns // 1_000_000_000
        self.activity = self._activity()
        self.rows = wire.empty_rows(len(self.instruments))
        self._turnover = np.zeros(len(self.instruments))
        self._open_day()

    def __len__(self) -> int:
        return len(self.instruments)

    def divisor_of(self, place: int) -> int:
        """What scaled prices at this place are divided by."""
        return int(self._columns.divisor[place])

    def step(self, watched: Places, *, count: int, now_ns: int) -> Places:
        """Move to `now_ns` and let up to `count` of the `watched` change; answers which did.

        Parameters
        ----------
        watched
            Places that somebody subscribed to.
        count
            How many changes are due; never more than one per instrument.
        now_ns
            Simulated Unix time; never goes back.
        """
        self._move_paths(now_ns)
        chosen = self._choose(watched, count)
        self._change(chosen, traded=self._random.random(len(chosen)) < TRADE_SHARE)
        return chosen

    def refresh(self, places: Places, *, now_ns: int) -> None:
        """Bring instruments that nobody watches to the prices of `now_ns`, as if each had traded once."""
        self._move_paths(now_ns)
        self._change(places, traded=np.ones(len(places), np.bool_))

    def bounds(self, places: Places) -> tuple[Floats, Floats]:
        """(discounted intrinsic value, forward) of options, in rupees, by the paths as they stand now."""
        columns = self._columns
        years = self._years(places)
        forward = pricing.forward_price(self._levels[columns.path[places]], years)
        floor = pricing.discounted_intrinsic(
            forward=forward, strike=columns.strike[places], years=years, call=columns.is_call[places]
        )
        return floor, forward

    def _open_day(self) -> None:
        everything = np.arange(len(self))
        rows, columns = self.rows, self._columns
        rows["instrument_token"] = self.tokens
        close_levels = self._levels.copy()
        close = self._fair_scaled(everything)
        gap = self._random.normal(0.0, 0.25, len(self._levels)) * self._volatility / np.sqrt(252)
        self._levels = close_levels * np.exp(gap)
        rows["close"] = close
        opening = self._fair_scaled(everything)
        for name in ("open", "high", "low", "last_price", "average_traded_price"):
            rows[name] = opening
        derivative = columns.is_option | columns.is_future
        rows["oi"] = np.where(derivative, np.minimum(self._activity_lots(2_000.0), 40_000) * columns.lot, 0)
        rows["oi_day_high"] = rows["oi_day_low"] = rows["oi"]
        self._change(everything, traded=np.ones(len(self), np.bool_))

    def _move_paths(self, now_ns: int) -> None:
        assert now_ns >= self._moved_ns, (now_ns, self._moved_ns)
        self._now_s = now_ns // 1_000_000_000
        elapsed_ns = now_ns - self._moved_ns
        if elapsed_ns < PATH_PERIOD_NS:
            return
        self._moved_ns = now_ns
        width = np.sqrt(elapsed_ns / 1e9 / TRADING_YEAR_S)
        shock = np.sqrt(COMMON_FACTOR) * self._random.standard_normal() + np.sqrt(
            1 - COMMON_FACTOR
        ) * self._random.standard_normal(len(self._levels))
        self._levels = self._levels * np.exp(self._volatility * width * shock)

    def _choose(self, watched: Places, count: int) -> Places:
        if count >= len(watched):
            return watched
        if count <= 0:
            return watched[:0]
        # Exponential waiting times by activity: the `count` that come first trade (a Poisson process, cut).
        waits = self._random.standard_exponential(len(watched)) / self.activity[watched]
        return np.sort(watched[np.argpartition(waits, count - 1)[:count]])

    def _change(self, places: Places, *, traded: NDArray[np.bool_]) -> None:
        if not len(places):
            return
        rows, columns, random = self.rows[places], self._columns, self._random
        count = len(places)
        tick, lot, index = columns.tick[places], columns.lot[places], columns.is_index[places]
        fair, floor = self._fair_scaled(places), self._floor_scaled(places)
        # Below what is certain somebody trades at once.
        traded = traded | (rows["last_price"] < floor)
        half = np.where(index, 0, random.integers(0, 2, count)) * tick
        side = np.where(random.random(count) < 0.5, 1, -1)
        price = np.clip(fair + side * half, np.maximum(floor, tick), wire.PRICE_MAX)
        price = np.where(traded, price, rows["last_price"])
        rows["last_price"] = price
        rows["high"] = np.maximum(rows["high"], price)
        rows["low"] = np.minimum(rows["low"], price)
        rows["exchange_timestamp"] = self._now_s
        rows["last_trade_time"] = np.where(traded & ~index, self._now_s, rows["last_trade_time"])
        self._trade(places, rows, price=price, traded=traded & ~index, lot=lot)
        self._quote_book(places, rows, fair=fair, floor=floor, tick=tick, lot=lot)
        self.rows[places] = rows

    def _trade(
        self, places: Places, rows: wire.Rows, *, price: Any, traded: NDArray[np.bool_], lot: NDArray[np.int64]
    ) -> None:
        columns, random = self._columns, self._random
        quantity = np.where(traded, lot * random.geometric(0.2, len(places)), 0)
        volume = np.minimum(rows["volume_traded"].astype(np.int64) + quantity, wire.QUANTITY_MAX)
        quantity = volume - rows["volume_traded"]
        self._turnover[places] += quantity.astype(np.float64) * price
        rows["last_traded_quantity"] = np.where(quantity > 0, quantity, rows["last_traded_quantity"])
        rows["volume_traded"] = volume
        average = np.rint(self._turnover[places] / np.maximum(volume, 1))
        rows["average_traded_price"] = np.where(volume > 0, average, 0)
        derivative = columns.is_option[places] | columns.is_future[places]
        change = np.where(derivative & traded, lot * random.integers(-3, 4, len(places)), 0)
        oi = np.clip(rows["oi"].astype(np.int64) + change, 0, wire.QUANTITY_MAX)
        rows["oi"] = oi
        rows["oi_day_high"] = np.maximum(rows["oi_day_high"], oi)
        rows["oi_day_low"] = np.minimum(rows["oi_day_low"], oi)

    def _quote_book(
        self, places: Places, rows: wire.Rows, *, fair: Any, floor: Any, tick: NDArray[np.int64], lot: NDArray[np.int64]
    ) -> None:
        random, count = self._random, len(places)
        index = self._columns.is_index[places]
        shape = (count, wire.DEPTH_LEVELS)
        away = np.arange(wire.DEPTH_LEVELS)
        best_bid = np.minimum(fair, rows["last_price"].astype(np.int64)) - tick * random.integers(0, 2, count)
        best_ask = np.maximum(best_bid + tick, np.maximum(fair, floor))
        for side, best, step in (("buy", best_bid, -1), ("sell", best_ask, 1)):
            prices = best[:, None] + step * away * tick[:, None]
            quantities = lot[:, None] * random.integers(1, BOOK_LOTS_MAX, shape)
            orders = np.minimum(random.integers(1, BOOK_ORDERS_MAX, shape), quantities)
            exists = (prices > 0) & ~index[:, None]
            rows[side]["price"] = np.where(exists, prices, 0)
            rows[side]["quantity"] = np.where(exists, quantities, 0)
            rows[side]["orders"] = np.where(exists, orders, 0)
            shown = rows[side]["quantity"].astype(np.int64).sum(axis=1)
            rows[f"total_{side}_quantity"] = np.where(index, 0, shown * random.integers(2, 9, count))

    def _years(self, places: Places) -> Floats:
        remaining = self._columns.expires_s[places] - self._now_s
        return np.maximum(remaining, 60.0) / pricing.YEAR_S

    def _fair(self, places: Places) -> Floats:
        columns = self._columns
        price = self._levels[columns.path[places]].copy()
        derived = columns.is_future[places] | columns.is_option[places]
        if derived.any():
            price[derived] = pricing.forward_price(price[derived], self._years(places[derived]))
        options = columns.is_option[places]
        if options.any():
            chosen = places[options]
            forward, strike = price[options], columns.strike[chosen]
            base = self._volatility[columns.path[chosen]]
            price[options] = pricing.option_price(
                forward=forward,
                strike=strike,
                years=self._years(chosen),
                volatility=pricing.smile_volatility(base, forward, strike),
                call=columns.is_call[chosen],
            )
        return price

    def _fair_scaled(self, places: Places) -> NDArray[np.int64]:
        tick = self._columns.tick[places]
        scaled = np.rint(self._fair(places) * self._columns.divisor[places] / tick).astype(np.int64) * tick
        return np.asarray(np.clip(np.maximum(scaled, self._floor_scaled(places)), tick, wire.PRICE_MAX), np.int64)

    def _floor_scaled(self, places: Places) -> NDArray[np.int64]:
        """The lowest price on the grid that is not below the discounted intrinsic value; 0 but for options."""
        floor = np.zeros(len(places), np.int64)
        options = self._columns.is_option[places]
        if options.any():
            chosen = places[options]
            intrinsic, _ = self.bounds(chosen)
            tick = self._columns.tick[chosen]
            floor[options] = np.ceil(intrinsic * self._columns.divisor[chosen] / tick).astype(np.int64) * tick
        return floor

    def _activity(self) -> Floats:
        """Relative frequency of changes: indices and the strikes at the money of near expiries lead."""
        columns = self._columns
        activity = np.full(len(self), 2.0)
        activity[columns.is_index | columns.is_future] = 6.0
        options = np.flatnonzero(columns.is_option)
        distance = np.abs(np.log(columns.strike[options] / self._levels[columns.path[options]]))
        days = (columns.expires_s[options] - self._now_s) / 86_400
        activity[options] = 0.6 + 6.0 * np.exp(-distance / 0.02) * np.exp(-np.maximum(days, 0) / 20)
        return activity

    def _activity_lots(self, lots: float) -> NDArray[np.int64]:
        spread = self._random.lognormal(0.0, 0.6, len(self))
        return np.asarray(lots * self.activity * spread, np.int64)


def _columns(instruments: Sequence[Instrument], paths: Sequence[str]) -> _Columns:
    number = {key: place for place, key in enumerate(paths)}
    kinds = np.array([row.kind.value for row in instruments])
    divisor = np.array([wire.divisor_of(row.token) for row in instruments], np.float64)
    tick = np.array([float(row.tick) for row in instruments]) * divisor
    index = kinds == Kind.INDEX.value
    expires = [epoch_seconds(row.expiry, CLOSING) if row.expiry else 0 for row in instruments]
    return _Columns(
        divisor=divisor,
        tick=np.where(index, INDEX_TICK, np.maximum(np.rint(tick), 1)).astype(np.int64),
        lot=np.array([max(row.lot, 1) for row in instruments], np.int64),
        path=np.array([number[row.path] for row in instruments], np.intp),
        strike=np.array([float(row.strike) for row in instruments]),
        expires_s=np.array(expires, np.float64),
        is_option=(kinds == Kind.CALL.value) | (kinds == Kind.PUT.value),
        is_call=kinds == Kind.CALL.value,
        is_future=kinds == Kind.FUTURE.value,
        is_index=index,
    )
