"""Writes the measured tables into docs/performance.md, between its markers, from build/bench.json and build/load.md.

``python -m benchmarks.document`` after ``make bench`` (and ``make load``). The words around the tables are written by
people and stay; a table without its file stays as it is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.results import shown

DOCUMENT: Final = Path("docs/performance.md")
BENCH: Final = Path("build/bench.json")
LOAD: Final = Path("build/load.md")
HEAD: Final = ("what", "measured", "beside", "ratio", "goal", "gate", "verdict")
TITLES: Final = {
    "decode": "Decode",
    "greeks": "Implied volatility and Greeks",
    "receive": "Receive",
    "publish": "Publish",
    "end_to_end": "End to end, flat out",
    "latency": "Latency",
    "cost": "Processor and memory of an account",
    "burst": "Burst after a resubscribe",
    "start": "Start",
    "memory_operator": "The operator's memory",
    "plan": "The operator's pass",
}


def tables(bench: Mapping[str, Any]) -> str:
    """What ``make bench`` found, a table a measurement, in Markdown."""
    machine, lines = bench["machine"], []
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    missed = [f"* {row['name']}: {_figure(row)}" for row in bench["results"] if row["verdict"] == "MISSED"]
    lines += [
        f"Measured on {machine['processor']}, {machine['memory_gib']} GiB, {machine['platform']}, "
        f"Python {machine['python']}, {machine['redis_server'].split(' sha')[0]}; {packages}; "
        f"seed {bench['seed']}, {bench['seconds']:.0f} s in all.",
        "",
        *(["**Gates missed in this run:**", "", *missed] if missed else ["**No gate was missed in this run.**"]),
    ]
    for name in dict.fromkeys(row["measurement"] for row in bench["results"]):
        rows = [row for row in bench["results"] if row["measurement"] == name]
        lines += ["", f"### {TITLES.get(name, name)}", "", f"| {' | '.join(HEAD)} |", f"|{' --- |' * len(HEAD)}"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    verdict = "**MISSED**" if row["verdict"] == "MISSED" else row["verdict"]
    ratio = "" if row["ratio"] is None else f"{shown(row['ratio'])}×"
    return [row["name"], _figure(row), row["peer"] or "", ratio, row["goal"] or "", row["gate"] or "", verdict]


def _figure(row: Mapping[str, Any]) -> str:
    return f"{shown(row['value'])} {row['unit']}"


def scenarios(load: str) -> str:
    """The summary of the load report: verdict, broken rules, and its first table."""
    return "\n".join(line for line in load.split("\n## ")[0].splitlines() if not line.startswith("# ")).strip()


def with_part(document: str, name: str, text: str) -> str:
    """The document with what stands between the markers of `name` replaced.

    Raises
    ------
    ValueError
        When the markers are not there.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in document or end not in document:
        raise ValueError(f"{DOCUMENT} has no markers for {name}")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", document)


def main() -> None:
    """Replace what there are files for."""
    document = DOCUMENT.read_text()
    if BENCH.exists():
        document = with_part(document, "bench", tables(json.loads(BENCH.read_text())))
    if LOAD.exists():
        document = with_part(document, "load", scenarios(LOAD.read_text()))
    DOCUMENT.write_text(document)


if __name__ == "__main__":
    main()
