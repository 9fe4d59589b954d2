"""A shard in this process: what it does when a part of it dies, and what its probes and metrics show.

Neither broker nor Redis answers here; the parts are the real ones.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.shard import Listed, ShardFolder, a_table
from ticker_common.listening import PortUnusableError
from ticker_common.settings import load_settings
from ticker_crds import AssignedInstrument, Mode
from ticker_shard.app.report import facts_of
from ticker_shard.app.settings import ShardSettings
from ticker_shard.app.shard import Outside, Shard
from ticker_shard.assignment import TableAnswer
from ticker_shard.assignment.folder import FolderAssignment, FolderCredentials, FolderStatus, FolderVoice
from ticker_shard.feed import FeedStatus, SessionState, SocketStatus
from ticker_shard.feed.session import KiteSession
from ticker_shard.publish.fence import Trouble, TroubleKind
from ticker_shard.ticks import RejectReason, RowFlag, build_instruments
from ticker_shard.ticks.decode import FrameFault
from ticker_shard.ticks.rows import PricingOutcome

NS_PER_S = 1_000_000_000


class DyingAssignment:
    """A source with a fault of ours in it."""

    async def follow(self) -> AsyncIterator[TableAnswer]:
        await asyncio.sleep(0)
        raise ZeroDivisionError("canaryInTheFault")
        yield


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    made = ShardFolder(tmp_path / "acc1")
    made.create()
    return made


def a_shard(folder: ShardFolder, *, dying: bool = False, **changed: object) -> Shard:
    path = folder.path
    settings = load_settings(
        ShardSettings,
        {
            "account": "acc1", "source": "folder", "folder": path, "redis_url_file": path / "redis-url",
            "ticker_url": "ws://127.0.0.1:1", "host": "127.0.0.1", "port": 0, **changed,
        },
    )  # fmt: skip
    assignment = DyingAssignment() if dying else FolderAssignment(path)
    outside = Outside(assignment, FolderCredentials(path), FolderStatus(path), FolderVoice(path))
    return Shard(settings, outside, process="pod-1/a")


async def until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("validation", [True, False])
async def test_validation_can_be_switched_off_but_for_what_would_corrupt(folder: ShardFolder, validation: bool) -> None:
    shard = a_shard(folder, validation=validation)
    known, unknown = 1001 * 256 + 2, 77 * 256 + 2
    table = a_table(1, [AssignedInstrument(known, "NFO", "X", Mode.LTP, ("ticker:x",))])
    processor = shard.pipeline.processor
    processor.configure(build_instruments(table))
    below_zero, of_a_stranger = (struct.pack(">HHIi", 1, 8, token, -5) for token in (known, unknown))

    first, second = (processor.process(frame, received_ns=1) for frame in (below_zero, of_a_stranger))

    assert len(first.rows) == (not validation)
    assert [*second.rejected] == [RejectReason.UNKNOWN_TOKEN]


async def test_one_channel_that_redis_refuses_is_not_redis_being_away(folder: ShardFolder) -> None:
    shard = a_shard(folder)
    folder.path.joinpath("redis-url").write_text("redis://127.0.0.1:1")
    assert shard._redis_url() == "redis://127.0.0.1:1"
    shard.publisher._core._unreadable["ticker:x"] = Trouble(TroubleKind.WRONG_TYPE, "a string lies there")

    answer = shard.ready()

    assert not answer.ready, "the records are asked who streams, not the Lease"
    assert answer.message == "warming: not everything assigned is confirmed yet"
    assert "ticker:x" in str(shard.details()["redis"]), "but it is named"


async def test_how_much_gives_way_stands_beside_the_circuit_and_in_the_facts_of_the_status(folder: ShardFolder) -> None:
    shard = a_shard(folder)
    before = shard.details()["backpressure"], shard._parts().shedding

    shard.publisher._core.redis_away(True)

    assert before == ({"level": "normal", "fill": 0.0, "delay_ms": 0}, False)
    assert shard.details()["backpressure"] == {"level": "shed", "fill": 0.0, "delay_ms": 0}
    assert facts_of(shard._parts()).shedding


async def test_what_a_quiet_socket_may_miss_is_noted_for_a_successor_and_rubbed_out(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = a_shard(folder)
    pipeline, holes = shard.pipeline, shard.publisher._core.holes
    shares = [Listed(token, "NSE", f"S{token}", "NSE", "") for token in (408065, 738561)]
    pipeline.apply(a_table(1, [share.assigned("ticker:equity") for share in shares]))
    pipeline._live_tokens = {408065}  # the other one has not been seen yet
    now_ns = time.monotonic_ns()
    quiet = SocketStatus(SessionState.OPEN, 2, 2, packet_ns=now_ns - 3 * NS_PER_S, unseen_ns=NS_PER_S)

    def feed(socket: SocketStatus) -> None:
        status = FeedStatus(shard.pool.status().settings, (socket,))
        monkeypatch.setattr(shard.pool, "status", lambda: status)  # no broker is here to fall quiet
        pipeline.look(now_ns=now_ns)

    feed(quiet)
    (hole,) = holes._feed
    assert (hole.slots.tolist(), hole.cause) == (
        pipeline.table.slots_of(np.array([408065], np.uint32)).tolist(),
        "mute",
    )
    assert abs(time.time_ns() - hole.start_ns - 3 * NS_PER_S) < NS_PER_S

    feed(replace(quiet, packet_ns=now_ns))
    assert holes._feed == []


async def test_a_dead_task_ends_the_process_within_a_second_with_exit_code_1(folder: ShardFolder) -> None:
    shard = a_shard(folder, dying=True)
    async with asyncio.timeout(1):
        code = await shard.run()

    assert code == 1
    assert shard.monitor.deaths["assignment"] == 1


async def test_a_publisher_that_dies_ends_the_process_with_exit_code_1(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies() -> None:
        raise ZeroDivisionError

    shard = a_shard(folder)
    monkeypatch.setattr(shard.publisher, "run", dies)  # no input makes it die: the fault must be put there
    async with asyncio.timeout(1):
        assert await shard.run() == 1


async def test_a_publishers_timekeeper_that_dies_ends_the_process_with_exit_code_1(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*, now_ns: int) -> None:
        raise ZeroDivisionError

    shard = a_shard(folder)
    monkeypatch.setattr(shard.publisher._core.handover, "ran", dies)  # no input makes it die either
    async with asyncio.timeout(5):
        code = await shard.run()

    assert code == 1
    assert shard.monitor.deaths["publisher"] == 1


async def test_a_socket_whose_task_dies_ends_the_process_with_exit_code_1(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(self: object) -> None:
        raise ZeroDivisionError

    shard = a_shard(folder)
    monkeypatch.setattr(KiteSession, "next_deadline_ns", dies)  # no input makes it die: the fault must be put there
    async with asyncio.timeout(30):
        assert await shard.run() == 1
    assert shard.monitor.deaths["feed"] == 1


async def test_a_reporter_that_dies_ends_the_process_with_exit_code_1(
    folder: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies() -> None:
        raise ZeroDivisionError

    shard = a_shard(folder)
    monkeypatch.setattr(shard.reporter, "speak", dies)
    async with asyncio.timeout(30):
        assert await shard.run() == 1
    assert shard.monitor.deaths["reporter"] == 1


async def test_sigterm_in_a_shard_that_holds_nothing_ends_it_with_0(folder: ShardFolder) -> None:
    shard = a_shard(folder)
    running = asyncio.create_task(shard.run())
    async with asyncio.timeout(5):
        await until(lambda: shard.started().ready)
        shard.terminate()
        shard.terminate()
        assert await running == 0


async def test_a_taken_port_ends_the_start_and_names_it(folder: ShardFolder) -> None:
    first = a_shard(folder)
    running = asyncio.create_task(first.run())
    async with asyncio.timeout(5):
        await until(lambda: first.reporter.port > 0)
        second = Shard(
            first.settings.model_copy(update={"port": first.reporter.port}),
            Outside(
                FolderAssignment(folder.path), FolderCredentials(folder.path), FolderStatus(folder.path),
                FolderVoice(folder.path),
            ),
            process="pod-2/b",
        )  # fmt: skip
        with pytest.raises(PortUnusableError, match=str(first.reporter.port)):
            await second.run()
        first.terminate()
        await running


async def test_probes_and_metrics_answer_while_nothing_else_does(folder: ShardFolder) -> None:
    shard = a_shard(folder)
    shard.pipeline.greeks.outcomes[PricingOutcome.STALE_UNDERLYING] = 3
    shard.publisher.ledger.rejected[RejectReason.ZERO_PRICE] = 2
    shard.counts.flagged[RowFlag.BOOK_CROSSED] = 4
    shard.counts.malformed[FrameFault.UNKNOWN_LENGTH] = 5
    running = asyncio.create_task(shard.run())
    async with asyncio.timeout(10), aiohttp.ClientSession() as session:
        await until(lambda: shard.started().ready)
        base = f"http://127.0.0.1:{shard.reporter.port}"
        answers = {}
        for path in ("/livez", "/readyz", "/startupz", "/metrics", "/nothing"):
            async with session.get(base + path) as answer:
                answers[path] = (answer.status, await answer.text())
        shard.terminate()
        await running

    assert {path: status for path, (status, _) in answers.items()} == {
        "/livez": 200,
        "/readyz": 200,  # Redis is unreachable and nobody else streams: nothing to protect
        "/startupz": 200,
        "/metrics": 200,
        "/nothing": 404,
    }
    assert "nobody else streams" in answers["/readyz"][1]
    families = {family.name: family for family in text_string_to_metric_families(answers["/metrics"][1])}
    assert {"tickershard_rows", "tickershard_phase", "tickershard_task_deaths", "tickershard_publish_latency_seconds",
            "process_resident_memory_bytes"} <= families.keys()  # fmt: skip
    assert all(family.documentation for family in families.values())
    counted = {
        (sample.name, *sample.labels.values()): sample.value for one in families.values() for sample in one.samples
    }
    assert counted["tickershard_option_pricings_total", "stale_underlying"] == 3
    assert counted["tickershard_rows_total", "rejected", "zero_price"] == 2
    assert counted["tickershard_flagged_rows_total", "book_crossed"] == 4
    assert counted["tickershard_malformed_total", "unknown_length"] == 5
    assert urlsplit(base).port == shard.reporter.port
