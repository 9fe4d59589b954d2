"""A real shard as a child process in folder mode: what it was given, what it says, how it ended.

The folder is written exactly as the local operator writes it (rows first, header last, atomic renames), so a test
that changes the assignment or the token does what a user does.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from tests.support.simulator import SimulatorProcess
from ticker_client.keys import fence_key, last_values_key
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, Role, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY

PROGRAM = ("ticker_shard.app",)  # of ``python -m``
START_S = 30.0
WAIT_S = 30.0


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """As the operator writes: complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)


@dataclass
class ShardFolder:
    """One account's folder."""

    path: Path
    account: str = "acc1"

    def create(self, *, instance: str = "instance-1") -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.path / "instance-id", instance.encode())

    def assign(self, table: AssignmentTable) -> None:
        header, rows = encode_table(table)
        replace_file(self.path / TABLE_KEY, rows)
        replace_file(self.path / HEADER_KEY, header.encode())

    def give_token(self, api_key: str, access_token: str) -> None:
        pair = json.dumps({"api_key": api_key, "access_token": access_token})
        replace_file(self.path / "token", pair.encode(), mode=0o600)

    def status(self) -> dict[str, Any]:
        """What the shard last reported; empty before its first report."""
        try:
            document: dict[str, Any] = json.loads((self.path / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return document

    def condition(self, kind: str) -> Mapping[str, Any]:
        entries = [entry for entry in self.status().get("conditions", ()) if entry["type"] == kind]
        return entries[0] if entries else {}


@dataclass(frozen=True)
class Listed:
    """One row of the simulator's instrument dump."""

    token: int
    exchange: str
    tradingsymbol: str
    segment: str
    expiry: str

    def assigned(self, *channels: str, mode: Mode = Mode.FULL, role: Role = Role.OWNER) -> AssignedInstrument:
        return AssignedInstrument(
            self.token, self.exchange, self.tradingsymbol, mode, channels, role=role, expiry=self.expiry
        )


def listed_instruments(sim: SimulatorProcess) -> list[Listed]:
    """The simulator's dump, in its order."""
    request = urllib.request.Request(
        f"{sim.url}/instruments", headers={"Authorization": "token simkey1:simtoken1", "X-Kite-Version": "3"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        rows = csv.DictReader(io.StringIO(answer.read().decode()))
    return [
        Listed(int(row["instrument_token"]), row["exchange"], row["tradingsymbol"], row["segment"], row["expiry"])
        for row in rows
    ]


def a_table(revision: int, instruments: Iterable[AssignedInstrument], *, account: str = "acc1") -> AssignmentTable:
    """A table whose channels are those that its instruments name."""
    rows = tuple(instruments)
    names = sorted({name for row in rows for name in row.channels})
    return AssignmentTable(account, revision, tuple(Channel(name) for name in names), rows)


def free_channels(client: redis.Redis, channels: Iterable[str], *, member: str = "default.acc1") -> None:
    """What a drained predecessor leaves behind: a new process need not watch a whole window for its death."""
    for channel in channels:
        record = {"epoch": 1, "holder": "before/drained", "n": 9, "state": "free", "revision": 0}
        client.hset(fence_key(channel, member=member), mapping=record)


def last_rows(client: redis.Redis, channel: str) -> dict[str, dict[str, Any]]:
    """The last values of a channel, by symbol."""
    found: dict[bytes, bytes] = client.hgetall(last_values_key(channel))  # type: ignore[assignment]
    return {symbol.decode(): json.loads(row) for symbol, row in found.items()}


@dataclass
class ShardProcess:
    """One running ``tickershard shard``."""

    folder: ShardFolder
    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    ended: int | None = field(default=None)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def get(self, path: str) -> tuple[int, str]:
        """Answer of the probe server."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.listening()}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def listening(self) -> int:
        if not self.port:
            self.wait_until(lambda: any("port" in line for line in self.lines()), "the probe server listens")
            self.port = next(int(line["port"]) for line in self.lines() if "port" in line)
        return self.port

    def ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except (OSError, StopIteration):
            return False

    def wait_until(self, holds: Callable[[], bool], what: str, *, within_s: float = WAIT_S) -> None:
        """Wait for a condition, with a deadline; the failure shows the end of the log."""
        deadline = time.monotonic() + within_s
        while not holds():
            if self.process.poll() is not None:
                raise AssertionError(f"the shard ended with {self.process.returncode} before {what}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s} s: {what}\n{self.tail()}\n{self.folder.status()}")
            time.sleep(0.02)

    def acknowledged(self) -> int:
        """The revision it has acknowledged."""
        return int(self.folder.status().get("acknowledged", {}).get("revision", 0))

    def await_acknowledged(self, revision: int, *, within_s: float = WAIT_S) -> None:
        self.wait_until(
            lambda: self.acknowledged() >= revision, f"revision {revision} is acknowledged", within_s=within_s
        )

    def await_condition(self, kind: str, status: str, reason: str, *, within_s: float = WAIT_S) -> str:
        """Wait for a condition; its message."""

        def holds() -> bool:
            found = self.folder.condition(kind)
            return (found.get("status"), found.get("reason")) == (status, reason)

        self.wait_until(holds, f"{kind} is {status}/{reason}", within_s=within_s)
        return str(self.folder.condition(kind)["message"])

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text().splitlines()[-lines:])

    def terminate(self, *, within_s: float = WAIT_S) -> int:
        """SIGTERM, then its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_for_exit(within_s=within_s)

    def wait_for_exit(self, *, within_s: float = WAIT_S) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the shard did not end within {within_s} s\n{self.tail()}") from None

    def kill(self) -> None:
        """SIGKILL: no hand-over, no flush."""
        self.process.kill()
        self.process.wait()


def start_shard(
    folder: ShardFolder,
    *,
    redis_url_file: Path,
    ticker_url: str,
    name: str = "shard",
    program: Sequence[object] = PROGRAM,
    **settings: object,
) -> ShardProcess:
    """Start a process; it is not waited for."""
    flags = {
        "account": folder.account, "source": "folder", "folder": folder.path, "redis-url-file": redis_url_file,
        "ticker-url": ticker_url, "host": "127.0.0.1", "port": 0,
        "market-hours": "never",
        **{key.replace("_", "-"): value for key, value in settings.items()},
    }  # fmt: skip
    log = folder.path / f"{name}.log"
    arguments = [part for key, value in flags.items() for part in (f"--{key}", str(value))]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *map(str, program), *arguments], stdout=out, stderr=subprocess.STDOUT
        )
    return ShardProcess(folder, process, log)


@contextmanager
def shard_process(folder: ShardFolder, *, redis_url_file: Path, ticker_url: str, **more: Any) -> Iterator[ShardProcess]:
    """A process that is gone afterwards, whatever happened; as `start_shard`."""
    shard = start_shard(folder, redis_url_file=redis_url_file, ticker_url=ticker_url, **more)
    try:
        yield shard
    finally:
        if shard.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                shard.process.kill()
            shard.process.wait()
