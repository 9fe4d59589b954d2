"""`StatusPort` on the Kubernetes API: statuses by server-side apply, the drain finalizer, events.

A status is always our complete set (whatever an apply leaves out that it had before is deleted), under one manager.
The finalizer is put and taken by a JSON patch guarded by resourceVersion: an apply on an account that has just vanished
would try to make it anew.

Events are told once per transition. The same one again within `REPEAT_S` is counted in its series, not told again.
"""

from __future__ import annotations

import hashlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ticker_common.logs import redact
from ticker_crds.constants import API_VERSION, FINALIZER_DRAIN, GROUP, MANAGER_OPERATOR, Kind
from ticker_operator.kube.gateway import CUSTOM, EVENTS, AbsentError, ApiError, Body, ConflictError, Gateway
from ticker_operator.kube.outcomes import outcome_of
from ticker_operator.model import Event, Manifest
from ticker_operator.reconcile.ports import Unchanged, WriteOutcome, Written

REPEAT_S: Final = 600.0
REMEMBERED_MAX: Final = 1_024
NOTE_CHARS_MAX: Final = 1_000  # the API takes 1,024
CONTROLLER: Final = f"{GROUP}/operator"
FINALIZERS: Final = "/metadata/finalizers"

ACCOUNTS: Final = CUSTOM[Kind.ACCOUNT]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    name: str
    count: int
    at: float


class KubeStatuses:
    """See `ticker_operator.reconcile.ports.StatusPort`.

    Parameters
    ----------
    gateway
        The API.
    find
        Kind and name → the object as the store has it.
    seen
        Told of every object that a write answered with.
    clock, wall
        Monotonic seconds, and the time that stands in an event.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        find: Callable[[Kind, str], Manifest | None],
        seen: Callable[[str, Manifest], None],
        clock: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._gateway = gateway
        self._find = find
        self._seen = seen
        self._clock = clock
        self._wall = wall
        self._told: dict[tuple[str, ...], _Told] = {}

    async def write_status(self, kind: Kind, name: str, status: Manifest, *, uid: str) -> WriteOutcome:
        """Make `status` the operator's complete part."""
        del uid  # the API accepts a wrong one in a status apply; a new object of this name is judged by the next pass
        body = {
            "apiVersion": API_VERSION,
            "kind": kind.value,
            "metadata": {"name": name},
            "status": dict(status),
        }
        try:
            answer = await self._gateway.apply(CUSTOM[kind], body, manager=MANAGER_OPERATOR, subresource="status")
        except ApiError as error:
            return outcome_of(error)
        self._seen(kind.value, answer)
        return Written(str(answer["metadata"]["resourceVersion"]))

    # -- finalizer -------------------------------------------------------------------------------------------

    async def hold_deletion(self, account: str, *, held: bool) -> WriteOutcome:
        """Put our finalizer on the account, or take it away."""
        known = self._find(Kind.ACCOUNT, account)
        if known is not None and held and FINALIZER_DRAIN in (known["metadata"].get("finalizers") or ()):
            return Unchanged(str(known["metadata"].get("resourceVersion", "")))
        try:
            answer = await self._patch_finalizer(account, held=held)
        except AbsentError:
            return Unchanged("")  # it is gone, and nothing holds what is gone
        except ApiError as error:
            return outcome_of(error)
        self._seen(Kind.ACCOUNT.value, answer)
        return Written(str(answer["metadata"]["resourceVersion"]))

    async def _patch_finalizer(self, account: str, *, held: bool) -> Body:
        live = await self._gateway.get(ACCOUNTS, account)
        present = list(live["metadata"].get("finalizers") or ())
        wanted = [name for name in present if name != FINALIZER_DRAIN]
        if held:
            if live["metadata"].get("deletionTimestamp"):
                raise ConflictError(f"{account} is being deleted: no finalizer can be added")
            wanted.append(FINALIZER_DRAIN)
        if wanted == present:
            return live
        operations: list[Body] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
            {"op": "add", "path": FINALIZERS, "value": wanted},
        ]
        return await self._gateway.json_patch(ACCOUNTS, account, operations, manager=MANAGER_OPERATOR)

    # -- events ----------------------------------------------------------------------------------------------

    async def record_event(self, event: Event) -> None:
        """Tell it once; a lost event costs nothing but itself."""
        key = (event.kind.value, event.name, str(event.reason), event.message)
        now = self._clock()
        told = self._told.get(key)
        try:
            if told is not None and now - told.at < REPEAT_S:
                told.count, told.at = told.count + 1, now
                await self._count_again(told)
            else:
                self._remember(key, await self._tell(event, key), now)
        except ApiError as error:
            log.info("event not recorded", extra={"about": event.name, "reason": event.reason, "detail": str(error)})

    def _remember(self, key: tuple[str, ...], name: str, now: float) -> None:
        while len(self._told) >= REMEMBERED_MAX:
            del self._told[next(iter(self._told))]
        self._told.pop(key, None)
        self._told[key] = _Told(name, 1, now)

    async def _tell(self, event: Event, key: tuple[str, ...]) -> str:
        moment = self._micro_time()
        digest = hashlib.sha256("\0".join((*key, moment)).encode()).hexdigest()[:16]
        body: dict[str, Any] = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{event.name}.{digest}", "namespace": self._gateway.namespace},
            "eventTime": moment,
            "reportingController": CONTROLLER,
            "reportingInstance": socket.gethostname()[:128],
            "action": str(event.reason),
            "reason": str(event.reason),
            "type": "Warning" if event.warning else "Normal",
            "note": redact(event.message)[:NOTE_CHARS_MAX],
            "regarding": self._regarding(event),
        }
        await self._gateway.create(EVENTS, body, manager=MANAGER_OPERATOR)
        return str(body["metadata"]["name"])

    def _regarding(self, event: Event) -> Body:
        reference: Body = {
            "apiVersion": API_VERSION,
            "kind": event.kind.value,
            "name": event.name,
            "namespace": self._gateway.namespace,
        }
        known = self._find(event.kind, event.name)
        if known is not None:
            reference["uid"] = known["metadata"].get("uid", "")
        return reference

    async def _count_again(self, told: _Told) -> None:
        series = {"count": told.count, "lastObservedTime": self._micro_time()}
        operations: list[Body] = [{"op": "add", "path": "/series", "value": series}]
        await self._gateway.json_patch(EVENTS, told.name, operations, manager=MANAGER_OPERATOR)

    def _micro_time(self) -> str:
        return self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
