"""A chaos run's schedule is its seed's, and its numbers are those of its history."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.chaos.__main__ import wanted
from tests.support.chaos.report import CLUSTER, MIB, PROCESSES, Block, memory_of, summary_of, write_matrix
from tests.support.chaos.schedule import CALM_S, CLUSTER_LANES, FEED, LANES, Lane, Lanes, schedule
from tests.support.delivery import bounds
from tests.support.delivery.check import judge
from tests.support.delivery.generate import clean_history
from tests.support.delivery.history import SECOND_NS
from tests.support.delivery.measure import measure
from ticker_sim.faults import parse_fault

SEEDS = st.integers(0, 2**32)
BOTH = pytest.mark.parametrize("lanes", [LANES, CLUSTER_LANES], ids=["processes", "cluster"])
SIMULATORS_OWN = {choice.kind for choice in FEED} - {"refuse", "refuse_429", "token_dead"}


@given(SEEDS, st.floats(20, 600))
def test_a_seed_gives_the_same_schedule_again(seed: int, seconds: float) -> None:
    assert schedule(seed, seconds=seconds) == schedule(seed, seconds=seconds)


def test_another_seed_gives_another_schedule() -> None:
    assert len({schedule(seed, seconds=120) for seed in range(20)}) == 20


@BOTH
@settings(max_examples=50)
@given(seed=SEEDS, seconds=st.floats(30, 600))
def test_a_lane_does_one_thing_at_a_time_and_ends_in_calm(lanes: Lanes, seed: int, seconds: float) -> None:
    steps = schedule(seed, seconds=seconds, lanes=lanes)

    assert list(steps) == sorted(steps, key=lambda step: (step.at_s, step.lane))
    for lane in Lane:
        mine = [step for step in steps if step.lane is lane]
        assert all(before.at_s + before.for_s < after.at_s for before, after in pairwise(mine))
        assert all(step.at_s + step.for_s <= seconds - CALM_S for step in mine)


@BOTH
def test_ten_minutes_have_every_kind_of_fault(lanes: Lanes) -> None:
    kinds = {step.kind for seed in range(3) for step in schedule(seed, seconds=600, lanes=lanes)}

    assert kinds >= {choice.kind for choices in lanes.values() for choice in choices}
    assert kinds >= {"open_burst", "lunch", "close"}


@pytest.mark.parametrize("seed", range(5))
def test_the_simulator_understands_every_fault_of_its_lane(seed: int) -> None:
    for step in schedule(seed, seconds=600):
        if LANES.get(step.lane) is FEED and step.kind in SIMULATORS_OWN:
            assert parse_fault({"kind": step.kind, **dict(step.fields)}).kind == step.kind


# -- the report --------------------------------------------------------------------------------------------------------


def a_summary(seed: int) -> dict[str, object]:
    history, limits = clean_history(seed), bounds.from_settings()
    return summary_of(
        history,
        seed=seed,
        bounds=limits,
        judged=judge(history, limits),
        measured=measure(history, limits),
        memory=[],
        skipped=0,
    )


def test_the_last_line_is_one_json_object_with_everything_in_it() -> None:
    found = json.loads(json.dumps(a_summary(7)))

    assert found["ok"] is True
    assert found["faults"] == {"reset": 1, "sigterm": 1}
    assert (found["violations"], found["excused"], found["outcome"]) == ({}, {}, "clean")
    assert found["ledger"]["unbalanced"] == 0
    assert found["ledger"]["received"] > 0
    assert set(found["worst_recovery_s"]) == {"reset", "sigterm"}
    assert all(found["median_recovery_s"][kind] <= worst for kind, worst in found["worst_recovery_s"].items())
    assert found["declared_s"]["reset"] > 0
    assert found["moved"] > 0


@pytest.mark.parametrize(("mine", "other"), [(PROCESSES, CLUSTER), (CLUSTER, PROCESSES)])
def test_a_matrix_replaces_what_stands_between_its_markers_and_nothing_else(
    tmp_path: Path, mine: Block, other: Block
) -> None:
    document = tmp_path / "reliability.md"
    before, after = f"before\n{other[0]}\nkept\n{other[1]}\n{mine[0]}\n", f"\n{mine[1]}\nafter\n"
    document.write_text(f"{before}old{after}")

    write_matrix(document, a_summary(7), block=mine)

    text = document.read_text()
    assert "old" not in text
    assert text.startswith(before)
    assert text.endswith(after)
    assert "| reset | 1 |" in text


def test_a_document_without_markers_is_refused(tmp_path: Path) -> None:
    document = tmp_path / "reliability.md"
    document.write_text("nothing")

    with pytest.raises(ValueError, match="no markers"):
        write_matrix(document, a_summary(7), block=PROCESSES)


def samples(*, seconds: int, mib_per_hour: float, leap_at_s: int = -1) -> list[tuple[int, int]]:
    return [
        (at_s * SECOND_NS, int((100 + mib_per_hour * at_s / 3_600 + (8 if at_s == leap_at_s else 0)) * MIB))
        for at_s in range(seconds)
    ]


def test_a_process_that_grows_is_found_and_one_leap_is_not_growth() -> None:
    growing = memory_of("pod", samples(seconds=400, mib_per_hour=60))
    leaping = memory_of("pod", samples(seconds=400, mib_per_hour=0, leap_at_s=300))

    assert growing is not None
    assert growing.mib_per_hour == pytest.approx(60, rel=0.01)
    assert not growing.flat
    assert leaping is not None
    assert leaping.flat


def test_a_short_life_is_not_judged() -> None:
    assert memory_of("pod", samples(seconds=100, mib_per_hour=600)) is None


@pytest.mark.parametrize(
    "given", [{"CHAOS_SECONDS": "soon"}, {"CHAOS_SECONDS": "-5"}, {"CHAOS_SECONDS": "nan"}, {"CHAOS_SEED": "x"}]
)
def test_a_length_without_faults_and_a_seed_that_is_none_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(SystemExit) as refused:
        wanted(given)

    assert next(iter(given)) in str(refused.value)


def test_without_a_wish_it_is_ten_minutes_with_a_seed_of_its_own() -> None:
    assert wanted({})[0] == 600.0
    assert wanted({"CHAOS_SECONDS": "120", "CHAOS_SEED": "42"}) == (120.0, 42)
