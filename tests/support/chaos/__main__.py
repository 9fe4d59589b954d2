"""``python -m tests.support.chaos [cluster]``: one run, its last line one JSON object; exit code 1: a broken promise.

Environment: ``CHAOS_SECONDS`` (600), ``CHAOS_SEED`` (drawn and printed). The logs of a broken run are kept.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.chaos.cluster import chaos_on_cluster
from tests.support.chaos.report import CLUSTER, PROCESSES, write_matrix
from tests.support.chaos.run import chaos

SECONDS = 600.0
SECONDS_MIN = 20.0
DOCUMENT = Path(__file__).parents[3] / "docs" / "reliability.md"
WRITTEN_FROM_S = 300.0  # shorter runs see too little to be published


def wanted(environment: Mapping[str, str]) -> tuple[float, int]:
    """How long, and the seed. A run without time for a fault would pass for having seen none."""
    seconds, seed = environment.get("CHAOS_SECONDS") or SECONDS, environment.get("CHAOS_SEED")
    try:
        length, chosen = float(seconds), int(seed) if seed else secrets.randbelow(1_000_000)
    except ValueError:
        raise SystemExit(f"CHAOS_SECONDS ({seconds}) must be a number, CHAOS_SEED ({seed}) an integer") from None
    if not SECONDS_MIN <= length < math.inf:
        raise SystemExit(f"CHAOS_SECONDS ({seconds}) must be at least {SECONDS_MIN:g}")
    return length, chosen


def main(arguments: Sequence[str]) -> int:
    """Run, judge, write the matrix, print the object."""
    match list(arguments):
        case []:
            run, block = chaos, PROCESSES
        case ["cluster"]:
            run, block = chaos_on_cluster, CLUSTER
        case _:
            print("usage: python -m tests.support.chaos [cluster]", file=sys.stderr)
            return 2
    seconds, seed = wanted(os.environ)
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    summary = run(folder, seed=seed, seconds=seconds, say=lambda text: print(text, flush=True))
    if not summary["ok"]:
        print(f"logs are kept in {folder}")
    else:
        shutil.rmtree(folder)
        if seconds >= WRITTEN_FROM_S:
            write_matrix(DOCUMENT, summary, block=block)
    print(json.dumps(summary), flush=True)
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
