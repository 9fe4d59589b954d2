"""What a loop sleeps on: something happens, something goes wrong, or it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ticker_shard.publish.limits import SECOND_NS


class Alarm:
    """An event that sets itself at the earliest of the times it was asked for.

    Parameters
    ----------
    monotonic_ns
        The clock of those times.
    """

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._monotonic_ns = monotonic_ns
        self._event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ns = 0
        self._fault: Exception | None = None

    def ring(self) -> None:
        """Have whoever waits, or waits next, go on."""
        self._event.set()

    def fail(self, fault: Exception) -> None:
        """Have `wait` raise this: where it happened nobody would have seen it."""
        self._fault = fault
        self._event.set()

    def ring_by(self, at_ns: int) -> None:
        """Ring then, if nothing does before."""
        if self._timer is not None:
            if self._timer_ns <= at_ns:
                return
            self._timer.cancel()
        seconds = max(0, at_ns - self._monotonic_ns()) / SECOND_NS
        self._timer, self._timer_ns = asyncio.get_running_loop().call_later(seconds, self._time_is_up), at_ns

    async def wait(self) -> None:
        """Until it rings."""
        await self._event.wait()
        if self._fault is not None:
            raise self._fault

    def hush(self) -> None:
        """What rang is being seen to."""
        self._event.clear()

    def close(self) -> None:
        """Leave no timer behind."""
        if self._timer is not None:
            self._timer.cancel()

    def _time_is_up(self) -> None:
        self._timer = None
        self._event.set()
