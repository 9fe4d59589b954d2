"""From messages to a stream that a consumer can trust: pure, no socket, no clock.

Put in what was read (last values, messages, a broken connection); take out events in order:

`Snapshot`
    the newest value of every instrument of a channel, once after each (re)subscription.
`Update`
    one row that is newer than, or as new as, what was given out before.
`Lost`
    messages of one source that never arrived: at-most-once publishing lost them, or this consumer was too slow.
    Last values are right again with the next row of each instrument; `Lost` says that something in between is not
    known. A subscriber that wants certainty takes a new snapshot.
`GapSeen`
    the publisher itself says that it saw nothing for a while.
`Trimmed`
    a replay was asked for more than the durable stream still holds (`ticker_client.replay`).
`Ignored`
    bytes that could not be read, by reason.

**Without a hole.** Subscribe first; then read last values and message numbers in one transaction; then deliver what the
subscription brought. The numbers say for each account which of its messages the values hold already: those are
skipped, like all that an earlier process of the account said; everything after them is given out, and a number that is
missing from there on is a loss.

**Without duplicates.** Two processes of one shard overlap at a hand-over, and the successor repeats every newest value
(a rewrite); two accounts overlap while an instrument moves. A row whose content was given out before is a duplicate
(`received_at` and ``settling`` aside: they differ between sockets). A row that is older by the exchange's clock, or by
the day's volume, than what was given out is late; unless it was received `WRONG_TIME_S` after it, because then it is
the earlier row's time that was wrong. Rows of a settling account are ignored while the instrument's
other publisher spoke within `settle_s`. Packets without an exchange time (ltp, quote) can only be ordered by
arrival. What is computed (Greeks) is no content: two processes compute it at two moments. A row that was priced again,
after what was given out was priced, is news all the same, and its ``priced_at`` says that it is no trade.

**Loss** is counted per (shard, process, epoch, channel): numbers there begin with 1 and have no holes. Known sources
are bounded; the one unheard for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from ticker_client.messages import (
    Gap,
    Message,
    Payload,
    Source,
    Undecodable,
    decode_message,
    decode_number,
    decode_row,
)
from ticker_client.rows import Row

SETTLE_S: Final = 5.0
WRONG_TIME_S: Final = 10.0  # as long as a shard takes to believe that
SOURCES_MAX: Final = 1_024  # (source, channel) pairs; a roll-out adds one a channel
KEPT_BACK_MAX: Final = 10_000  # messages of one channel that wait for its snapshot; beyond, the oldest is given up
_WRONG_TIME: Final = timedelta(seconds=WRONG_TIME_S)
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Newest values of a channel by symbol."""

    channel: str
    rows: Mapping[str, Row]


@dataclass(frozen=True, slots=True)
class Update:
    """One row, newer than what was given out before."""

    channel: str
    row: Row
    source: Source


@dataclass(frozen=True, slots=True)
class Lost:
    """So many messages of `source` did not arrive; `first` is the first missing number."""

    channel: str
    source: Source
    first: int
    messages: int


@dataclass(frozen=True, slots=True)
class GapSeen:
    """The publisher reports a hole."""

    channel: str
    gap: Gap


