"""TaskMonitor: no task of this process dies unseen.

A service made of background tasks fails worst when one of them is dead and the others go on: ticks arrive and nobody
publishes, or everything publishes and nobody renews the Lease. So every task is started here, under a name, and
the first one that ends without having been allowed to ends the process: logged with its traceback and counted at once
(well within a second), exit code 1, and Kubernetes starts a whole process instead of living with half of one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger(__name__)

STOP_S: Final = 5.0  # how long cancelled tasks may clean up


@dataclass(frozen=True, slots=True)
class TaskDeath:
    """A task that ended although it must not."""

    task: str
    cause: str


class TaskMonitor:
    """Starts tasks and says when one has died.

    Attributes
    ----------
    deaths
        Task name → how often it died; exported as a metric.
    """

    def __init__(self) -> None:
        self.deaths: dict[str, int] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._first: asyncio.Future[TaskDeath] | None = None
        self._stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None], *, may_end: bool = False) -> asyncio.Task[None]:
        """Run `work` under `name`.

        Parameters
        ----------
        name
            For logs and the metric.
        work
            The coroutine.
        may_end
            Returning is success; an exception is a death all the same.
        """
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = name
        self.deaths.setdefault(name, 0)
        task.add_done_callback(lambda ended: self._ended(ended, may_end=may_end))
        return task

    async def died(self) -> TaskDeath:
        """Return when the first task has died."""
        if self._first is None:
            self._first = asyncio.get_running_loop().create_future()
        return await asyncio.shield(self._first)

    async def stop(self) -> None:
        """Cancel what still runs, and wait for it (bounded)."""
        self._stopping = True
        running = [task for task in self._tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            _, stuck = await asyncio.wait(running, timeout=STOP_S)
            for task in stuck:
                log.error("task did not end when it was cancelled", extra={"task": self._tasks[task]})

    def _ended(self, task: asyncio.Task[None], *, may_end: bool) -> None:
        name = self._tasks.pop(task)
        error = None if task.cancelled() else task.exception()
        if error is None and (self._stopping or (may_end and not task.cancelled())):
            return
        if error is not None:
            log.error("task died", extra={"task": name}, exc_info=error)
        else:
            log.error("task ended although it must not", extra={"task": name})
        self.deaths[name] += 1
        if self._first is None:
            self._first = task.get_loop().create_future()
        if not self._first.done():
            how = "was cancelled" if task.cancelled() else "returned"
            self._first.set_result(TaskDeath(name, type(error).__name__ if error is not None else how))
