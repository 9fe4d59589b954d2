"""`InstrumentRegistry`: the broker's list of instruments, by endpoint, renewed each trading day.

The broker makes a new list every morning; from ``RENEWED_AT`` (India) on the one of the day before is out of date, and
fetched anew. The last good copy stays in use for as long as nothing better comes: a failed fetch takes nothing away.
Each endpoint has its own back-off, so an endpoint that cannot be reached keeps nobody else from its list.

When a fetch is due is a pure function; the fetch itself runs beside the passes and tells them when something came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Final

from ticker_operator.model.catalog import InstrumentCatalog
from ticker_operator.reconcile.backoff import BackoffBook
from ticker_operator.reconcile.ports import InstrumentPort, Unreachable

INDIA: Final = timezone(timedelta(hours=5, minutes=30), "IST")
RENEWED_AT: Final = time(8, 0)
FETCH_S: Final = 120.0
ENDPOINTS_MAX: Final = 8  # a pool has one, or the simulator beside it

log = logging.getLogger(__name__)


def dump_day(now: datetime) -> date:
    """The trading day whose list is the current one at `now`."""
    local = now.astimezone(INDIA)
    return local.date() if local.time() >= RENEWED_AT else local.date() - timedelta(days=1)


def trading_day(now: datetime) -> date:
    """The calendar day in India: contracts that expired before it are gone."""
    return now.astimezone(INDIA).date()


@dataclass(slots=True)
class _Copy:
    catalog: InstrumentCatalog | None = None
    day: date | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class DumpState:
    """What there is of one endpoint's list; `fault` says why the last fetch failed, empty if it did not."""

    catalog: InstrumentCatalog | None
    day: date | None
    fault: str


class InstrumentRegistry:
    """Lists by endpoint.

    Parameters
    ----------
    port
        Fetches.
    parse
        From CSV to a catalog; run in a thread, because it takes a second.
    wall, clock, chance
        Wall clock (for the trading day), monotonic seconds (for back-off), and jitter.
    """

    def __init__(
        self,
        port: InstrumentPort,
        *,
        parse: Callable[[bytes, str], InstrumentCatalog],
        wall: Callable[[], datetime],
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._port = port
        self._parse = parse
        self._wall = wall
        self._clock = clock
        self._chance = chance
        self._copies: dict[str, _Copy] = {}
        self._backoff = BackoffBook()

    def follow(self, endpoints: Iterable[str]) -> None:
        """These endpoints are in use, the preferred one first; lists of others are dropped."""
        wanted = list(dict.fromkeys(endpoints))[:ENDPOINTS_MAX]
        self._copies = {endpoint: self._copies.get(endpoint) or _Copy() for endpoint in wanted}
        self._backoff.keep_only(frozenset(wanted))

    def state(self, endpoint: str) -> DumpState:
        """What there is of this endpoint's list."""
        copy = self._copies.get(endpoint) or _Copy()
        return DumpState(copy.catalog, copy.day, copy.fault)

    def best(self) -> InstrumentCatalog | None:
        """The newest list; between equals that of the preferred endpoint."""
        with_one = [copy for copy in self._copies.values() if copy.catalog is not None and copy.day is not None]
        newest = max((copy.day for copy in with_one if copy.day), default=None)
        return next((copy.catalog for copy in with_one if copy.day == newest), None)

    def faults(self) -> dict[str, str]:
        """Endpoint → why its last fetch failed."""
        return {endpoint: copy.fault for endpoint, copy in self._copies.items() if copy.fault}

    def due(self) -> list[str]:
        """Endpoints whose list is missing or of an earlier day, and whose back-off is over."""
        day = dump_day(self._wall())
        now = self._clock()
        return [
            endpoint
            for endpoint, copy in self._copies.items()
            if copy.day != day and self._backoff.may_try(endpoint, now=now)
        ]

    async def refresh(self) -> bool:
        """Fetch what is due, one after the other; whether anything that a pass would read has changed."""
        changed = False
        for endpoint in self.due():
            changed = await self._fetch(endpoint) or changed
        return changed

    async def _fetch(self, endpoint: str) -> bool:
        copy, day = self._copies[endpoint], dump_day(self._wall())
        try:
            async with asyncio.timeout(FETCH_S):
                catalog = await asyncio.to_thread(self._parse, await self._port.fetch_dump(endpoint), endpoint)
        except (Unreachable, ValueError, TimeoutError) as error:
            wait_s = self._backoff.failed(endpoint, now=self._clock(), chance=self._chance())
            fault = str(error) or f"no answer within {FETCH_S:.0f} s"
            log.warning(
                "list of instruments not fetched",
                extra={"endpoint": endpoint, "fault": fault, "again_in_s": round(wait_s, 1)},
            )
            changed = copy.fault != fault
            copy.fault = fault
            return changed
        self._backoff.succeeded(endpoint)
        log.info("list of instruments fetched", extra={"endpoint": endpoint, "rows": len(catalog), "day": str(day)})
        changed = copy.catalog is None or copy.catalog.version != catalog.version or bool(copy.fault)
        copy.catalog, copy.day, copy.fault = catalog, day, ""
        return changed
