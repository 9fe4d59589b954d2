"""A bounded part of `make chaos`: half a minute of faults from a fixed seed; the full run is a target of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.chaos.run import chaos

SECONDS = 27.0


@pytest.mark.timeout(240)
def test_half_a_minute_of_chaos_breaks_no_promise(tmp_path: Path) -> None:
    said: list[str] = []

    summary = chaos(tmp_path, seed=83, seconds=SECONDS, say=said.append)

    assert summary["ok"], "\n".join([*said, json.dumps(summary)])
    assert sum(summary["faults"].values()) >= 4
    assert summary["ledger"]["received"] > 0
