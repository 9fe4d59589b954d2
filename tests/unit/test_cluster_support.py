"""The cluster level's own judges and bookkeeping: they see what is wrong, and leave alone what is not ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import cluster_packages
from tests.support.cluster_client import ClusterClient, CommandError, eventually
from tests.support.cluster_image import IMAGE_SOURCES, ROOT
from tests.support.cluster_machine import Machine, Recorded
from tests.support.cluster_pool import merged
from tests.support.cluster_tape import Heard, judge, silences


def heard(at_s: float, *symbols: str, seq: int = 1, epoch: int = 7, process: str = "pod/1") -> Heard:
    rows = [{"symbol": symbol} for symbol in symbols]
    return Heard(
        at_s, "ticker:prices", {"shard": "ns.acc1", "process": process, "epoch": epoch, "seq": seq, "ticks": rows}
    )


# -- the tape -----------------------------------------------------------------------


def test_a_silence_is_measured_for_each_instrument() -> None:
    tape = [heard(1.0, "A", "B"), heard(2.0, "A"), heard(5.0, "A", "B")]

    assert silences(tape, ["A", "B"], start_s=0.0, end_s=6.0) == {"A": 3.0, "B": 4.0}


def test_a_silence_at_either_end_counts() -> None:
    assert silences([heard(4.0, "A")], ["A"], start_s=0.0, end_s=5.0) == {"A": 4.0}
    assert silences([heard(1.0, "A")], ["A"], start_s=0.0, end_s=5.0) == {"A": 4.0}


def test_an_instrument_that_was_never_heard_was_silent_all_the_time() -> None:
    assert silences([heard(1.0, "A")], ["B"], start_s=0.0, end_s=5.0) == {"B": 5.0}


def test_what_was_heard_outside_of_the_time_does_not_count() -> None:
    assert silences([heard(1.0, "A"), heard(9.0, "A")], ["A"], start_s=2.0, end_s=8.0) == {"A": 6.0}


def test_what_the_machine_kept_from_the_processes_is_no_silence_of_theirs() -> None:
    tape = [heard(1.0, "A"), heard(5.0, "A"), heard(7.0, "A")]

    found = silences(
        tape, ["A"], start_s=0.0, end_s=7.0, ran_s=lambda start_s, end_s: min(end_s, 2.5) - min(start_s, 2.5)
    )

    assert found == {"A": 1.5}


def test_a_missing_number_is_a_complaint() -> None:
    verdict = judge([heard(1.0, "A", seq=1), heard(1.1, "A", seq=3)], silence_s=60)

    assert "seq 3, expected 2" in verdict["ns.acc1", "ticker:prices"].complaints[0]


def test_a_predecessor_that_publishes_again_is_a_complaint() -> None:
    tape = [heard(1.0, "A"), heard(1.1, "A", epoch=8, process="pod/2"), heard(1.2, "A", seq=2)]

    assert not judge(tape, silence_s=60)["ns.acc1", "ticker:prices"].valid


# -- processes that are ours ----------------------------------------------------------


def test_a_process_is_recognised_by_id_and_start() -> None:
    child = subprocess.Popen(["sleep", "60"])
    recorded = Recorded.of(child.pid)
    assert recorded is not None
    assert recorded.alive()

    child.kill()
    child.wait()

    assert not recorded.alive()


def test_an_id_that_was_given_to_somebody_else_is_left_alone() -> None:
    me = Recorded.of(os.getpid())
    assert me is not None
    stranger = Recorded(me.pid, me.started - 1)

    stranger.kill(9)  # would end this test run

    assert not stranger.alive()


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    state = tmp_path / "state"
    (state / "logs").mkdir(parents=True)
    (state / "processes.json").write_text('{"init": {"pid": 2147483646, "started": 1}}')
    machine = Machine(state, node="node1")

    assert not machine.alive()
    machine.stop()

    assert not state.exists()


def test_cleaning_up_cannot_cut_off_another_cluster(tmp_path: Path) -> None:
    one, other = (Machine(tmp_path / name, node="node1") for name in ("one", "other"))

    assert one.link != other.link
    assert len(one.link) <= 15  # the kernel's limit


def test_a_record_that_was_cut_off_by_a_crash_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "processes.json").write_text('{"init": {"pi')

    assert Machine(tmp_path, node="node1").recorded() == {}


# -- commands -------------------------------------------------------------------------


def test_a_failed_command_shows_what_it_said() -> None:
    client = ClusterClient(Path("/nowhere"))

    with pytest.raises(CommandError, match="no such thing"):
        client.run("bash", "-c", "echo no such thing >&2; exit 3")


def test_waiting_ends_with_the_last_answer() -> None:
    with pytest.raises(AssertionError, match=r"(?s)three.*last answer: 2"):
        eventually(lambda: 2, until=lambda answer: answer == 3, timeout_s=0.0, what="three")


def test_values_are_laid_over_each_other_mapping_by_mapping() -> None:
    values: dict[str, Any] = {"a": {"b": 1, "c": 2}, "d": [1]}

    assert merged(values, {"a": {"c": 3}, "d": [2]}) == {"a": {"b": 1, "c": 3}, "d": [2]}
    assert values["a"] == {"b": 1, "c": 2}


# -- the image -------------------------------------------------------------------------


def test_what_the_image_is_made_from_is_what_the_dockerfile_copies() -> None:
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    let_through = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }

    assert copied == let_through == set(IMAGE_SOURCES) - {"Dockerfile", ".dockerignore"}


def test_packages_are_only_installed_when_some_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_packages, "missing_packages", list)
    monkeypatch.setenv("PATH", "")  # nothing could be run

    assert cluster_packages.main() == 0
