"""Twenty seconds of coverage-guided bytes through both engines, and that the judge of it can say no."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ticker_shard.ticks.underlying import Source

SECONDS = 20
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris is not to be had for this Python"
)


def test_no_bytes_raise_unbalance_or_divide_the_engines() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzz_frames", "--seconds", str(SECONDS)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr[-4_000:]
    done = re.search(r"Done (\d+) runs", ran.stderr)
    assert done is not None, ran.stderr[-4_000:]
    assert int(done[1]) > 100, "it looked at next to nothing"


def test_a_lost_row_and_a_difference_are_noticed() -> None:
    from tests.support import fuzz_frames as fuzz

    class Loser:
        def __init__(self, inner: fuzz.Subject) -> None:
            self.inner, self.state = inner, inner.state

        def process(self, frame: bytes, *, received_ns: int) -> fuzz.ProcessedFrame:
            result = self.inner.process(frame, received_ns=received_ns)
            return replace(result, rows=result.rows.take(slice(1, None)))

        def reprice(self, *, now_ns: int) -> fuzz.Slots:
            return self.inner.reprice(now_ns=now_ns)

    class Liar(Loser):
        def process(self, frame: bytes, *, received_ns: int) -> fuzz.ProcessedFrame:
            result = self.inner.process(frame, received_ns=received_ns)
            result.rows.words[:] += np.uint32(1)
            return result

    class Mispricer(Loser):
        def process(self, frame: bytes, *, received_ns: int) -> fuzz.ProcessedFrame:
            result = self.inner.process(frame, received_ns=received_ns)
            result.rows.greeks[:] *= 1.0001
            return result

    data = list(fuzz.seeds())[-1]
    fuzz.check(data, fuzz.fresh_engines())
    for wrong in (Loser, Liar, Mispricer):
        native, numpy = fuzz.fresh_engines()
        with pytest.raises(AssertionError):
            fuzz.check(data, [wrong(native), numpy])


def test_a_seed_prices_options_on_each_source_and_again() -> None:
    from tests.support import fuzz_frames as fuzz

    subjects = fuzz.fresh_engines()
    fuzz.check(list(fuzz.seeds())[-1], subjects)

    for subject in subjects:
        assert subject.greeks.counts()["priced"] > 0
        assert set(subject.greeks.market.source.tolist()) >= {Source.FUTURE, Source.SPOT}
