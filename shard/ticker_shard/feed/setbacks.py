"""Why there is no connection, and how long to stay away from the broker. Pure: time is an argument.

Every loss and every failed attempt doubles the ceiling of the next wait, with full jitter below it, because all sockets
of all accounts lose the broker at the same moment. A 429 waits a fixed while: as long as the broker may go on counting
a dead socket.
"""

from __future__ import annotations

from random import Random
from typing import Final

from ticker_common.logs import redact
from ticker_shard.feed.events import CloseReason
from ticker_shard.feed.settings import FeedSettings
from ticker_shard.feed.subscriptions import DOUBLINGS_MAX, MILLISECOND_NS

CLOSE_TEXT_CHARS_MAX: Final = 200


class Setbacks:
    """Those of one socket.

    Parameters
    ----------
    settings
        Waits.
    chance
        Source of jitter.

    Attributes
    ----------
    last, text
        The latest reason, and what was said with it; secrets blotted out.
    resume_ns
        Monotonic nanoseconds at which the present wait ends.
    """

    def __init__(self, settings: FeedSettings, *, chance: Random) -> None:
        self._settings, self._chance = settings, chance
        self._failures = 0  # in a row
        self.last: CloseReason | None = None
        self.text = ""
        self.resume_ns = 0

    def note(self, reason: CloseReason, text: str) -> None:
        """An attempt failed, or the connection ended."""
        self.last, self.text = reason, redact(text[:CLOSE_TEXT_CHARS_MAX])

    def forget(self) -> None:
        """A connection carried frames for long enough: whatever failed before is over."""
        self._failures = 0

    def back_off(self, *, now_ns: int) -> None:
        """Wait, longer than the last time."""
        self.resume_ns = now_ns + backoff_ns(self._failures, settings=self._settings, chance=self._chance)
        self._failures = min(self._failures + 1, DOUBLINGS_MAX)

    def limited(self, *, now_ns: int) -> None:
        """Wait as the broker's limit on sockets and attempts asks for."""
        shortest, longest = self._settings.rate_limited_ms
        self.resume_ns = now_ns + int(self._chance.uniform(shortest, longest) * MILLISECOND_NS)


def backoff_ns(failures: int, *, settings: FeedSettings, chance: Random) -> int:
    """How long to wait after so many failures in a row: full jitter below a doubling ceiling.

    Parameters
    ----------
    failures
        Failures before this one.
    settings
        First ceiling and highest ceiling.
    chance
        Source of jitter.
    """
    ceiling_ms = min(settings.backoff_ms << min(failures, DOUBLINGS_MAX), settings.backoff_max_ms)
    return int(chance.uniform(0, ceiling_ms) * MILLISECOND_NS)
