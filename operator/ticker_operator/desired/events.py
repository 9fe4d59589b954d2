"""Which transitions a person should hear of, from the conditions before and after. Pure.

An event repeats nothing that a condition already says for the second time: it is made only where a condition's status
or reason changed, and only for conditions that somebody would act upon or wait for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ticker_crds.conditions import transitions
from ticker_crds.constants import Condition, Kind, Reason
from ticker_operator.model import Event, Move, MoveReason

EVENTS_MAX: Final = 8  # of one object in one pass
_TOLD: Final = frozenset({
    Condition.READY, Condition.ROLLED_BACK, Condition.CAPACITY_EXCEEDED, Condition.PAUSED, Condition.DRAINING,
    Condition.RESOLVED, Condition.ASSIGNED, Condition.PROGRESSING,
})  # fmt: skip
_BAD: Final[dict[str, str]] = {
    Condition.READY: "False",
    Condition.ROLLED_BACK: "True",
    Condition.CAPACITY_EXCEEDED: "True",
    Condition.RESOLVED: "False",
    Condition.ASSIGNED: "False",
}
# Passing states of a start or a roll-out: the condition shows them, nobody needs to be told.
_QUIET: Final = frozenset({
    Reason.STARTING, Reason.CONFIRMING, Reason.STANDBY, Reason.CONNECTING, Reason.CURRENT, Reason.NOT_PAUSED,
    Reason.NOT_DRAINING, Reason.WITHIN_CAPACITY, Reason.WAITING_FOR_OTHER_SHARD, Reason.AVAILABLE,
})  # fmt: skip


def condition_events(
    kind: Kind, name: str, *, previous: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]
) -> tuple[Event, ...]:
    """Events for the transitions between two lists of conditions."""
    before = {entry.get("type"): entry for entry in previous}
    return tuple(_events(kind, name, before, transitions(previous, current)))[:EVENTS_MAX]


def _events(
    kind: Kind, name: str, before: Mapping[Any, Mapping[str, Any]], changed: Iterable[Mapping[str, Any]]
) -> Iterable[Event]:
    for entry in changed:
        condition, reason = entry["type"], Reason(entry["reason"])
        if condition not in _TOLD or reason in _QUIET:
            continue
        if condition == Condition.ROLLED_BACK and entry["status"] == "False":
            was = before.get(condition, {})
            if was.get("status") == "True":
                yield Event(kind, name, Reason.RESUMED, entry["message"])
            continue
        yield Event(kind, name, reason, entry["message"], warning=entry["status"] == _BAD.get(condition))


def move_events(account: str, moves: Iterable[Move]) -> tuple[Event, ...]:
    """One event per reason for what leaves `account` from now on."""
    leaving = [move for move in moves if move.origin == account]
    causes = Counter(move.reason for move in leaving)
    events = []
    for reason, count in sorted(causes.items()):
        heirs = sorted({move.destination for move in leaving if move.reason is reason})
        told = ", ".join(heirs[:5]) + (f" and {len(heirs) - 5} more" if len(heirs) > 5 else "")
        message = f"{count:,} instruments move to {told}: {reason}"
        events.append(Event(Kind.ACCOUNT, account, Reason.MOVED, message, warning=reason in _ALARMING))
    return tuple(events)


_ALARMING: Final = frozenset({MoveReason.ACCOUNT_DEAD, MoveReason.ACCOUNT_LOST, MoveReason.ACCOUNT_UNUSABLE})
