"""The operator as a process: what starts when, what ends when, and with which exit code.

Start: probes → preflight → Lease → loop (lists first, then acts) → kopf as its source of events.
Stop (SIGTERM): no new work → the running pass ends → own tasks end → kopf ends → the Lease is released → exit 0.
A lost Lease, a dead loop or a dead kopf: the same, without a further write, exit 1; the kubelet starts us again.

Our own tasks end before kopf, and are made before it: at its end kopf cancels every task that it did not find at its
start (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import kopf

from ticker_crds.constants import LABEL_MANAGED_BY, MANAGED_BY
from ticker_operator.app.dump import HttpInstruments
from ticker_operator.app.lease import OwnLease
from ticker_operator.app.metrics import Metrics
from ticker_operator.app.preflight import preflight
from ticker_operator.app.probes import ProbeServer, Standing
from ticker_operator.app.registration import make_registry, make_settings
from ticker_operator.app.settings import OperatorSettings
from ticker_operator.kube import kube_ports
from ticker_operator.kube.connection import open_client
from ticker_operator.kube.gateway import ApiError, Gateway
from ticker_operator.model import Manifest
from ticker_operator.reconcile.loop import PoolLoop
from ticker_operator.reconcile.ports import WORKLOAD
from ticker_operator.reconcile.store import WATCHED

PREFLIGHT_AGAIN_S: Final = 5.0
LAST_PASS_S: Final = 15.0
KOPF_STOP_S: Final = 10.0
STALE_RESYNCS: Final = 3

assert LAST_PASS_S + KOPF_STOP_S < 30, "the pod's grace period"

log = logging.getLogger(__name__)


async def run_operator(
    settings: OperatorSettings,
    *,
    stop: asyncio.Event,
    take_signals: Callable[[], None] = lambda: None,
    listening: Callable[[int], None] = lambda _port: None,
) -> int:
    """Run until `stop` is set, or something that cannot be repaired from inside; the exit code.

    Parameters
    ----------
    settings
        Frozen.
    stop
        Set it to end in order.
    take_signals
        Called once kopf runs: it has put its own signal handlers in place of ours.
    listening
        Told the port of the probes.

    Raises
    ------
    NoConnection
        When nothing says where the API server is.
    PortUnusableError
        When the probes cannot listen.
    """
    metrics, standing = Metrics(), Standing()
    probes = ProbeServer(standing, metrics)
    client = await open_client(settings.kubeconfig)
    try:
        await probes.start(settings.host, settings.port)
        listening(probes.port)
        free = Gateway(client, namespace=settings.namespace, observer=metrics.api_request)
        if not await _unless_stopped(stop, _until_able(free, standing)):
            return 0
        lease = OwnLease(free, name=settings.lease_name)
        if not await _unless_stopped(stop, lease.acquire()):
            return 0
        fenced = Gateway(client, namespace=settings.namespace, observer=metrics.api_request, may_write=lease.holds)
        reign = _Reign(settings, fenced, lease, metrics, standing)
        return await reign.run(stop, take_signals)
    finally:
        await probes.stop()
        await client.close()


async def _until_able(gateway: Gateway, standing: Standing) -> None:
    """Return when nothing keeps us from working here; say what does."""
    told: tuple[str, ...] = ()
    while True:
        try:
            problems = await preflight(gateway)
        except ApiError as error:
            problems = (f"the API server does not answer: {error}",)
        standing.unready = problems
        if not problems:
            return
        if problems != told:
            log.error("cannot work here yet", extra={"problems": list(problems)})
            told = problems
        await asyncio.sleep(PREFLIGHT_AGAIN_S)


async def _unless_stopped(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Whether `work` was done before `stop` was set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return not stop.is_set()
    finally:
        await _end(working, stopping)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class _Reign:
    """The time in which this process leads."""

    settings: OperatorSettings
    gateway: Gateway
    lease: OwnLease
    metrics: Metrics
    standing: Standing

    async def run(self, stop: asyncio.Event, take_signals: Callable[[], None]) -> int:
        """Lead until one of the parts ends; the exit code."""
        loop = self._make_loop()
        self._watch_over(loop)
        looping = asyncio.create_task(loop.run(), name="loop")
        keeping = asyncio.create_task(self.lease.keep(), name="lease")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        kopf_stop, kopf_ready = asyncio.Event(), asyncio.Event()
        watching = asyncio.create_task(self._watch(loop, kopf_stop, kopf_ready), name="kopf")
        signalling = asyncio.create_task(_after(kopf_ready, take_signals), name="signals")
        await asyncio.wait({looping, keeping, stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
        code = 0 if stopping.done() else self._judge(looping, keeping, watching)
        await self._finish(loop, looping)
        await _end(looping, keeping, stopping, signalling)
        kopf_stop.set()
        await asyncio.wait({watching}, timeout=KOPF_STOP_S)
        await self.lease.release()
        log.info("stopped", extra={"exit_code": code})
        return code

    def _make_loop(self) -> PoolLoop:
        loop: PoolLoop

        def seen(kind: str, obj: Manifest) -> None:
            if kind in WATCHED:
                loop.store.observe(kind, obj)

        # The ports look things up in the store of the loop that is made from them.
        ports = kube_ports(
            self.gateway,
            instruments=HttpInstruments(),
            find=lambda kind, name: loop.store.find(kind, name),
            seen=seen,
        )
        loop = PoolLoop(ports, self.settings.loop())
        return loop

    def _watch_over(self, loop: PoolLoop) -> None:
        self.metrics.follow(loop, leads=self.lease.holds)
        self.standing.vitals = loop.vitals
        self.standing.led_at = time.monotonic()
        self.standing.stale_after_s = STALE_RESYNCS * self.settings.resync_s

    async def _watch(self, loop: PoolLoop, stop: asyncio.Event, ready: asyncio.Event) -> None:
        def observe(kind: str, obj: dict[str, Any], deleted: bool) -> None:
            if kind == WORKLOAD and not _is_ours(obj):
                deleted = True  # the label that made it ours is gone
            loop.store.observe(kind, obj, deleted=deleted)

        await kopf.operator(
            registry=make_registry(
                observe=observe, count=self.metrics.watch_event, kubeconfig=self.settings.kubeconfig
            ),
            settings=make_settings(),
            namespaces=[self.settings.namespace],
            standalone=True,
            stop_flag=stop,
            ready_flag=ready,
        )

    def _judge(self, looping: asyncio.Task[None], keeping: asyncio.Task[None], watching: asyncio.Task[None]) -> int:
        """Why it ended without having been asked to."""
        for task in (keeping, looping, watching):
            if not task.done():
                continue
            error = None if task.cancelled() else task.exception()
            if error is None and task is watching:
                log.info("kopf was told to stop")  # a signal that came before our handlers were back in place
                return 0
            log.error("ended", extra={"part": task.get_name(), "cause": str(error)}, exc_info=error)
            return 1
        raise AssertionError("one of them has ended")

    async def _finish(self, loop: PoolLoop, looping: asyncio.Task[None]) -> None:
        """Let the running pass end, if it may still write."""
        loop.stop()
        if self.lease.holds():
            await asyncio.wait({looping}, timeout=LAST_PASS_S)


async def _after(ready: asyncio.Event, then: Callable[[], None]) -> None:
    await ready.wait()
    then()


def _is_ours(obj: Manifest) -> bool:
    labels = (obj.get("metadata") or {}).get("labels") or {}
    return bool(labels.get(LABEL_MANAGED_BY) == MANAGED_BY)
