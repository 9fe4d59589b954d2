"""A small option chain for pricing tests: its table, and rows of it as the broker would send them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tests.support.pricing import solve_slowly
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.ticks.contracts import INDIA
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.greeks_arrays import array_pricer
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.pricing import BlockPricer
from ticker_shard.ticks.processor import TickProcessor
from ticker_shard.ticks.rows import WORDS, PacketKind, Slots, TickRows, Word, unpriced_rows
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.underlying import ChainMarket, PricingRules

CHANNEL = "ticker:nifty:options"
WEEKLY, MONTHLY = "2026-11-17", "2026-11-23"
NOON_S = int(dt.datetime(2026, 11, 16, 12, 0, tzinfo=INDIA).timestamp())
SPOT_TOKEN = 256_265
SECOND_NS = 1_000_000_000


def option(strike: int | str, kind: str, expiry: str = MONTHLY, *, greeks: bool = True) -> AssignedInstrument:
    """One NIFTY option."""
    name = f"NIFTY{expiry}-{strike}{kind}"
    return AssignedInstrument(
        token=0,  # given by the table
        exchange="NFO",
        tradingsymbol=name,
        mode=Mode.FULL,
        channels=(CHANNEL,),
        expiry=expiry,
        strike=str(strike),
        instrument_type=kind,
        underlying="nifty",
        underlying_token=SPOT_TOKEN,
        greeks=greeks,
    )


def future(expiry: str = MONTHLY) -> AssignedInstrument:
    """A NIFTY future."""
    return replace(option("0", "FUT", expiry, greeks=False), tradingsymbol=f"NIFTY{expiry}FUT")


def spot() -> AssignedInstrument:
    """The index."""
    return replace(
        option("0", "EQ", "", greeks=False),
        token=SPOT_TOKEN,
        exchange="NSE",
        tradingsymbol="NIFTY 50",
        underlying_token=0,
    )


def table_of(
    rows: Sequence[AssignedInstrument], *, revision: int = 1, previous: InstrumentTable | None = None
) -> InstrumentTable:
    """Every row with a token of its own."""
    tokened = tuple(row if row.token else replace(row, token=_token(row)) for row in rows)
    return build_instruments(AssignmentTable("acc1", revision, (Channel(CHANNEL),), tokened), previous=previous)


_TOKENS: dict[str, int] = {}


def _token(row: AssignedInstrument) -> int:
    return _TOKENS.setdefault(row.symbol, (len(_TOKENS) + 1_000) * 256 + 2)


@dataclass
class Stage:
    """State, calculator and a clock, joined as the processor joins them."""

    rows: Sequence[AssignedInstrument]
    rules: PricingRules = field(default_factory=PricingRules)
    now_s: int = NOON_S
    pricer: BlockPricer = field(default_factory=lambda: array_pricer(solve_slowly))

    market: type[ChainMarket] = ChainMarket
    rest_ms: int = 0

    def __post_init__(self) -> None:
        self.state = InstrumentState()
        self.greeks = GreeksCalculator(
            state=self.state,
            pricer=self.pricer,
            market=self.market,
            rules=self.rules,
            rest_ns=self.rest_ms * 1_000_000,
        )
        self.processor = TickProcessor(state=self.state, greeks=self.greeks)
        self.configure(self.rows)

    def configure(self, rows: Sequence[AssignedInstrument]) -> None:
        """Go over to a table of these rows."""
        self.table = table_of(rows, previous=self.state.table)
        self.slots = {row.symbol: slot for slot, row in enumerate(self.table.instruments) if row is not None}
        self.processor.configure(self.table)

    @property
    def now_ns(self) -> int:
        """Wall clock."""
        return self.now_s * SECOND_NS

    def slot(self, row: AssignedInstrument) -> int:
        """Where it stands."""
        return self.slots[row.symbol]

    def tick(
        self,
        prices: Mapping[AssignedInstrument, float],
        *,
        book: Mapping[AssignedInstrument, tuple[float, float]] | None = None,
        at_s: int | None = None,
        kind: PacketKind = PacketKind.FULL,
    ) -> TickRows:
        """One block of accepted rows, in order; exchange time `at_s` (now), `book` their best bid and ask."""
        words = np.zeros((len(prices), WORDS), np.uint32)
        slots = np.array([self.slot(row) for row in prices], np.int32)
        for place, (row, price) in enumerate(prices.items()):
            words[place, Word.LAST_PRICE] = np.int64(round(price * 100)) & 0xFFFFFFFF
            words[place, Word.EXCHANGE_TIMESTAMP] = (self.now_s if at_s is None else at_s) * (kind == PacketKind.FULL)
            bid, ask = (book or {}).get(row, (0.0, 0.0))
            words[place, Word.DEPTH : Word.DEPTH + 2] = (75 * (bid > 0), round(bid * 100))
            words[place, Word.DEPTH + 15 : Word.DEPTH + 17] = (75 * (ask > 0), round(ask * 100))
        rows = unpriced_rows(words, np.full(len(slots), kind, np.uint8), slots, np.full(len(slots), self.now_ns))
        self.greeks.price(rows, now_ns=self.now_ns)
        self.state.admit(rows)
        return rows

    def reprice(self, *, later_ms: int = 0) -> Slots:
        """One turn of repricing."""
        return self.greeks.reprice(now_ns=self.now_ns + later_ms * 1_000_000)

    def repricing_due(self, *, later_ms: int = 0) -> int:
        """How many options the next turn would find."""
        return self.greeks.repricing_due(now_ns=self.now_ns + later_ms * 1_000_000)
