"""Memory of the operator with a whole day's list of instruments loaded, as a real process on a real API server.

The list has as many rows as the broker's of 2026, in its format, with symbols as long as real ones. The figure is the
peak of the process's resident set, after its first tables were written and one more full list was taken.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import yaml

from benchmarks.results import Result, at_most
from tests.support.controlplane import control_plane
from tests.support.operator import HEADER, Pool, broker, eventually, operator_identity
from ticker_operator.reconcile.instruments import trading_day

ROWS: Final = 86_500
INSTRUMENTS: Final = 2_000
CEILING_MIB: Final = 220
RESYNC_S: Final = 5
POOL: Final = "memory"


def full_list() -> str:
    """A day's list: mostly option chains, as the broker's is."""
    first = trading_day(datetime.now(UTC)) + timedelta(days=3)
    lines = [HEADER]
    for number in range(1, ROWS + 1):
        underlying, rest = divmod(number, 400)
        expiry = first + timedelta(days=7 * (rest % 4))
        strike, kind = 10_000 + 50 * (rest // 2), ("CE", "PE")[rest % 2]
        symbol = f"NAME{underlying:03}{expiry:%y%b%d}{strike}{kind}".upper()
        lines.append(
            f'{number * 256 + 2},{number},{symbol},"NAME{underlying:03}",0,{expiry},{strike},0.05,75,{kind},NFO-OPT,NFO'
        )
    return "\n".join(lines) + "\n"


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """The highest resident set so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def operator_process(kubeconfig: Path, endpoint: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The operator as its image starts it."""
    flags = {
        "kubeconfig": kubeconfig,
        "namespace": POOL,
        "shard-image": "tickershard:bench",
        "endpoints-allowed": endpoint,
        "resync-s": RESYNC_S,
        "host": "127.0.0.1",
        "port": 0,
    }
    arguments = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    websocket = ["--endpoints-allowed", endpoint.replace("http", "ws")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ticker_operator.app", "operator", *arguments, *websocket],
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def results(*, quick: bool = False) -> list[Result]:
    """One account, one subscription of 2,000 instruments, the whole list."""
    listing = full_list()
    with tempfile.TemporaryDirectory() as work, broker(listing) as source, control_plane() as plane:
        admin = plane.client()
        kinds = [yaml.safe_load(path.read_text()) for path in sorted(Path("crds").glob("*.yaml"))]
        for kind in kinds:
            admin.apply(kind, manager="bench").expect(200, 201)
        plane.await_established(kind["metadata"]["name"] for kind in kinds)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": POOL}}).expect(201)
        identity = operator_identity(plane, POOL)
        pool = Pool(admin, POOL, source)
        pool.account("acc1")
        symbols = [f"NFO:{line.split(',')[2]}" for line in listing.splitlines()[1 : INSTRUMENTS + 1]]
        pool.subscription("chain", symbols)
        with operator_process(plane.kubeconfig(identity), source.url, Path(work) / "operator.log") as process:
            eventually(
                lambda: len(pool.table("acc1").instruments) == INSTRUMENTS,
                within_s=90,
                what=f"{INSTRUMENTS} instruments in the account's table",
            )
            time.sleep(RESYNC_S * (1 if quick else 6))  # several full lists and passes
            assert process.poll() is None, (Path(work) / "operator.log").read_text()[-2_000:]
            peak = peak_mib(process)
    return [
        Result(
            name=f"memory of the operator, list of {ROWS:,} instruments (peak)",
            value=peak,
            unit="MiB",
            gate=at_most(CEILING_MIB, "MiB"),
        )
    ]
