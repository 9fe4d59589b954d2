"""The machine that the test cluster runs on: this one, behind namespaces of its own.

A kubelet mounts, a container runtime makes network namespaces, kube-proxy writes NAT chains. All of that happens inside
fresh mount, network, process, host-name and IPC namespaces whose first process is `cluster_init`. Killing that one
process ends every program in it and makes the kernel drop the mounts, the bridge and the chains: cleaning up cannot
miss anything, and this machine's own firewall, mounts and /var/lib are never written to.

One pair of virtual interfaces joins the two sides, so that tests reach pods and services by their addresses. There
is no route to anywhere else: a pod can talk to the cluster and to this machine's end of the pair, nothing more.

The record of the processes lies in the state folder. A recorded process is recognised by its id *and* its
start time, so a number that the system has given to somebody else is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

POD_RANGE = "198.18.0.0/16"  # benchmark range: never anybody's real network
SERVICE_RANGE = "198.19.0.0/24"
BRIDGE_ADDRESS = "198.18.0.1"
HOST_ADDRESS = "198.19.255.1"  # this machine's end of the pair
INNER_ADDRESS = "198.19.255.2"
INNER_LINK = "host0"
NAMESPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
START_S = 20.0
STOP_S = 20.0
INIT = Path(__file__).with_name("cluster_init.py")


class MachineError(RuntimeError):
    """The machine did not come up, or a program in it ended too early; the message has the program's last words."""


