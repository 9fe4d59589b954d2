"""`WorkloadPort` on child processes: one folder and one process per account.

There is no roll-out here: a process whose settings changed is stopped (it flushes and frees its channels) and started
again, a short, declared gap. What belongs to a Deployment on Kubernetes, keeping it running, is `keep` here.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ticker_crds.constants import Kind
from ticker_crds.names import shard_name
from ticker_operator.desired import RolloutDecision
from ticker_operator.local.credentials import Wallet
from ticker_operator.local.files import read_json, replace_bytes, replace_json
from ticker_operator.local.layout import INSTANCE_FILE, Layout
from ticker_operator.local.processes import LOG_FILE, ShardProcess, until_gone
from ticker_operator.model import AccountView, DesiredShard, Manifest, PodsView, ShardView
from ticker_operator.reconcile.ports import (
    Refused,
    Removal,
    Unchanged,
    WorkloadFacts,
    WriteOutcome,
    Written,
)

SHARD_FILE: Final = "shard.json"
KEEP_EVERY_S: Final = 0.2
DRAIN_S: Final = 2  # nobody takes over on one machine: flush and go
STOP_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class LocalKnobs:
    """What every shard of this machine is told."""

    namespace: str
    redis_url_file: Path
    prefix: str
    log_level: str = "info"
    market_hours: str = "schedule"


class LocalWorkloads:
    """See `ticker_operator.reconcile.ports.WorkloadPort`."""

    def __init__(
        self, *, layout: Layout, knobs: LocalKnobs, wallet: Wallet, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._layout = layout
        self._knobs = knobs
        self._wallet = wallet
        self._clock = clock
        self._processes: dict[str, ShardProcess] = {}
        self._adopt_all()

    def _adopt_all(self) -> None:
        for account in self.prepared():
            process = ShardProcess(self._layout.account(account))
            if process.adopt():
                process.command = process.running  # until a pass says otherwise
            self._processes[account] = process

    def prepared(self) -> list[str]:
        """Accounts that have a folder."""
        if not self._layout.accounts.is_dir():
            return []
        return sorted(path.name for path in self._layout.accounts.iterdir() if (path / SHARD_FILE).exists())

    @property
    def refusals(self) -> list[str]:
        """Shards that will not start until their settings are mended, a line each."""
        return [_refusal(process) for _, process in sorted(self._processes.items()) if process.refused]

    def shard_manifest(self, account: str) -> Manifest:
        """The account's TickerShard as it was prepared."""
        manifest = read_json(self._layout.account(account) / SHARD_FILE)
        metadata = {**manifest.get("metadata", {}), "uid": f"shard-{account}", "generation": 1}
        metadata["resourceVersion"] = str((self._layout.account(account) / SHARD_FILE).stat().st_mtime_ns)
        return {**manifest, "metadata": metadata}

    def facts(self) -> Mapping[str, WorkloadFacts]:
        """Processes by account."""
        return {account: WorkloadFacts(pods=self._pods(account)) for account in self.prepared()}

    def _pods(self, account: str) -> PodsView:
        process = self._processes.get(account)
        if process is None or process.pid is None:
            return PodsView()
        leaving = process.command != process.running
        return PodsView(alive=1, ready=0 if leaving else 1, terminating=1 if leaving else 0)

    async def prepare_shard(self, shard: DesiredShard) -> WriteOutcome:
        """Make the account's folder. Starts nothing."""
        name = shard.account.name
        folder = self._layout.account(name)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / INSTANCE_FILE).exists():
            replace_bytes(folder / INSTANCE_FILE, f"{name}-{secrets.token_hex(8)}\n".encode())
        self._wallet.hand_out(shard.account.secret, folder)
        if read_json(folder / SHARD_FILE) == shard.shard:
            return Unchanged("")
        replace_json(folder / SHARD_FILE, shard.shard)
        return Written("")

    async def ensure_shard(self, shard: DesiredShard, *, live: ShardView, rollout: RolloutDecision) -> WriteOutcome:
        """Have the process run with these settings, or none if the shard is suspended."""
        name = shard.account.name
        self._wallet.hand_out(shard.account.secret, self._layout.account(name))
        process = self._processes.setdefault(name, ShardProcess(self._layout.account(name)))
        before = process.command
        process.want(None if shard.suspend else self._command(shard.account))
        if process.refused:
            return Refused(_refusal(process))
        process.keep(now_s=self._clock())
        return Unchanged("") if process.command == before else Written("")

    def _command(self, account: AccountView) -> tuple[str, ...]:
        settings = {
            "account": account.name,
            "namespace": self._knobs.namespace,
            "source": "folder",
            "folder": self._layout.account(account.name),
            "ticker-url": account.ticker_endpoint,
            "sockets": account.sockets,
            "instruments-per-socket": account.instruments_per_socket,
            "redis-url-file": self._knobs.redis_url_file,
            "prefix": self._knobs.prefix,
            "market-hours": self._knobs.market_hours,
            "drain-deadline-s": DRAIN_S,
            "host": "127.0.0.1",
            "port": 0,
            "log-level": self._knobs.log_level,
        }
        flags = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
        return (sys.executable, "-m", "ticker_operator.app", "shard", *flags)

    async def remove_shard(self, account: str) -> Removal:
        """Stop the process; once it is gone, remove the folder."""
        process = self._processes.get(account)
        if process is not None:
            process.want(None)
            process.keep(now_s=self._clock())
            if process.pid is not None:
                return Removal.LEAVING
            del self._processes[account]
        shutil.rmtree(self._layout.account(account), ignore_errors=True)
        self._layout.status(Kind.SHARD, shard_name(account)).unlink(missing_ok=True)
        return Removal.GONE

    async def keep(self) -> None:
        """Keep every process running as it should; endless."""
        while True:
            for process in self._processes.values():
                process.keep(now_s=self._clock())
            await asyncio.sleep(KEEP_EVERY_S)

    async def stop(self) -> bool:
        """Have every shard flush and end; whether all of them did so by themselves."""
        processes = list(self._processes.values())
        for process in processes:
            process.want(None)
            process.keep(now_s=self._clock())
        if await until_gone(processes, timeout_s=STOP_S):
            return True
        for process in processes:
            process.kill()
        return False


def _refusal(process: ShardProcess) -> str:
    return f"{process.folder.name}: the shard refused its settings; the end of {process.folder / LOG_FILE} names them"
