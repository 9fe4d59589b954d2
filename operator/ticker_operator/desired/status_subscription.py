"""A TickerSubscription's status: how many of its instruments were found, have an account, stream; and which do not.

Ready means that everything the subscription asks for streams. What does not is listed by symbol with its reason, the
first fifty of them; the counts tell of the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from ticker_crds.conditions import Finding, merge_conditions
from ticker_crds.constants import SYMBOL_CHARS_MAX, UNRESOLVED_LISTED_MAX, Condition, Kind, Reason
from ticker_operator.desired.delivery import Delivered, Delivery, judge_delivery
from ticker_operator.desired.events import condition_events
from ticker_operator.model import (
    Plan,
    PoolSnapshot,
    Resolution,
    StatusWrite,
    SubscriptionResolution,
    SubscriptionView,
    TablePlan,
    Unassigned,
    UnassignedReason,
    Unresolved,
    UnresolvedReason,
)

MESSAGE_CHARS_MAX: Final = 512
_UNRESOLVED: Final[dict[UnresolvedReason, Reason]] = {
    UnresolvedReason.NO_INSTRUMENT_DUMP: Reason.NO_INSTRUMENT_DUMP,
    UnresolvedReason.CHANNEL_CONFLICT: Reason.CHANNEL_CONFLICT,
}
_UNASSIGNED: Final[dict[UnassignedReason, Reason]] = {
    UnassignedReason.NO_ACCOUNT: Reason.NO_ACCOUNT,
    UnassignedReason.NO_MATCHING_ACCOUNT: Reason.NO_ACCOUNT,
    UnassignedReason.CAPACITY_EXCEEDED: Reason.CAPACITY_EXCEEDED,
    UnassignedReason.TOO_MANY_CHANNELS: Reason.TOO_MANY_CHANNELS,
}


def subscription_status(
    subscription: SubscriptionView,
    *,
    snapshot: PoolSnapshot,
    resolution: Resolution,
    plan: Plan,
    tables: TablePlan,
    previous: Mapping[str, Any],
    delivery: Delivery | None = None,
) -> StatusWrite:
    """A TickerSubscription's status.

    Parameters
    ----------
    subscription
        Whose.
    snapshot, resolution, plan, tables
        Of this pass.
    previous
        Its status as it stands.
    delivery
        `judge_delivery` of this pass: made once for all subscriptions, because it looks at every instrument.
    """
    delivered = delivery or judge_delivery(snapshot, resolution=resolution, plan=plan, tables=tables)
    found = next(
        (entry for entry in resolution.subscriptions if entry.name == subscription.name),
        SubscriptionResolution(subscription.name, len(subscription.instruments)),
    )
    missing = [
        entry
        for position in found.wanted
        if (entry := delivered.missing.get(resolution.wanted[position].row.symbol)) is not None
    ]
    streaming = _streaming(found, delivered, subscription, previous)
    assigned = found.resolved - len(missing)
    findings = (
        _ready(subscription, found, missing, streaming, dump_fault=snapshot.dump_fault),
        _resolved(found, dump_fault=snapshot.dump_fault),
        _assigned(found, missing),
        _paused(subscription),
    )
    before = [entry for entry in previous.get("conditions") or () if isinstance(entry, Mapping)]
    conditions = merge_conditions(findings, previous=before, generation=subscription.generation, now=snapshot.now)
    status = {
        "observedGeneration": subscription.generation,
        "resolved": found.resolved,
        "assigned": assigned,
        "streaming": streaming,
        "unresolved": _listed(found.unresolved, missing),
        "conditions": conditions,
    }
    name, kind = subscription.name, Kind.SUBSCRIPTION
    events = condition_events(kind, name, previous=before, current=conditions)
    return StatusWrite(kind, name, subscription.uid, status, events)


def _streaming(
    found: SubscriptionResolution, delivery: Delivery, subscription: SubscriptionView, previous: Mapping[str, Any]
) -> int:
    counts = Counter(delivery.states[position] for position in found.wanted)
    sure, probable = counts[Delivered.YES], counts[Delivered.PROBABLY]
    unchanged = (
        previous.get("observedGeneration") == subscription.generation
        and previous.get("resolved") == found.resolved
        and previous.get("streaming") == found.resolved
    )
    return sure + probable if unchanged else sure


def _ready(
    subscription: SubscriptionView,
    found: SubscriptionResolution,
    missing: list[Unassigned],
    streaming: int,
    *,
    dump_fault: str,
) -> Finding:
    for violation in (_resolved(found, dump_fault=dump_fault), _assigned(found, missing)):
        if violation.status != "True":
            return Finding(Condition.READY, "False", violation.reason, violation.message)
    if streaming < found.resolved:
        message = f"{streaming:,} of {found.resolved:,} instruments stream; the others wait for their first packet"
        return Finding(Condition.READY, "False", Reason.CONFIRMING, message)
    return Finding(Condition.READY, "True", Reason.STREAMING, f"all {found.resolved:,} instruments stream")


def _resolved(found: SubscriptionResolution, *, dump_fault: str) -> Finding:
    kind = Condition.RESOLVED
    if found.refusal is not None:
        return Finding(kind, "False", found.refusal.reason, found.refusal.message)
    if not found.unresolved:
        if found.resolved < found.requested:
            message = f"{found.resolved:,} of {found.requested:,} symbols are taken up while it is paused"
            return Finding(kind, "False", Reason.PAUSED, message)
        return Finding(kind, "True", Reason.RESOLVED, f"all {found.resolved:,} symbols are known")
    causes = Counter(entry.reason for entry in found.unresolved)
    told = ", ".join(f"{count:,} {reason}" for reason, count in sorted(causes.items()))
    first = found.unresolved[0]
    message = (
        f"{len(found.unresolved):,} of {found.requested:,} symbols are not streamed ({told}); "
        f"the first: {first.symbol}: {first.message}"
    )
    if UnresolvedReason.NO_INSTRUMENT_DUMP in causes and dump_fault:
        message += f" ({dump_fault})"
    only = _UNRESOLVED.get(first.reason) if len(causes) == 1 else None
    partly = Reason.PARTLY_RESOLVED if found.resolved else Reason.NOT_RESOLVED
    return Finding(kind, "False", only or partly, message)


def _assigned(found: SubscriptionResolution, missing: list[Unassigned]) -> Finding:
    kind = Condition.ASSIGNED
    if not found.resolved:
        return Finding(kind, "False", Reason.NOT_RESOLVED, "there is nothing to assign")
    if not missing:
        return Finding(kind, "True", Reason.ASSIGNED, f"all {found.resolved:,} instruments have an account")
    causes = Counter(entry.reason for entry in missing)
    first = missing[0]
    message = (
        f"{len(missing):,} of {found.resolved:,} instruments have no account that streams them; "
        f"the first: {first.symbol}: {first.message}"
    )
    only = _UNASSIGNED.get(first.reason) if len(causes) == 1 else None
    return Finding(kind, "False", only or Reason.PARTLY_ASSIGNED, message)


def _paused(subscription: SubscriptionView) -> Finding:
    if subscription.paused:
        message = "annotated as paused: nothing is added or removed; remove the annotation to go on"
        return Finding(Condition.PAUSED, "True", Reason.PAUSED, message)
    return Finding(Condition.PAUSED, "False", Reason.NOT_PAUSED, "not paused")


def _listed(unresolved: tuple[Unresolved, ...], missing: list[Unassigned]) -> list[dict[str, str]]:
    """The first fifty of what is not streamed, by symbol."""
    every: list[Unresolved | Unassigned] = [*unresolved, *missing]
    entries = sorted(every, key=lambda entry: entry.symbol)[:UNRESOLVED_LISTED_MAX]
    return [
        {
            "symbol": entry.symbol[:SYMBOL_CHARS_MAX],
            "reason": entry.reason.value,
            "message": entry.message[:MESSAGE_CHARS_MAX],
        }
        for entry in entries
    ]
