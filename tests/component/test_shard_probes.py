"""Probes answer a line to the kubelet, and JSON to whoever asks for it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from urllib.error import HTTPError

import pytest
from prometheus_client import CollectorRegistry

from ticker_shard.app.health import Readiness
from ticker_shard.app.http import ProbeServer


def ask(port: int, path: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readyz_tells_the_circuits_state_as_json(ready, status):
    server = ProbeServer(
        live=lambda: Readiness(True, "turns"),
        ready=lambda: Readiness(ready, "active"),
        started=lambda: Readiness(True, "started"),
        registry=CollectorRegistry(),
        quarantine=list,
        details=lambda: {"redis": {"circuit_state": "open"}},
    )
    port = await server.start("127.0.0.1", 0)
    try:
        line = await asyncio.to_thread(ask, port, "/readyz")
        code, text = await asyncio.to_thread(ask, port, "/readyz", Accept="application/json")
    finally:
        await server.stop()

    assert line == (status, "active\n")
    assert (code, json.loads(text)) == (status, {"ok": ready, "message": "active", "redis": {"circuit_state": "open"}})
