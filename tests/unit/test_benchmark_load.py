"""What a load run is judged by: recovery after a fault, percentiles of what arrived, a report that hides nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.load.report import Measured, Rule, honest_rules, markdown, steady_rules
from benchmarks.measured import Paced, difference

ABOUT = {"processor": "p", "memory_gib": 1, "platform": "l", "python": "3", "redis_server": "r", "commit": "c",
         "packages": {"numpy": "2.4.6", "numba": None}}  # fmt: skip
CALM_US = 100_000.0


def a_run(*latencies_ms: float, **changes: Any) -> Paced:
    """Ten frames a second."""
    latency = np.array(latencies_ms or (1.0,)) * 1e3
    given: dict[str, Any] = {
        "packets": 100, "due_s": np.arange(len(latency)) / 10, "latency_us": latency, "unsent": 0,
        "delivered": 100 * len(latency), "priced": 0, "missing": 0, "backwards": 0, "books": {"received": 1_000},
        "balanced": True, "newest_arrived": 3, "instruments": 3, "sender_late_us": 0.0,
        "sender_behind_s": 0.0,
    }  # fmt: skip
    return Paced(**{**given, **changes})


def test_recovery_lasts_until_the_first_frame_after_which_all_are_in_time() -> None:
    run = a_run(1, 1, 500, math.nan, 1, 400, 30, 1)

    assert run.recovery_s(fault_s=0.2, limit_us=CALM_US) == pytest.approx(0.6 + 0.03 - 0.2)


def test_nothing_disturbed_is_no_recovery_and_never_well_again_is_infinite() -> None:
    assert a_run(1, 1, 1).recovery_s(fault_s=0.1, limit_us=CALM_US) == 0.0
    assert a_run(1, 1, math.nan).recovery_s(fault_s=0.1, limit_us=CALM_US) == math.inf


def test_recovery_looks_at_no_frame_before_the_fault_nor_after_its_interval() -> None:
    run = a_run(900, 1, 200, 1, 1, 900)

    assert run.recovery_s(fault_s=0.1, until_s=0.45, limit_us=CALM_US) == pytest.approx(0.3 + 0.001 - 0.1)


def test_calm_is_back_with_the_first_window_of_which_nearly_all_is_in_time() -> None:
    run = a_run(1, 1, 500, 400, math.nan, 1, 1, 1, 1, 1, 1, 300, 1)

    calm = {"fault_s": 0.2, "window_s": 0.2, "limit_us": CALM_US}
    assert run.calm_after_s(share=0.99, **calm) == pytest.approx(0.4)
    assert run.calm_after_s(share=0.5, **calm) == pytest.approx(0.2)


def test_a_late_frame_long_after_calm_has_returned_is_told_apart_from_no_recovery() -> None:
    run = a_run(*[500] * 5, *[1] * 150, 900)

    assert run.calm_after_s(fault_s=0.0, window_s=0.5, share=0.99, limit_us=CALM_US) == pytest.approx(0.5)
    assert run.late_us(0.99, since_s=0.5) == 1_000
    assert run.late_us(1.0, since_s=0.5) == 900_000
    assert run.recovery_s(fault_s=0.0, limit_us=CALM_US) == math.inf


def test_what_never_comes_is_never_calm() -> None:
    run = a_run(*[math.nan] * 20)

    assert run.calm_after_s(fault_s=0.0, window_s=0.5, share=0.99, limit_us=CALM_US) == math.inf
    assert run.late_us(0.99, since_s=0.0) == math.inf
    assert run.late_us(0.99, since_s=9.0) == math.inf


def test_percentiles_are_of_frames_that_arrived() -> None:
    run = a_run(*range(1, 100), math.nan)

    assert run.percentile_us(0.99) == 99_000
    assert math.isnan(a_run(math.nan).percentile_us(0.5))


def test_unsent_frames_are_not_sent_ticks() -> None:
    assert a_run(1, 1, 1, unsent=1).sent == 200


@pytest.mark.parametrize(
    "change", [{"balanced": False}, {"missing": 1}, {"backwards": 1}, {"newest_arrived": 2}], ids=str
)
def test_a_run_is_sound_only_if_nothing_is_lost_old_or_out_of_order(change: dict[str, Any]) -> None:
    assert a_run().sound
    assert not a_run(**change).sound


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"balanced": False}, "ledger balances"),
        ({"newest_arrived": 2}, "the newest value of every instrument arrives"),
        ({"backwards": 4}, "no older value after a newer one"),
        ({"missing": 1}, "no message number missing at the subscriber"),
        ({"books": {"received": 1_000, "rejected": 1, "dropped": 1}}, "error rate below 0.1%"),
        ({"latency_us": np.array([100_000.0])}, "P99 below 100 ms"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_rule_of_a_steady_run_can_be_broken_alone(change: dict[str, Any], rule: str) -> None:
    assert all(one.holds for one in steady_rules(a_run()))
    assert [one.text for one in steady_rules(a_run(**change)) if not one.holds] == [rule]


def test_a_run_without_a_single_arrival_does_not_pass_for_a_quick_one() -> None:
    assert not all(rule.holds for rule in steady_rules(a_run(math.nan)))


def test_the_report_names_what_was_missed_and_shows_every_rule() -> None:
    run = a_run(5, 7, books=difference({"received": 1_200, "conflated": 30}, {"received": 200}), missing=2)
    rules = (*honest_rules(run), Rule("memory at most 260 MiB", "300 MiB", holds=False))
    measured = Measured("overload", "360,000/s", run, 33.0, 8.0, ((0.0, 100.0), (1.0, 300.0)), rules)

    text = markdown([measured], ABOUT, seed=20, seconds=9)

    assert "**1 rules MISSED.**" in text
    assert "* MISSED: overload: memory at most 260 MiB (found: 300 MiB)" in text
    assert "| memory at most 260 MiB | 300 MiB | **MISSED** |" in text
    assert "| ledger balances | yes | holds |" in text
    assert "received 1,000, published 0, conflated 30" in text
    assert "Python 3, r; numpy 2.4.6; commit c, seed 20, 9 s" in text
    assert "2 message numbers never reached the subscriber" in text
    assert measured.as_json()["memory_peak_mib"] == 300.0
