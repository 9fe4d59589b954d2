"""Ready is what lets a roll-out stop the pod that streams now."""

from __future__ import annotations

import pytest

from ticker_shard.app.health import LiveHolder, live_holder, readiness
from ticker_shard.assignment import LeaseState
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.standing import OtherHolder


@pytest.mark.parametrize("phase", [Phase.STANDBY, Phase.ACTIVE])
@pytest.mark.parametrize("holder", list(LiveHolder))
@pytest.mark.parametrize("obstacle", [None, "the broker refuses the token (403)"])
def test_standby_and_active_are_ready(phase: Phase, holder: LiveHolder, obstacle: str | None) -> None:
    assert readiness(phase, obstacle=obstacle, holder=holder).ready


@pytest.mark.parametrize("holder", list(LiveHolder))
def test_a_process_that_merely_has_not_warmed_yet_is_not_ready(holder: LiveHolder) -> None:
    assert not readiness(Phase.WARMING, obstacle=None, holder=holder).ready


@pytest.mark.parametrize(
    ("holder", "ready"),
    [
        pytest.param(LiveHolder.NONE, True, id="nobody streams: a dead token does not block a release"),
        pytest.param(LiveHolder.OTHER, False, id="the old pod streams on its open socket: it must not be stopped"),
        pytest.param(LiveHolder.UNKNOWN, False, id="not knowing is not Ready"),
    ],
)
def test_a_process_that_cannot_warm_is_ready_only_when_nobody_streams(holder: LiveHolder, ready: bool) -> None:
    answer = readiness(Phase.WARMING, obstacle="the broker refuses the token (403)", holder=holder)

    assert answer.ready is ready
    assert "403" in answer.message


def test_a_process_that_is_gone_is_not_ready() -> None:
    assert not readiness(Phase.GONE, obstacle=None, holder=LiveHolder.NONE).ready


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (OtherHolder.ALIVE, LiveHolder.OTHER),
        (OtherHolder.NONE, LiveHolder.NONE),
        (OtherHolder.UNKNOWN, LiveHolder.UNKNOWN),
    ],
)
@pytest.mark.parametrize("lease", list(LeaseState))
def test_the_records_decide_while_redis_answers(records: OtherHolder, expected: LiveHolder, lease: LeaseState) -> None:
    assert live_holder(records, lease, redis_answers=True) is expected


@pytest.mark.parametrize(
    ("lease", "expected"),
    [
        (LeaseState.OTHER, LiveHolder.OTHER),
        (LeaseState.MINE, LiveHolder.NONE),
        (LeaseState.VACANT, LiveHolder.NONE),
        (LeaseState.UNKNOWN, LiveHolder.UNKNOWN),
    ],
)
@pytest.mark.parametrize("records", list(OtherHolder))
def test_without_redis_the_lease_is_the_witness(records: OtherHolder, lease: LeaseState, expected: LiveHolder) -> None:
    assert live_holder(records, lease, redis_answers=False) is expected
