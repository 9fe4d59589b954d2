"""Arithmetic and verdicts of the benchmark harness: what decides whether a figure may be quoted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.drain import Newest
from benchmarks.results import Result, Rounds, Verdict, at_least, at_most, interleave, percentile, shown, slope


def a_result(**changes: object) -> Result:
    return Result(**{"name": "n", "value": 1.0, "unit": "ticks/s", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ratio", "verdict", "ok"),
    [(13.0, Verdict.GOAL, True), (12.9, Verdict.GATE, True), (8.0, Verdict.GATE, True), (7.99, Verdict.MISSED, False)],
)
def test_a_ratio_is_judged_against_goal_then_gate(ratio: float, verdict: Verdict, ok: bool) -> None:
    judged = a_result(ratio=ratio, goal=at_least(13), gate=at_least(8))

    assert judged.verdict is verdict
    assert judged.ok is ok


def test_without_a_ratio_the_value_is_judged() -> None:
    assert a_result(value=261.0, goal=at_most(200), gate=at_most(260)).verdict is Verdict.MISSED
    assert a_result(value=260.0, goal=at_most(200), gate=at_most(260)).verdict is Verdict.GATE


def test_a_run_that_did_not_hold_misses_its_gate_whatever_the_figure() -> None:
    assert a_result(ratio=1e9, goal=at_least(13), gate=at_least(8), holds=False).verdict is Verdict.MISSED


def test_a_missed_goal_without_a_gate_is_no_verdict_and_nothing_to_judge_is_none() -> None:
    assert a_result(ratio=1.0, goal=at_least(2)).ok is None
    assert a_result().ok is None


def test_not_a_number_meets_no_bound() -> None:
    assert not at_least(1).met_by(math.nan)
    assert not at_most(1).met_by(math.nan)


def test_the_ratio_is_the_median_of_rounds_and_not_the_ratio_of_medians() -> None:
    rounds = Rounds({"peer": [10.0, 100.0, 30.0], "ours": [1.0, 50.0, 1.0]})

    assert rounds.ratio("peer", "ours") == 10.0  # of 10, 2 and 30; the medians' ratio would be 30
    assert rounds.median("ours") == 1.0


def test_rounds_alternate_their_order() -> None:
    seen: list[str] = []

    def contender(name: str) -> float:
        seen.append(name)
        return float(len(seen))

    rounds = interleave({"a": lambda: contender("a"), "b": lambda: contender("b")}, rounds=3)

    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert rounds.figures == {"a": [1.0, 4.0, 5.0], "b": [2.0, 3.0, 6.0]}


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.floats(0, 1))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(samples: list[float], share: float) -> None:
    found = percentile(samples, share)

    assert found in samples
    assert sum(sample <= found for sample in samples) >= share * len(samples)
    assert sum(sample < found for sample in samples) <= share * len(samples)


def test_percentiles_of_a_hundred_samples() -> None:
    samples = [float(number) for number in range(100, 0, -1)]

    assert [percentile(samples, share) for share in (0, 0.5, 0.99, 0.999, 1)] == [1.0, 50.0, 99.0, 100.0, 100.0]


def test_a_percentile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)


def test_the_slope_of_a_line_is_its_slope() -> None:
    assert slope([0.0, 60.0, 120.0], [200.0, 201.0, 202.0]) == pytest.approx(1 / 60)


def test_what_goes_into_the_file_says_the_same_as_the_table() -> None:
    written = a_result(ratio=7.0, peer="p: 3", goal=at_least(13), gate=at_least(8)).as_json()

    assert written == {
        "name": "n", "value": 1.0, "unit": "ticks/s", "peer": "p: 3", "ratio": 7.0,
        "goal": "≥ 13×", "gate": "≥ 8×", "ok": False, "verdict": "MISSED",
    }  # fmt: skip
    assert str(at_most(260, "MiB")) == "≤ 260 MiB"


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (math.nan, "–"), (0.0, "0.00"), (9.876, "9.88"), (17.3, "17.3"), (4_321.9, "4,322")],
)
def test_figures_are_shown_with_the_digits_that_count(number: float | None, text: str) -> None:
    assert shown(number) == text


def test_rows_older_than_what_their_instrument_had_are_counted_within_a_message_too() -> None:
    newest = Newest()

    def take(tokens: list[int], steps: list[int]) -> tuple[list[int], int]:
        fresh, backwards = newest.take(np.array(tokens), np.array(steps))
        return sorted(fresh.tolist()), backwards

    assert take([7, 8, 7], [1, 1, 2]) == ([1, 1, 2], 0)
    assert take([7, 7, 8], [3, 2, 1]) == ([3], 1), "3 then 2 of one instrument; 8 repeats what it had"
    assert take([8, 9], [0, 0]) == ([0], 1), "8 had 1 before; the first of an instrument is fresh"
    assert newest.by_token() == {7: 3, 8: 1, 9: 0}
