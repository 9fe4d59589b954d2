"""From the lines of a process's log to the moments at which it noticed something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from tests.support.delivery.history import Sign
from tests.support.delivery.listening import wall_ns

NOTICED = ("socket closed", "no socket", "Redis cannot be used", "channels held changed", "credentials", "task")


def signs_of(lines: Iterable[Mapping[str, Any]], *, process: str, offset_ns: int) -> Iterator[Sign]:
    """The lines about trouble; `offset_ns` is wall clock minus monotonic clock."""
    for line in lines:
        if "time" in line and (line["level"] in ("warning", "error") or line["message"].startswith(NOTICED)):
            yield Sign(wall_ns(datetime.fromisoformat(line["time"])) - offset_ns, process, line["message"])
