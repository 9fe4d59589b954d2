"""One operator of a pool writes: the one that holds the Lease.

Nothing is written before it is held, and nothing after ``RENEW_DEADLINE_S`` without a renewal, judged by our own
monotonic clock. A rival takes it when it has seen the same renewal for ``DURATION_S`` by *its* clock; because that is
longer, there is a time in which nobody writes, and none in which two do. Times inside the object are for people.

Not being able to renew is not a loss: an API server that is away keeps rivals out as well. We only stop writing, and go
on if it comes back and the Lease still names us. It is lost when it names anybody else, or nobody.

The helper that comes with the client neither counts transitions nor releases, and compares wall clocks of two machines;
this one is a hundred lines.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from ticker_crds.constants import LABEL_MANAGED_BY, MANAGED_BY, MANAGER_OPERATOR
from ticker_operator.kube.gateway import LEASES, AbsentError, ApiError, Body, Gateway

DURATION_S: Final = 15.0
RENEW_DEADLINE_S: Final = 10.0
RENEW_S: Final = 2.0

assert 2 * RENEW_S < RENEW_DEADLINE_S < DURATION_S, "two lost renewals are no loss; we stop before anybody else starts"

log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """The Lease does not name us any more: stop, without another write."""


class OwnLease:
    """The pool's Lease, as one process sees it.

    Parameters
    ----------
    gateway
        The API.
    name
        Of the Lease.
    clock, wall
        Monotonic seconds, and the time for people.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        name: str,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.identity = f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self._gateway = gateway
        self._name = name
        self._clock = clock
        self._wall = wall
        self._renewed_at: float | None = None
        self._lease: Body | None = None
        self._observed: tuple[str, float] = ("", 0.0)  # the rival's version, and since when we see it

    def holds(self) -> bool:
        """Whether a write may be made now."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < RENEW_DEADLINE_S

    async def acquire(self) -> None:
        """Return when the Lease is held."""
        told = ""
        while not await self._try():
            holder = str(((self._lease or {}).get("spec") or {}).get("holderIdentity") or "nobody")
            if holder != told:
                log.info("waiting for the Lease", extra={"lease": self._name, "holder": holder})
                told = holder
            await asyncio.sleep(RENEW_S)
        log.info("Lease acquired", extra={"lease": self._name, "identity": self.identity})

    async def keep(self) -> None:
        """Renew for ever.

        Raises
        ------
        LeaseLostError
        """
        held = True
        while True:
            await asyncio.sleep(RENEW_S)
            await self._try(first=False)
            if held is not self.holds():
                held = not held
                word = (
                    "Lease renewed again: writing goes on" if held else "Lease not renewed in time: nothing is written"
                )
                log.warning(word, extra={"lease": self._name})

    async def release(self) -> None:
        """Let another operator begin at once; if that cannot be said, it begins when our time is over."""
        if not self.holds() or self._lease is None:
            return
        self._renewed_at = None
        body = {**self._lease, "spec": {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            await self._gateway.replace(LEASES, body, manager=MANAGER_OPERATOR)
        except ApiError as error:
            log.info("Lease not released", extra={"lease": self._name, "detail": str(error)})

    # -- one attempt -----------------------------------------------------------------------------------------

    async def _try(self, *, first: bool = True) -> bool:
        """Take or renew it; whether it is ours now. A failure changes nothing but the time that passes."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(RENEW_DEADLINE_S / 2):
                return await self._try_once(asked_at, first=first)
        except (ApiError, TimeoutError) as error:
            log.warning("Lease not renewed", extra={"lease": self._name, "detail": str(error) or "no answer in time"})
            return False

    async def _try_once(self, asked_at: float, *, first: bool) -> bool:
        try:
            live: Body | None = await self._gateway.get(LEASES, self._name)
        except AbsentError:
            live = None
        self._lease = live
        if not first and self._holder() != self.identity:
            self._renewed_at = None
            raise LeaseLostError(f"Lease {self._name}: {self._holder() or 'nobody'} has it")
        if live is not None and not self._may_take(live):
            return False
        body = self._body(live)
        if live is None:
            self._lease = await self._gateway.create(LEASES, body, manager=MANAGER_OPERATOR)
        else:
            self._lease = await self._gateway.replace(LEASES, body, manager=MANAGER_OPERATOR)
        self._renewed_at = asked_at  # from before the request: the earliest moment that anybody can have seen it
        return True

    def _may_take(self, live: Body) -> bool:
        holder = str((live.get("spec") or {}).get("holderIdentity") or "")
        if holder in ("", self.identity):
            return True
        version, now = str(live["metadata"]["resourceVersion"]), self._clock()
        if version != self._observed[0]:
            self._observed = (version, now)
        return now - self._observed[1] >= DURATION_S

    def _body(self, live: Body | None) -> Body:
        moment = self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old: dict[str, Any] = dict((live or {}).get("spec") or {})
        mine = old.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION_S),
            "acquireTime": old.get("acquireTime", moment) if mine else moment,
            "renewTime": moment,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if mine or live is None else 1),
        }
        metadata: dict[str, Any] = {"name": self._name, "labels": {LABEL_MANAGED_BY: MANAGED_BY}}
        if live is not None:
            metadata["resourceVersion"] = live["metadata"]["resourceVersion"]
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}

    def _holder(self) -> str:
        return str(((self._lease or {}).get("spec") or {}).get("holderIdentity") or "")
