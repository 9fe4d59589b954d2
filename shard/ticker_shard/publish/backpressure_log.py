"""One line in the log for each change of the level of backpressure."""

from __future__ import annotations

import logging

from ticker_shard.publish.backpressure import BackpressureMonitor, Level
from ticker_shard.publish.limits import MS_NS

_log = logging.getLogger(__name__)


class LevelLog:
    """Remembers which level was logged last.

    Parameters
    ----------
    monitor
        The process's own.
    shard
        Its name, for the line.
    """

    def __init__(self, monitor: BackpressureMonitor, *, shard: str) -> None:
        self._monitor, self._shard, self._told = monitor, shard, Level.NORMAL

    def tell(self) -> bool:
        """Log the level if it is another one than before; whether it was."""
        level, before = self._monitor.level, self._told
        if level is before:
            return False
        self._told, load = level, self._monitor.load
        _log.log(
            logging.WARNING if level > before else logging.INFO,
            "backpressure",
            extra={
                "shard": self._shard,
                "level": level.word,
                "before": before.word,
                "fill": round(load.fill, 2),
                "delay_ms": load.delay_ns // MS_NS,
                "redis_away": load.away,
            },
        )
        return True
