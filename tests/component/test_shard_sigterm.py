"""SIGTERM in the middle of a busy market: every accepted tick is published, and heard, before the process ends.

The market does not stand still for it: some ten thousand ticks a second of 3,000 instruments come until the shard takes
no more. What was accepted is what the shard's own books say; what was heard, a subscriber counts.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.redis_server import redis_server
from tests.support.shard import ShardFolder, a_table, free_channels, listed_instruments, shard_process
from tests.support.shard_checks import books, judge_stream
from tests.support.simulator import SimulatorProcess, simulator

CHANNEL = "ticker:nifty:options"
INSTRUMENTS = 3_000
MARKET_TICKS_PER_SECOND = 30_000  # of all its instruments; the 3,000 have a third of them
LONG_S = 90.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=31, day="2026-11-20", ticks_per_second=MARKET_TICKS_PER_SECOND) as running:
        yield running


class Heard:
    """Everything that came over the channel, unread."""

    def __init__(self, url: str) -> None:
        self.payloads: list[bytes] = []
        self._client = redis.Redis.from_url(url)
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(CHANNEL)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            found = self._pubsub.get_message(timeout=0.1)
            if found is None and self._stop.is_set():
                return
            if found is not None and found["type"] == "message":
                self.payloads.append(found["data"])

    def to_the_end(self) -> list[dict[str, object]]:
        """The messages, when no more come."""
        self._stop.set()
        self._thread.join()
        self._client.close()
        return [json.loads(payload) for payload in self.payloads]


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis that cuts no slow subscriber off: this one is not what is tested."""
    with redis_server("--client-output-buffer-limit", "pubsub 0 0 0") as server:
        yield server.url


def test_sigterm_at_ten_thousand_ticks_a_second_loses_no_accepted_tick(
    tmp_path: Path, sim: SimulatorProcess, redis_url: str
) -> None:
    folder = ShardFolder(tmp_path / "acc1")
    folder.create()
    folder.give_token("simkey1", "simtoken1")
    rows = [row for row in listed_instruments(sim) if row.segment.startswith("NFO")][:INSTRUMENTS]
    assert len(rows) == INSTRUMENTS
    folder.assign(a_table(1, [row.assigned(CHANNEL) for row in rows]))
    (tmp_path / "redis-url").write_text(redis_url)
    with redis.Redis.from_url(redis_url) as client:
        free_channels(client, (CHANNEL,))
    heard = Heard(redis_url)
    settings = {"drain_deadline_s": 1, "confirm_after_s": 3}
    with shard_process(folder, redis_url_file=tmp_path / "redis-url", ticker_url=sim.ws, **settings) as shard:
        shard.await_acknowledged(1, within_s=LONG_S)
        shard.wait_until(lambda: folder.status()["ledger"]["received"] > 30_000, "ticks flow", within_s=LONG_S)
        assert shard.terminate(within_s=LONG_S) == 0
    messages = heard.to_the_end()

    ledger = folder.status()["ledger"]
    assert books(ledger) == 0
    lost = {name: ledger[name] for name in ("in_flight", "dropped", "rejected")}
    assert lost == dict.fromkeys(lost, 0)
    verdict = judge_stream(((0.0, message) for message in messages if "ticks" in message), silence_s=1)
    assert verdict.valid, verdict.complaints
    assert verdict.rows == ledger["published"] + ledger["repeated"]
