"""Conditions as they stand in a status: built and merged without a clock. Pure.

A transition is a change of ``status`` alone; ``lastTransitionTime`` is carried on otherwise, so that a status is
written only when something other than a time changed. The list a manager applies holds its own types only: with
server-side apply, those of others stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ticker_crds.constants import CONDITION_MESSAGE_CHARS_MAX, Condition, Reason

Truth: TypeAlias = Literal["True", "False", "Unknown"]
Entry: TypeAlias = dict[str, Any]

_ELLIPSIS: Final = "…"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is so now, without any time."""

    type: Condition
    status: Truth
    reason: Reason
    message: str


def merge_conditions(
    findings: Iterable[Finding], *, previous: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[Entry]:
    """The entries of `findings` and of nothing else, in their order.

    Parameters
    ----------
    findings
        One per type; the caller's complete set.
    previous
        The entries as last written, by whomever: their transition times are carried on.
    generation
        ``metadata.generation`` of the object they speak about.
    now
        RFC 3339 time with seconds, used where the status changed.
    """
    before = {entry.get("type"): entry for entry in previous}
    made: dict[str, Entry] = {}
    for finding in findings:
        kind = finding.type.value
        assert kind not in made, f"two findings for condition {kind}"
        old = before.get(kind, {})
        since = old.get("lastTransitionTime") if old.get("status") == finding.status else None
        made[kind] = {
            "type": kind,
            "status": finding.status,
            "reason": finding.reason.value,
            "message": shorten(finding.message),
            "lastTransitionTime": since if isinstance(since, str) and since else now,
            "observedGeneration": generation,
        }
    return list(made.values())


def transitions(previous: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries of `current` whose status or reason is another than before: what deserves an event."""
    before = {entry.get("type"): (entry.get("status"), entry.get("reason")) for entry in previous}
    return [entry for entry in current if before.get(entry.get("type")) != (entry.get("status"), entry.get("reason"))]


def shorten(message: str) -> str:
    """`message`, cut to what the schema takes."""
    if len(message) <= CONDITION_MESSAGE_CHARS_MAX:
        return message
    return message[: CONDITION_MESSAGE_CHARS_MAX - 1] + _ELLIPSIS
