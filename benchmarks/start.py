"""From the start of the process to the first tick that a subscriber has, with the compiled kernels cached.

As a pod starts after an image pull: interpreter, imports (from byte code, which an installer writes and the image
holds), kernels from the cache, assignment, Redis, the channels claimed (the predecessor has freed them), socket,
subscription, first packets, first batch. Seconds of the clock are what counts, and what a busy machine lengthens;
seconds of processor say what the start itself takes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from benchmarks import stage
from benchmarks.lines import Setting, setting
from benchmarks.results import Result, Rounds, at_most
from ticker_crds import Encoding

INSTRUMENTS: Final = 3_000


def results(*, quick: bool = False) -> list[Result]:
    """A warm-up that fills the caches of kernels and of byte code, then several starts."""
    with ExitStack() as stack:
        shared = stack.enter_context(setting(INSTRUMENTS))
        stack.enter_context(byte_code_in(shared.work / "byte-code"))
        until_the_first_s(shared, 0)
        starts = [until_the_first_s(shared, number) for number in range(1, 3 if quick else 6)]
    name = f"process start → first tick delivered, {INSTRUMENTS:,} instruments, msgpack"
    wall, processor = zip(*starts, strict=True)
    rounds = Rounds({"wall": list(wall), "processor": list(processor)})
    return [
        Result(name=name, value=rounds.median("wall"), unit="s", goal=at_most(2, "s"), gate=at_most(4, "s")),
        Result(name=f"{name}: processor time", value=rounds.median("processor"), unit="s of processor"),
    ]


@contextmanager
def byte_code_in(folder: Path) -> Iterator[None]:
    """Processes started within keep byte code there, whatever this one was told."""
    before = {name: os.environ.pop(name, None) for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")}
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)
    try:
        yield
    finally:
        del os.environ["PYTHONPYCACHEPREFIX"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def until_the_first_s(shared: Setting, number: int) -> tuple[float, float]:
    """Seconds of one start, by the clock and of processor; the process is ended afterwards."""
    account = f"start{number}"
    channel = stage.channel_of(account)
    with stage.drain(shared.server, channel, encoding="msgpack", frames=True) as drain:
        folder = stage.prepared(
            shared.work, account, server=shared.server, instruments=shared.instruments, encoding=Encoding.MSGPACK
        )
        started_ns = time.monotonic_ns()
        with stage.running(folder, url=shared.broker.url, instruments=shared.instruments) as shard:
            drain.await_rows(1)
            processor_s = stage.cpu_s(shard.process.pid)
            first_ns = min(first for _, first, _ in drain.frames().values())
    return (first_ns - started_ns) / stage.NS_PER_S, processor_s
