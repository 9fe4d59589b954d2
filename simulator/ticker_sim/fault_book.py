"""Which faults are in force, whom they strike, and what is left of them. Pure.

The book reads no clock, and its chance is made from the seed. Faults that are over (their time is up, their count
used) leave it the next time it is asked anything.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ticker_sim.faults import MOMENTARY, Fault, FaultRefusedError, fault_json

FAULTS_MAX: Final = 256

F = TypeVar("F", bound=Fault)


@dataclass(slots=True)
class _Entry:
    id: int
    fault: Fault
    until_ns: int | None
    left: int | None
    sockets_before: int
    strikes: int = 0


class FaultBook:
    """The faults in force.

    Parameters
    ----------
    seed
        Of the chance that decides about `probability`.
    """

    def __init__(self, *, seed: int) -> None:
        self._chance = random.Random(f"faults/{seed}")  # noqa: S311 - repeatable on purpose
        self._entries: dict[int, _Entry] = {}
        self._last = 0

    def add(self, fault: Fault, *, now_ns: int, sockets_before: int) -> int:
        """Put a fault into force; answers its id.

        Parameters
        ----------
        sockets_before
            Highest number of a socket so far: faults may spare those that come later.
        """
        self._expire(now_ns)
        if len(self._entries) >= FAULTS_MAX:
            raise FaultRefusedError(f"{FAULTS_MAX} faults are in force; remove some first")
        self._last += 1
        until_ns = None if fault.for_ms is None else now_ns + fault.for_ms * 1_000_000
        if not isinstance(fault, MOMENTARY):
            self._entries[self._last] = _Entry(self._last, fault, until_ns, fault.count, sockets_before)
        return self._last

    def remove(self, fault_id: int | None = None) -> int:
        """Lift one fault, or all; answers how many were lifted."""
        if fault_id is None:
            lifted = len(self._entries)
            self._entries.clear()
            return lifted
        return 0 if self._entries.pop(fault_id, None) is None else 1

    def as_json(self, *, now_ns: int) -> list[dict[str, Any]]:
        """The faults in force with their ids, strikes so far and what is left."""
        self._expire(now_ns)
        return [
            {
                "id": entry.id,
                **fault_json(entry.fault),
                "strikes": entry.strikes,
                "left": entry.left,
                "left_ms": None if entry.until_ns is None else (entry.until_ns - now_ns) // 1_000_000,
            }
            for entry in self._entries.values()
        ]

    def in_force(self, kind: type[F], *, now_ns: int, api_key: str | None, socket: int | None = None) -> list[F]:
        """Every fault of this kind that concerns this key and socket; asking uses nothing up."""
        return [entry.fault for entry in self._matching(kind, now_ns, api_key, socket)]  # type: ignore[misc]

    def strike(self, kind: type[F], *, now_ns: int, api_key: str | None, socket: int | None = None) -> F | None:
        """The fault that strikes now, if one does: chance is asked and one of its `count` is used up."""
        for entry in self._matching(kind, now_ns, api_key, socket):
            if not self._strike_entry(entry):
                continue
            assert isinstance(entry.fault, kind)
            return entry.fault
        return None

    def strike_one(self, fault: Fault, *, now_ns: int) -> bool:
        """Whether this very fault, just seen in force, strikes now."""
        self._expire(now_ns)
        entry = next((entry for entry in self._entries.values() if entry.fault is fault), None)
        return entry is not None and self._strike_entry(entry)

    def struck(self, fault: Fault, sockets: list[int]) -> list[int]:
        """Which of the open `sockets` a momentary fault strikes."""
        chosen = [number for number in sockets if self._chance.random() < fault.probability]
        return chosen if fault.count is None else chosen[: fault.count]

    def _strike_entry(self, entry: _Entry) -> bool:
        if entry.fault.probability < 1.0 and self._chance.random() >= entry.fault.probability:
            return False
        entry.strikes += 1
        if entry.left is not None:
            entry.left -= 1
            if entry.left == 0:
                del self._entries[entry.id]
        return True

    def _matching(self, kind: type[Fault], now_ns: int, api_key: str | None, socket: int | None) -> list[_Entry]:
        if not self._entries:
            return []
        self._expire(now_ns)
        return [
            entry
            for entry in self._entries.values()
            if isinstance(entry.fault, kind)
            and entry.fault.api_key in (None, api_key)
            and entry.fault.socket in (None, socket)
            and (socket is None or getattr(entry.fault, "new_sockets", True) or socket <= entry.sockets_before)
        ]

    def _expire(self, now_ns: int) -> None:
        over = [entry.id for entry in self._entries.values() if entry.until_ns is not None and now_ns >= entry.until_ns]
        for fault_id in over:
            del self._entries[fault_id]
