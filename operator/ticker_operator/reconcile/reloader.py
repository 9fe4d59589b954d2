"""When to plan again: `SubscriptionReloader`.

Changes of accounts and subscriptions come in bursts (one ``kubectl apply`` of a folder is a hundred events), and a
plan is about all of them at once. So a change waits until it has been quiet for ``quiet_s``; under a steady stream of
changes a full plan still starts every ``interval_s``, and never more often. What comes in while a pass runs asks for
exactly one more, however much it was.

Not held back (`URGENT`): an account that died, a token that changed, a shard that acknowledged. They start a pass at
once (``urgent_gap_s`` apart); it is a full pass like any other, only earlier.

`Timing` decides and reads no clock; `SubscriptionReloader` is the few lines of asyncio around it. It must never use
``asyncio.wait_for`` (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

REASONS_LISTED_MAX: Final = 8


class Urgency(StrEnum):
    """How long a trigger may wait."""

    SETTLE = "settle"  # until it is quiet, and not within `interval_s` of the last plan
    URGENT = "urgent"  # now


@dataclass(frozen=True, slots=True)
class Trigger:
    """Why a pass runs: the causes since the one before, at most `REASONS_LISTED_MAX` of them by name."""

    causes: tuple[str, ...]
    count: int
    urgent: bool

    def __str__(self) -> str:
        named = ", ".join(self.causes)
        more = self.count - len(self.causes)
        return f"{named} and {more} more" if more > 0 else named


@dataclass(slots=True)
class Timing:
    """The decision: when is the next pass due? Seconds on any monotonic clock, passed in.

    Parameters
    ----------
    quiet_s
        A settling change waits for this much silence.
    interval_s
        From the start of one pass to the start of the next one for settling changes alone.
    urgent_gap_s
        The same for urgent ones: twenty shards that acknowledge one after the other are a handful of passes.
    resync_s
        Without any trigger a pass runs this long after the last one began.
    """

    quiet_s: float = 1.0
    interval_s: float = 5.0
    urgent_gap_s: float = 0.2
    resync_s: float = 60.0
    _settling_since: float | None = None
    _settling_last: float = 0.0
    _urgent_at: float | None = None
    _wake_at: float | None = None
    _started: float | None = None
    _count: int = 0
    _causes: dict[str, None] = field(default_factory=dict)

    def trigger(self, cause: str, *, now: float, urgency: Urgency = Urgency.SETTLE) -> None:
        """Something changed."""
        self._count += 1
        if cause not in self._causes and len(self._causes) < REASONS_LISTED_MAX:
            self._causes[cause] = None
        if urgency is Urgency.URGENT:
            self._urgent_at = now if self._urgent_at is None else min(now, self._urgent_at)
            return
        if self._settling_since is None:
            self._settling_since = now
        self._settling_last = now

    def wake_at(self, when: float) -> None:
        """Run at `when` at the latest, e.g. because a back-off ends then; cleared by the next start."""
        self._wake_at = when if self._wake_at is None else min(when, self._wake_at)

    def due_at(self) -> float:
        """When the next pass is due; only a new trigger can bring it forward."""
        times = [0.0 if self._started is None else self._started + self.resync_s]
        if self._wake_at is not None:
            times.append(self._wake_at)
        if self._urgent_at is not None:
            times.append(max(self._urgent_at, self._earliest(self.urgent_gap_s)))
        if self._settling_since is not None:
            times.append(self._settled_at(self._settling_since))
        return min(times)

    def _settled_at(self, since: float) -> float:
        quiet = self._settling_last + self.quiet_s
        longest = since + self.interval_s  # a stream that never pauses must not starve the plan
        return max(min(quiet, longest), self._earliest(self.interval_s))

    def _earliest(self, gap_s: float) -> float:
        return -float("inf") if self._started is None else self._started + gap_s

    def start(self, *, now: float) -> Trigger:
        """A pass begins now: what was asked for so far is answered by it; the trigger to log."""
        urgent = self._urgent_at is not None
        causes = tuple(self._causes) or (("start",) if self._started is None else ("due",))
        trigger = Trigger(causes, max(self._count, 1), urgent)
        self._started = now
        self._settling_since = self._urgent_at = self._wake_at = None
        self._count = 0
        self._causes = {}
        return trigger


class SubscriptionReloader:
    """The asyncio shell around `Timing`: `trigger` from anywhere in the event loop, `wait` in the one that plans."""

    def __init__(self, timing: Timing, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._timing = timing
        self._clock = clock
        self._changed = asyncio.Event()

    def trigger(self, cause: str, *, urgency: Urgency = Urgency.SETTLE) -> None:
        """Something changed; cheap, never blocks."""
        self._timing.trigger(cause, now=self._clock(), urgency=urgency)
        self._changed.set()

    def wake_after(self, seconds: float) -> None:
        """Run in so many seconds at the latest."""
        self._timing.wake_at(self._clock() + seconds)
        self._changed.set()

    async def wait(self) -> Trigger:
        """Return when the next pass is due, and count it as begun."""
        while True:
            self._changed.clear()
            now = self._clock()
            due = self._timing.due_at()
            if now >= due:
                return self._timing.start(now=now)
            try:
                async with asyncio.timeout(due - now):
                    await self._changed.wait()
            except TimeoutError:
                continue  # the time itself made it due; the loop's head decides
