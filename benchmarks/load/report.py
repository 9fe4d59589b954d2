"""What a scenario found, what it is judged by, and the report in Markdown and JSON. Pure.

Rules hold in every scenario; where one cannot apply it is absent, and a broken one stands in the report in capitals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.measured import Paced
from benchmarks.results import shown

SHARES: Final = {"P50": 0.5, "P95": 0.95, "P99": 0.99, "P99.9": 0.999}
ERROR_RATE_MAX: Final = 0.001
P99_MS_MAX: Final = 100.0
BEHIND_S_TOLD: Final = 0.1


@dataclass(frozen=True)
class Rule:
    """What had to be true, and what was."""

    text: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Measured:
    """One scenario, or one part of it.

    Attributes
    ----------
    name, offered
        What was done; what was sent, in words.
    run
        Counted at both ends.
    shard, redis
        Processor, percent of a core.
    memory
        (seconds, MiB) of the shard, over time.
    rules
        What it is judged by.
    """

    name: str
    offered: str
    run: Paced
    shard: float
    redis: float
    memory: tuple[tuple[float, float], ...]
    rules: tuple[Rule, ...]

    @property
    def peak_mib(self) -> float:
        """The largest resident set seen."""
        return max((size for _, size in self.memory), default=math.nan)

    @property
    def holds(self) -> bool:
        """Every rule."""
        return all(rule.holds for rule in self.rules)

    def as_json(self) -> dict[str, Any]:
        """For ``build/load.json``."""
        run = self.run
        return {
            "name": self.name,
            "offered": self.offered,
            "sent": run.sent,
            "unsent": run.unsent * run.packets,
            "delivered": run.delivered,
            "books": dict(run.books),
            "missing_messages": run.missing,
            "backwards": run.backwards,
            "newest_arrived": run.newest_arrived,
            "instruments": run.instruments,
            "priced": run.priced,
            "error_rate": run.error_rate,
            "latency_ms": {name: _ms(run, share) for name, share in SHARES.items()},
            "sender_late_p99_ms": run.sender_late_us / 1e3,
            "sender_behind_s": run.sender_behind_s,
            "shard_cpu_percent": self.shard,
            "redis_cpu_percent": self.redis,
            "memory_peak_mib": self.peak_mib,
            "rules": [{"rule": rule.text, "found": rule.found, "holds": rule.holds} for rule in self.rules],
        }


def steady_rules(run: Paced) -> tuple[Rule, ...]:
    """What holds whenever nothing is broken on purpose."""
    p99_ms = _ms(run, 0.99)
    return (*whole_rules(run), Rule(f"P99 below {P99_MS_MAX:.0f} ms", f"{shown(p99_ms)} ms", p99_ms < P99_MS_MAX))


def whole_rules(run: Paced) -> tuple[Rule, ...]:
    """What holds at any rate, as long as nothing is broken on purpose."""
    return (
        *honest_rules(run),
        Rule(f"error rate below {ERROR_RATE_MAX:.1%}", f"{run.error_rate:.3%}", run.error_rate < ERROR_RATE_MAX),
        Rule("no message number missing at the subscriber", str(run.missing), not run.missing),
    )


def honest_rules(run: Paced) -> tuple[Rule, ...]:
    """What holds always, whatever is broken on purpose."""
    arrived = f"{run.newest_arrived:,} of {run.instruments:,} instruments"
    return (
        Rule("ledger balances", "yes" if run.balanced else "no", run.balanced),
        Rule("the newest value of every instrument arrives", arrived, run.newest_arrived == run.instruments),
        Rule("no older value after a newer one", f"{run.backwards} rows", not run.backwards),
    )


def at_most_rule(text: str, value: float, limit: float, unit: str) -> Rule:
    """A number that must not be larger."""
    return Rule(f"{text} at most {limit:g} {unit}", f"{shown(value)} {unit}", value <= limit)


def markdown(measured: Sequence[Measured], about: dict[str, Any], *, seed: int, seconds: float) -> str:
    """The report a person reads."""
    missed = [
        f"{one.name}: {rule.text} (found: {rule.found})" for one in measured for rule in one.rules if not rule.holds
    ]
    lines = [
        "# Load report",
        "",
        f"{about['processor']}, {about['memory_gib']} GiB, {about['platform']}, Python {about['python']}, "
        f"{about['redis_server']}; {_versions(about)}; commit {about['commit']}, seed {seed}, {seconds:,.0f} s in all.",
        "",
        "Open loop: frames are due on a schedule and latency counts from it, at the subscriber, for the last row of "
        "each frame. Counts are the subscriber's; *conflated* are ticks that a newer one of their instrument overtook.",
        "",
        f"**{'Every rule holds.' if not missed else f'{len(missed)} rules MISSED.'}**",
        *(f"* MISSED: {text}" for text in missed),
        "",
        *_table(
            ("scenario", "offered", "sent", "delivered", "conflated", *(f"{name} ms" for name in SHARES), "errors",
             "shard %", "Redis %", "peak MiB"),
            (_row(one) for one in measured),
        ),
        "",
    ]  # fmt: skip
    for one in measured:
        lines += [f"## {one.name}", "", *_table(("rule", "found", ""), (_verdict(rule) for rule in one.rules)), ""]
        lines += [f"Books of the shard: {_books(one.run)}", ""]
    return "\n".join(lines)


def _versions(about: dict[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in about["packages"].items() if version)


def _row(one: Measured) -> tuple[str, ...]:
    run = one.run
    return (
        one.name,
        one.offered,
        f"{run.sent:,}",
        f"{run.delivered:,}",
        f"{run.conflated:,}",
        *(shown(_ms(run, share)) for share in SHARES.values()),
        f"{run.error_rate:.3%}",
        shown(one.shard),
        shown(one.redis),
        shown(one.peak_mib),
    )


def _verdict(rule: Rule) -> tuple[str, ...]:
    return rule.text, rule.found, "holds" if rule.holds else "**MISSED**"


def _books(run: Paced) -> str:
    unsent = f"; {run.unsent * run.packets:,} ticks found nobody connected" if run.unsent else ""
    behind = f"; the broker was up to {run.sender_behind_s:.1f} s late" if run.sender_behind_s >= BEHIND_S_TOLD else ""
    missing = f"; {run.missing:,} message numbers never reached the subscriber" if run.missing else ""
    return ", ".join(f"{term} {count:,}" for term, count in run.books.items()) + unsent + behind + missing


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _ms(run: Paced, share: float) -> float:
    return run.percentile_us(share) / 1e3
