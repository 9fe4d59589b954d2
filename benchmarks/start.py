"""From the start of the process to the first tick that a subscriber has, with the compiled kernels cached.

As a pod starts after an image pull: interpreter, imports, kernels from the cache, assignment, Redis, the channels
claimed (the predecessor has freed them), socket, subscription, first packets, first batch.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Final

from benchmarks import stage
from benchmarks.lines import Setting, setting
from benchmarks.results import Result, Rounds, at_most
from ticker_crds import Encoding

INSTRUMENTS: Final = 3_000


def results(*, quick: bool = False) -> list[Result]:
    """A warm-up that fills the cache of kernels, then several starts."""
    with ExitStack() as stack:
        shared = stack.enter_context(setting(INSTRUMENTS))
        until_the_first_s(shared, 0)
        starts = [until_the_first_s(shared, number) for number in range(1, 3 if quick else 6)]
    return [
        Result(
            name=f"process start → first tick delivered, {INSTRUMENTS:,} instruments, msgpack",
            value=Rounds({"start": starts}).median("start"),
            unit="s",
            goal=at_most(2, "s"),
            gate=at_most(4, "s"),
        )
    ]


def until_the_first_s(shared: Setting, number: int) -> float:
    """Seconds of one start; the process is ended afterwards."""
    account = f"start{number}"
    channel = stage.channel_of(account)
    with stage.drain(shared.server, channel, encoding="msgpack", frames=True) as drain:
        folder = stage.prepared(
            shared.work, account, server=shared.server, instruments=shared.instruments, encoding=Encoding.MSGPACK
        )
        started_ns = time.monotonic_ns()
        with stage.running(folder, url=shared.broker.url, instruments=shared.instruments):
            drain.await_rows(1)
            first_ns = min(first for _, first, _ in drain.frames().values())
    return (first_ns - started_ns) / stage.NS_PER_S
