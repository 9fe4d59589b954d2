"""Pool and processor of the shard, wired in this process as the shard wires them, against a simulated broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import pytest

from tests.support.simulator import SimulatorProcess
from tests.support.waiting import until_seen
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.feed import ChangeKind, Credentials, FeedChange, FeedSettings, FeedStatus, KiteWebSocketPool
from ticker_shard.ticks import InstrumentState, ProcessedFrame, TickProcessor, build_instruments
from ticker_shard.ticks.sessions import MarketHours

DEADLINE_S: Final = 30.0
MODES: Final = (Mode.FULL, Mode.QUOTE, Mode.LTP)


def a_table(rows: Sequence[dict[str, str]], *, revision: int = 1, modes: tuple[Mode, ...] = MODES) -> AssignmentTable:
    instruments = tuple(
        AssignedInstrument(
            int(row["instrument_token"]), row["exchange"], row["tradingsymbol"], modes[number % len(modes)], ("t:x",),
            expiry=row["expiry"],
        )
        for number, row in enumerate(rows)
    )  # fmt: skip
    return AssignmentTable("acc1", revision, (Channel("t:x"),), instruments)


@dataclass
class FeedShard:
    """Pool and processor, wired as the shard wires them, and what they said."""

    settings: FeedSettings
    processor: TickProcessor = field(default_factory=lambda: TickProcessor(state=InstrumentState()))
    rejected: Counter[str] = field(default_factory=Counter)
    malformed: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    changes: list[FeedChange] = field(default_factory=list)
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pool = KiteWebSocketPool(
            self.settings,
            on_frame=self.on_frame,
            on_expect=self.processor.expect_tokens,
            on_change=self.on_change,
            chance=Random(1),
        )

    def on_frame(self, payload: bytes | memoryview, received_ns: int) -> Iterable[int]:
        result: ProcessedFrame = self.processor.process(payload, received_ns=received_ns)
        self.rejected.update({reason: len(slots) for reason, slots in result.rejected.items()})
        self.malformed.update(result.malformed)
        self.rows += len(result.rows)
        self.happened.set()
        return self.processor.tokens_of(result.first_seen)

    def on_change(self, change: FeedChange) -> None:
        self.changes.append(change)
        self.happened.set()

    def assign(self, table: AssignmentTable) -> None:
        instruments = build_instruments(table, previous=self.processor.table)
        self.processor.configure(instruments)
        self.pool.want(instruments)

    @property
    def status(self) -> FeedStatus:
        return self.pool.status()

    def seen(self, kind: ChangeKind, detail: str = "") -> int:
        return sum(change.kind is kind and change.detail.startswith(detail) for change in self.changes)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await until_seen(condition, self.happened, look_s=0.05)
        except TimeoutError:
            pytest.fail(f"not within {DEADLINE_S} s: {what}; {self.status}; {self.changes[-5:]}")

    async def until_all_confirmed(self) -> None:
        await self.until(
            lambda: self.status.confirmed == self.status.wanted and self.status.warm and self.status.wanted > 0,
            "everything confirmed",
        )


@asynccontextmanager
async def streaming(
    sim: SimulatorProcess, table: AssignmentTable, *, key: int = 1, stopped: bool = False, **settings: Any
) -> AsyncIterator[FeedShard]:
    quick = {
        "backoff_ms": 20, "backoff_max_ms": 100, "silence_ms": 2_000, "confirm_ms": 400, "spacing_ms": 5,
        "rate_limited_ms": (200, 300), "close_timeout_ms": 1_000, "market_hours": MarketHours.NEVER,
    }  # fmt: skip
    shard = FeedShard(FeedSettings(url=sim.ws, **(quick | settings)))
    task = asyncio.create_task(shard.pool.run())
    try:
        shard.assign(table)
        shard.pool.set_credentials(Credentials(f"simkey{key}", f"simtoken{key}"))
        yield shard
        assert stopped or not task.done(), task
        assert shard.status.callback_errors == 0
    finally:
        shard.pool.close()
        async with asyncio.timeout(DEADLINE_S):
            await task
