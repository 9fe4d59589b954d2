"""One child process per shard, kept as a Deployment's controller would keep a pod: started, watched, replaced.

A shard outlives its operator: it runs in a session of its own, and the file ``process.json`` in the account's folder
says which process it is (id and start time, so that a recycled id is not mistaken for it) and which command
started it. An operator that comes back adopts it instead of starting a second one. A child that ends by itself is
started again after a back-off that doubles; exit code 2 means that its settings were refused, which no restart mends.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ticker_operator.local.files import read_json, replace_json

PROCESS_FILE: Final = "process.json"
LOG_FILE: Final = "shard.log"
LOG_BYTES_MAX: Final = 16 * 1024 * 1024  # a new start begins a new file above it; the old one is kept once
RESTART_FIRST_S: Final = 1.0
RESTART_MAX_S: Final = 30.0
STABLE_S: Final = 60.0  # a process that lived so long starts its back-off anew
EXIT_SETTINGS_REFUSED: Final = 2
PR_SET_PDEATHSIG: Final = 1

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ShardProcess:
    """One account's process, or the intention to have one.

    Attributes
    ----------
    folder
        The account's folder.
    command
        What is to run; `None` = nothing.
    """

    folder: Path
    command: tuple[str, ...] | None = None
    child: subprocess.Popen[bytes] | None = None
    adopted: int | None = None
    refused: bool = False
    failures: int = 0
    started_s: float = 0.0
    not_before_s: float = 0.0
    running: tuple[str, ...] = field(default=())

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        if self.child is not None:
            return self.child.pid if self.child.poll() is None else None
        if self.adopted is not None and _is_alive(self.adopted, read_json(self.folder / PROCESS_FILE)):
            return self.adopted
        return None

    def keep(self, *, now_s: float) -> str | None:
        """Bring what runs nearer to `command`; one step, never waiting. Answers what was done, in a word."""
        pid = self.pid
        if pid is None:
            self._reap(now_s=now_s)
            if self.command is None or self.refused or now_s < self.not_before_s:
                return None
            self._start(now_s=now_s)
            return "started"
        if self.command is None or self.command != self.running:
            os.kill(pid, signal.SIGTERM)  # repeated at each step until it is gone: harmless
            return "stopping"
        return None

    def want(self, command: tuple[str, ...] | None) -> None:
        """What is to run from now on; a changed command forgets that the last one was refused."""
        if command != self.command:
            self.refused, self.failures, self.not_before_s = False, 0, 0.0
        self.command = command

    def adopt(self) -> bool:
        """Take over the process that an earlier operator started, if it still lives."""
        record = read_json(self.folder / PROCESS_FILE)
        pid = record.get("pid")
        if not isinstance(pid, int) or not _is_alive(pid, record):
            return False
        self.adopted, self.running = pid, tuple(str(part) for part in record.get("command", ()))
        return True

    def kill(self) -> None:
        """End it without its consent: for a pool that must end now."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def _start(self, *, now_s: float) -> None:
        assert self.command is not None
        path = self.folder / LOG_FILE
        if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
            path.replace(path.with_suffix(".log.1"))
        with path.open("ab") as output:
            self.child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.adopted, self.running, self.started_s = None, self.command, now_s
        record = {"pid": self.child.pid, "started": _start_time(self.child.pid), "command": list(self.command)}
        replace_json(self.folder / PROCESS_FILE, record)

    def _reap(self, *, now_s: float) -> None:
        if self.child is None and self.adopted is None:
            return
        code = self.child.returncode if self.child is not None else None
        self.child, self.adopted = None, None
        if self.command is None or self.command != self.running:
            return  # it was asked to go
        self.failures = 0 if now_s - self.started_s >= STABLE_S else self.failures + 1
        self.refused = code == EXIT_SETTINGS_REFUSED
        wait_s = min(RESTART_FIRST_S * 2 ** max(0, self.failures - 1), RESTART_MAX_S)
        self.not_before_s = now_s + wait_s
        log.warning(
            "shard process ended",
            extra={"account": self.folder.name, "exit_code": code, "restart_in_s": None if self.refused else wait_s},
        )


def end_with_parent() -> None:
    """For a helper's start: have the kernel end it when we are gone, however we went. Shards are no helpers."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def until_gone(processes: list[ShardProcess], *, timeout_s: float, poll_s: float = 0.05) -> bool:
    """Wait for all of them to end; whether they did."""
    try:
        async with asyncio.timeout(timeout_s):
            while any(process.pid is not None for process in processes):  # noqa: ASYNC110 - adopted ones are not children
                await asyncio.sleep(poll_s)
    except TimeoutError:
        return False
    return True


def _is_alive(pid: int, record: dict[str, object]) -> bool:
    started = _start_time(pid)
    return started is not None and json.dumps(started) == json.dumps(record.get("started"))


def _start_time(pid: int) -> int | None:
    """When the kernel started this process, in ticks since boot; `None` when there is none (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
