"""No task dies unseen."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ticker_shard.app.monitor import TaskDeath, TaskMonitor


async def dies() -> None:
    raise ValueError("of a fault of ours")


async def ends() -> None:
    return


async def lives() -> None:
    await asyncio.Event().wait()


async def died_within_a_second(monitor: TaskMonitor) -> TaskDeath:
    async with asyncio.timeout(1):
        return await monitor.died()


async def test_a_task_that_raises_is_seen_named_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    monitor = TaskMonitor()
    monitor.start("healthy", lives())
    monitor.start("broken", dies())

    assert await died_within_a_second(monitor) == TaskDeath("broken", "ValueError")
    assert monitor.deaths == {"healthy": 0, "broken": 1}
    assert any(record.exc_info and record.levelno == logging.ERROR for record in caplog.records)
    await monitor.stop()


async def test_a_task_that_returns_although_it_must_not_is_a_death() -> None:
    monitor = TaskMonitor()
    monitor.start("loop", ends())

    assert await died_within_a_second(monitor) == TaskDeath("loop", "returned")
    await monitor.stop()


async def test_a_task_that_somebody_cancelled_is_a_death() -> None:
    monitor = TaskMonitor()
    task = monitor.start("loop", lives(), may_end=True)
    await asyncio.sleep(0)
    task.cancel()

    assert await died_within_a_second(monitor) == TaskDeath("loop", "was cancelled")
    await monitor.stop()


async def test_a_task_that_may_end_ends_without_a_death() -> None:
    monitor = TaskMonitor()
    await monitor.start("publisher", ends(), may_end=True)
    await asyncio.sleep(0)

    assert monitor.deaths == {"publisher": 0}


async def test_a_task_that_may_end_may_not_raise() -> None:
    monitor = TaskMonitor()
    monitor.start("publisher", dies(), may_end=True)

    assert (await died_within_a_second(monitor)).task == "publisher"
    await monitor.stop()


async def test_stopping_is_no_death() -> None:
    monitor = TaskMonitor()
    task = monitor.start("loop", lives())
    await asyncio.sleep(0)
    await monitor.stop()

    assert task.cancelled()
    assert monitor.deaths == {"loop": 0}
