"""What a shard refused can be looked at over HTTP: bounded, with bytes, reason and time."""

from __future__ import annotations

import aiohttp
from prometheus_client import CollectorRegistry

from ticker_shard.app.health import Readiness
from ticker_shard.app.http import ProbeServer
from ticker_shard.ticks.quarantine import SAMPLE_BYTES_MAX, SAMPLES_MAX, Quarantine

SECOND_NS = 1_000_000_000


async def test_refused_rows_are_shown_with_reason_time_and_bytes_and_no_more_than_the_ring_holds() -> None:
    quarantine = Quarantine()
    server = ProbeServer(
        live=lambda: Readiness(True, ""),
        ready=lambda: Readiness(True, ""),
        started=lambda: Readiness(True, ""),
        registry=CollectorRegistry(),
        quarantine=quarantine.samples,
    )
    port = await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            empty = await (await client.get("/quarantine")).json()
            for number in range(SAMPLES_MAX + 9):
                quarantine.add("negative_price", number.to_bytes(2) * 300, received_ns=1_795_405_500 * SECOND_NS)
            answer = await client.get("/quarantine")
            full = await answer.json()
    finally:
        await server.stop()

    assert empty == {"samples": []}
    assert answer.content_type == "application/json"
    assert len(full["samples"]) == SAMPLES_MAX
    assert full["samples"][-1] == {
        "reason": "negative_price",
        "received_at": "2026-11-23T03:45:00.000+00:00",
        "size": 600,
        "data": ((SAMPLES_MAX + 8).to_bytes(2) * (SAMPLE_BYTES_MAX // 2)).hex(),
    }
