"""``make load``: the scenarios one after another, ``build/load.md`` and ``build/load.json``.

``LOAD_SECONDS`` (default 60) scales them; the sustained one takes ten times as long. A broken rule is written down and
makes the exit code 1 only with ``--strict``; a scenario that could not run always does.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Final

import click

from benchmarks.load.report import Measured, markdown
from benchmarks.load.scenarios import Plan, scenarios
from benchmarks.machine import machine
from benchmarks.results import SEED
from ticker_crds import Encoding

NAMES: Final = ("baseline", "scale", "burst", "sustained", "storm")
OUTPUT: Final = Path("build")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--seconds",
    envvar="LOAD_SECONDS",
    show_envvar=True,
    type=click.FloatRange(min=1, max=3_600),
    default=60.0,
    show_default=True,
    help="Length of a scenario.",
)
@click.option("--encoding", type=click.Choice([it.value for it in Encoding]), default="msgpack", show_default=True)
@click.option("--only", "names", multiple=True, type=click.Choice(NAMES), help="Only this one; may be repeated.")
@click.option("--strict", is_flag=True, help="Exit code 1 when a rule is broken.")
def main(seconds: float, encoding: str, names: tuple[str, ...], strict: bool) -> None:
    """Run the scenarios and write the report."""
    about, started = machine(), time.monotonic()
    measured: list[Measured] = []
    failed: list[str] = []
    for name, run in scenarios(Plan(seconds, Encoding(encoding))):
        if names and name not in names:
            continue
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            measured += run()
        except Exception:  # one scenario that cannot run must not hide the others
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    took_s = time.monotonic() - started
    document = {
        "machine": about,
        "seed": SEED,
        "encoding": encoding,
        "seconds": round(took_s, 1),
        "failed": failed,
        "scenarios": [one.as_json() for one in measured],
    }
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "load.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    text = markdown(measured, about, seed=SEED, seconds=took_s)
    (OUTPUT / "load.md").write_text(text)
    print(text)
    if failed:
        print(f"could not run: {', '.join(failed)}", file=sys.stderr)
    sys.exit(1 if failed or (strict and not all(one.holds for one in measured)) else 0)


if __name__ == "__main__":
    main()
