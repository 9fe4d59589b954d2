"""A whole simulated trading day loses nothing: no row of a healthy feed is refused, by either engine.

The market model of the simulator runs from 09:15 to 15:30 in steps of half a minute; now and then the sockets
"reconnect" and everything comes again as cached, first in the default mode.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from ticker_crds import AssignedInstrument, AssignmentTable, Channel
from ticker_crds import Mode as Wanted
from ticker_shard.ticks import Engine, InstrumentState, TickProcessor, ValidationRules, build_instruments
from ticker_shard.ticks.sessions import MarketHours
from ticker_sim import wire
from ticker_sim.instruments import build_dump
from ticker_sim.market import Market

DAY = dt.date(2026, 11, 20)
DAY_S, STEP_S, RECONNECT_STEPS = 22_500, 30, 128
NS = 1_000_000_000


@pytest.mark.parametrize("engine", [Engine.NATIVE, Engine.NUMPY])
def test_no_row_of_a_simulated_day_is_refused(engine: Engine) -> None:
    dump = build_dump(DAY)
    market = Market(dump, day=DAY, open_at=dt.time(9, 15), seed=3)
    table = AssignmentTable(
        "acc1", 1, (Channel("ticker:x"),),
        tuple(
            AssignedInstrument(row.token, row.exchange, row.symbol, Wanted.FULL, ("ticker:x",))
            for row in dump
        ),
    )  # fmt: skip
    rules = ValidationRules(market_hours=MarketHours.SCHEDULE)
    processor = TickProcessor(state=InstrumentState(), rules=rules, engine=engine)
    processor.configure(build_instruments(table))
    everything = np.arange(len(market))
    received = 0
    flagged: dict[str, int] = {}

    def feed(places: np.ndarray, mode: wire.Mode, now_ns: int) -> None:
        nonlocal received
        for part in np.array_split(places, max(1, len(places) // 200)):
            frame = wire.encode_frame(market.rows[part], np.full(len(part), mode, np.uint8))
            result = processor.process(frame, received_ns=now_ns)
            assert result.rejected == {}
            assert result.malformed == {}
            assert len(result.rows) == len(part)
            received += len(part)
            for flag, count in result.flagged.items():
                flagged[flag.value] = flagged.get(flag.value, 0) + count

    feed(everything, wire.Mode.FULL, market.opened_ns)
    for step in range(1, DAY_S // STEP_S):
        now_ns = market.opened_ns + step * STEP_S * NS
        feed(market.step(everything, count=300, now_ns=now_ns), wire.Mode.FULL, now_ns)
        if step % RECONNECT_STEPS == 0:
            feed(everything, wire.Mode.QUOTE, now_ns)
            feed(everything, wire.Mode.FULL, now_ns)

    assert received > 100_000
    assert set(flagged) <= {"poorer_than_wanted", "market_closed", "not_traded_today"}, flagged
