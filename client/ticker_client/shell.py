"""What every reader of channels does: it ends when closed, and comes back after a broken connection, ever later."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import redis

from ticker_client.stream import TickStream

WAIT_FIRST_S: Final = 0.1
WAIT_MAX_S: Final = 5.0
REFUSED: Final = (redis.AuthenticationError, redis.exceptions.AuthorizationError)  # connection errors by name only
BROKEN: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    # Of a Redis Cluster: some of its nodes, or all of them, cannot be reached for now.
    redis.exceptions.ClusterError,
    redis.exceptions.RedisClusterException,
)


class Shell:
    """Of one reader.

    Parameters
    ----------
    channels
        Names with their prefix; one that is named twice is read once.
    settle_s
        See `TickStream`.

    Attributes
    ----------
    reconnects
        How often a connection broke.
    """

    def __init__(self, channels: Sequence[str], settle_s: float) -> None:
        assert channels, "at least one channel"
        self.stream = TickStream(settle_s=settle_s)
        self.channels = tuple(dict.fromkeys(channels))
        self.reconnects = 0
        self._closed = False
        self._wait_s = WAIT_FIRST_S

    def close(self) -> None:
        """End `events` at its next step."""
        self._closed = True

    def _works(self) -> None:
        """Redis answered: the next wait is a short one again."""
        self._wait_s = WAIT_FIRST_S

    def _wait_after(self, error: Exception, *, reconnect: bool) -> float:
        """How long to wait before the next try; raises `error` where there is none."""
        if not reconnect or isinstance(error, REFUSED):
            raise error
        self.reconnects += 1
        wait_s, self._wait_s = self._wait_s, min(2 * self._wait_s, WAIT_MAX_S)
        return wait_s


class SyncShell(Shell):
    """A reader for ``with``."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncShell(Shell):
    """A reader for ``async with``."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
