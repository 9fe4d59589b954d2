"""From what the parts know to what the status says. Pure.

The status is what people and the operator read (slow, complete, the same in a cluster and in a folder); the vitals are
what a program on the same machine reads beside it (fast, numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ticker_crds.constants import Reason
from ticker_shard.assignment import (
    Acknowledged,
    Evidence,
    Fault,
    KnownStatus,
    NotYet,
    ShardFacts,
    acknowledge,
    carry_on,
    conditions,
)
from ticker_shard.feed import FeedStatus, SessionState
from ticker_shard.publish.fence import CONFIGURATION, LOCAL, TroubleKind
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.standing import Holdings
from ticker_shard.ticks.instruments import InstrumentTable


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a report is made of, at one moment.

    Attributes
    ----------
    table
        In force; revision 0 before the first.
    table_fault
        Why the table that lies there is not the one in force.
    feed
        The sockets.
    stalled
        Instruments that are quiet on sockets that flow.
    credentials_given, credentials_fault, accepted
        A pair was read; why there is none that can be used; the broker took the one in force.
    redis_fault
        What is wrong with Redis.
    holdings, duties_revision, barriers_revision, epoch
        The publisher's part.
    balanced
        The ledger adds up.
    shedding
        Redis does not keep up at all.
    """

    account: str
    process: str
    table: InstrumentTable
    table_fault: Fault | None
    feed: FeedStatus
    stalled: int
    credentials_given: bool
    credentials_fault: Fault | None
    accepted: bool
    redis_fault: Fault | None
    holdings: Holdings
    duties_revision: int
    barriers_revision: int
    epoch: int | None
    balanced: bool
    shedding: bool = False


def sockets_wanted(feed: FeedStatus) -> int:
    """Sockets that carry instruments."""
    return sum(socket.wanted > 0 for socket in feed.sockets)


def sockets_open(feed: FeedStatus) -> int:
    """Those of them that are open."""
    return sum(socket.wanted > 0 and socket.state is SessionState.OPEN for socket in feed.sockets)


def mute_reported(feed: FeedStatus) -> bool:
    """Every socket that carries instruments, or did until they were taken from it for that, is reported or not open."""
    concerned = [socket for socket in feed.sockets if socket.wanted or socket.mute_reported]
    return any(socket.mute_reported for socket in concerned) and all(
        socket.mute_reported or socket.state is not SessionState.OPEN for socket in concerned
    )


def warm_sockets(feed: FeedStatus, table: InstrumentTable) -> list[bool]:
    """By socket: open, and everything on it confirmed or given up for silent; for nothing, no socket is needed."""
    return [table.revision > 0 and (socket.warm or not socket.wanted) for socket in feed.sockets]


def evidence_of(parts: Parts) -> Evidence:
    """What the acknowledgement looks at."""
    feed, table = parts.feed, parts.table
    # Asked every second, and nearly always there are none: then 9,000 names would be made for nothing.
    named = [row for row in table.instruments if row is not None] if feed.unconfirmed else []
    roles = {row.token: (row.symbol, row.role) for row in named}
    silent = [roles[token] for token in feed.unconfirmed if token in roles]
    return Evidence(
        process=parts.process,
        revision=table.revision,
        digest=table.digest,
        connected=sockets_open(feed) == sockets_wanted(feed),
        waiting=max(0, table.assigned - feed.confirmed - len(silent)),
        silent=silent,
        duties_revision=parts.duties_revision,
        barriers_revision=parts.barriers_revision,
        holds_all=parts.holdings is Holdings.ALL,
    )


def facts_of(parts: Parts) -> ShardFacts:
    """What the conditions look at."""
    feed = parts.feed
    waiting = [socket for socket in feed.sockets if socket.wanted and socket.state is not SessionState.OPEN]
    return ShardFacts(
        account=parts.account,
        assigned=parts.table.assigned,
        confirmed=feed.confirmed,
        table_known=parts.table.revision > 0,
        table_fault=parts.table_fault,
        sockets_wanted=sockets_wanted(feed),
        sockets_open=sockets_open(feed),
        credentials=parts.credentials_fault,
        credentials_given=parts.credentials_given,
        rejected=feed.rejected_since_ns is not None,
        accepted=parts.accepted,
        rate_limited=any(socket.state is SessionState.RATE_LIMITED for socket in waiting),
        last_close=next((socket.last_close.value for socket in waiting if socket.last_close is not None), ""),
        sockets_accepted=feed.sockets_accepted,
        sockets_mute=sum(socket.mute_since_ns is not None for socket in feed.sockets),
        mute_reported=mute_reported(feed),
        stalled=parts.stalled,
        redis=parts.redis_fault,
        channels=len(parts.table.channels),
        holds_all=parts.holdings is Holdings.ALL,
        ledger_balanced=parts.balanced,
        shedding=parts.shedding,
    )


def status_of(
    parts: Parts, *, known: KnownStatus, generation: int, now: str
) -> tuple[dict[str, Any], Acknowledged | NotYet]:
    """The complete set of what this manager owns, and the acknowledgement (or what it waits for)."""
    answer = acknowledge(evidence_of(parts))
    status: dict[str, Any] = {
        "confirmed": parts.feed.confirmed,
        "sockets": f"{sockets_open(parts.feed)}/{sockets_wanted(parts.feed)}",
        "conditions": conditions(facts_of(parts), previous=known.conditions, generation=generation, now=now),
    }
    acknowledged = carry_on(answer, previous=known.acknowledged)
    if acknowledged is not None:
        status["acknowledged"] = dict(acknowledged)
    if parts.epoch is not None:
        status["epoch"] = parts.epoch
    return status, answer


def vitals_of(ledger: Ledger, latency: Latency, *, port: int, now_ns: int, rest: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers for a program on the same machine.

    Parameters
    ----------
    ledger, latency
        The publisher's books.
    port
        Of the probe server.
    now_ns
        Monotonic nanoseconds: a heartbeat that only moves while the process does.
    rest
        More members: phase, process id.
    """
    balance = ledger.balance()
    return {
        "ledger": {
            "received": balance.received,
            "published": balance.published,
            "conflated": balance.conflated,
            "rejected": balance.rejected,
            "dropped": balance.dropped,
            "withheld": balance.withheld,
            "superseded": balance.superseded,
            "in_flight": balance.in_flight,
            "repeated": ledger.repeated,
            "balanced": balance.balanced,
            "rejected_by_reason": {str(reason): count for reason, count in ledger.rejected.items()},
            "dropped_by_cause": {str(cause): count for cause, count in ledger.dropped.items()},
        },
        "latency_ms": {
            "p50": latency.quantile_ms(0.50),
            "p99": latency.quantile_ms(0.99),
            "count": latency.count,
            "buckets": latency.buckets_ms(),
        },
        "gaps": ledger.gaps,
        "port": port,
        "heartbeat_ns": now_ns,
        **rest,
    }


def fault_of_redis(trouble: str | None) -> Fault | None:
    """The publisher's trouble, which opens with its kind, as a fault with a reason."""
    if trouble is None:
        return None
    kind = trouble.partition(":")[0]
    refused = kind in CONFIGURATION or kind in LOCAL or kind == TroubleKind.NOT_WRITABLE
    return Fault(Reason.REDIS_REFUSED if refused else Reason.REDIS_UNREACHABLE, f"Redis: {trouble}")
