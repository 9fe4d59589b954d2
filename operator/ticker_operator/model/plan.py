"""What planning decides: what is wanted, where each instrument belongs, why it moves, which tables are written next.

*Wanted* is what subscriptions ask for, resolved and merged. *Placement* says which account each wanted instrument
belongs to in the end. *Roles* in the tables say how far the way there has been walked; `planning.moves` takes the
next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ticker_crds import AssignedInstrument, AssignmentTable, Encoding
from ticker_operator.model.accounts import Refusal

Identity: TypeAlias = tuple[str, str, str]  # (exchange, tradingsymbol, expiry): what a contract is tomorrow too
ChainKey: TypeAlias = tuple[str, str, int, str]  # exchange, underlying, underlying token, expiry of options
References: TypeAlias = Mapping[ChainKey, tuple[AssignedInstrument, ...]]  # what their options are priced on
Placement: TypeAlias = Mapping[Identity, str]  # → account name


class Strategy(StrEnum):
    """How instruments are spread over accounts."""

    ROUND_ROBIN = "round-robin"  # accounts[i % n] at first, afterwards only what must move moves
    FULL = "full"  # accounts[i % n] recomputed from nothing in every pass: the original rule, for comparison


# -- resolution ---------------------------------------------------------------------------------------------------


class UnresolvedReason(StrEnum):
    """Why a requested symbol is not streamed for a subscription before any account is looked at."""

    MALFORMED = "MalformedSymbol"
    EXCHANGE_UNKNOWN = "ExchangeUnknown"
    SYMBOL_UNKNOWN = "SymbolUnknown"
    EXPIRED = "Expired"
    NO_INSTRUMENT_DUMP = "NoInstrumentDump"
    CHANNEL_CONFLICT = "ChannelConflict"
    SELECTOR_CONFLICT = "SelectorConflict"
    TOKEN_CLASH = "TokenClash"  # noqa: S105 - an instrument's number, not a secret


@dataclass(frozen=True, slots=True)
class Unresolved:
    """One symbol that is not streamed for a subscription, and what to do about it."""

    symbol: str
    reason: UnresolvedReason
    message: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One instrument that somebody wants, merged over all subscriptions.

    Attributes
    ----------
    row
        As it stands in a table, in role ``owner``: richest mode, all channels, greeks if anybody wants them.
    priority
        The highest of its subscriptions.
    group
        Index into `Resolution.groups`: which accounts may stream it.
    """

    row: AssignedInstrument
    priority: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True)
