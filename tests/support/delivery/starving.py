"""How long the machine let the processes of the path wait for a CPU: measured by the kernel, not guessed.

``/proc/<pid>/schedstat`` counts the nanoseconds that a runnable thread waited. A tick passes simulator, shard, Redis
and subscriber one after the other, so their waits add up; of shards beside each other the longest counts. On a quiet
machine this is nothing. On a starved one it is time that no program could have used, and the checker takes this time
off what it holds against the product; but because processes wait beside each other too, and because no allowance may
hide a real gap, never more than half of any stretch (`history.CREDIT_MAX`). `judge` says what the allowance changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.delivery.history import Starved

Threads = Callable[[], Iterable[str]]  # "<pid>", or "<pid>/task/<tid>"


class CpuWaits:
    """Looks at the waits of some threads again and again.

    Parameters
    ----------
    in_series
        Threads that every tick passes.
    beside
        Threads of which a tick passes one.
    """

    def __init__(self, *, in_series: Threads, beside: Threads) -> None:
        self.found: list[Starved] = []
        self._in_series, self._beside = in_series, beside
        self._known: dict[str, int] = {}
        self._since_ns = time.monotonic_ns()

    def look(self) -> None:
        """What was waited since the last look."""
        series = sum(self._more(thread) for thread in self._in_series())
        beside = max((self._more(thread) for thread in self._beside()), default=0)
        now_ns = time.monotonic_ns()
        if series + beside:
            self.found.append(Starved(self._since_ns, now_ns, series + beside))
        self._since_ns = now_ns

    @contextmanager
    def watching(self, *, every_s: float) -> Iterator[None]:
        """Look in a thread of its own."""
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(every_s):
                self.look()

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _more(self, thread: str) -> int:
        waited_ns = waited(thread)
        if waited_ns is None:
            return 0
        before_ns = self._known.get(thread, waited_ns)
        self._known[thread] = waited_ns
        return waited_ns - before_ns


def waited(thread: str) -> int | None:
    """Nanoseconds that a thread waited for a CPU in its life; `None` where it is gone or nobody counts."""
    try:
        return int(Path(f"/proc/{thread}/schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None


def waits_in_pods(*more: Callable[[], str]) -> CpuWaits:
    """The waits of a pool on this machine's cluster; `more` are threads that every tick passes too."""
    return CpuWaits(
        in_series=lambda: [
            *processes_in_pods("simulator"),
            *processes_in_pods("redis-server"),
            *(thread() for thread in more),
        ],
        beside=lambda: processes_in_pods("shard"),
    )


def processes_in_pods(*words: str) -> list[str]:
    """Processes in containers of this machine's cluster whose arguments contain these words one after the other.

    Other processes of the machine may be called the same (other tests' shards and servers): their waits are not ours.
    """
    wanted = b"\0".join(word.encode() for word in words)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "cmdline").read_bytes() and _in_pod((process / "cgroup").read_text()):
                found.append(process.name)
        except OSError:
            continue  # gone meanwhile
    return found


def _in_pod(groups: str) -> bool:
    """By the control groups that the kubelet, or containerd for it, makes."""
    return any(name in groups for name in ("/kubepods", "/k8s.io/"))
