"""``make bench``: every measurement, one table, one file.

A missed gate is a finding: it is printed and written down, and the exit code stays 0. Only a measurement that could
not run at all makes it 1. Machines are shared and noisy, so nothing here is asserted in a test.
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

MODULES: Final = ("decode", "end_to_end", "memory_shard", "memory_operator", "plan")
OUTPUT: Final = Path("build/bench.json")
PACKAGES: Final = ("kiteconnect", "numpy", "orjson", "picows", "redis")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(MODULES))
@click.option("--quick", is_flag=True, help="Fewer rounds: a smoke test, not a figure to quote.")
def main(names: tuple[str, ...], quick: bool) -> None:
    """Run the measurements NAMES (all of them without any) and write build/bench.json."""
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    for name in names or MODULES:
        started = time.monotonic()
        try:
            results += importlib.import_module(f"benchmarks.{name}").run(quick=quick)
        except Exception:  # one measurement that cannot run must not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps({"machine": machine(), "failed": failed, "results": results}, indent=2) + "\n")
    show(results)
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": {package: version(package) for package in PACKAGES},
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def show(results: list[dict[str, Any]]) -> None:
    """The table a person reads."""
    table = Table("measurement", "value", "unit", "peer", "ratio", "goal", "gate", "ok")
    for row in results:
        table.add_row(
            row["name"],
            _number(row["value"]),
            row["unit"],
            str(row.get("peer") or ""),
            _number(row.get("ratio")),
            str(row.get("goal") or ""),
            str(row.get("gate") or ""),
            {True: "yes", False: "NO", None: ""}[row.get("ok")],
        )
    Console(width=180).print(table)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


if __name__ == "__main__":
    main()
