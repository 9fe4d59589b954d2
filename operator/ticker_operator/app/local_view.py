"""What a person watches while a pool runs on one machine: a live table on a terminal, plain lines otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

LINE_EVERY_S: Final = 5.0
REFRESH_S: Final = 0.5
RATE_OVER_S: Final = 2.0


@dataclass(slots=True)
class _Rate:
    """Ticks a second over the last whole interval; reports come once a second, so less would show noise."""

    since_s: float
    before: int
    rate: float = 0.0

    def at(self, now_s: float, published: int) -> float:
        if now_s - self.since_s >= RATE_OVER_S:
            self.rate = max(0, published - self.before) / (now_s - self.since_s)
            self.since_s, self.before = now_s, published
        return self.rate


@dataclass(slots=True)
class LiveView:
    """Shows the shards; on a terminal it redraws, elsewhere it prints a line a shard now and then."""

    console: Console
    _live: Live | None = None
    _line_at: float = 0.0
    _rates: dict[str, _Rate] = field(default_factory=dict)
    _told: tuple[str, ...] = ()

    def start(self) -> None:
        """Take the terminal, if it is one."""
        if self.console.is_terminal:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.start()

    def stop(self, notes: tuple[str, ...]) -> None:
        """Give it back; what is still wrong has been said then."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        else:
            self._tell(notes)

    def show(self, shards: Mapping[str, Mapping[str, Any]], *, notes: tuple[str, ...], now_s: float) -> None:
        """Draw the shards as they are; `shards` by account: status, assigned, report. `notes`: what is wrong."""
        rows = [self._row(account, shard, now_s) for account, shard in sorted(shards.items())]
        if self._live is not None:
            self._live.update(_table(rows, notes))
        elif now_s - self._line_at >= LINE_EVERY_S:
            first, self._line_at = not self._line_at, now_s
            for row in rows:
                self.console.print(
                    f"{row['account']}: {row['status']}, {row['confirmed']}/{row['assigned']} confirmed, "
                    f"{row['rate']} ticks/s, {row['published']} published, p99 {row['p99']} ms",
                    highlight=False,
                )
            if not first:  # at first the state folder still says what an earlier run found
                self._tell(notes)

    def _tell(self, notes: tuple[str, ...]) -> None:
        """Once, until it changes."""
        for note in notes:
            if note not in self._told:
                self.console.print(note, highlight=False, markup=False, soft_wrap=True)
        self._told = notes

    def _row(self, account: str, shard: Mapping[str, Any], now_s: float) -> dict[str, str]:
        report = shard["report"]
        published = int(report.get("ledger", {}).get("published", 0))
        rate = self._rates.setdefault(account, _Rate(now_s, published)).at(now_s, published)
        p99 = report.get("latency_ms", {}).get("p99")
        return {
            "account": account,
            "status": shard["reason"],
            "assigned": f"{shard['assigned']:,}",
            "confirmed": f"{int(report.get('confirmed', 0)):,}",
            "sockets": str(report.get("sockets", "")),
            "rate": f"{rate:,.0f}",
            "published": f"{published:,}",
            "p99": "-" if p99 is None else f"{p99:.1f}",
            "gaps": str(report.get("gaps", 0)),
        }


def _table(rows: list[dict[str, str]], notes: tuple[str, ...]) -> Table:
    table = Table("account", "status", "assigned", "confirmed", "sockets", "ticks/s", "published", "p99 ms", "gaps")
    for row in rows:
        names = ("account", "status", "assigned", "confirmed", "sockets", "rate", "published", "p99", "gaps")
        table.add_row(*(row[name] for name in names))
    if notes:
        table.caption = Text("\n".join(notes))
    return table
