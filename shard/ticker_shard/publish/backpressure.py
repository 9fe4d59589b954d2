"""What gives way when ticks come faster than Redis takes them. Pure: no clock, no socket.

============  ==========================================  ========================================================
level         entered                                     what happens
============  ==========================================  ========================================================
``normal``                                                every tick leaves, in order
``conflate``  a queue is `fill_max` full, or nothing was  each queue keeps the newest row of each instrument;
              accepted for `conflate_ms`                  older ones are counted as conflated
``shed``      nothing was accepted for `shed_ms`, or      the same, and nothing is repeated for its own sake:
              Redis is known to be away                   options follow their underlying when it is over
============  ==========================================  ========================================================

Upwards at once, as far as is needed. Downwards one level at a time, and only after `calm_ms` in which not even *half*
of what leads to the level was seen: whatever moves between a half and the whole changes nothing.

Never given up, at any level: an instrument's newest value, its depth, a gap record, a beat, a rewrite after a doubt,
or the message in the channel's durable stream. The last costs a small part of a call, and whoever reads
it again after a loss would find the loss there too.

Memory is bounded without this: a queue above its ceiling conflates by itself (`batcher`). The monitor does so earlier
when waiting alone shows that Redis is behind, goes on with it until that is over, and makes it visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ticker_shard.publish.batcher import TickBatcher
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.limits import MS_NS

LOOK_NS: Final = 20 * MS_NS  # the hot path asks more often than it is worth


class Level(IntEnum):
    """How much gives way; higher is more."""

    NORMAL = 0
    CONFLATE = 1
    SHED = 2

    @property
    def word(self) -> str:
        """As logs, metrics and probes call it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class BackpressureSettings:
    """Thresholds.

    Attributes
    ----------
    fill_max
        A queue this full, as a fraction of its ceiling, conflates.
    conflate_ms, shed_ms
        Rows wait, and none was accepted for so long.
    calm_ms
        A level is left after so long with less than half of what leads to it.
    """

    fill_max: float = 0.8
    conflate_ms: int = 1_000
    shed_ms: int = 2_500
    calm_ms: int = 1_000

    def __post_init__(self) -> None:
        assert 0 < self.fill_max <= 1, self
        assert 0 < self.conflate_ms < self.shed_ms, self
        assert self.calm_ms > 0, self


@dataclass(frozen=True, slots=True)
class Load:
    """What is observed.

    Attributes
    ----------
    fill
        Of the fullest queue, as a fraction of its ceiling.
    delay_ns
        Since something was accepted, while rows wait; 0 when none do.
    away
        Redis is known to be away.
    """

    fill: float = 0.0
    delay_ns: int = 0
    away: bool = False


class BackpressureMonitor:
    """The level, from one observation to the next.

    Parameters
    ----------
    settings
        Thresholds.

    Attributes
    ----------
    level, since_ns
        Now, and since when.
    load
        As last observed.
    transitions
        How often one level went to another.
    """

    def __init__(self, settings: BackpressureSettings) -> None:
        self._settings = settings
        self.level = Level.NORMAL
        self.since_ns = 0
        self.load = Load()
        self.transitions: dict[tuple[Level, Level], int] = {}
        self._calm_since_ns: int | None = None

    def observe(self, load: Load, *, now_ns: int) -> Level:
        """Take in what is so now; the level it leads to."""
        self.load = load
        demanded = self._demanded(load, share=1.0)
        if demanded > self.level:
            self._go(demanded, now_ns=now_ns)
        elif self.level and self._demanded(load, share=0.5) < self.level:
            if self._calm_since_ns is None:
                self._calm_since_ns = now_ns
            if now_ns - self._calm_since_ns >= self._settings.calm_ms * MS_NS:
                self._go(Level(self.level - 1), now_ns=now_ns)
        else:
            self._calm_since_ns = None
        return self.level

    def _demanded(self, load: Load, *, share: float) -> Level:
        """The level that this load leads to if `share` of each threshold is enough."""
        settings = self._settings
        if load.away or load.delay_ns >= share * settings.shed_ms * MS_NS:
            return Level.SHED
        if load.fill >= share * settings.fill_max or load.delay_ns >= share * settings.conflate_ms * MS_NS:
            return Level.CONFLATE
        return Level.NORMAL

    def _go(self, level: Level, *, now_ns: int) -> None:
        self.transitions[self.level, level] = self.transitions.get((self.level, level), 0) + 1
        self.level, self.since_ns, self._calm_since_ns = level, now_ns, None


class Relief:
    """Observes one process's queues, and has them give way.

    Parameters
    ----------
    batcher, ledger
        The process's own.
    settings
        Thresholds.
    """

    def __init__(self, *, batcher: TickBatcher, ledger: Ledger, settings: BackpressureSettings) -> None:
        self.monitor = BackpressureMonitor(settings)
        self._batcher, self._ledger = batcher, ledger
        self._away = False
        self._progress_ns: int | None = None
        self._due_ns = 0

    @property
    def level(self) -> Level:
        """The level in force."""
        return self.monitor.level

    def progressed(self, *, now_ns: int) -> None:
        """Redis accepted something."""
        self._progress_ns = now_ns

    def redis_away(self, away: bool, *, now_ns: int) -> None:
        """Redis is known to be away, or no longer."""
        self._away = away
        self._look(now_ns)

    def look(self, *, now_ns: int) -> None:
        """Let time pass; cheap when it has not."""
        if now_ns >= self._due_ns:
            self._look(now_ns)

    def _look(self, now_ns: int) -> None:
        self._due_ns = now_ns + LOOK_NS
        if self._progress_ns is None or not self._ledger.in_flight():
            self._progress_ns = now_ns
        load = Load(fill=self._batcher.fill(), delay_ns=now_ns - self._progress_ns, away=self._away)
        before = self.level
        level = self.monitor.observe(load, now_ns=now_ns)
        if (level is Level.NORMAL) is not (before is Level.NORMAL):
            self._ledger.conflated += self._batcher.conflate(level is not Level.NORMAL)
