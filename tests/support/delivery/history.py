"""What a run left behind, as frozen values. Times are monotonic nanoseconds of one machine.

*Version* counts the changes of an instrument's market row, *digest* is 48 bits of what a packet's body said: the tape
ties one to the other (docs/simulator.md, the tape). A *shard* is named as in messages: ``<namespace>.<account>``, and
``<namespace>.<account>/<k>`` for the lane of a further socket; faults, gaps and books are the account's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MARKET: Final = 0  # the socket number of a change of the market
CREDIT_MAX: Final = 0.5  # of any stretch of time: the most that a starving machine is allowed for
SECOND_NS: Final = 1_000_000_000


def account_of(shard: str) -> str:
    """Whose lane it is."""
    return shard.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument of the run; `full`: its mode shows every change of its row."""

    token: int
    symbol: str
    channels: tuple[str, ...]
    full: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """One entry of the tape: a packet that left, or (socket 0) a change of the market.

    Doubtful packets were touched by a fault: they may arrive or not, and the version that they carried is not owed.
    """

    at_ns: int
    socket: int
    token: int
    version: int
    digest: int
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """One message as it came over a channel, in the order of arrival; `rows` are (token, digest)."""

    at_ns: int
    channel: str
    shard: str
    process: str
    epoch: int
    seq: int
    rows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Given:
    """One row that the client library gave out; `exchange_s` is 0 where the packet carries none."""

    at_ns: int
    channel: str
    shard: str
    token: int
    digest: int
    exchange_s: int
    received_ns: int
    snapshot: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """One last value as it lay in the hash."""

    at_ns: int
    channel: str
    token: int
    digest: int


@dataclass(frozen=True, slots=True)
class GapTold:
    """One gap record; `symbols` may be cut, `instruments` is the full count."""

    channel: str
    shard: str
    symbols: frozenset[str]
    instruments: int
    start_ns: int
    end_ns: int
    cause: str

    def covers(self, instrument: Instrument) -> bool:
        """Whether it speaks of this instrument; a record with a cut list speaks of the whole channel."""
        return instrument.symbol in self.symbols or self.instruments > len(self.symbols)


@dataclass(frozen=True, slots=True)
class Interval:
    """From, to."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Starved:
    """From, to, and how much of it the processes of the path waited for a CPU (`starving`)."""

    start_ns: int
    end_ns: int
    waited_ns: int


def ran_ns(interval: Interval, starved: Iterable[Starved], *, credit: float = CREDIT_MAX) -> int:
    """An interval's length without what the machine kept from the processes in it, up to `credit` of any stretch."""
    waited = 0.0
    for each in starved:
        shared = min(each.end_ns, interval.end_ns) - max(each.start_ns, interval.start_ns)
        if shared > 0:
            waited += shared * min(each.waited_ns / max(each.end_ns - each.start_ns, 1), credit)
    return max(0, interval.end_ns - interval.start_ns - int(waited))


@dataclass(frozen=True, slots=True)
class RecordSeen:
    """One look at a fence record; a missing one has epoch 0, one whose account owns nothing there need not move."""

    at_ns: int
    channel: str
    shard: str
    epoch: int
    holder: str
    n: int
    owns: bool = True


@dataclass(frozen=True, slots=True)
class Books:
    """One look at a process's ledger; `final`: the market stood still and nothing was on its way any more."""

    at_ns: int
    shard: str
    process: str
    received: int
    published: int
    conflated: int
    rejected: int
    dropped: int
    withheld: int
    superseded: int
    in_flight: int
    repeated: int = 0
    messages: int = 0
    lost_messages: int = 0
    unanswered: int = 0
    final: bool = False

    @property
    def difference(self) -> int:
        """Received minus everything else, summed anew."""
        return self.received - (
            self.published
            + self.conflated
            + self.rejected
            + self.dropped
            + self.withheld
            + self.superseded
            + self.in_flight
        )


