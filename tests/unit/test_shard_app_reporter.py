"""The reporter keeps the voice by rule and writes only while it may, in virtual time with ports in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.app.metrics import Counts
from ticker_shard.app.report import Parts
from ticker_shard.app.reporter import Reporter
from ticker_shard.assignment import KnownStatus, LeaseState, WriteOutcome
from ticker_shard.assignment.voice import SPEAK_S, Held
from ticker_shard.feed import FeedSettings, FeedStatus, SessionState, SocketStatus
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.standing import Holdings, OtherHolder
from ticker_shard.ticks.instruments import build_instruments

S = 1_000_000_000
CHANNEL = Channel("ticker:equity")
TABLE = build_instruments(
    AssignmentTable("acc1", 4, (CHANNEL,), (AssignedInstrument(257, "NSE", "A", Mode.FULL, (CHANNEL.name,)),))
)
OLD_ACKNOWLEDGEMENT = {"revision": 3, "digest": "sha256:o", "process": "pod-0/z", "unconfirmed": []}


@dataclass
class MemoryVoice:
    """A Lease in memory."""

    state: LeaseState = LeaseState.VACANT
    takes: bool = True
    taken: int = 0
    released: int = 0

    async def observe(self) -> LeaseState:
        return self.state

    async def take(self) -> bool:
        self.taken += self.takes
        return self.takes

    async def release(self) -> None:
        self.released += 1


@dataclass
class MemorySink:
    """A status in memory."""

    vitals_s: float | None = None
    known: KnownStatus | None = field(default_factory=lambda: KnownStatus(acknowledged=OLD_ACKNOWLEDGEMENT))
    outcome: WriteOutcome = WriteOutcome.WRITTEN
    generation: int = 1
    written: list[dict[str, Any]] = field(default_factory=list)
    vitals: list[dict[str, Any]] = field(default_factory=list)

    async def read(self) -> KnownStatus | None:
        return self.known

    async def write(self, status: Mapping[str, Any], *, vitals: Mapping[str, Any]) -> WriteOutcome:
        self.written.append(dict(status))
        self.vitals.append(dict(vitals))
        return self.outcome


class Scene:
    """One process, its clock and its world."""

    def __init__(self) -> None:
        self.now_ns = 100 * S
        self.voice, self.sink = MemoryVoice(), MemorySink()
        self.other, self.leaving = OtherHolder.NONE, False
        socket = SocketStatus(SessionState.OPEN, wanted=1, confirmed=1)
        self.parts = Parts(
            account="acc1", process="pod-1/a", table=TABLE, table_fault=None,
            feed=FeedStatus(FeedSettings("ws://h"), (socket,)), stalled=0, credentials_given=True,
            credentials_fault=None, accepted=True, redis_fault=None, holdings=Holdings.ALL, duties_revision=4,
            barriers_revision=0, epoch=7, balanced=True,
        )  # fmt: skip
        self.reporter = Reporter(
            parts=lambda: self.parts, ledger=Ledger(), latency=Latency(), sink=self.sink, voice=self.voice,
            counts=Counts(), held=lambda: Held(self.parts.holdings.value),
            leaving=lambda: self.leaving, other_holds=lambda: self.other,
            phase=lambda: Phase.ACTIVE, changed=asyncio.Event(), greeks=dict, beat=lambda: None,
            monotonic_ns=lambda: self.now_ns, wall_clock=lambda: datetime(2026, 11, 20, tzinfo=UTC),
        )  # fmt: skip

    async def turn(self, *, after_s: float = 0.0) -> None:
        """One look at the Lease and one chance to speak, that much later."""
        self.now_ns += int(after_s * S)
        await self.reporter.keep_voice()
        await self.reporter.speak()


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_who_wins_the_voice_says_everything_and_acknowledges(scene: Scene) -> None:
    await scene.turn()

    (status,) = scene.sink.written
    assert set(status) == {"acknowledged", "confirmed", "sockets", "epoch", "conditions"}
    assert status["acknowledged"] == {
        "revision": 4, "digest": TABLE.digest, "process": "pod-1/a", "unconfirmed": [],
    }  # fmt: skip


async def test_without_the_voice_nothing_is_written(scene: Scene) -> None:
    scene.voice.state = LeaseState.OTHER
    scene.parts = replace(scene.parts, holdings=Holdings.NONE)
    await scene.turn()
    await scene.turn(after_s=20)

    assert (scene.sink.written, scene.voice.taken) == ([], 0)


async def test_what_a_predecessor_acknowledged_is_carried_on_while_warming(scene: Scene) -> None:
    scene.parts = replace(scene.parts, holdings=Holdings.NONE, epoch=None)
    await scene.turn()

    (status,) = scene.sink.written
    assert status["acknowledged"] == OLD_ACKNOWLEDGEMENT
    assert "epoch" not in status


async def test_a_status_that_cannot_be_read_is_not_overwritten_blindly(scene: Scene) -> None:
    scene.sink.known = None
    await scene.turn()
    assert scene.sink.written == []

    scene.sink.known = KnownStatus(acknowledged=OLD_ACKNOWLEDGEMENT)
    await scene.turn(after_s=2)
    assert len(scene.sink.written) == 1


async def test_a_holder_that_cannot_renew_falls_silent_before_anybody_may_succeed_it(scene: Scene) -> None:
    await scene.turn()
    scene.voice.takes = False
    scene.voice.state = LeaseState.UNKNOWN
    scene.parts = replace(scene.parts, epoch=8)  # something to say
    await scene.turn(after_s=SPEAK_S)

    assert len(scene.sink.written) == 1
    assert not scene.reporter.speaks


async def test_a_fenced_process_is_silent_at_once_and_gives_the_voice_away(scene: Scene) -> None:
    await scene.turn()
    scene.parts = replace(scene.parts, holdings=Holdings.NONE, epoch=None)
    scene.other = OtherHolder.ALIVE
    assert not scene.reporter.speaks

    await scene.turn(after_s=0.1)
    assert (len(scene.sink.written), scene.voice.released) == (1, 1)


async def test_a_transition_is_written_at_once_counts_wait_and_nothing_is_written_for_nothing(scene: Scene) -> None:
    await scene.turn()
    await scene.turn(after_s=2)
    assert len(scene.sink.written) == 1

    scene.parts = replace(scene.parts, epoch=8)
    await scene.turn(after_s=0.1)
    assert len(scene.sink.written) == 2


async def test_an_unknown_write_is_repeated_and_a_refused_one_waits(scene: Scene) -> None:
    scene.sink.outcome = WriteOutcome.UNKNOWN
    await scene.turn()
    await scene.turn(after_s=1.5)
    assert len(scene.sink.written) == 2

    scene.sink.outcome = WriteOutcome.REFUSED
    await scene.turn(after_s=1.5)
    await scene.turn(after_s=1.5)
    assert len(scene.sink.written) == 3


async def test_a_changed_generation_is_answered(scene: Scene) -> None:
    await scene.turn()
    scene.sink.generation = 2
    await scene.turn(after_s=0.1)

    assert [entry["observedGeneration"] for entry in scene.sink.written[-1]["conditions"]] == [2] * 4


async def test_a_status_that_somebody_emptied_is_written_again(scene: Scene) -> None:
    await scene.turn()
    scene.sink.known = KnownStatus()
    for _ in range(6):
        await scene.turn(after_s=2)

    assert len(scene.sink.written) == 2
    assert scene.sink.written[-1]["acknowledged"]["revision"] == 4


async def test_files_get_their_vitals_every_second(scene: Scene) -> None:
    scene.sink.vitals_s = 1.0
    await scene.turn()
    await scene.turn(after_s=1)

    assert [vitals["heartbeat_ns"] for vitals in scene.sink.vitals] == [100 * S, 101 * S]
    assert {"ledger", "latency_ms", "gaps", "port"} <= scene.sink.vitals[0].keys()


async def test_the_last_word_repeats_the_last_status_with_final_numbers_and_frees_the_voice(scene: Scene) -> None:
    scene.sink.vitals_s = 1.0
    await scene.turn()
    scene.reporter.hush()
    scene.parts = replace(scene.parts, holdings=Holdings.NONE)
    await scene.turn(after_s=1)
    await scene.reporter.finish(orderly=True)

    assert len(scene.sink.written) == 2
    assert scene.sink.written[0] == scene.sink.written[1]
    assert scene.voice.released == 1


async def test_after_a_death_the_voice_is_left_to_run_out(scene: Scene) -> None:
    await scene.turn()
    await scene.reporter.finish(orderly=False)

    assert scene.voice.released == 0
