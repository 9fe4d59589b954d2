"""Whether to try a remote service now. Pure: the clock is passed in, chance is injected.

====================  ===========  ===========  =====================================================
state                 success      failure      what it means
====================  ===========  ===========  =====================================================
CLOSED                CLOSED       CLOSED/OPEN  calls go out; so many failures in a row open it
OPEN                  –            OPEN         nothing goes out until the wait is over, then HALF_OPEN
HALF_OPEN             CLOSED       OPEN         one attempt at a time; its outcome decides
====================  ===========  ===========  =====================================================

Waits double with each failure up to a longest one, and are jittered, so that clients which lost the same service do
not come back in step.

Around Redis the longest wait is one beat: a Redis that is back is used within one beat, and a holder that lost only its
connection has made its calls again before anybody may think it silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ticker_shard.publish.limits import MS_NS, TIMING

DOUBLINGS_MAX: Final = 30


class BreakerState(StrEnum):
    """The three states."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Outcome(StrEnum):
    """What an attempt came to."""

    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Thresholds.

    Attributes
    ----------
    failures_to_open
        In a row. One broken connection is an incident, two in a row are an outage.
    wait_first_ns, wait_max_ns
        The wait after it opened, and the longest one; half to all of it is waited.
    """

    failures_to_open: int = 2
    wait_first_ns: int = 50 * MS_NS
    wait_max_ns: int = TIMING.beat_ns

    def __post_init__(self) -> None:
        assert self.failures_to_open >= 1, self
        assert 0 < self.wait_first_ns <= self.wait_max_ns, self


REDIS: Final = BreakerSettings()

assert TIMING.call_timeout_ns + REDIS.wait_max_ns < TIMING.silent_ns, (
    "a lost call and one wait must not look like silence"
)

_CLOSED, _SUCCESS = BreakerState.CLOSED, Outcome.SUCCESS
_FOLLOWING: Final[dict[tuple[BreakerState, Outcome], BreakerState]] = {
    (BreakerState.CLOSED, Outcome.SUCCESS): BreakerState.CLOSED,
    (BreakerState.CLOSED, Outcome.FAILURE): BreakerState.OPEN,  # once so many are reached
    (BreakerState.HALF_OPEN, Outcome.SUCCESS): BreakerState.CLOSED,
    (BreakerState.HALF_OPEN, Outcome.FAILURE): BreakerState.OPEN,
    (BreakerState.OPEN, Outcome.FAILURE): BreakerState.OPEN,  # a late answer of an attempt before it opened
}


class CircuitBreaker:
    """The breaker around one service.

    Parameters
    ----------
    jitter
        A source of [0, 1).
    settings
        Thresholds.

    Attributes
    ----------
    state
        Now.
    failures
        In a row.
    transitions
        How often the state went from one to another.
    """

    def __init__(self, *, jitter: Callable[[], float], settings: BreakerSettings = REDIS) -> None:
        self._jitter, self._settings = jitter, settings
        self.state = BreakerState.CLOSED
        self.failures = 0
        self.transitions: dict[tuple[BreakerState, BreakerState], int] = {}
        self._until_ns = 0
        self._probing = False

    def allows(self, *, now_ns: int) -> bool:
        """Whether an attempt may be made now; while half open that is one, whose outcome must be reported."""
        if self.state is BreakerState.OPEN and now_ns >= self._until_ns:
            self._go(BreakerState.HALF_OPEN)
        if self.state is BreakerState.HALF_OPEN:
            allowed, self._probing = not self._probing, True
            return allowed
        return self.state is BreakerState.CLOSED

    def withdraw(self) -> None:
        """The attempt that was allowed is not made: somebody else may."""
        self._probing = False

    @property
    def until_ns(self) -> int:
        """When the wait is over; only of meaning while open."""
        return self._until_ns

    def report(self, outcome: Outcome, *, now_ns: int) -> BreakerState:
        """Take in what an attempt came to; the state it leads to."""
        if self.state is _CLOSED and outcome is _SUCCESS:  # nearly always
            self.failures, self._probing = 0, False
            return _CLOSED
        following = _FOLLOWING.get((self.state, outcome))
        assert following is not None, f"{outcome} while {self.state}: nothing was allowed out"
        self._probing = False
        if outcome is Outcome.SUCCESS:
            self.failures = 0
        else:
            self.failures += 1
            if self.state is BreakerState.CLOSED and self.failures < self._settings.failures_to_open:
                return self.state
            if self.state is not BreakerState.OPEN:
                self._until_ns = now_ns + self._wait_ns()
        self._go(following)
        return following

    def _go(self, state: BreakerState) -> None:
        if state is not self.state:
            self.transitions[self.state, state] = self.transitions.get((self.state, state), 0) + 1
            self.state = state

    def _wait_ns(self) -> int:
        """Half to all of a wait that doubles with each failure."""
        doublings = min(max(self.failures - self._settings.failures_to_open, 0), DOUBLINGS_MAX)
        longest = min(self._settings.wait_first_ns << doublings, self._settings.wait_max_ns)
        return int(longest * (0.5 + 0.5 * self._jitter()))
