"""``python -m tests.support.chaos``: one run, its last line one JSON object; exit code 1 when a promise was broken.

Environment: ``CHAOS_SECONDS`` (600), ``CHAOS_SEED`` (drawn and printed).
"""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.chaos.report import write_matrix
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


def main() -> int:
    """Run, judge, write the matrix, print the object."""
    seconds, seed = wanted(os.environ)
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        summary = chaos(Path(folder), seed=seed, seconds=seconds, say=lambda text: print(text, flush=True))
    if summary["ok"] and seconds >= WRITTEN_FROM_S:
        write_matrix(DOCUMENT, summary)
    print(json.dumps(summary), flush=True)
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
