"""One line of ``make bench`` as a person runs it: a table to read, a file to compute with, and both say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
COLUMNS = {"name", "value", "unit", "peer", "ratio", "goal", "gate", "ok"}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What ``python -m benchmarks --only decode --quick`` prints, and the document it writes."""
    folder = tmp_path_factory.mktemp("bench")
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "decode", "--quick"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, json.loads((folder / "build" / "bench.json").read_text())


def test_every_result_has_all_that_the_file_promises(line: tuple[str, dict[str, Any]]) -> None:
    _, document = line

    assert document["failed"] == []
    assert document["quick"] is True
    assert document["machine"]["python"]
    assert document["results"]
    for result in document["results"]:
        assert set(result) >= COLUMNS
        assert result["measurement"] == "decode"
        assert result["value"] > 0
        assert result["unit"] == "ticks/s"


def test_what_is_judged_has_a_ratio_and_what_is_not_judged_has_no_verdict(line: tuple[str, dict[str, Any]]) -> None:
    _, document = line

    judged = [result for result in document["results"] if result["gate"] is not None]
    assert judged
    for result in document["results"]:
        assert result["ratio"] > 0
        assert result["peer"].startswith("kiteconnect KiteTicker._parse_binary: ")
        assert isinstance(result["ok"], bool) if result in judged else result["ok"] is None


def test_the_table_shows_every_result_of_the_file(line: tuple[str, dict[str, Any]]) -> None:
    table, document = line

    for column in ("measurement", "value", "unit", "peer", "ratio", "goal", "gate", "verdict"):
        assert column in table
    for result in document["results"]:
        assert result["name"] in table