@dataclass(frozen=True)
class Recorded:
    """A process that we started: the id and the start time (kernel ticks since boot) that make it recognisable."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Recorded | None:
        """The process as it is now; None where there is none."""
        try:
            # The name in parentheses may hold spaces; what follows it does not.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, started = fields[0], int(fields[19])
        return None if state in ("Z", "X") else cls(pid, started)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Recorded.of(self.pid) == self

    def kill(self, number: int) -> None:
        """Send a signal, to this very process or to none."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Machine:
    """Namespaces below one state folder. `start`, `run`, `spawn`, `stop`; everything else is bookkeeping."""

    def __init__(self, state: Path, *, node: str) -> None:
        self.state = state
        self.node = node
        self.logs = state / "logs"
        self._record = state / "processes.json"
        # Named after the state folder: whoever cleans up cannot take another one's away.
        self.link = f"tick-{hashlib.sha256(str(state.resolve()).encode()).hexdigest()[:8]}"

    # -- life ---------------------------------------------------------------

    def start(self) -> None:
        """Fresh namespaces, joined to this machine; leftovers of an earlier run are removed first."""
        self.stop()
        if taken := _interface_to(BRIDGE_ADDRESS):
            raise MachineError(f"{taken} leads to {POD_RANGE}: another test cluster runs on this machine")
        self.logs.mkdir(parents=True)
        with self._log("machine") as log:
            unshare = subprocess.Popen(
                [
                    "unshare",
                    *NAMESPACES,
                    *("--fork", "--mount-proc", "--kill-child"),
                    # -I: the script's folder stays off the module path, where its neighbours would hide the library's.
                    *(sys.executable, "-I", str(INIT), str(self.state), f"{BRIDGE_ADDRESS}/16", self.node),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self._remember("unshare", unshare.pid)
        self._await("machine", (self.state / "machine-ready").exists, unshare)
        self._remember("init", _child(unshare.pid))
        self._join()

    def stop(self) -> None:
        """Kill what is recorded and still runs, newest first; remove the state folder and empty control groups."""
        ours = [process for process in self.recorded().values() if process.alive()]
        for process in reversed(ours):
            process.kill(signal.SIGKILL)
        _until(lambda: not any(process.alive() for process in ours), f"{ours} still run after SIGKILL")
        if Path(f"/sys/class/net/{self.link}").exists():
            # It would go with its namespace, but a connection that was cut off keeps that for minutes.
            _host("link", "delete", self.link)
        _remove_tree(self.state)
        _remove_empty_control_groups()

    def alive(self) -> bool:
        """Whether the machine's first process runs."""
        first = self.recorded().get("init")
        return first is not None and first.alive()

    def recorded(self) -> dict[str, Recorded]:
        """What was started, oldest first; an unreadable record (a crash while writing) is none."""
        try:
            return {name: Recorded(**entry) for name, entry in json.loads(self._record.read_text()).items()}
        except (FileNotFoundError, ValueError, TypeError):
            return {}

    # -- programs -----------------------------------------------------------

    def run(self, *command: str, check: bool = True, stdin: IO[bytes] | None = None) -> str:
        """One command inside; its standard output."""
        outcome = subprocess.run(
            [*self._enter(), *command], stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if check and outcome.returncode != 0:
            raise MachineError(f"{' '.join(command)} ended with {outcome.returncode}: {outcome.stderr.strip()[-2000:]}")
        return outcome.stdout

    def spawn(self, name: str, command: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        """A program that stays, recorded as `name`, its words in `logs/<name>.log`."""
        with self._log(name) as log:
            process = subprocess.Popen(
                [*self._enter(), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"PATH": os.environ["PATH"], "HOME": "/root", **(environment or {})},
                start_new_session=True,
            )
        self._remember(name, process.pid)

    def await_ready(self, name: str, ready: list[str], *, timeout_s: float = START_S) -> None:
        """Wait until the command `ready` succeeds inside, while the program `name` lives."""
        self._await(name, lambda: self._succeeds(ready), None, timeout_s=timeout_s)

    def terminate(self, name: str, *, number: int = signal.SIGTERM) -> None:
        """End one program; it is nsenter's child, which a signal to nsenter would not reach."""
        recorded = self.recorded()[name]
        with contextlib.suppress(MachineError):
            child = Recorded.of(_child(recorded.pid))
            if recorded.alive() and child is not None:
                child.kill(number)
        _until(lambda: not recorded.alive(), f"{name} still runs after signal {number}")

    def last_words(self, name: str, *, lines: int = 15) -> str:
        """The end of a program's log."""
        try:
            return "\n".join((self.logs / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    # -- inner --------------------------------------------------------------

    def _enter(self) -> list[str]:
        first = self.recorded().get("init")
        if first is None or not first.alive():
            raise MachineError("the machine is not running")
        return ["nsenter", "--target", str(first.pid), *NAMESPACES, "--"]

    def _join(self) -> None:
        first = self.recorded()["init"]
        _host("link", "add", self.link, "type", "veth", "peer", "name", INNER_LINK, "netns", str(first.pid))
        _host("address", "add", f"{HOST_ADDRESS}/30", "dev", self.link)
        _host("link", "set", self.link, "up")
        self.run("ip", "address", "add", f"{INNER_ADDRESS}/30", "dev", INNER_LINK)
        self.run("ip", "link", "set", INNER_LINK, "up")
        for destination in (POD_RANGE, SERVICE_RANGE):
            _host("route", "add", destination, "via", INNER_ADDRESS, "dev", self.link)

    def _await(
        self,
        name: str,
        ready: Callable[[], bool],
        process: subprocess.Popen[bytes] | None,
        *,
        timeout_s: float = START_S,
    ) -> None:
        recorded = self.recorded()[name] if process is None else Recorded.of(process.pid)
        deadline = time.monotonic() + timeout_s
        while not ready():
            ended = recorded is None or not recorded.alive()
            if ended or time.monotonic() > deadline:
                what = "ended" if ended else f"was not ready after {timeout_s:.0f} s"
                raise MachineError(f"{name} {what}; its last words:\n{self.last_words(name)}")
            time.sleep(0.05)

    def _succeeds(self, command: list[str]) -> bool:
        return subprocess.run([*self._enter(), *command], capture_output=True, check=False).returncode == 0

    def _remember(self, name: str, pid: int) -> None:
        process = Recorded.of(pid)
        if process is None:
            raise MachineError(f"{name} ended at once; its last words:\n{self.last_words(name)}")
        entries = {known: asdict(entry) for known, entry in self.recorded().items() if known != name}
        temporary = self._record.with_suffix(".tmp")
        temporary.write_text(json.dumps({**entries, name: asdict(process)}))
        temporary.replace(self._record)

    def _log(self, name: str) -> IO[bytes]:
        return (self.logs / f"{name}.log").open("ab")


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return int(children.read_text().split()[0])
    except (FileNotFoundError, IndexError):
        raise MachineError(f"process {pid} has no child") from None


def _host(*arguments: str) -> None:
    outcome = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise MachineError(f"ip {' '.join(arguments)}: {outcome.stderr.strip()}")


def _interface_to(address: str) -> str | None:
    """The test cluster's interface that packets to `address` would take now; None where that is the common way out."""
    routes = subprocess.run(["ip", "-json", "route", "get", address], capture_output=True, text=True, check=False)
    found = [str(route.get("dev", "")) for route in json.loads(routes.stdout or "[]")]
    return next((name for name in found if name.startswith("tick-")), None)


def _until(happened: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + STOP_S
    while not happened():
        if time.monotonic() > deadline:
            raise MachineError(f"after {STOP_S:.0f} s: {otherwise}")
        time.sleep(0.05)


def _remove_tree(folder: Path) -> None:
    """Remove the state folder; mounts below it lived in the namespaces and are gone with them."""
    deadline = time.monotonic() + STOP_S
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError:
            # The kernel may still be dropping the last mount of the killed namespaces.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _remove_empty_control_groups() -> None:
    """Remove what containerd made; the kernel refuses for a group that somebody else still uses."""
    for root in Path("/sys/fs/cgroup").glob("*/k8s.io"):
        for group in sorted(root.glob("**/"), key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                group.rmdir()
