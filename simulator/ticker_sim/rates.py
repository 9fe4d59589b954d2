"""The REST API's limits: requests per second, key and group, in windows of one second. Pure.

Documented numbers; that the window turns as a whole (rather than a bucket filling) is how the vendor words it.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

WINDOW_NS: Final = 1_000_000_000
WINDOWS_MAX: Final = 10_000  # (key, group) pairs remembered; all are forgotten beyond it


class Group(Enum):
    """Endpoints that share a limit; the value is requests per second."""

    QUOTE = "quote"
    HISTORICAL = "historical"
    OTHER = "other"


LIMITS: Final[dict[Group, int]] = {Group.QUOTE: 1, Group.HISTORICAL: 3, Group.OTHER: 10}


def group_of(path: str) -> Group:
    """Which limit a path falls under."""
    if path == "/quote" or path.startswith("/quote/"):
        return Group.QUOTE
    return Group.HISTORICAL if path.startswith("/instruments/historical/") else Group.OTHER


class RateLimits:
    """Counts per key and group.

    Parameters
    ----------
    enabled
        Otherwise everything is allowed.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self._enabled = enabled
        self._windows: dict[tuple[str, Group], tuple[int, int]] = {}

    def allow(self, api_key: str, path: str, *, now_ns: int) -> bool:
        """Whether one more request is within the limit; a refused one counts for nothing."""
        if not self._enabled:
            return True
        group = group_of(path)
        window, used = self._windows.get((api_key, group), (-1, 0))
        current = now_ns // WINDOW_NS
        if window != current:
            used = 0
        if used >= LIMITS[group]:
            return False
        if len(self._windows) >= WINDOWS_MAX:
            self._windows.clear()
        self._windows[api_key, group] = (current, used + 1)
        return True
