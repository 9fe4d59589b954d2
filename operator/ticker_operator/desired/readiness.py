"""Whether a shard streams, and why not: a list of checks, the first violation wins.

Each check is safe alone and its message fits both lists it is shown in (TickerShard and KiteAccount). What the shard
says of itself is passed on in its own words, but only while it shows signs of life: what a silent shard said last is
not known to be so any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ticker_crds.account import AccountState
from ticker_crds.conditions import Finding, Truth
from ticker_crds.constants import Condition, Reason
from ticker_operator.model import AccountView, ConditionView, Health, ShardView, TableView, Verdict

_UNSEEN: Final = frozenset({Health.SILENT, Health.LOST, Health.HELD})


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """All that readiness is made of: one account, its shard, its table, its health."""

    account: AccountView
    shard: ShardView
    table: TableView
    verdict: Verdict

    @property
    def assigned(self) -> int:
        """Rows of its table."""
        return len(self.table.table.instruments) if self.table.table is not None else 0


Check: TypeAlias = Callable[[StreamFacts], tuple[Truth, Reason, str] | None]


def ready(facts: StreamFacts) -> Finding:
    """Ready of a shard and of its account."""
    for check in READY:
        violation = check(facts)
        if violation is not None:
            return Finding(Condition.READY, *violation)
    if not facts.assigned:
        return Finding(Condition.READY, "True", Reason.NOTHING_ASSIGNED, "ready; nothing is assigned to it")
    message = f"all {facts.assigned:,} instruments are confirmed and published"
    return Finding(Condition.READY, "True", Reason.STREAMING, message)


def suspended(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """Its owner stopped it."""
    if facts.account.state is not AccountState.SUSPENDED:
        return None
    return "False", Reason.SUSPENDED, "suspended by its spec: it streams nothing; set state: Active to use it again"


def unusable(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """It cannot start at all."""
    if facts.account.refusal is None or facts.verdict.health.streams:
        return None
    return "False", facts.account.refusal.reason, facts.account.refusal.message


def dead(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """The shard itself says that its token is refused, or that its feed is mute."""
    if facts.verdict.health is not Health.DEAD:
        return None
    report = facts.shard.report
    if report is not None and report.reported_mute and not report.reported_dead:
        return "False", Reason.FEED_MUTE, facts.verdict.message
    told = report.condition(Condition.CREDENTIALS_VALID) if report is not None else None
    return "False", known_reason(told, Reason.TOKEN_REJECTED), facts.verdict.message


def silent(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """No sign of life: whether it streams is not known."""
    if facts.shard.report is not None and facts.shard.report.reported_mute and facts.verdict.health is Health.HELD:
        return None  # it is seen well enough, and `not_streaming` passes on what it says
    if facts.verdict.health not in _UNSEEN or (facts.shard.report is None and facts.shard.signs.renewed_ns is None):
        return None
    return "Unknown", Reason.SHARD_SILENT, facts.verdict.message


def not_reported(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """It has not said anything yet."""
    report = facts.shard.report
    if report is not None and report.conditions:
        return None
    live = facts.shard.deployment
    told = f"; its Deployment: {live.progressing_message}" if live is not None and live.progressing_message else ""
    waited = f" ({facts.verdict.message})" if facts.verdict.health is Health.LOST else ""
    return "False", Reason.STARTING, f"no report from its shard yet{waited}{told}"


def not_connected(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """Not all of its sockets are open."""
    return _told_false(facts, Condition.CONNECTED)


def not_streaming(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """Something assigned is not confirmed, or not published."""
    return _told_false(facts, Condition.STREAMING)


def not_acknowledged(facts: StreamFacts) -> tuple[Truth, Reason, str] | None:
    """Its newest table is not in force."""
    table, report = facts.table.table, facts.shard.report
    if table is None or report is None or report.acknowledged.revision >= table.revision:
        return None
    return (
        "False",
        Reason.CONFIRMING,
        f"table revision {table.revision} is written, revision {report.acknowledged.revision} acknowledged",
    )


READY: Final[tuple[Check, ...]] = (
    suspended,
    unusable,
    dead,
    silent,
    not_reported,
    not_connected,
    not_streaming,
    not_acknowledged,
)


def _told_false(facts: StreamFacts, kind: Condition) -> tuple[Truth, Reason, str] | None:
    told = facts.shard.report.condition(kind) if facts.shard.report is not None else None
    if told is None or told.status == "True":
        return None
    return "Unknown" if told.status == "Unknown" else "False", known_reason(told), told.message


def known_reason(told: ConditionView | None, fallback: Reason = Reason.UNKNOWN) -> Reason:
    """The reason somebody wrote, if it is one of ours."""
    if told is None or told.reason not in Reason.__members__.values():
        return fallback
    return Reason(told.reason)
