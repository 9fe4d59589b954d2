"""The document's tables say what the files say, misses first, and nothing around them is touched."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.document import scenarios, tables, with_part
from benchmarks.results import Result, at_least

MACHINE = {
    "processor": "2 × p", "memory_gib": 8, "platform": "l", "python": "3.11", "redis_server": "Redis server v=7 sha=0",
    "packages": {"numpy": "2"},
}  # fmt: skip


def a_bench(*ratios: float) -> dict[str, Any]:
    common: dict[str, Any] = {
        "value": 2_500.0,
        "unit": "ticks/s",
        "peer": "p: 3",
        "goal": at_least(8),
        "gate": at_least(4),
    }
    rows = [Result(name=f"r{ratio:g}", ratio=ratio, **common) for ratio in ratios]
    results = [{"measurement": "decode", **row.as_json()} for row in rows]
    return {"machine": MACHINE, "seed": 20, "seconds": 9, "results": results}


def test_each_result_is_a_line_and_misses_are_named_before_all() -> None:
    text = tables(a_bench(9, 5, 3))

    assert "| r9 | 2,500 ticks/s | p: 3 | 9.00× | ≥ 8× | ≥ 4× | goal |" in text
    assert "| r3 | 2,500 ticks/s | p: 3 | 3.00× | ≥ 8× | ≥ 4× | **MISSED** |" in text
    assert text.index("* r3: 2,500 ticks/s") < text.index("### Decode")
    assert "* r5" not in text


def test_a_run_without_a_miss_says_so() -> None:
    assert "**No gate was missed in this run.**" in tables(a_bench(5))


def test_only_the_part_between_the_markers_changes() -> None:
    before = "a\n<!-- bench: begin -->\nold \\1\n<!-- bench: end -->\nb\n<!-- load: begin --><!-- load: end -->"

    after = with_part(before, "bench", "new \\g<0>")

    assert after == (
        "a\n<!-- bench: begin -->\n\nnew \\g<0>\n\n<!-- bench: end -->\nb\n<!-- load: begin --><!-- load: end -->"
    )
    assert with_part(after, "bench", "new \\g<0>") == after


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no markers for load"):
        with_part("text", "load", "new")


def test_of_the_load_report_the_summary_is_taken() -> None:
    assert scenarios("# Load report\n\nmachine\n\n| a |\n\n## one\n\n| rule |") == "machine\n\n| a |"
