"""Whether to try Redis now. Pure: the clock is passed in, chance is injected.

====================  ===========  ===========  =====================================================
state                 success      failure      what it means
====================  ===========  ===========  =====================================================
CLOSED                CLOSED       CLOSED/OPEN  calls go out; the second failure in a row opens
OPEN                  –            OPEN         nothing goes out until the wait is over, then HALF_OPEN
HALF_OPEN             CLOSED       OPEN         one attempt decides
====================  ===========  ===========  =====================================================

The longest wait is one beat, so that a Redis that is back is used within one beat, and a holder that lost only its
connection has made its calls again before anybody may think it silent. Waits are jittered so that shards which lost
the same Redis do not come back in step.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from ticker_shard.publish.limits import MS_NS, TIMING

FAILURES_TO_OPEN: Final = 2  # one broken connection is an incident, two in a row are an outage
WAIT_FIRST_NS: Final = 50 * MS_NS
WAIT_MAX_NS: Final = TIMING.beat_ns

assert FAILURES_TO_OPEN >= 1
assert TIMING.call_timeout_ns + WAIT_MAX_NS < TIMING.silent_ns, "a lost call and one wait must not look like silence"


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """What an attempt came to."""

    SUCCESS = "success"
    FAILURE = "failure"


_OPENING: Final[dict[tuple[BreakerState, Outcome], BreakerState]] = {
    (BreakerState.CLOSED, Outcome.SUCCESS): BreakerState.CLOSED,
    (BreakerState.CLOSED, Outcome.FAILURE): BreakerState.OPEN,  # once FAILURES_TO_OPEN are reached
    (BreakerState.HALF_OPEN, Outcome.SUCCESS): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, Outcome.FAILURE): BreakerState.OPEN,
    (BreakerState.OPEN, Outcome.FAILURE): BreakerState.OPEN,  # a late answer of an attempt before it opened
}


class CircuitBreaker:
    """The breaker around one Redis.

    Parameters
    ----------
    jitter
        A source of [0, 1).
    """

    def __init__(self, *, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self.state = BreakerState.CLOSED
        self.failures = 0  # in a row
        self.opened = 0  # times, ever
        self._until_ns = 0

    def allows(self, *, now_ns: int) -> bool:
        """Whether an attempt may be made now; the one that ends a wait is the half-open one."""
        if self.state is BreakerState.OPEN and now_ns >= self._until_ns:
            self.state = BreakerState.HALF_OPEN
        return self.state is not BreakerState.OPEN

    @property
    def until_ns(self) -> int:
        """When the wait is over; only of meaning while open."""
        return self._until_ns

    def report(self, outcome: Outcome, *, now_ns: int) -> BreakerState:
        """Take in what an attempt came to; the state it leads to."""
        following = _OPENING.get((self.state, outcome))
        assert following is not None, f"{outcome} while {self.state}: nothing was allowed out"
        if outcome is Outcome.SUCCESS:
            self.failures = 0
        else:
            self.failures += 1
            if self.state is BreakerState.CLOSED and self.failures < FAILURES_TO_OPEN:
                return self.state
            if self.state is not BreakerState.OPEN:
                self.opened += 1
                self._until_ns = now_ns + self._wait_ns()
        self.state = following
        return following

    def _wait_ns(self) -> int:
        """Half to all of a wait that doubles with each failure."""
        doublings = min(self.failures - FAILURES_TO_OPEN, 10) if self.failures > FAILURES_TO_OPEN else 0
        longest = min(WAIT_FIRST_NS << doublings, WAIT_MAX_NS)
        return int(longest * (0.5 + 0.5 * self._jitter()))
