"""Server processes of a run: recorded before anything can go wrong, stopped by their recorded identity.

A process is known by its id *and* its start time, so an id that was given to somebody else meanwhile is never
signalled. Each run has a folder below one parent; a later run removes folders whose owner died (a crashed or killed
test run) after stopping what they recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

STOP_S: Final = 10.0
OWNER_FILE: Final = "owner.json"
PROCESSES_FILE: Final = "processes.json"


@dataclass(frozen=True)
class Identity:
    """One process for ever: its id and when it started, in the kernel's ticks."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process that has this id now, unless it is gone or a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else cls(pid, fields[19])

    @property
    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def runs_folder(kind: str) -> Path:
    """Parent of all runs of one user."""
    folder = Path(tempfile.gettempdir()) / f"tickershard-{kind}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


@dataclass
class ProcessGroup:
    """The processes of one run, in the order they were started."""

    folder: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    def create(cls, kind: str) -> ProcessGroup:
        """A new run, after the leftovers of dead ones are gone."""
        parent = runs_folder(kind)
        sweep(parent)
        folder = Path(tempfile.mkdtemp(dir=parent))
        owner = Identity.of(os.getpid())
        assert owner is not None, "this process is alive"
        (folder / OWNER_FILE).write_text(json.dumps(asdict(owner)))
        return cls(folder)

    def start(self, name: str, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None) -> None:
        """Start a server; its output goes to ``<name>.log``."""
        assert name not in self.running, f"{name} runs already"
        with (self.folder / f"{name}.log").open("ab") as out:
            self.running[name] = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), **(environment or {})},
                start_new_session=True,  # Ctrl-C reaches the tests only, which stop the servers in order
            )
        self._record()

    def stop(self, name: str) -> None:
        """SIGTERM, then SIGKILL."""
        process = self.running.pop(name)
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._record()

    def kill(self, name: str) -> None:
        """SIGKILL at once, as a crash."""
        process = self.running.pop(name)
        process.kill()
        process.wait()
        self._record()

    def await_ready(self, name: str, ready: Callable[[], bool], *, within_s: float) -> None:
        """Wait until `ready`; a process that ended, or took too long, is an error that shows the end of its log."""
        deadline = time.monotonic() + within_s
        while not ready():
            code = self.running[name].poll()
            if code is not None or time.monotonic() > deadline:
                what = f"ended with {code}" if code is not None else f"was not ready within {within_s:.0f} s"
                raise ServerFailedError(f"{name} {what}\n{self.last_words(name)}", ended=code is not None)
            time.sleep(0.05)

    def last_words(self, name: str, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def close(self) -> None:
        """Stop everything, the newest first, and remove the folder."""
        for name in reversed(list(self.running)):
            self.stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _record(self) -> None:
        known = {name: Identity.of(process.pid) for name, process in self.running.items()}
        lines = {name: asdict(identity) for name, identity in known.items() if identity is not None}
        temporary = self.folder / f"{PROCESSES_FILE}.new"
        temporary.write_text(json.dumps(lines))
        temporary.replace(self.folder / PROCESSES_FILE)


class ServerFailedError(RuntimeError):
    """A server did not come up; `ended` says that it is gone already."""

    def __init__(self, message: str, *, ended: bool) -> None:
        super().__init__(message)
        self.ended = ended


def sweep(parent: Path) -> None:
    """Stop and remove what runs left behind whose owner is dead."""
    for folder in sorted(path for path in parent.iterdir() if path.is_dir()):
        owner = _read(folder / OWNER_FILE)
        if owner is None:
            if time.time() - folder.stat().st_mtime > 60:  # not merely about to be written
                shutil.rmtree(folder, ignore_errors=True)
            continue
        if Identity(**owner).alive:
            continue
        left = [Identity(**entry) for entry in (_read(folder / PROCESSES_FILE) or {}).values()]
        for identity in reversed(left):
            identity.signal(signal.SIGKILL)
        deadline = time.monotonic() + STOP_S
        while any(identity.alive for identity in left) and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found
