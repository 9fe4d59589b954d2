"""``python -m tests.support.chaos``: one run, its last line one JSON object; exit code 1 when a promise was broken.

Environment: ``CHAOS_SECONDS`` (600), ``CHAOS_SEED`` (drawn and printed).
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path

from tests.support.chaos.report import write_matrix
from tests.support.chaos.run import chaos

SECONDS = 600.0
DOCUMENT = Path(__file__).parents[3] / "docs" / "reliability.md"
WRITTEN_FROM_S = 300.0  # shorter runs see too little to be published


def main() -> int:
    """Run, judge, write the matrix, print the object."""
    seconds = float(os.environ.get("CHAOS_SECONDS", SECONDS))
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        summary = chaos(Path(folder), seed=seed, seconds=seconds, say=lambda text: print(text, flush=True))
    if summary["ok"] and seconds >= WRITTEN_FROM_S:
        write_matrix(DOCUMENT, summary)
    print(json.dumps(summary), flush=True)
    return 0 if summary["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
