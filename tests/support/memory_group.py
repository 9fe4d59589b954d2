"""Memory that runs out: a control group with a limit, and somebody in it who eats.

    with memory_group() as group:
        ...start a process as ``python -m`` and `group.program("ticker_shard.app")`...
        group.run_out()

The kernel then kills the process that was started so; it offers itself, so that it is never the eater. A machine on
which no group with a limit can be made (no root, no memory controller) skips.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

ROOM_BYTES: Final = 8 << 20  # left to the group's processes before somebody eats
BITE_BYTES: Final = 1 << 20
FIRST_VICTIM: Final = "1000"  # of oom_score_adj
HUNGER_S: Final = 60
EATER: Final = "--eat"


@dataclass(frozen=True)
class Controller:
    """What the files of one version of the memory controller are called."""

    root: Path
    limit: str
    usage: str
    events: str


CONTROLLERS: Final = (
    Controller(Path("/sys/fs/cgroup"), "memory.max", "memory.current", "memory.events"),
    Controller(
        Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control"
    ),
)  # fmt: skip
SWAP: Final = ("memory.swap.max", "memory.swappiness")  # of one version each; 0 = memory is all there is


@dataclass(frozen=True)
class MemoryGroup:
    """One control group."""

    folder: Path
    files: Controller

    def program(self, module: str) -> tuple[str, ...]:
        """What to give to ``python -m`` so that `module` runs in this group."""
        return (__name__, str(self.folder), module)

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed in it."""
        entries = dict(line.split() for line in (self.folder / self.files.events).read_text().splitlines())
        return int(entries["oom_kill"])

    def run_out(self) -> None:
        """Leave hardly any room, and eat that; returns when the kernel has killed somebody."""
        used = int((self.folder / self.files.usage).read_text())
        (self.folder / self.files.limit).write_text(str(used + ROOM_BYTES))
        eater = subprocess.Popen([sys.executable, "-m", *self.program(EATER)])  # eats until `kills`
        try:
            deadline = time.monotonic() + HUNGER_S
            while not self.kills:
                assert eater.poll() is None, f"the eater ended with {eater.returncode}"
                assert time.monotonic() < deadline, "nobody was killed"
                time.sleep(0.01)
        finally:
            eater.kill()
            eater.wait()


@contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A group that is gone afterwards; by then whoever was in it must have ended."""
    made = (_make(files) for files in CONTROLLERS)
    group = next((one for one in made if one is not None), None)
    if group is None:
        pytest.skip("no control group with a memory limit can be made here")
    try:
        yield group
    finally:
        group.folder.rmdir()


def _make(files: Controller) -> MemoryGroup | None:
    folder = files.root / f"tickershard-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        return None
    if not (folder / files.limit).exists():
        folder.rmdir()
        return None
    for name in SWAP:
        with contextlib.suppress(OSError):
            if (folder / name).exists():
                (folder / name).write_text("0")
    return MemoryGroup(folder, files)


def _group(folder: Path) -> MemoryGroup:
    return next(MemoryGroup(folder, files) for files in CONTROLLERS if files.root == folder.parent)


def _eat(group: MemoryGroup) -> None:
    """Until somebody was killed; then nothing more, or it would be our turn."""
    eaten = []
    while not group.kills:
        eaten.append(b"\xff" * BITE_BYTES)
    signal.pause()


def main() -> None:
    folder, module = Path(sys.argv.pop(1)), sys.argv.pop(1)
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    if module == EATER:
        _eat(_group(folder))
    Path("/proc/self/oom_score_adj").write_text(FIRST_VICTIM)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
