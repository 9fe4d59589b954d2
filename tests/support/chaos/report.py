"""From a judged history to numbers: one JSON object, and the fault matrix of ``docs/reliability.md``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.support.delivery.accounts import moved_between
from tests.support.delivery.check import Judgement
from tests.support.delivery.history import SECOND_NS, Bounds, History
from tests.support.delivery.measure import Measured, middle, worst

Block = tuple[str, str]  # the lines between which a matrix is written
PROCESSES: Final[Block] = ("<!-- fault matrix: written by make chaos -->", "<!-- end of the fault matrix -->")
CLUSTER: Final[Block] = (
    "<!-- fault matrix of a cluster: written by make chaos-cluster -->",
    "<!-- end of the fault matrix of a cluster -->",
)
SETTLED_S, JUDGED_S = 90.0, 180.0  # a process's memory is judged from its 90th second on, if it lived for three minutes
GROWTH_MAX = 0.10  # of its memory, per hour
MIB = 1 << 20
Samples = Sequence[tuple[int, int]]  # (monotonic ns, resident bytes)
COLUMNS = (
    "median_detection_s", "worst_detection_s", "median_recovery_s", "worst_recovery_s", "worst_behind_s", "declared_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory:
    """One process: where it stood, and how fast it grew (median of all slopes between samples)."""

    pod: str
    seconds: float
    mib: float
    mib_per_hour: float

    @property
    def flat(self) -> bool:
        """Whether an hour would add less than `GROWTH_MAX`."""
        return self.mib_per_hour <= GROWTH_MAX * self.mib


def memory_of(pod: str, samples: Samples) -> Memory | None:
    """The growth of one process by Theil and Sen, which no single leap can move; `None`: it lived too short."""
    if not samples:
        return None
    first_ns = samples[0][0]
    lived_s = (samples[-1][0] - first_ns) / SECOND_NS
    late = [(at_ns, resident) for at_ns, resident in samples if at_ns - first_ns >= SETTLED_S * SECOND_NS]
    if lived_s < JUDGED_S:
        return None
    step = max(1, len(late) // 200)
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in combinations(late[::step], 2)]
    per_hour = median(slopes) * 3_600 * SECOND_NS / MIB
    return Memory(pod, round(lived_s, 1), round(median(resident for _, resident in late) / MIB, 1), round(per_hour, 2))


def ledger_of(history: History) -> dict[str, Any]:
    """The last look at every process, summed; `unbalanced` counts the processes that do not add up."""
    last = {books.process: books for books in history.books}
    terms = (
        "received",
        "published",
        "conflated",
        "rejected",
        "dropped",
        "withheld",
        "superseded",
        "in_flight",
        "repeated",
    )
    total: dict[str, Any] = {term: sum(getattr(books, term) for books in last.values()) for term in terms}
    return {
        **total,
        "processes": len(last),
        "unbalanced": sum(books.difference != 0 for books in last.values()),
    }


def summary_of(
    history: History,
    *,
    seed: int,
    bounds: Bounds,
    judged: Judgement,
    measured: Sequence[Measured],
    memory: Sequence[Memory],
    skipped: int,
) -> dict[str, Any]:
    """The run in one object: what `make chaos` prints last."""
    kinds = Counter(one.fault.kind for one in measured)
    by_kind: dict[str, list[Measured]] = defaultdict(list)
    for one in measured:
        by_kind[one.fault.kind].append(one)
    ledger = ledger_of(history)
    flat = all(one.flat for one in memory)
    return {
        "ok": not judged.violations and not ledger["unbalanced"] and flat,
        "seconds": round((history.end_ns - history.start_ns) / SECOND_NS, 1),
        "seed": seed,
        "faults": dict(sorted(kinds.items())),
        "skipped": skipped,
        "outcome": judged.outcome.value,
        "violations": dict(Counter(violation.promise.value for violation in judged.violations)),
        "excused": dict(Counter(violation.promise.value for violation in judged.excused)),
        "median_detection_s": {
            kind: _rounded(middle(one.detected_s for one in ones)) for kind, ones in by_kind.items()
        },
        "median_recovery_s": {
            kind: _rounded(middle(one.recovered_s for one in ones)) for kind, ones in by_kind.items()
        },
        "declared_s": {kind: _rounded(worst(one.declared_s for one in ones)) for kind, ones in by_kind.items()},
        "worst_detection_s": {kind: _rounded(worst(one.detected_s for one in ones)) for kind, ones in by_kind.items()},
        "worst_recovery_s": {kind: _rounded(worst(one.recovered_s for one in ones)) for kind, ones in by_kind.items()},
        "worst_behind_s": {kind: _rounded(worst(one.behind_s for one in ones)) for kind, ones in by_kind.items()},
        "bounds_s": {
            name.removesuffix("_ns"): value / SECOND_NS
            for name, value in asdict(bounds).items()
            if name.endswith("_ns")
        },
        "ledger": ledger,
        "messages": len(history.told),
        "rows": len(history.given),
        "gap_records": len(history.gaps),
        "moved": sum(len(moved_between(*pair)) for pair in pairwise(history.placements)),
        "waited_for_cpu_s": round(sum(one.waited_ns for one in history.starved) / SECOND_NS, 1),
        "blind_s": round(sum(one.end_ns - one.start_ns for one in history.blind) / SECOND_NS, 1),
        "memory": [asdict(one) for one in memory],
        "memory_flat": flat if memory else None,
    }


def matrix(summary: Mapping[str, Any]) -> str:
    """The fault matrix as a Markdown table, medians and worst values of the run."""
    lines = [
        f"Seed {summary['seed']}, {summary['seconds']:.0f} seconds, {sum(summary['faults'].values())} faults,"
        f" {summary['rows']:,} rows given out, {summary['gap_records']} gap records; violations:"
        f" {sum(summary['violations'].values())}. Outcome: {summary['outcome']}"
        f" (excused: {sum(summary['excused'].values())}; all processes of the path together waited"
        f" {summary['waited_for_cpu_s']:.0f} s for a CPU).",
        "",
        "| Fault | Times | Noticed after: median | most | Right again after its end: median | most | Longest behind |"
        " Declared, at most |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, times in summary["faults"].items():
        cells = (summary[name][kind] for name in COLUMNS)
        lines.append(f"| {kind.replace('_', ' ')} | {times} | " + " | ".join(map(_cell, cells)) + " |")
    for one in summary["memory"]:
        lines += [
            "",
            f"Memory of {one['pod']} ({one['seconds']:.0f} s): {one['mib']} MiB, {one['mib_per_hour']:+} MiB/h.",
        ]
    return "\n".join(lines)


def write_matrix(document: Path, summary: Mapping[str, Any], *, block: Block) -> None:
    """Put the table between its markers."""
    begin, end = block
    text = document.read_text()
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{document}: no markers for the fault matrix")
    document.write_text(f"{head}{begin}\n\n{matrix(summary)}\n\n{end}{tail}")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