class SubscriptionResolution:
    """What became of one subscription.

    Attributes
    ----------
    requested, resolved
        Symbols asked for, and those of them that are wanted now.
    unresolved
        Every other one, each with its reason, by symbol.
    refusal
        Why nothing of it can be served (selector, encoding, malformed); then `unresolved` is empty.
    wanted
        Positions in `Resolution.wanted` of what it gets.
    """

    name: str
    requested: int
    resolved: int = 0
    unresolved: tuple[Unresolved, ...] = ()
    refusal: Refusal | None = None
    wanted: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Resolution:
    """All that is wanted of the pool.

    Attributes
    ----------
    wanted
        Ordered by (exchange, tradingsymbol, expiry): the order of round robin.
    groups
        Account names (sorted) that may stream a group's instruments; group 0 is every account.
    subscriptions
        Oldest first.
    encodings
        Channel name → encoding, of every channel in use.
    version
        Of the catalog it was resolved with; empty without one.
    references
        What the wanted options are priced on, as rows without a channel; `None` without a catalog.
    """

    wanted: tuple[Wanted, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ((),)
    subscriptions: tuple[SubscriptionResolution, ...] = ()
    encodings: Mapping[str, Encoding] = field(default_factory=dict)
    version: str = ""
    references: References | None = None


# -- health of accounts -------------------------------------------------------------------------------------------


class Health(StrEnum):
    """Whether an account can stream, judged from its shard's report and signs of life."""

    ALIVE = "alive"
    STARTING = "starting"  # no sign of life yet, and not for long: may be given instruments
    SILENT = "silent"  # marked; a container restart is quicker than a move
    LOST = "lost"  # silent beyond moveAfter, or never came up: its instruments move at once
    DEAD = "dead"  # it says itself that its token is refused or its feed mute: its instruments move at once
    UNUSABLE = "unusable"  # cannot start at all: Secret, endpoint, malformed
    HELD = "held"  # would be lost or dead, but so would most: it is the observer that is broken, or the market
    STOPPED = "stopped"  # suspended, and its last process is gone

    @property
    def streams(self) -> bool:
        """Whether what it publishes is to be counted on: it keeps its instruments until another one has taken over."""
        return self in (Health.ALIVE, Health.STARTING, Health.SILENT, Health.HELD)


@dataclass(frozen=True, slots=True)
class Verdict:
    """An account's health.

    Attributes
    ----------
    health, message
        The judgement, and why in words.
    since_ns
        Since when it is so (operator's monotonic clock).
    hold_until_ns
        Until when it is given nothing new after it has been dead or lost; 0 = no hold-down.
    """

    health: Health
    message: str = ""
    since_ns: int = 0
    hold_until_ns: int = 0


# -- plan ---------------------------------------------------------------------------------------------------------


class MoveReason(StrEnum):
    """Why an instrument leaves an account."""

    ACCOUNT_DEAD = "AccountDead"
    ACCOUNT_LOST = "AccountLost"
    ACCOUNT_UNUSABLE = "AccountUnusable"
    ACCOUNT_DRAINING = "AccountDraining"
    ACCOUNT_SUSPENDED = "AccountSuspended"
    ACCOUNT_DELETED = "AccountDeleted"
    SELECTOR = "SelectorChanged"
    CAPACITY = "CapacityReduced"
    DISPLACED = "Displaced"  # something of a higher priority needed the place
    BALANCE = "Balance"
    RECOMPUTED = "Recomputed"  # strategy `full`


@dataclass(frozen=True, slots=True)
class Move:
    """One instrument that is to belong to another account from now on, and why."""

    symbol: str
    origin: str
    destination: str
    reason: MoveReason


class UnassignedReason(StrEnum):
    """Why a resolved instrument has no account that streams it."""

    NO_ACCOUNT = "NoAccount"  # no account can be used at all
    NO_MATCHING_ACCOUNT = "NoMatchingAccount"  # none that its accountSelector allows
    CAPACITY_EXCEEDED = "CapacityExceeded"
    TOO_MANY_CHANNELS = "TooManyChannels"
    STRANDED = "Stranded"  # its account cannot stream and nobody else has room; it stays there
    WAITING_FOR_ROOM = "WaitingForRoom"  # placed, but what leaves that account still takes its place


@dataclass(frozen=True, slots=True)
class Unassigned:
    """One wanted instrument that nobody streams, and why. `account` is where it stays, if anywhere."""

    symbol: str
    reason: UnassignedReason
    message: str
    account: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything belongs.

    Attributes
    ----------
    placement
        Identity → account, of everything that has one (stranded instruments included).
    moves
        Decided in this pass: what belonged elsewhere before.
    unassigned
        What nobody streams, by symbol.
    balance_left
        Moves that balance would still like, beyond what this pass was allowed.
    """

    placement: Placement = field(default_factory=dict, repr=False)
    moves: tuple[Move, ...] = ()
    unassigned: tuple[Unassigned, ...] = ()
    balance_left: int = 0

    def __str__(self) -> str:
        lines = [f"{len(self.placement):,} placed, {len(self.moves):,} to move, {len(self.unassigned):,} unassigned"]
        lines += [f"  {move.symbol}: {move.origin} → {move.destination} ({move.reason})" for move in self.moves]
        lines += [f"  {entry.symbol}: {entry.reason}: {entry.message}" for entry in self.unassigned]
        return "\n".join(lines)


class Drain(StrEnum):
    """How far an account that is to give everything away has come."""

    NOT_DRAINING = "not-draining"
    DRAINING = "draining"
    STUCK = "stuck"  # what is left has nowhere to go (a deleted account goes on trying until its deadline)
    DRAINED = "drained"
    DEADLINE = "deadline"  # its time is over (deletion only)

    @property
    def may_stop(self) -> bool:
        """Whether its processes may be stopped now."""
        return self in (Drain.STUCK, Drain.DRAINED, Drain.DEADLINE)


# -- tables -------------------------------------------------------------------------------------------------------


class Step(StrEnum):
    """What one row of one table write does; the rows of the move table (docs/assignment.md)."""

    ADD = "add"  # nobody had it: owner at once
    UPDATE = "update"  # mode, channels, token, …: same role
    ANNOUNCE = "announce"  # owner elsewhere: incoming here
    SETTLE = "settle"  # incoming confirmed: publish beside the old owner
    TAKE_OVER = "take-over"  # the old owner cannot publish: settling here without waiting
    RETIRE = "retire"  # the new owner publishes: outgoing here
    FINISH = "finish"  # the old owner has stopped for certain: owner here (rewrites the last value)
    REMOVE = "remove"
    REFERENCE = "reference"  # an underlying, streamed here for pricing alone, comes, changes or goes
    RETURN = "return"  # it comes back midway: publish again


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One table to write, guarded by the version it was decided from (`None`: there must be none yet)."""

    table: AssignmentTable
    expected: str | None
    steps: Mapping[Step, int] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """For a log line: ``revision 7: 12 add, 3 retire``."""
        steps = ", ".join(f"{count:,} {step}" for step, count in sorted(self.steps.items()))
        return f"revision {self.table.revision}: {steps or 'no rows'}"


@dataclass(frozen=True, slots=True)
class TablePlan:
    """The writes that are due now. They do not depend on one another: any may fail or come late.

    Attributes
    ----------
    writes
        By account.
    waiting
        Instruments placed at an account that has no room for them yet.
    moving
        Instruments on their way: in more than one table, or not yet `owner`.
    """

    writes: tuple[TableWrite, ...] = ()
    waiting: tuple[Unassigned, ...] = ()
    moving: int = 0
