"""A bounded part of `make chaos-cluster`: a minute of faults from a fixed seed; the full run is a target of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chaos.cluster import chaos_in_pool
from tests.support.chaos.schedule import CLUSTER_LANES, Lane
from tests.support.cluster_pool import TEST_S, Pool

SECONDS = 60.0
LONG = ("refuse_429", "token_dead")  # each costs up to half a minute
LANES = {lane: [one for one in choices if one.kind not in LONG] for lane, choices in CLUSTER_LANES.items()}


@pytest.mark.timeout(TEST_S)
def test_a_minute_of_chaos_breaks_no_promise(streaming: Pool, tmp_path: Path) -> None:
    said: list[str] = []

    summary = chaos_in_pool(streaming, tmp_path, seed=5, seconds=SECONDS, say=said.append, lanes=LANES)

    assert summary["ok"], "\n".join([*said, json.dumps(summary)])
    assert sum(summary["faults"].values()) >= len(Lane)
    assert summary["ledger"]["received"] > 0
    assert summary["moved"] > 0, "an account was drained, and taken back in"
