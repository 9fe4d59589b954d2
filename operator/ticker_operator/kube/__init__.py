"""The ports of reconcile on the Kubernetes API."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ticker_crds.constants import Kind
from ticker_crds.names import shard_name
from ticker_operator.kube.gateway import Gateway
from ticker_operator.kube.reader import KubeReader
from ticker_operator.kube.statuses import KubeStatuses
from ticker_operator.kube.tables import KubeTables
from ticker_operator.kube.workloads import KubeWorkloads
from ticker_operator.model import Manifest
from ticker_operator.reconcile.ports import InstrumentPort, Ports

__all__ = ["kube_ports"]


def kube_ports(
    gateway: Gateway,
    *,
    instruments: InstrumentPort,
    find: Callable[[str, str], Manifest | None],
    seen: Callable[[str, Manifest], None],
    clock: Callable[[], float] = time.monotonic,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Ports:
    """All doors of one namespace.

    Parameters
    ----------
    gateway
        The API.
    instruments
        The broker's list.
    find, seen
        The store: the object of a kind and name; an object that a write answered with.
    clock, wall
        Monotonic seconds, and the time for people.
    """

    def uid_of(account: str) -> str:
        shard = find(Kind.SHARD, shard_name(account))
        return "" if shard is None else str(shard["metadata"].get("uid", ""))

    tables = KubeTables(gateway, owner_uid=uid_of)
    workloads = KubeWorkloads(gateway, seen=seen, uid_of=uid_of, clock=clock)
    return Ports(
        reader=KubeReader(gateway, tables=tables, workloads=workloads),
        tables=tables,
        instruments=instruments,
        workloads=workloads,
        status=KubeStatuses(gateway, find=find, seen=seen, clock=clock, wall=wall),
    )
