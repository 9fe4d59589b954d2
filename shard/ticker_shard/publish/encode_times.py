"""Times as text, for every writer that is not native."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=4_096)
def _iso_seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@lru_cache(maxsize=256)
def iso_utc(wall_ns: int) -> str:
    """A wall clock time as UTC text with microseconds."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{_iso_seconds(seconds)[:-1]}.{rest_ns // 1_000:06d}Z"


def exchange_time(seconds: int) -> str | None:
    """A time of the exchange; zero is none."""
    return _iso_seconds(seconds) if seconds else None