@dataclass(frozen=True, slots=True)
class Trimmed:
    """Part of what was said after `since` is not in the stream any more, which begins at `kept_from` (if it is there).

    With a position that is an entry: that entry is gone, and perhaps some behind it.
    """

    channel: str
    since: datetime
    kept_from: datetime | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that cannot be read."""

    channel: str
    reason: str


Event: TypeAlias = Snapshot | Update | Lost | GapSeen | Trimmed | Ignored


@dataclass(slots=True)
class _Instrument:
    row: Row
    shard: str  # who wrote it; empty: from the last values
    heard_at: datetime  # when a publisher that is not settling spoke of it last


class TickStream:
    """One consumer's state over any number of channels.

    Parameters
    ----------
    settle_s
        How long an instrument's settled publisher may be silent before a settling one is believed.
    """

    def __init__(self, *, settle_s: float = SETTLE_S) -> None:
        self._settle = timedelta(seconds=settle_s)
        self._last: dict[str, dict[str, _Instrument]] = {}
        self._next: OrderedDict[tuple[Source, str], int] = OrderedDict()
        self._waiting: dict[str, list[Payload]] = {}
        self.duplicates = 0
        self.late = 0

    def subscribed(self, channel: str) -> None:
        """The subscription to `channel` is in force (again); messages wait until `snapshot` or `resume`."""
        self._waiting[channel] = []

    def snapshot(
        self, channel: str, values: Mapping[Payload, Payload], numbers: Mapping[Payload, Payload] | None = None
    ) -> list[Event]:
        """The channel's last values, read after `subscribed`; what came meanwhile follows.

        Parameters
        ----------
        channel
            The channel.
        values
            The hash `last_values_key`.
        numbers
            The hash `numbers_key`, read in the same transaction.
        """
        # What was missed while not subscribed is in the hash; numbers start wherever they are now.
        for key in [key for key in self._next if key[1] == channel]:
            del self._next[key]
        events: list[Event] = []
        rows: dict[str, Row] = {}
        for name, payload in values.items():
            row = decode_row(payload, symbol=name.decode() if isinstance(name, bytes) else name)
            if isinstance(row, Undecodable):
                events.append(Ignored(channel, row.reason))
            else:
                rows[row.symbol] = row
        self._last[channel] = {symbol: _Instrument(row, "", row.received_at) for symbol, row in rows.items()}
        terms: dict[str, int] = {}
        for shard, payload in (numbers or {}).items():
            number = decode_number(shard, payload)
            if isinstance(number, Undecodable):
                events.append(Ignored(channel, number.reason))
            else:
                source, seq = number
                self._next[source, channel] = seq + 1
                terms[source.shard] = source.epoch
        events.append(Snapshot(channel, rows))
        for payload in self._waiting.pop(channel, []):
            events += self._read(channel, payload, terms)
        return events

    def heard(self, channel: str) -> bool:
        """Whether anything of this channel was given out by number, so that `resume` may follow."""
        return any(name == channel for _, name in self._next)

    def knows(self, channel: str, payload: Payload) -> bool:
        """Whether this message was given out already."""
        message = decode_message(payload)
        return not isinstance(message, Undecodable) and message.seq < self._next.get((message.source, channel), 0)

    def resume(self, channel: str, missed: Iterable[Payload]) -> list[Event]:
        """Go on after `subscribed` without a snapshot: every message since the last one that was given out.

        Parameters
        ----------
        channel
            The channel.
        missed
            In order; what came since the subscription may be among them.
        """
        waiting = self._waiting.pop(channel, [])
        return [event for payload in (*missed, *waiting) for event in self._read(channel, payload, {})]

    def message(self, channel: str, payload: Payload) -> list[Event]:
        """One message as it came; before the snapshot it is kept back."""
        if (waiting := self._waiting.get(channel)) is not None:
            waiting.append(payload)
            if len(waiting) <= KEPT_BACK_MAX:
                return []
            del waiting[0]
            return [Ignored(channel, f"more than {KEPT_BACK_MAX:,} messages while waiting for the snapshot")]
        return self._read(channel, payload, {})

    def _read(self, channel: str, payload: Payload, terms: Mapping[str, int]) -> list[Event]:
        """One message; `terms` are the epochs of a snapshot that holds everything said before them."""
        message = decode_message(payload)
        if isinstance(message, Undecodable):
            return [Ignored(channel, message.reason)]
        source = message.source
        if message.seq < self._next.get((source, channel), 0) or source.epoch < terms.get(source.shard, 0):
            self.duplicates += len(message.ticks)  # the snapshot has it
            return []
        events: list[Event] = self._numbers(channel, message)
        events += [GapSeen(channel, gap) for gap in message.gaps]
        events += [
            Update(channel, row, message.source) for row in message.ticks if self._is_news(channel, row, message)
        ]
        return events

    @property
    def kept_back(self) -> int:
        """Messages that wait for a snapshot."""
        return sum(len(waiting) for waiting in self._waiting.values())

    def last(self, channel: str) -> dict[str, Row]:
        """Newest values given out so far."""
        return {symbol: known.row for symbol, known in self._last.get(channel, {}).items()}

    def _numbers(self, channel: str, message: Message) -> list[Event]:
        key = (message.source, channel)
        expected = self._next.get(key)
        if expected is None:
            # Of an account that was heard before, a new term is heard from its first message on. Any other source
            # starts wherever it is: what it said before, nobody here has asked for.
            heard = [known.epoch for known, name in self._next if (known.shard, name) == (key[0].shard, channel)]
            expected = 1 if heard and key[0].epoch > max(heard) else message.seq
        self._next[key] = max(expected, message.seq + 1)
        self._next.move_to_end(key)
        if len(self._next) > SOURCES_MAX:
            self._next.popitem(last=False)
        if message.seq > expected:
            return [Lost(channel, message.source, first=expected, messages=message.seq - expected)]
        return []

    def _is_news(self, channel: str, row: Row, message: Message) -> bool:
        known = self._last.setdefault(channel, {}).get(row.symbol)
        if known is not None:
            if row.settling and message.source.shard != known.shard and known.shard:
                other_spoke = not known.row.settling and message.sent_at - known.heard_at <= self._settle
                if other_spoke:
                    self.duplicates += 1
                    return False
            if not row.settling:
                known.heard_at = max(known.heard_at, message.sent_at)
            if _content(row) == _content(known.row) and not _is_priced_later(row, known.row):
                self.duplicates += 1
                return False
            if _is_older(row, known.row) and row.received_at - known.row.received_at < _WRONG_TIME:
                self.late += 1
                return False
        self._last[channel][row.symbol] = _Instrument(
            row, message.source.shard, message.sent_at if not row.settling or known is None else known.heard_at
        )
        return True


_COMPUTED: Final[dict[str, Any]] = dict.fromkeys(
    ("iv", "delta", "gamma", "theta", "vega", "underlying_price", "no_greeks", "priced_at"), None
)


def _content(row: Row) -> Row:
    """What two sockets would tell alike."""
    return replace(row, received_at=_NEVER, settling=False, **_COMPUTED)


def _is_priced_later(row: Row, known: Row) -> bool:
    """Whether `row` was priced again since `known` was priced, be it when that was received."""
    return row.priced_at is not None and row.priced_at > (known.priced_at or known.received_at)


def _is_older(row: Row, known: Row) -> bool:
    """Whether `row` is certainly older; the exchange's clock decides first, then the day's volume within a second."""
    if row.exchange_timestamp is not None and known.exchange_timestamp is not None:
        if row.exchange_timestamp != known.exchange_timestamp:
            return row.exchange_timestamp < known.exchange_timestamp
        if row.volume_traded is not None and known.volume_traded is not None:
            return row.volume_traded < known.volume_traded
    return False


def latest(events: Iterable[Event]) -> dict[str, Row]:
    """The newest row of each symbol in `events`: for consumers that only draw a table."""
    rows: dict[str, Row] = {}
    for event in events:
        match event:
            case Snapshot(rows=values):
                rows.update(values)
            case Update(row=row):
                rows[row.symbol] = row
    return rows
