"""Child processes as a Deployment's controller keeps pods: started again with growing pauses, adopted, not doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ticker_operator.local.files import replace_json
from ticker_operator.local.processes import PROCESS_FILE, ShardProcess, until_gone

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
OTHER_SLEEPER = (sys.executable, "-c", "import time; time.sleep(61)")


def ending(code: int) -> tuple[str, ...]:
    return (sys.executable, "-c", f"raise SystemExit({code})")


def wait_for_end(process: ShardProcess) -> None:
    assert process.child is not None
    process.child.wait(timeout=20)


@pytest.fixture
def process(tmp_path: Path):  # type: ignore[no-untyped-def]
    kept = ShardProcess(tmp_path)
    yield kept
    kept.kill()


def test_a_process_that_ends_is_started_again_after_pauses_that_double(process: ShardProcess) -> None:
    process.want(ending(1))
    starts = []
    for now_s in range(12):
        if process.keep(now_s=now_s) == "started":
            starts.append(now_s)
            wait_for_end(process)

    assert starts == [0, 2, 5, 10]  # seen ended one step later, then pauses of 1, 2 and 4 seconds


def test_refused_settings_are_not_tried_again_until_they_change(process: ShardProcess) -> None:
    process.want(ending(2))
    process.keep(now_s=0)
    wait_for_end(process)

    assert [process.keep(now_s=now_s) for now_s in (1, 100, 1_000)] == [None, None, None]
    assert process.refused
    process.want(SLEEPER)
    assert process.keep(now_s=1_001) == "started"


def test_changed_settings_stop_the_process_before_the_new_one_starts(process: ShardProcess) -> None:
    process.want(SLEEPER)
    process.keep(now_s=0)
    first = process.pid
    process.want(OTHER_SLEEPER)

    assert process.keep(now_s=1) == "stopping"
    wait_for_end(process)
    assert process.keep(now_s=2) == "started"
    assert process.pid != first


async def test_nothing_wanted_stops_it_and_leaves_it_stopped(process: ShardProcess) -> None:
    process.want(SLEEPER)
    process.keep(now_s=0)
    process.want(None)
    process.keep(now_s=1)

    assert await until_gone([process], timeout_s=20)
    assert process.keep(now_s=2) is None


def test_an_operator_that_comes_back_adopts_the_living_process(process: ShardProcess, tmp_path: Path) -> None:
    process.want(SLEEPER)
    process.keep(now_s=0)

    successor = ShardProcess(tmp_path)

    assert successor.adopt()
    assert successor.pid == process.pid
    successor.want(SLEEPER)
    assert successor.keep(now_s=0) is None


def test_a_recycled_process_id_is_not_adopted(tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEPER)
    try:
        replace_json(tmp_path / PROCESS_FILE, {"pid": stranger.pid, "started": 1, "command": list(SLEEPER)})

        assert not ShardProcess(tmp_path).adopt()
        assert stranger.poll() is None
    finally:
        os.kill(stranger.pid, signal.SIGKILL)
        stranger.wait()
