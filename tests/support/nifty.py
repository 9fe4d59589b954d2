"""Calls, puts, future and index of NIFTY with their prices, and what is read off a priced row."""

from __future__ import annotations

import datetime as dt

import numpy as np

from tests.support.chain import MONTHLY, NOON_S, WEEKLY, Stage, future, option, spot
from ticker_crds import AssignedInstrument
from ticker_shard.ticks.contracts import expiry_instant_s
from ticker_shard.ticks.rows import Greek, PricingOutcome, TickRows
from ticker_shard.ticks.underlying import YEAR_S

CALL, PUT = option(26_000, "CE"), option(26_000, "PE")
WEEKLY_CALL, WEEKLY_PUT = option(26_000, "CE", WEEKLY), option(26_000, "PE", WEEKLY)
FUTURE, INDEX = future(), spot()
Why = PricingOutcome


def outcome_of(stage: Stage, row: AssignedInstrument) -> PricingOutcome:
    return PricingOutcome(int(stage.state.newest(np.array([stage.slot(row)], np.int32)).outcome[0]))


def greek(rows: TickRows, which: Greek, place: int = -1) -> float:
    return float(rows.greeks[place, which])


ALL = {INDEX: 26_000.0, FUTURE: 26_050.0, PUT: 240.0, CALL: 300.0}
YEARS = (expiry_instant_s("NFO", dt.date.fromisoformat(MONTHLY)) - NOON_S) / YEAR_S
