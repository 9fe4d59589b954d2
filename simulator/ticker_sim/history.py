"""What was done, numbered: connections, requests, refusals, faults. For checkers that judge a run afterwards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

EVENTS_MAX: Final = 50_000  # the oldest go first; `first` tells a reader what it missed


class History:
    """A bounded list of events.

    Parameters
    ----------
    now_ns
        Monotonic nanoseconds, for the ``at_ms`` of each event since the start.
    """

    def __init__(self, now_ns: Callable[[], int], *, events_max: int = EVENTS_MAX) -> None:
        self._now_ns = now_ns
        self._started_ns = now_ns()
        self._events: deque[dict[str, Any]] = deque(maxlen=events_max)
        self.last = 0

    def add(self, kind: str, **facts: Any) -> int:
        """Note an event; answers its number."""
        self.last += 1
        at_ms = round((self._now_ns() - self._started_ns) / 1e6, 3)
        self._events.append({"n": self.last, "at_ms": at_ms, "kind": kind, **facts})
        return self.last

    def since(self, number: int) -> list[dict[str, Any]]:
        """Events with a number above `number`, oldest first."""
        return [event for event in self._events if event["n"] > number]

    @property
    def first(self) -> int:
        """Number of the oldest event that is still held."""
        return self._events[0]["n"] if self._events else self.last + 1
