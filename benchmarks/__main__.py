"""``make bench``: every measurement, one table, one file.

A missed gate is a finding: it is printed and written down, and the exit code stays 0 (1 with ``--strict``). A
measurement that could not run at all always makes it 1. Machines are shared and noisy, so nothing here is a test.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.results import SEED, Result, Verdict, shown

MEASUREMENTS: Final = (
    "decode",
    "greeks",
    "receive",
    "publish",
    "end_to_end",
    "latency",
    "cost",
    "burst",
    "start",
    "memory_operator",
    "plan",
)
OUTPUT: Final = Path("build/bench.json")
STYLES: Final = {Verdict.GOAL: "green", Verdict.GATE: "yellow", Verdict.MISSED: "bold red", Verdict.NONE: ""}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", "names", multiple=True, type=click.Choice(MEASUREMENTS), help="Only this one; may be repeated.")
@click.option("--quick", is_flag=True, help="Fewer rounds: a smoke test, not a figure to quote.")
@click.option("--strict", is_flag=True, help="Exit code 1 when a gate is missed.")
def main(names: tuple[str, ...], quick: bool, strict: bool) -> None:
    """Run the measurements and write build/bench.json."""
    about = machine()
    started = time.monotonic()
    measured, failed = measure(names or MEASUREMENTS, quick=quick)
    document = {
        "machine": about,
        "seed": SEED,
        "quick": quick,
        "seconds": round(time.monotonic() - started, 1),
        "failed": failed,
        "results": [{"measurement": name, **result.as_json()} for name, results in measured for result in results],
    }
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    every = [result for _, results in measured for result in results]
    show(every, about)
    missed = [result.name for result in every if result.verdict is Verdict.MISSED]
    print(f"{len(every)} results in {document['seconds']} s, {len(missed)} gates missed, written to {OUTPUT}")
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
    sys.exit(1 if failed or (strict and missed) else 0)


def measure(names: tuple[str, ...], *, quick: bool) -> tuple[list[tuple[str, list[Result]]], list[str]]:
    """Run one after another, saying so; what each found, and which could not run."""
    measured: list[tuple[str, list[Result]]] = []
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        print(f"[{number}/{len(names)}] {name} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        try:
            measured.append((name, results_of(name, quick=quick)))
        except Exception:  # one measurement that cannot run must not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"[{number}/{len(names)}] {name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return measured, failed


def results_of(name: str, *, quick: bool) -> list[Result]:
    """The module's ``results()``; those that have a shorter form take ``quick``."""
    results = importlib.import_module(f"benchmarks.{name}").results
    wanted: dict[str, Any] = {"quick": quick} if "quick" in inspect.signature(results).parameters else {}
    found: list[Result] = results(**wanted)
    return found


def show(results: list[Result], about: dict[str, Any]) -> None:
    """The table a person reads."""
    table = Table("measurement", "value", "unit", "peer", "ratio", "goal", "gate", "verdict")
    for result in results:
        verdict = result.verdict
        table.add_row(
            result.name,
            shown(result.value),
            result.unit,
            result.peer,
            shown(result.ratio),
            str(result.goal or ""),
            str(result.gate or ""),
            verdict.value,
            style=STYLES[verdict],
        )
    console = Console(width=200)
    console.print(table)
    console.print(f"{about['processor']}, {about['platform']}, Python {about['python']}, {about['redis_server']}")


if __name__ == "__main__":
    main()
