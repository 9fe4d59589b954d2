"""One object of the Kubernetes API by name: its newest state, endlessly.

Read it from the store (never from a cache: a restarted shard must not act on yesterday's table), then watch from that
version on, and start again from the read whenever the watch ends, which the server does every two minutes; whatever
event was missed is thus healed. Failures are counted, told once until the next success, and retried with back-off for
ever: a shard streams on without an API server.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from ticker_shard.assignment.api import ApiServer, ApiUnreachableError, version_of

log = logging.getLogger(__name__)

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MAX_S: Final = 10.0
ROUND_S: Final = 1.0  # a server that ends every watch at once is not asked more often
NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """The object as it is."""

    object: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Absent:
    """There is no such object."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """We may not read it."""

    message: str


Followed: TypeAlias = Found | Absent | Forbidden


def backoff_s(failures: int, *, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` in [0, 1) spreads a pool's shards."""
    ceiling: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
    return ceiling * (0.5 + 0.5 * chance)


class ObjectFollower:
    """One object of the API by name: its newest state, endlessly.

    Parameters
    ----------
    api
        The server.
    collection
        Path of the collection, e.g. ``/api/v1/namespaces/pool/configmaps``.
    name
        The object's name.
    monotonic_ns, chance
        Clock and randomness of the back-off.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        collection: str,
        name: str,
        monotonic_ns: Callable[[], int],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._api, self._collection, self._name = api, collection, name
        self._monotonic_ns, self._chance = monotonic_ns, chance
        self.failures = 0  # in a row
        self.failures_total = 0

    async def follow(self) -> AsyncIterator[Followed]:
        """What is there now, then after each change; states may be skipped, the last never is."""
        while True:
            started_ns = self._monotonic_ns()
            state: Followed | None = None
            try:
                async for state in self._follow_once():
                    yield state
            except ApiUnreachableError as error:
                self._failed(str(error))
            else:
                if isinstance(state, Forbidden):
                    self._failed(state.message)
            lived_s = (self._monotonic_ns() - started_ns) / NS_PER_S
            if self.failures:
                await asyncio.sleep(backoff_s(self.failures, chance=self._chance()))
            elif lived_s < ROUND_S:
                await asyncio.sleep((ROUND_S - lived_s) * (0.5 + 0.5 * self._chance()))

    async def _follow_once(self) -> AsyncIterator[Followed]:
        """One read and the watch behind it."""
        answer = await self._api.get(f"{self._collection}/{quote(self._name)}")
        version: str | None = None
        match answer.code:
            case 200:
                version = version_of(answer.body)
                yield Found(answer.body)
            case 404:
                yield Absent()
            case 403:
                yield Forbidden(answer.message)
                return
            case code:
                raise ApiUnreachableError(f"HTTP {code}: {answer.message}")
        async for event in self._api.watch(self._collection, name=self._name, version=version):
            match event.kind:
                case "ADDED" | "MODIFIED":
                    if version_of(event.object) != version:  # without a version the watch begins with what we have read
                        version = version_of(event.object)
                        yield Found(event.object)
                case "DELETED":
                    yield Absent()
                case "BOOKMARK":
                    pass
                case "OPEN":
                    self._succeeded()
                case _:  # ERROR: most likely 410, the version is too old; read again
                    log.info("watch ended by the server", extra=self._where(str(event.object.get("message", ""))[:200]))
                    return

    def _failed(self, cause: str) -> None:
        self.failures += 1
        self.failures_total += 1
        level = logging.WARNING if self.failures == 1 else logging.DEBUG
        log.log(level, "cannot follow an object; going on with what is known", extra=self._where(cause))

    def _succeeded(self) -> None:
        if self.failures:
            log.info("following again", extra=self._where(f"{self.failures} failures in a row"))
        self.failures = 0

    def _where(self, cause: str) -> dict[str, str]:
        return {"object": f"{self._collection}/{self._name}", "cause": cause}
