"""What a status says and when it is written. Pure.

A status is written at once when something that a person or the operator waits for has changed (a condition, the
acknowledgement, the sockets, the epoch), at most every `COUNTS_S` when only counts have, and never when nothing has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ticker_shard.assignment.acknowledge import acted_on, revision_of
from ticker_shard.assignment.ports import KnownStatus

COUNTS_S: Final = 10.0
NS_PER_S: Final = 1_000_000_000
_TIMES: Final = frozenset({"lastTransitionTime"})


def known_status(status: Mapping[str, Any], *, generation: int) -> KnownStatus:
    """A status as somebody wrote it, read tolerantly."""
    acknowledged = status.get("acknowledged")
    acknowledged = acknowledged if isinstance(acknowledged, dict) else None
    applied = status.get("appliedRevision")
    listed = status.get("conditions")
    return KnownStatus(
        revision_floor=max(acted_on(acknowledged), revision_of({"revision": applied})),
        acknowledged=acknowledged,
        conditions=tuple(entry for entry in (listed if isinstance(listed, list) else ()) if isinstance(entry, dict)),
        generation=generation,
    )


@dataclass(slots=True)
class StatusPacer:
    """Whether a status is due."""

    _written: dict[str, Any] | None = field(default=None, init=False)
    _written_ns: int = field(default=0, init=False)

    def due(self, status: Mapping[str, Any], *, now_ns: int) -> bool:
        """Whether `status` is to be written now."""
        if self._written is None or _transitions(status) != _transitions(self._written):
            return True
        return _counts(status) != _counts(self._written) and now_ns - self._written_ns >= COUNTS_S * NS_PER_S

    def written(self, status: Mapping[str, Any], *, now_ns: int) -> None:
        """It was written."""
        self._written, self._written_ns = dict(status), now_ns

    def forget(self) -> None:
        """Somebody else may have written since: the next status is due whatever it says."""
        self._written = None


def _transitions(status: Mapping[str, Any]) -> dict[str, Any]:
    """What changes rarely and is waited for; messages hold counts and are not part of it."""
    return {
        "acknowledged": status.get("acknowledged"),
        "sockets": status.get("sockets"),
        "epoch": status.get("epoch"),
        "conditions": [
            (entry["type"], entry["status"], entry["reason"], entry["observedGeneration"])
            for entry in status.get("conditions", ())
        ],
    }


def _counts(status: Mapping[str, Any]) -> dict[str, Any]:
    """Everything but times."""
    conditions = [
        {key: value for key, value in entry.items() if key not in _TIMES} for entry in status.get("conditions", ())
    ]
    return {**status, "conditions": conditions}
