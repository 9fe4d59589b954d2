"""How long to wait after a failure. Pure: chance and time come from the caller.

Exponential with *full* jitter (anything between nothing and the step): shards that failed together for one reason
must not come back together. A key is forgiven by a success, or when what it is about has changed (its generation):
a person who repaired something does not wait for yesterday's back-off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FIRST_S: Final = 0.5
LONGEST_S: Final = 60.0
KEYS_MAX: Final = 4_096  # accounts plus a few; far above any pool, so that a leak shows in a test and not in memory

assert FIRST_S < LONGEST_S


def delay_s(failures: int, *, chance: float, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> float:
    """The wait after the `failures`-th failure in a row (1 = the first).

    Parameters
    ----------
    failures
        At least 1.
    chance
        Uniform in [0, 1).
    first_s, longest_s
        The first step, and the longest.
    """
    assert failures >= 1, failures
    assert 0.0 <= chance < 1.0, chance
    step = min(longest_s, first_s * 2.0 ** min(failures - 1, 32))
    # Never quite nothing: a tenth of the first step keeps a failure from turning into a busy loop.
    return max(first_s / 10, step * chance)


@dataclass(slots=True)
class _Record:
    failures: int
    not_before: float
    generation: str


@dataclass(slots=True)
class BackoffBook:
    """Per key: how often it failed in a row, and when it may be tried again."""

    _records: dict[str, _Record] = field(default_factory=dict)

    def may_try(self, key: str, *, now: float, generation: str = "") -> bool:
        """Whether the key's wait is over, or void because `generation` is another one."""
        record = self._records.get(key)
        return record is None or now >= record.not_before or record.generation != generation

    def failed(self, key: str, *, now: float, chance: float, generation: str = "") -> float:
        """Count a failure; the wait that follows from it, in seconds."""
        record = self._records.get(key)
        failures = 1 if record is None or record.generation != generation else record.failures + 1
        wait_s = delay_s(failures, chance=chance)
        if record is None and len(self._records) >= KEYS_MAX:
            del self._records[next(iter(self._records))]
        self._records[key] = _Record(failures, now + wait_s, generation)
        return wait_s

    def succeeded(self, key: str) -> None:
        """Forgive the key."""
        self._records.pop(key, None)

    def keep_only(self, keys: frozenset[str]) -> None:
        """Forget keys of what no longer exists."""
        for key in self._records.keys() - keys:
            del self._records[key]

    def failures(self, key: str) -> int:
        """Failures in a row."""
        record = self._records.get(key)
        return 0 if record is None else record.failures

    @property
    def waiting(self) -> int:
        """Number of keys with a failure that no success followed."""
        return len(self._records)
