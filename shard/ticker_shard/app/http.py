"""Probes, metrics, evidence: ``/livez``, ``/readyz``, ``/startupz``, ``/metrics``, ``/quarantine``.

Read-only, nothing secret: what is quarantined are bytes of the public market, never a frame of text (which may speak of
an account). The answer is bounded by the ring it shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ticker_common.listening import listen
from ticker_shard.app.health import Readiness
from ticker_shard.ticks.quarantine import Sample


class ProbeServer:
    """A small HTTP server on its own port.

    Parameters
    ----------
    live, ready, started
        Asked at each request.
    registry
        What ``/metrics`` shows.
    quarantine
        What ``/quarantine`` shows, oldest first.
    details
        What an answer as JSON says besides (to whoever accepts ``application/json``).
    """

    def __init__(
        self,
        *,
        live: Callable[[], Readiness],
        ready: Callable[[], Readiness],
        started: Callable[[], Readiness],
        registry: CollectorRegistry,
        quarantine: Callable[[], Sequence[Sample]],
        details: Callable[[], Mapping[str, object]] = dict,
    ) -> None:
        self._registry, self._quarantine = registry, quarantine
        self._application = web.Application()
        for path, probe in (("/livez", live), ("/readyz", ready), ("/startupz", started)):
            self._application.router.add_get(path, _answering(probe, details))
        self._application.router.add_get("/metrics", self._metrics)
        self._application.router.add_get("/quarantine", self._refused)
        self._runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was taken.

        Raises
        ------
        PortUnusableError
            When that is not possible.
        """
        return await listen(self._runner, host, port)

    async def stop(self) -> None:
        """Listen no more."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _refused(self, _: web.Request) -> web.Response:
        return web.json_response({"samples": [sample_document(sample) for sample in self._quarantine()]})


def sample_document(sample: Sample) -> dict[str, str | int]:
    """One refused row or frame as ``/quarantine`` shows it."""
    received = datetime.fromtimestamp(sample.received_ns / 1e9, tz=UTC)
    return {
        "reason": str(sample.reason),
        "received_at": received.isoformat(timespec="milliseconds"),
        "size": sample.size,
        "data": sample.data,
    }


def _answering(
    probe: Callable[[], Readiness], details: Callable[[], Mapping[str, object]]
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        found = probe()
        if "application/json" in request.headers.get("Accept", ""):
            body = {"ok": found.ready, "message": found.message, **details()}
            return web.json_response(body, status=200 if found.ready else 503)
        return web.Response(text=f"{found.message}\n", status=200 if found.ready else 503)

    return answer
