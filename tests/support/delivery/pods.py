"""What the shards' pods of a pool tell while they live: their numbers, their memory, their logs."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cluster_client import ClusterClient
from tests.support.cluster_pool import table_in
from tests.support.delivery.history import Placement, Sign
from tests.support.delivery.ledgers import RESIDENT, STARTED, samples_of
from tests.support.delivery.listening import wall_offset_ns
from tests.support.delivery.placing import Turn, accounts_there, homes, turns
from tests.support.delivery.signs import signs_of
from ticker_crds.assignment import AssignmentTable, Role

LABEL = "tickershard.io/account"
PORT = 8080
ANSWER_S = 1.0

Run = tuple[str, int]  # of a container: the pod's uid, and when the process started


@dataclass(frozen=True)
class Answer:
    """One look at one process."""

    account: str
    run: Run
    samples: Counter[str]


@dataclass
class Pods:
    """The pods of a pool on this machine's cluster, asked at their own addresses.

    With a `folder`, every container's log is kept there from the moment it first answers: those of a deleted pod are
    gone with it.
    """

    client: ClusterClient
    folder: Path | None = None
    memory: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    placements: list[Placement] = field(default_factory=list)
    _turns: dict[str, Turn] = field(default_factory=dict)
    _owned: dict[str, set[str]] = field(default_factory=dict)
    _logs: dict[Run, tuple[Path, subprocess.Popen[bytes]]] = field(default_factory=dict)

    def look(self) -> Iterator[Answer]:
        """Every process that answers; tables and accounts are looked at too."""
        found = self.client.items("pods,configmaps,kiteaccounts,tickershards")
        ours = [each for each in found if LABEL in each["metadata"].get("labels", {})]
        self._note(found, {_account(each): table_in(each) for each in ours if each["kind"] == "ConfigMap"})
        for pod in (each for each in ours if each["kind"] == "Pod"):
            name, address = pod["metadata"]["name"], pod["status"].get("podIP")
            try:
                with urllib.request.urlopen(f"http://{address}:{PORT}/metrics", timeout=ANSWER_S) as answer:
                    samples = samples_of(answer.read().decode())
            except OSError:
                continue  # starting, stopped, or on its way out
            run = (pod["metadata"]["uid"], samples[STARTED])
            self.memory[f"{name} ({samples[STARTED]})"].append((time.monotonic_ns(), samples[RESIDENT]))
            self._follow(name, run)
            yield Answer(_account(pod), run, samples)

    def owners(self, channel: str) -> set[str]:
        """Accounts that own something there, as of the last look."""
        return {account for account, channels in self._owned.items() if channel in channels}

    def signs(self) -> list[Sign]:
        """What the processes logged about trouble, in order of time."""
        offset_ns = wall_offset_ns()
        found = [
            sign
            for path, _ in self._logs.values()
            for sign in signs_of(_lines(path), process=path.stem, offset_ns=offset_ns)
        ]
        return sorted(found, key=lambda sign: sign.at_ns)

    def close(self) -> None:
        """No log is followed any more."""
        for _, following in self._logs.values():
            following.kill()
            following.wait()

    def _note(self, found: list[dict[str, Any]], tables: dict[str, AssignmentTable]) -> None:
        """Who owns channels, what is where, and who is there to choose from."""
        self._owned = {account: _owned_channels(table) for account, table in tables.items()}
        before, self._turns = self._turns, turns(found)
        there = accounts_there(self._turns, before=before)
        returned = accounts_there(self._turns, before={}) - there
        self.placements.append(Placement(time.monotonic_ns(), homes(tables), there, returned))

    def _follow(self, name: str, run: Run) -> None:
        if self.folder is None or run in self._logs:
            return
        path = self.folder / f"{name}-{run[1]}.log"
        with path.open("wb") as file:
            following = self.client.start(
                "kubectl", f"--namespace={self.client.namespace}", "logs", "-f", name, to=file
            )
        self._logs[run] = (path, following)


def _account(each: dict[str, Any]) -> str:
    name: str = each["metadata"]["labels"][LABEL]
    return name


def _owned_channels(table: AssignmentTable) -> set[str]:
    return {channel for row in table.instruments if row.role is Role.OWNER for channel in row.channels}


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("{") and line.endswith("}"):
            yield json.loads(line)
