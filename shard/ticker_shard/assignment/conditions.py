"""The four conditions a shard reports, from plain facts. Pure.

``CredentialsValid``
    the Secret holds a pair and the broker took it.
``Connected``
    every socket is open.
``Streaming``
    everything assigned is confirmed, and this process publishes it.
``Degraded``
    something is wrong that does not show in the other three: Redis, the table, the ledger. ``True`` is the bad one.

Each is a list of checks; the first that has something to say wins, and each check is safe alone. A message says
what is wrong, with numbers, and what to do; it never holds a secret, a URL with one, or anything that changes from
second to second (the status would be written just as often). `lastTransitionTime` changes only with the status value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ticker_crds.conditions import Finding, Truth, merge_conditions
from ticker_crds.constants import Condition, Reason


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, with its reason and sentence."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """All that the conditions are made of.

    Attributes
    ----------
    account
        Its name, for the sentences.
    assigned, confirmed
        Instruments of the table in force, and those of them whose packet in the wanted mode came.
    table_known
        Whether any table was applied.
    table_fault
        Why the table that lies there is not the one in force, if so.
    sockets_wanted, sockets_open
        Sockets the assignment needs, and those that are open.
    credentials
        Fault of the Secret, if it has no usable pair.
    credentials_given
        A pair was read.
    rejected
        The broker refused the pair in force (403).
    accepted
        The broker took the pair in force at least once.
    rate_limited
        The broker answered 429 and we wait.
    last_close
        Why the last socket closed, in a few words.
    sockets_accepted
        How many sockets the broker let stand when it refused or displaced one, if it did.
    sockets_mute
        Open sockets that carry nothing but heartbeats although the market is open.
    mute_reported
        All of them are, and neither a new subscription nor a new connection helped.
    stalled
        Instruments that are quiet for much longer than is their way while their socket flows.
    redis
        Fault of Redis, if there is one.
    channels, holds_all
        Channels of the account, and whether this process publishes to all of them.
    ledger_balanced
        Whether received equals the sum of its parts.
    shedding
        Whether Redis keeps up so badly that newest values are all that leaves.
    """

    account: str
    assigned: int = 0
    confirmed: int = 0
    table_known: bool = False
    table_fault: Fault | None = None
    sockets_wanted: int = 1
    sockets_open: int = 0
    credentials: Fault | None = None
    credentials_given: bool = False
    rejected: bool = False
    accepted: bool = False
    rate_limited: bool = False
    last_close: str = ""
    sockets_accepted: int | None = None
    sockets_mute: int = 0
    mute_reported: bool = False
    stalled: int = 0
    redis: Fault | None = None
    channels: int = 0
    holds_all: bool = False
    ledger_balanced: bool = True
    shedding: bool = False


Answer: TypeAlias = tuple[Truth, Reason, str]
Check: TypeAlias = Callable[[ShardFacts], Answer | None]


def secret_unusable(facts: ShardFacts) -> Answer | None:
    """The Secret is missing, incomplete or not labelled."""
    if facts.credentials is None:
        return None
    return ("False", facts.credentials.reason, facts.credentials.message)


def token_rejected(facts: ShardFacts) -> Answer | None:
    """403: this pair will not do; only another one helps."""
    if not facts.rejected:
        return None
    return (
        "False",
        Reason.TOKEN_REJECTED,
        f"the broker refused the token of account {facts.account} (403): put today's access_token into its Secret",
    )


def token_accepted(facts: ShardFacts) -> Answer | None:
    """A socket was opened with this pair."""
    return ("True", Reason.ACCEPTED, "the broker accepted the token") if facts.accepted else None


def token_untried(facts: ShardFacts) -> Answer | None:
    """Nothing speaks for or against the pair."""
    if facts.credentials_given:
        return ("Unknown", Reason.UNKNOWN, "a token was read; no socket has been opened with it yet")
    return ("Unknown", Reason.UNKNOWN, "no token has been read yet")


def nothing_to_connect(facts: ShardFacts) -> Answer | None:
    """Nothing is assigned, so no socket is needed."""
    if facts.assigned or not facts.table_known:
        return None
    return ("True", Reason.NOTHING_ASSIGNED, "no instrument is assigned to this account")


def no_table(facts: ShardFacts) -> Answer | None:
    """No assignment was ever applied."""
    if facts.table_known:
        return None
    why = facts.table_fault.message if facts.table_fault else "the assignment table has not been read yet"
    return ("False", Reason.STARTING, why)


def all_open(facts: ShardFacts) -> Answer | None:
    """Every socket that is needed is open."""
    if facts.sockets_open < facts.sockets_wanted:
        return None
    return ("True", Reason.CONNECTED, f"{facts.sockets_open} of {facts.sockets_wanted} sockets open")


def waiting_for_slot(facts: ShardFacts) -> Answer | None:
    """429, or displaced by a socket of our own: wait long, or the broker only counts another attempt."""
    if not facts.rate_limited:
        return None
    stood = "" if facts.sockets_accepted is None else f" and let {facts.sockets_accepted} of ours stand"
    return (
        "False",
        Reason.RATE_LIMITED,
        f"{_sockets(facts)}; the broker has no place for one more (429){stood}: a key has three sockets, dead ones "
        "free up in minutes, and every program that uses the key counts",
    )


def lost(facts: ShardFacts) -> Answer | None:
    """There was a connection, and it closed."""
    if not facts.last_close:
        return None
    return ("False", Reason.DISCONNECTED, f"{_sockets(facts)}; last closed: {facts.last_close}")


def connecting(facts: ShardFacts) -> Answer | None:
    """On the way."""
    return ("False", Reason.CONNECTING, _sockets(facts))


def not_confirmed(facts: ShardFacts) -> Answer | None:
    """Some instruments have not sent their first packet."""
    missing = facts.assigned - facts.confirmed
    if missing <= 0:
        return None
    return (
        "False",
        Reason.CONFIRMING,
        f"{facts.confirmed:,} of {facts.assigned:,} instruments confirmed, {missing:,} have not sent a packet yet",
    )


def not_connected(facts: ShardFacts) -> Answer | None:
    """Without a socket nothing streams, whatever was confirmed before."""
    if facts.sockets_open > 0:
        return None
    return ("False", Reason.DISCONNECTED, f"{_sockets(facts)}: nothing arrives")


def feed_mute(facts: ShardFacts) -> Answer | None:
    """The sockets are open and worth nothing: other accounts shall stream the instruments."""
    if not facts.mute_reported:
        return None
    return (
        "False",
        Reason.FEED_MUTE,
        f"account {facts.account} gets heartbeats and no ticks although the market is open; neither subscribing again "
        "nor a new connection helped (on an exchange holiday set market_hours to never)",
    )


def redis_fault(facts: ShardFacts) -> Answer | None:
    """What arrives cannot be published."""
    if facts.redis is None:
        return None
    return ("False", facts.redis.reason, facts.redis.message)


def not_holder(facts: ShardFacts) -> Answer | None:
    """Another process publishes."""
    if facts.holds_all:
        return None
    return ("False", Reason.STANDBY, f"this process does not hold all of the account's {facts.channels} channels")


def streaming(facts: ShardFacts) -> Answer | None:
    """All is well."""
    return ("True", Reason.STREAMING, f"all {facts.assigned:,} instruments are confirmed and published")


def redis_degraded(facts: ShardFacts) -> Answer | None:
    """Redis does not take what we publish."""
    return None if facts.redis is None else ("True", facts.redis.reason, facts.redis.message)


def mute_degraded(facts: ShardFacts) -> Answer | None:
    """Some socket is mute."""
    if not facts.sockets_mute:
        return None
    return (
        "True",
        Reason.FEED_MUTE,
        f"{facts.sockets_mute} of {facts.sockets_wanted} sockets send heartbeats and no ticks, and the market is open",
    )


def stalled_degraded(facts: ShardFacts) -> Answer | None:
    """Some instruments are quiet on sockets that flow."""
    if not facts.stalled:
        return None
    return (
        "True",
        Reason.INSTRUMENTS_STALLED,
        f"{facts.stalled:,} of {facts.assigned:,} instruments have been quiet for much longer than is their way; "
        "they are being subscribed again",
    )


def table_degraded(facts: ShardFacts) -> Answer | None:
    """The table that lies there is not the one in force."""
    return None if facts.table_fault is None else ("True", facts.table_fault.reason, facts.table_fault.message)


def secret_degraded(facts: ShardFacts) -> Answer | None:
    """The socket still streams, but the next connection will fail."""
    if facts.credentials is None or not facts.sockets_open:
        return None
    message = f"streaming on the open socket, but the next connection will fail: {facts.credentials.message}"
    return ("True", facts.credentials.reason, message)


def ledger_degraded(facts: ShardFacts) -> Answer | None:
    """Rows are unaccounted for; ticks flow on."""
    if facts.ledger_balanced:
        return None
    return (
        "True",
        Reason.LEDGER_MISMATCH,
        "received rows do not equal published + conflated + rejected + dropped + withheld + superseded + in flight; "
        "compare tickershard_rows_total in /metrics and report it",
    )


def backpressure_degraded(facts: ShardFacts) -> Answer | None:
    """Redis answers, and much too slowly."""
    if not facts.shedding:
        return None
    return (
        "True",
        Reason.BACKPRESSURE,
        "Redis takes ticks much more slowly than they come: the newest value of each instrument is published, older "
        "ones are counted as conflated, and options are not priced again until it keeps up",
    )


def healthy(facts: ShardFacts) -> Answer | None:
    """Nothing to complain about."""
    return ("False", Reason.HEALTHY, "no fault known")


CHECKS: Final[dict[Condition, tuple[Check, ...]]] = {
    Condition.CONNECTED: (no_table, nothing_to_connect, all_open, secret_unusable, token_rejected, waiting_for_slot,
                          lost, connecting),
    Condition.CREDENTIALS_VALID: (secret_unusable, token_rejected, token_accepted, token_untried),
    Condition.STREAMING: (no_table, feed_mute, nothing_to_connect, redis_fault, not_connected, not_holder,
                          not_confirmed, streaming),
    Condition.DEGRADED: (redis_degraded, backpressure_degraded, mute_degraded, table_degraded, ledger_degraded,
                         secret_degraded, stalled_degraded, healthy),
}  # fmt: skip


def findings(facts: ShardFacts) -> list[Finding]:
    """The first finding of each condition's checks."""
    found = []
    for condition, checks in CHECKS.items():
        answers = (check(facts) for check in checks)
        truth, reason, message = next(answer for answer in answers if answer is not None)
        found.append(Finding(condition, truth, reason, message))
    return found


def conditions(
    facts: ShardFacts, *, previous: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """The complete list, as it stands in the status.

    Parameters
    ----------
    facts
        What is so.
    previous
        The conditions as last written (by whomever): transition times are carried on.
    generation
        ``metadata.generation`` of the TickerShard these conditions speak about.
    now
        RFC 3339 time, seconds.
    """
    return merge_conditions(findings(facts), previous=previous, generation=generation, now=now)


def _sockets(facts: ShardFacts) -> str:
    return f"{facts.sockets_open} of {facts.sockets_wanted} sockets open"
