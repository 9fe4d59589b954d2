"""Implied volatility, delta, gamma, theta and vega of a batch: how fast, and how exact, beside two pricing packages.

The options are those of ``tests/data/black76.npz`` (inverted in forty digits), on their forward, as both packages take
them. Speed is measured on options that have a volatility, because ``fast_vollib`` raises on the others; each round
asserts that all were priced. *Warm* starts from a volatility up to one per cent off, as from the tick before; the
packages have no such start. ``fast_vollib`` (numba) runs with one thread and with all, and the faster of the two is
the peer.

Accuracy is told against the exact inversion. *Wrong* (by more than 1e-6) and *missing* are counted where one unit in
the last place of the larger leg moves the volatility by less than 1e-9. *Invented* is every answer where the exact
inversion has none; the packages make discount and bounds themselves, so next to a bound their own rounding decides.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.peers import peers_python
from benchmarks.results import SEED, Result, Rounds, at_least, at_most, interleave, seconds_of
from tests.support.black76_references import References, load
from ticker_shard.ticks import black76, black76_native
from ticker_shard.ticks.black76_terms import OptionColumns
from ticker_shard.ticks.rows import PricingOutcome

BATCHES: Final = (100, 2_800)
PACKAGES: Final = ("py_vollib_vectorized", "fast_vollib")
BOUNDS: Final = {
    ("py_vollib_vectorized", 100): (at_least(13), at_least(8)),
    ("fast_vollib", 100): (at_least(7), at_least(4)),
    ("py_vollib_vectorized", 2_800): (at_least(8), at_least(5)),
    ("fast_vollib", 2_800): (at_least(2.8), at_least(2)),
}
WARM_ERROR: Final = 0.01
IV_ERROR: Final = 1e-12
WRONG: Final = 1e-6
NOISE_MAX: Final = 1e-9
SHOWN: Final = {"py_vollib_vectorized": "py_vollib_vectorized 0.1.1", "fast_vollib": "fast-vollib 0.2.4 (numba)"}


def results(*, quick: bool = False) -> list[Result]:
    """Speed of both batches, then exactness on both sets."""
    sets = {name: on_forwards(load(name)) for name in ("universe", "stress")}
    batches = {str(size): batch(sets["universe"], size) for size in BATCHES}
    asked = {name: references.options for name, references in {**sets, **batches}.items()}
    with tempfile.TemporaryDirectory() as work, ExitStack() as stack:
        file = Path(work) / "options.npz"
        np.savez(file, **peers_columns(asked))
        peers = {}
        for package, threads in ((PACKAGES[0], None), (PACKAGES[1], 1), (PACKAGES[1], None)):
            key = package if threads is None else f"{package}, one thread"
            peers[key] = stack.enter_context(running(package, file, threads=threads))
        found = [result for name in batches for result in speed(batches[name], peers, quick=quick)]
        answers = {package: {name: peers[package].solve(name, Path(work)) for name in sets} for package in PACKAGES}
    return found + accuracy(sets, answers)


# -- options


def on_forwards(references: References) -> References:
    """The same options with the forward as their underlying; volatilities stay."""
    options = references.options
    ones, zeros = np.ones(len(options.price)), np.zeros(len(options.price))
    forward = options.underlying * options.growth
    return References(
        options._replace(underlying=forward, growth=ones, carry=zeros),
        references.side,
        *(getattr(references, name) for name in ("iv", "delta", "gamma", "theta", "vega")),
    )


def batch(references: References, size: int) -> References:
    """`size` of those with a volatility, drawn by the seed; again and again if there are fewer."""
    chance = np.random.default_rng(SEED)
    good = np.flatnonzero(references.side == 0)
    places = chance.permutation(np.resize(good, max(size, len(good))))[:size]
    options = OptionColumns._make(np.ascontiguousarray(column[places]) for column in references.options)
    rest = (getattr(references, name)[places] for name in ("iv", "delta", "gamma", "theta", "vega"))
    return References(options, references.side[places], *rest)


def peers_columns(asked: dict[str, OptionColumns]) -> dict[str, np.ndarray]:
    columns: dict[str, np.ndarray] = {}
    for name, options in asked.items():
        columns |= {
            f"{name}/price": options.price,
            f"{name}/forward": options.underlying,
            f"{name}/strike": options.strike,
            f"{name}/rate": options.rate,
            f"{name}/years": options.years,
            f"{name}/flag": np.where(options.is_call, "c", "p"),
        }
    return columns


# -- peers


@dataclass(frozen=True)
class Peer:
    """A package in its own process."""

    process: subprocess.Popen[str]

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self.reply()

    def reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with {self.process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        return reply

    def pass_over(self, size: int, *, repeats: int) -> Callable[[], float]:
        """A contender: seconds of one pass over the batch, all of which must have been priced."""

        def measure() -> float:
            reply = self.ask(round=str(size), repeats=repeats)
            assert reply["priced"] == size, reply
            return float(reply["seconds"])

        return measure

    def solve(self, name: str, work: Path) -> np.ndarray:
        """Its volatilities of a whole set."""
        into = work / "found.npy"
        self.ask(solve=name, into=str(into))
        found: np.ndarray = np.load(into)
        return found


@contextmanager
def running(package: str, options: Path, *, threads: int | None) -> Iterator[Peer]:
    environment = {**os.environ, **({} if threads is None else {"NUMBA_NUM_THREADS": str(threads)})}
    script = Path(__file__).with_name("pricing_peer.py")
    with subprocess.Popen(
        [peers_python(), str(script), package, str(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            peer = Peer(process)
            peer.reply()
            yield peer
        finally:
            process.kill()


# -- speed


def speed(references: References, peers: dict[str, Peer], *, quick: bool) -> list[Result]:
    size = len(references.side)
    cold = references.options
    off = 1 + WARM_ERROR * np.random.default_rng(SEED).uniform(-1, 1, size)
    warm = cold._replace(warm=references.iv * off)
    repeats = max(1, 1_400 // size)  # passes of few milliseconds: a busy machine interrupts long ones more
    contenders = {
        "warm": native(warm, repeats=4 * repeats),
        "cold": native(cold, repeats=4 * repeats),
        "numpy": reference(warm, repeats=repeats),
        **{name: peer.pass_over(size, repeats=repeats) for name, peer in peers.items()},
    }
    rounds = interleave(contenders, rounds=9 if quick else 61)
    packages = {PACKAGES[0]: PACKAGES[0], PACKAGES[1]: min((n for n in peers if PACKAGES[1] in n), key=rounds.median)}
    found = []
    for package, contender in packages.items():
        goal, gate = BOUNDS[package, size]
        found += [
            against(rounds, "warm", contender, size, f"IV and 4 Greeks, batch {size:,}", goal=goal, gate=gate),
            against(rounds, "cold", contender, size, f"same, batch {size:,}, cold start"),
            against(rounds, "numpy", contender, size, f"same, batch {size:,}, numpy only, warm"),
        ]
    return found


def against(rounds: Rounds, ours: str, peer: str, size: int, name: str, **bounds: Any) -> Result:
    package, _, threads = peer.partition(",")
    shown = f"{SHOWN[package]}{threads and ','}{threads}"
    return Result(
        name=name,
        value=size / rounds.median(ours),
        unit="options/s",
        peer=f"{shown}: {size / rounds.median(peer):,.0f}",
        ratio=rounds.ratio(peer, ours),
        **bounds,
    )


def native(options: OptionColumns, *, repeats: int) -> Callable[[], float]:
    return counted(options, black76_native.price_options, repeats)


def reference(options: OptionColumns, *, repeats: int) -> Callable[[], float]:
    return counted(options, black76.price_options, repeats)


def counted(options: OptionColumns, price_options: Callable[[OptionColumns], Any], repeats: int) -> Callable[[], float]:
    """A contender whose every round ends by counting that all of the batch was priced."""
    timed = seconds_of(lambda: price_options(options), repeats=repeats)

    def measure() -> float:
        seconds = timed()
        priced = (price_options(options).outcome == PricingOutcome.PRICED).sum()
        assert priced == len(options.price), priced
        return seconds

    timed()  # compiles
    return measure


# -- accuracy


def accuracy(sets: dict[str, References], peers: dict[str, dict[str, np.ndarray]]) -> list[Result]:
    answers = {
        "ours": {name: black76_native.price_options(one.options).iv for name, one in sets.items()},
        "ours, numpy": {name: black76.price_options(one.options).iv for name, one in sets.items()},
        **peers,
    }
    found = []
    for name, one in sets.items():
        judged = {who: judge(one, answers[who][name]) for who in answers}
        peer = "; ".join(f"{SHOWN[package]}: {judged[package]}" for package in PACKAGES)
        for who in ("ours", "ours, numpy"):
            ours = judged[who]
            found += [
                Result(
                    name=f"largest IV error, {name}, out of the money ({who})",
                    value=ours.worst_out / IV_ERROR,
                    unit="× 1e-12",
                    peer=peer,
                    goal=at_most(1, "× 1e-12"),
                    gate=at_most(1, "× 1e-12"),
                ),
                Result(
                    name=f"wrong by > 1e-6, missing or invented, {name} ({who})",
                    value=float(ours.wrong + ours.missing + ours.invented),
                    unit="options",
                    peer=peer,
                    goal=at_most(0, "options"),
                    gate=at_most(0, "options"),
                ),
            ]
    return found


@dataclass(frozen=True)
class Judgement:
    """What became of a set."""

    worst_out: float
    wrong: int
    missing: int
    invented: int

    def __str__(self) -> str:
        return f"{self.worst_out:.0e}, {self.wrong} wrong, {self.missing} missing, {self.invented} invented"


def judge(references: References, iv: np.ndarray) -> Judgement:
    options = references.options
    answered = np.isfinite(iv) & (iv > 0)
    determined = (references.side == 0) & (references.noise() < NOISE_MAX)
    out = np.where(options.is_call, options.underlying <= options.strike, options.underlying >= options.strike)
    error = np.abs(iv - references.iv)
    return Judgement(
        worst_out=float(error[answered & determined & out].max()),
        wrong=int((error[answered & determined] > WRONG).sum()),
        missing=int((determined & ~answered).sum()),
        invented=int((answered & (references.side != 0)).sum()),
    )


if __name__ == "__main__":
    for row in results(quick=True):
        print(row)
