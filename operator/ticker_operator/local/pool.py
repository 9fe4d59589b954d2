"""A pool on one machine: the ports put together, and what stands in for a watch.

Files have no watch worth trusting, so everything is listed twice a second instead, and the list replaces the store, as
a list of the API server would; YAML is parsed again only when a file's size or time changed. One operator works on a
state folder: a lock sees to it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ticker_crds.constants import Kind
from ticker_operator.local.credentials import Wallet
from ticker_operator.local.declared import Register
from ticker_operator.local.layout import Layout
from ticker_operator.local.reader import LocalReader, LocalStatus
from ticker_operator.local.summary import shard_reports
from ticker_operator.local.tables import LocalTables
from ticker_operator.local.workloads import LocalKnobs, LocalWorkloads
from ticker_operator.reconcile.loop import PoolLoop
from ticker_operator.reconcile.ports import InstrumentPort, Ports, Unreachable

LOOK_EVERY_S: Final = 0.5
LOCK_FILE: Final = "operator.lock"


class FolderBusy(Exception):  # noqa: N818 - it says what is so
    """Another operator works on this state folder."""


@dataclass(frozen=True, slots=True)
class LocalPool:
    """The parts of one machine's pool."""

    layout: Layout
    reader: LocalReader
    tables: LocalTables
    workloads: LocalWorkloads
    ports: Ports

    def overview(self) -> dict[str, dict[str, Any]]:
        """By account, what a person watches: the reason of Ready, instruments in the table, the shard's report."""
        tables = self.tables.read_all()
        shards: dict[str, dict[str, Any]] = {}
        for account, report in shard_reports(self.layout, self.workloads.prepared()).items():
            stored = tables.get(account)
            shards[account] = {
                "reason": self.reader.ready_reason(account),
                "assigned": len(stored.table.instruments) if stored and stored.table else 0,
                "report": report,
            }
        return shards

    async def follow(self, loop: PoolLoop) -> None:
        """Feed the loop's store whenever a file changed; endless."""
        while True:
            for kind in (Kind.ACCOUNT, Kind.SUBSCRIPTION, Kind.SHARD):
                begun = loop.store.begin_list(kind)
                try:
                    loop.store.replace(begun, await self.reader.list_kind(kind))
                except Unreachable:
                    break  # the pass says so; nothing is concluded here
            await asyncio.sleep(LOOK_EVERY_S)


def make_pool(
    folder: Path,
    *,
    layout: Layout,
    knobs: LocalKnobs,
    instruments: InstrumentPort,
    endpoints: Mapping[str, str] | None = None,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LocalPool:
    """The ports on `folder` (what is declared) and `layout` (state); `endpoints` replaces every account's own."""
    layout.accounts.mkdir(parents=True, exist_ok=True)
    register, tables, wallet = Register(layout.register), LocalTables(layout), Wallet()
    workloads = LocalWorkloads(layout=layout, knobs=knobs, wallet=wallet)
    reader = LocalReader(
        folder,
        layout=layout,
        namespace=knobs.namespace,
        register=register,
        tables=tables,
        workloads=workloads,
        wallet=wallet,
        endpoints=endpoints,
        wall=wall,
    )
    status = LocalStatus(layout=layout, register=register)
    ports = Ports(reader=reader, tables=tables, instruments=instruments, workloads=workloads, status=status)
    return LocalPool(layout, reader, tables, workloads, ports)


@contextmanager
def only_operator(layout: Layout) -> Iterator[None]:
    """Be the only operator of this state folder.

    Raises
    ------
    FolderBusy
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(layout.root / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise FolderBusy(
            f"another operator works on {layout.root}: stop it, or name another folder by --state"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
