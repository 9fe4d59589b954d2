"""``/healthz``, ``/readyz``, ``/metrics``: our own small server, up before anything else.

Ready says that the operator can do its work here (kinds served, rights granted), not that it leads: a rolling update
would otherwise wait for ever. Health says that the loop turns: the last pass ended not longer ago than three resyncs.
kopf's own probe is not used: a watcher that died does not show in it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from aiohttp import web

from ticker_common.listening import listen
from ticker_operator.app.metrics import Metrics
from ticker_operator.reconcile.loop import Vitals

TEXT = "text/plain; version=0.0.4"


@dataclass(slots=True)
class Standing:
    """Where the process stands.

    Attributes
    ----------
    unready
        Why it cannot work here; empty when it can.
    vitals, stale_after_s
        Of the loop once it runs; a pass must have ended within that time.
    led_at
        Monotonic seconds when the loop was started.
    """

    unready: tuple[str, ...] = ("starting",)
    vitals: Vitals | None = None
    stale_after_s: float = 180.0
    led_at: float = field(default=0.0)

    def ailment(self, now: float) -> str:
        """Why the process should be restarted; empty when it should not."""
        if self.vitals is None:
            return ""
        age_s = now - max(self.vitals.finished_at, self.led_at)
        if age_s <= self.stale_after_s:
            return ""
        return f"the last pass ended {age_s:.0f} s ago, {self.stale_after_s:.0f} s are allowed"


class ProbeServer:
    """The HTTP server.

    Parameters
    ----------
    standing
        Judged at each request.
    metrics
        Rendered at each scrape.
    """

    def __init__(self, standing: Standing, metrics: Metrics) -> None:
        self._standing = standing
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(application, access_log=None, handle_signals=False)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` then holds the real one.

        Raises
        ------
        PortUnusableError
            When that is not possible.
        """
        self.port = await listen(self._runner, host, port)

    async def stop(self) -> None:
        """Close everything."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        ailment = self._standing.ailment(time.monotonic())
        return web.Response(status=503 if ailment else 200, text=(ailment or "ok") + "\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        unready = self._standing.unready
        return web.Response(status=503 if unready else 200, text="\n".join(unready or ("ok",)) + "\n")

    async def _scrape(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.scrape(), headers={"Content-Type": TEXT})
