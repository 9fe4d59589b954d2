"""`PoolReader` and `StatusPort` on files.

What people declared comes from their folder, what the operator says about it lies in the state folder, and what a
shard says is its own ``status.json``; here they are joined into the objects that an API server would list.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ticker_crds.constants import Condition, Kind, Reason
from ticker_crds.names import shard_name
from ticker_operator.local.credentials import Wallet
from ticker_operator.local.declared import SECRET, Declared, Fault, Register, folder_signature, read_folder
from ticker_operator.local.files import read_json, replace_json
from ticker_operator.local.layout import STATUS_FILE, Layout
from ticker_operator.local.tables import LocalTables
from ticker_operator.local.workloads import LocalWorkloads
from ticker_operator.model import Event, Manifest
from ticker_operator.reconcile.ports import (
    CredentialsFact,
    Listing,
    StoredTable,
    Unchanged,
    WorkloadFacts,
    WriteOutcome,
    Written,
)

SHARD_STATUS: Final = ("acknowledged", "confirmed", "sockets", "epoch")

log = logging.getLogger(__name__)


class LocalReader:
    """See `ticker_operator.reconcile.ports.PoolReader`."""

    def __init__(
        self,
        folder: Path,
        *,
        layout: Layout,
        namespace: str,
        register: Register,
        tables: LocalTables,
        workloads: LocalWorkloads,
        wallet: Wallet,
        endpoints: Mapping[str, str] | None = None,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._layout = layout
        self._namespace = namespace
        self._register = register
        self._tables = tables
        self._workloads = workloads
        self._wallet = wallet
        self._endpoints = endpoints
        self._wall = wall
        self._told: set[Fault] = set()
        self._last: tuple[object, Declared] | None = None

    async def list_kind(self, kind: str) -> Listing:
        """Every object of `kind`; nothing of ours is a Deployment.

        Raises
        ------
        Unreachable
        """
        if kind == Kind.SHARD:
            return Listing(tuple(self._shard(account) for account in self._workloads.prepared()))
        if kind not in (Kind.ACCOUNT, Kind.SUBSCRIPTION):
            return Listing(())
        objects = self._register.admit(self._declared(), kind=kind, now=self._now())
        return Listing(tuple({**self._redirected(kind, obj), "status": self._said(kind, obj)} for obj in objects))

    def _redirected(self, kind: str, obj: Manifest) -> Manifest:
        """While simulating, no account reaches its broker, whatever its file says."""
        if self._endpoints is None or kind != Kind.ACCOUNT:
            return obj
        return {**obj, "spec": {**obj["spec"], "endpoints": dict(self._endpoints)}}

    def _declared(self) -> Declared:
        signature = folder_signature(self._folder)
        if self._last is None or signature != self._last[0]:
            declared = read_folder(self._folder, namespace=self._namespace)
            if self._last is not None:
                declared = declared.with_secrets_of(self._last[1])
            for fault in set(declared.faults) - self._told:
                log.warning("a document does not count", extra={"place": fault.place, "why": fault.message})
            self._told = set(declared.faults)
            self._last = (signature, declared)
            self._refresh_credentials(declared)
        return self._last[1]

    def _refresh_credentials(self, declared: Declared) -> None:
        """A rotated token reaches its shards at once, not only when a pass looks at Secrets again."""
        for (kind, _), document in declared.objects.items():
            if kind == Kind.ACCOUNT:
                account, secret = document["metadata"]["name"], document["spec"]["credentialsRef"]["name"]
                self._wallet.judge(secret, declared.objects.get((SECRET, secret)))
                if account in self._workloads.prepared():
                    self._wallet.hand_out(secret, self._layout.account(account))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person must mend: documents that do not count, and why declared objects are not ready."""
        if self._last is None:
            return ()
        lines = [f"does not count: {fault}" for fault in sorted(map(str, self._told))]
        lines += self._workloads.refusals
        declared = self._last[1].objects
        absent = [kind for kind in (Kind.ACCOUNT, Kind.SUBSCRIPTION) if not any(found == kind for found, _ in declared)]
        lines += [f"no file in {self._folder} declares a {kind}" for kind in absent]
        for kind, name in sorted(declared):
            ready = self._ready(kind, name)
            if ready.get("status") == "False":
                lines.append(f"{kind} {name} is not ready: {ready['reason']}: {ready['message']}")
        return tuple(lines)

    @property
    def accounts(self) -> int:
        """How many accounts are declared, as of the last listing."""
        return sum(kind == Kind.ACCOUNT for kind, _ in self._last[1].objects) if self._last else 0

    def ready_reason(self, account: str) -> str:
        """Why the account's shard is ready, or is not, in a word."""
        return str(self._ready(Kind.SHARD, shard_name(account)).get("reason", Reason.STARTING))

    def _ready(self, kind: str, name: str) -> Mapping[str, Any]:
        said = read_json(self._layout.status(kind, name))
        return next((entry for entry in said.get("conditions", ()) if entry.get("type") == Condition.READY), {})

    def _said(self, kind: str, obj: Manifest) -> Mapping[str, Any]:
        return read_json(self._layout.status(kind, obj["metadata"]["name"]))

    def _shard(self, account: str) -> Manifest:
        manifest = self._workloads.shard_manifest(account)
        mine = read_json(self._layout.status(Kind.SHARD, shard_name(account)))
        its = read_json(self._layout.account(account) / STATUS_FILE)
        own = {entry.get("type") for entry in its.get("conditions", ())}
        conditions = [entry for entry in mine.get("conditions", ()) if entry.get("type") not in own]
        status: dict[str, Any] = {
            **mine,
            **{key: its[key] for key in SHARD_STATUS if key in its},
            "conditions": conditions + list(its.get("conditions", ())),
        }
        return {**manifest, "status": status}

    async def read_tables(self) -> Mapping[str, StoredTable]:
        """Every stored table by account."""
        return self._tables.read_all()

    async def read_workloads(self) -> Mapping[str, WorkloadFacts]:
        """Processes by account."""
        return self._workloads.facts()

    async def read_heartbeats(self) -> Mapping[str, str]:
        """By account, the shard's own beat: it moves for as long as its loops turn."""
        beats = {name: read_json(self._layout.account(name) / STATUS_FILE) for name in self._workloads.prepared()}
        return {name: str(status["heartbeat_ns"]) for name, status in beats.items() if "heartbeat_ns" in status}

    async def read_credentials(self, secret: str) -> CredentialsFact:
        """Whether this Secret may be used."""
        return self._wallet.judge(secret, self._declared().objects.get((SECRET, secret)))

    def _now(self) -> str:
        return self._wall().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class LocalStatus:
    """See `ticker_operator.reconcile.ports.StatusPort`."""

    def __init__(self, *, layout: Layout, register: Register) -> None:
        self._layout = layout
        self._register = register

    async def write_status(self, kind: Kind, name: str, status: Manifest, *, uid: str) -> WriteOutcome:
        """Replace what the operator says about one object."""
        path = self._layout.status(kind, name)
        if read_json(path) == json.loads(json.dumps(status)):
            return Unchanged(uid)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_json(path, status)
        return Written(uid)

    async def record_event(self, event: Event) -> None:
        """One log line."""
        level = logging.WARNING if event.warning else logging.INFO
        log.log(level, event.message, extra={"object": f"{event.kind}/{event.name}", "reason": str(event.reason)})

    async def hold_deletion(self, account: str, *, held: bool) -> WriteOutcome:
        """Keep an account whose file vanished until it is drained, or let it go."""
        self._register.hold(Kind.ACCOUNT, account, held=held)
        return Written("")
