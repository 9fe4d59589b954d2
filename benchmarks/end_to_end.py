"""End to end, flat out: broker's socket → one process → Redis → a subscriber that drains; same frames, same Redis.

The product is a real shard process (fence, last values, batches in json with full depth); the peer is what people
write today (KiteTicker callbacks, json, one publish per tick). Both are measured at the subscriber: ticks it
received per second between the first frame sent and its last message. The shard may conflate under this load, which is
counted and printed; a conflated tick is not a tick received.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.replay import tokens
from benchmarks.results import Result, Rounds
from tests.support.redis_server import RedisServer, redis_server
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, encode_table

INSTRUMENTS: Final = 3_000
FRAME_PACKETS: Final = 200
PEER_FRAMES: Final = 100
SHARD_FRAMES: Final = 1_000
QUIET_S: Final = 1.5  # no message for so long: the contender is done
CHANNEL: Final = "ticker:bench:options"
WARM_S: Final = 60.0


class Drain(threading.Thread):
    """A subscriber that takes everything and counts ticks."""

    def __init__(self, server: RedisServer, channel: str) -> None:
        super().__init__(daemon=True)
        self._pubsub = server.client().pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(channel)
        self.ticks = 0
        self.last = time.monotonic()
        self._running = True

    def run(self) -> None:
        while self._running:
            message = self._pubsub.get_message(timeout=0.1)
            if message is not None:
                self.ticks += message["data"].count(b'"instrument_token"')
                self.last = time.monotonic()

    def settle(self, *, since: float) -> None:
        """Wait until nothing has come for `QUIET_S`."""
        while time.monotonic() - max(self.last, since) < QUIET_S:
            time.sleep(0.05)

    def stop(self) -> None:
        self._running = False
        self.join()
        self._pubsub.close()


@contextmanager
def child(*command: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of this measurement, ended with it."""
    process = subprocess.Popen([sys.executable, *command], text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def replay(frames: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The replaying broker and its address."""
    arguments = ("--instruments", str(INSTRUMENTS), "--frame-packets", str(FRAME_PACKETS), "--frames", str(frames))
    with child("-m", "benchmarks.replay", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["ws"], process


def go(process: subprocess.Popen[str], first: int, count: int) -> dict[str, float]:
    """Have `count` frames sent; when it started and finished."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"go {first} {count}\n")
    process.stdin.flush()
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


def measure(drain: Drain, broker: subprocess.Popen[str], *, first: int, frames: int) -> float:
    """Ticks per second at the subscriber for `frames` frames."""
    before = drain.ticks
    sent = go(broker, first, frames)
    drain.settle(since=sent["finished"])
    return (drain.ticks - before) / (drain.last - sent["started"])


def wait_until_warm(drain: Drain) -> None:
    """Every instrument's first packet has come through, then quiet."""
    deadline = time.monotonic() + WARM_S
    while drain.ticks < INSTRUMENTS:
        assert time.monotonic() < deadline, f"{drain.ticks} of {INSTRUMENTS} instruments after {WARM_S:.0f} s"
        time.sleep(0.05)
    drain.settle(since=time.monotonic())


def write_folder(folder: Path) -> None:
    """An account's folder: who it is, what it streams, its token."""
    rows = tuple(
        AssignedInstrument(int(token), "NFO", f"BENCH{token}CE", Mode.FULL, (CHANNEL,), instrument_type="CE")
        for token in tokens(INSTRUMENTS)
    )
    header, packed = encode_table(AssignmentTable("bench", 1, (Channel(CHANNEL),), rows))
    folder.mkdir()
    (folder / "instance-id").write_text("bench-instance")
    (folder / "instruments.csv.gz").write_bytes(packed)
    (folder / "assignment.json").write_text(header)
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(json.dumps({"api_key": "benchkey", "access_token": "benchtoken"}))


def results(*, quick: bool = False) -> list[Result]:
    """Interleave peer and product over rounds; medians and their ratio."""
    rounds = 1 if quick else 3
    peer_rates: list[float] = []
    shard_rates: list[float] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(redis_server())
        (work / "redis-url").write_text(server.url)
        write_folder(work / "bench")

        peer_broker_url, peer_broker = stack.enter_context(replay(PEER_FRAMES * rounds))
        peer_drain = Drain(server, "ticks")
        peer_drain.start()
        stack.enter_context(child("-m", "benchmarks.plain_assembly", peer_broker_url, server.url, str(INSTRUMENTS)))
        wait_until_warm(peer_drain)

        shard_broker_url, shard_broker = stack.enter_context(replay(SHARD_FRAMES * rounds))
        shard_drain = Drain(server, CHANNEL)
        shard_drain.start()
        stack.enter_context(
            child(
                *("-c", "from ticker_operator.app.cli import main; main()", "shard", "--source", "folder"),
                *("--folder", str(work / "bench"), "--account", "bench", "--ticker-url", shard_broker_url),
                *("--redis-url-file", str(work / "redis-url"), "--host", "127.0.0.1", "--port", "0"),
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stderr=(work / "shard.log").open("w"),
            )
        )
        wait_until_warm(shard_drain)
        for number in range(rounds):
            peer_rates.append(measure(peer_drain, peer_broker, first=number * PEER_FRAMES, frames=PEER_FRAMES))
            shard_rates.append(measure(shard_drain, shard_broker, first=number * SHARD_FRAMES, frames=SHARD_FRAMES))
        ledger = json.loads((work / "bench" / "status.json").read_text()).get("ledger", {})
        peer_drain.stop()
        shard_drain.stop()
    measured = Rounds({"shard": shard_rates, "peer": peer_rates})
    return [
        Result(
            name=f"end to end, one shard, json with depth, {FRAME_PACKETS}-packet frames",
            value=measured.median("shard"),
            unit="ticks/s at a subscriber",
            peer=f"KiteTicker + json + publish per tick: {measured.median('peer'):,.0f}",
            ratio=measured.ratio("shard", "peer"),
        ),
        Result(
            name="of these conflated by the shard",
            value=float(ledger.get("conflated", 0)),
            unit=f"ticks of {rounds * SHARD_FRAMES * FRAME_PACKETS:,}",
        ),
    ]
