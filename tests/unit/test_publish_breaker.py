"""The breaker opens on the second failure in a row, tries again within a beat, and closes on one success."""

from __future__ import annotations

import pytest

from ticker_shard.publish.breaker import BreakerSettings, BreakerState, CircuitBreaker, Outcome
from ticker_shard.publish.limits import MS_NS, SECOND_NS, TIMING

FAILURE, SUCCESS = Outcome.FAILURE, Outcome.SUCCESS


def an_open_breaker(*, failures: int = 2, jitter: float = 1.0) -> CircuitBreaker:
    breaker = CircuitBreaker(jitter=lambda: jitter)
    for _ in range(failures):
        breaker.allows(now_ns=breaker.until_ns)
        breaker.report(FAILURE, now_ns=0)
    return breaker


def test_one_failure_is_an_incident_two_in_a_row_open_it():
    breaker = CircuitBreaker(jitter=lambda: 0.0)

    assert breaker.report(FAILURE, now_ns=0) is BreakerState.CLOSED
    assert breaker.report(SUCCESS, now_ns=0) is BreakerState.CLOSED
    assert breaker.report(FAILURE, now_ns=0) is BreakerState.CLOSED
    assert breaker.report(FAILURE, now_ns=0) is BreakerState.OPEN


def test_while_open_nothing_goes_out_until_the_wait_is_over():
    breaker = an_open_breaker()

    assert not breaker.allows(now_ns=breaker.until_ns - 1)
    assert breaker.allows(now_ns=breaker.until_ns)
    assert breaker.state is BreakerState.HALF_OPEN


@pytest.mark.parametrize(
    ("outcome", "state"), [(SUCCESS, BreakerState.CLOSED), (FAILURE, BreakerState.OPEN)], ids=["success", "failure"]
)
def test_one_attempt_decides_when_half_open(outcome, state):
    breaker = an_open_breaker()
    breaker.allows(now_ns=breaker.until_ns)

    assert breaker.report(outcome, now_ns=0) is state


@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_waits_grow_but_never_beyond_a_beat(jitter):
    waits = [an_open_breaker(failures=count, jitter=jitter).until_ns for count in range(2, 40)]

    assert waits == sorted(waits)
    assert 25 * MS_NS <= waits[0] <= 50 * MS_NS
    assert TIMING.beat_ns // 2 <= waits[-1] <= TIMING.beat_ns


def test_half_open_lets_one_attempt_out_at_a_time():
    breaker = an_open_breaker()

    assert breaker.allows(now_ns=breaker.until_ns)
    assert not breaker.allows(now_ns=breaker.until_ns + SECOND_NS)

    breaker.withdraw()
    assert breaker.allows(now_ns=breaker.until_ns + SECOND_NS)
    breaker.report(FAILURE, now_ns=0)
    assert breaker.allows(now_ns=breaker.until_ns)  # a new wait, a new attempt


def test_thresholds_are_settings():
    settings = BreakerSettings(failures_to_open=4, wait_first_ns=SECOND_NS, wait_max_ns=4 * SECOND_NS)
    breaker = CircuitBreaker(jitter=lambda: 1.0, settings=settings)

    states = [breaker.report(FAILURE, now_ns=0) for _ in range(4)]
    waits = [breaker.until_ns]
    for _ in range(4):
        assert breaker.allows(now_ns=waits[-1])
        breaker.report(FAILURE, now_ns=0)
        waits.append(breaker.until_ns)

    assert states == [BreakerState.CLOSED] * 3 + [BreakerState.OPEN]
    assert [wait // SECOND_NS for wait in waits] == [1, 2, 4, 4, 4]


def test_transitions_are_counted():
    breaker = an_open_breaker()
    breaker.allows(now_ns=breaker.until_ns)
    breaker.report(FAILURE, now_ns=0)
    breaker.allows(now_ns=breaker.until_ns)
    breaker.report(SUCCESS, now_ns=0)

    closed, opened, half = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
    assert breaker.transitions == {(closed, opened): 1, (opened, half): 2, (half, opened): 1, (half, closed): 1}


def test_success_while_open_is_a_bug_and_changes_nothing():
    breaker = an_open_breaker()

    with pytest.raises(AssertionError, match="nothing was allowed out"):
        breaker.report(SUCCESS, now_ns=0)
    assert breaker.state is BreakerState.OPEN