class Target(StrEnum):
    """What a fault strikes."""

    FEED = "feed"
    PROCESS = "process"
    REDIS = "redis"
    MARKET = "market"
    CONTROL = "control plane"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault that was in force; a momentary one starts and ends at once.

    Attributes
    ----------
    shard
        Whom it struck; `None`: everybody.
    recover_ns
        How long after its end the newest values may take to be complete, from the settings (`bounds`).
    loses_data
        Redis came back without what it had.
    """

    kind: str
    target: Target
    start_ns: int
    end_ns: int
    recover_ns: int
    shard: str | None = None
    loses_data: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """From `at_ns` on, which account owns each symbol, as planned, and which accounts were there to choose from.

    Those that have come back since the look before are apart: they may have been given their share, or lost everything.
    """

    at_ns: int
    owners: Mapping[str, str]
    accounts: frozenset[str]
    returned: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Sign:
    """A process noticed something: a line of its log."""

    at_ns: int
    process: str
    text: str


@dataclass(frozen=True)
class History:
    """Everything of one run. Sequences are in order of time.

    Attributes
    ----------
    start_ns, end_ns
        What is judged: from the moment everything streamed until the market stood still and was read to the end.
    sockets
        Which shard each of the simulator's sockets belonged to.
    blind
        When the subscriber itself was not connected, or did not run: it can testify to nothing there.
    starved
        What the machine kept from the processes: taken off the length of what is held against them, but never more
        than `credit` of any stretch. So nothing longer than twice its bound is ever excused.
    """

    instruments: tuple[Instrument, ...]
    start_ns: int
    end_ns: int
    sent: tuple[Sent, ...] = ()
    sockets: Mapping[int, str] = field(default_factory=dict)
    told: tuple[Told, ...] = ()
    given: tuple[Given, ...] = ()
    stored: tuple[Stored, ...] = ()
    gaps: tuple[GapTold, ...] = ()
    blind: tuple[Interval, ...] = ()
    starved: tuple[Starved, ...] = ()
    credit: float = CREDIT_MAX
    records: tuple[RecordSeen, ...] = ()
    books: tuple[Books, ...] = ()
    faults: tuple[Fault, ...] = ()
    placements: tuple[Placement, ...] = ()
    signs: tuple[Sign, ...] = ()

    def ran_ns(self, interval: Interval) -> int:
        """The interval's length without what the machine kept from the processes in it."""
        return ran_ns(interval, self.starved, credit=self.credit)

    def lost_data(self, at_ns: int, *, within_ns: int | None = None) -> bool:
        """Whether Redis lost its data before `at_ns`: ever, or (with `within_ns`) no longer before than that."""
        return any(
            fault.loses_data and fault.start_ns <= at_ns and (within_ns is None or at_ns <= fault.end_ns + within_ns)
            for fault in self.faults
        )


class Property(StrEnum):
    """What is promised."""

    LAST_VALUE = "last value"
    NO_INVENTION = "no invention"
    MONOTONIC = "monotonic"
    CONSERVATION = "conservation"
    OWNERSHIP = "ownership"
    GAP_HONESTY = "gap honesty"
    MOVEMENT = "movement"


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, with the evidence."""

    promise: Property
    at_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """T: from when on something counts as late. Made from the product's settings by `bounds.from_settings`.

    Attributes
    ----------
    fresh_ns
        A value that the market has had for longer must be at the consumer, or a gap record must say why not. The same
        resolution holds for gap records: neither end may be wrong by more.
    hole_ns
        A held record without a call for longer has no owner.
    beat_ns
        After a loss of Redis's data an earlier process may be accepted for so long.
    wrong_time_ns
        A row received so much later than one with a later exchange time corrects it.
    moves_slack
        Instruments that may move beyond the least number.
    decided_ns
        A move was decided on what was so at most so long before it was seen.
    """

    fresh_ns: int
    hole_ns: int
    beat_ns: int
    wrong_time_ns: int
    moves_slack: int = 0
    decided_ns: int = 0
