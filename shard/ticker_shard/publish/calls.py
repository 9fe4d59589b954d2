"""Making calls: which rows leave a channel now, encoded and cut to size.

Rows to be repeated go first, and take the queued rows of their instruments along: per instrument exactly one row
leaves, the newest. Everything a call carries is noted as a parcel in the channel's outbox before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ticker_crds import Encoding
from ticker_shard.publish import fence
from ticker_shard.publish.batcher import Flush, TickBatcher, newest_positions
from ticker_shard.publish.encode import Encoder, Head
from ticker_shard.publish.fence import ChannelState
from ticker_shard.publish.gaps import GapRecord
from ticker_shard.publish.handover import CallMark, Handover
from ticker_shard.publish.lanes import lane_member, split_lane
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.limits import CALL_ROWS_MAX, PACKED_CALL_ROWS_MAX, ROUND_CALLS_MAX
from ticker_shard.publish.outbox import Outbox, Parcel
from ticker_shard.publish.resp import NO_ROWS
from ticker_shard.publish.roster import mask_of
from ticker_shard.publish.sweep import fields_to_take
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots, TickRows, empty_rows, join_rows

REHEARSAL_ROWS: Final = 10
GAPS_PER_CALL_MAX: Final = 10
DELETES_PER_CALL_MAX: Final = 100  # beside the rows, or full frames would hold them back for ever

_EMPTY: Final = empty_rows()


class NewestValues(Protocol):
    """What rewrites read: `ticks.state.InstrumentState`. It knows a row before the row is offered."""

    def newest(self, slots: Slots) -> TickRows:
        """The newest row of each of `slots` that has one."""
        ...


class CallMaker:
    """Makes the calls of one process.

    Parameters
    ----------
    shard, process, source
        For the envelope.
    newest
        Where repetitions are read.
    handover, batcher, ledger
        The process's own.
    encoders
        One for each encoding.
    """

    def __init__(
        self,
        *,
        shard: str,
        process: str,
        source: str,
        newest: NewestValues,
        handover: Handover,
        batcher: TickBatcher,
        ledger: Ledger,
        encoders: Mapping[Encoding, Encoder],
    ) -> None:
        self.table: InstrumentTable | None = None
        self.stream_max = 0  # messages that a channel's stream keeps; 0 = there is none
        self._book: SymbolBook | None = None
        self._shard, self._process, self._source, self._newest = shard, process, source, newest
        self._handover, self._batcher, self._ledger = handover, batcher, ledger
        self._encoders = encoders
        self._encodings: dict[str, Encoding] = {}  # of channels on their way out too

    def configure(self, table: InstrumentTable) -> set[str]:
        """Rows are written by this table from now on; the hand-over was told before.

        Answers the channels that are written in another encoding than before: their values are to be written again.
        """
        before = self._encodings
        self.table, self._book = table, SymbolBook(table)
        known = {name: encoding for name, encoding in self._encodings.items() if self._handover.knows(name)}
        self._encodings = known | {channel.name: channel.encoding for channel in table.channels}
        return {name for name, encoding in self._encodings.items() if before.get(name, encoding) is not encoding}

    def rehearsal(self, name: str, *, wall_ns: int) -> fence.Call:
        """A call with real rows under epoch 0, which nobody ever holds: Redis must refuse it."""
        assert self.table is not None
        rows = self._newest.newest(self.table.members[name]).take(slice(0, REHEARSAL_ROWS))
        mark = CallMark(name, epoch=0, n=1, state=ChannelState.ACTIVE)
        return self.make(mark, rows, seq=0, deletes=(), gaps=(), wall_ns=wall_ns)

    def anything_due(self, name: str, outbox: Outbox, *, now_ns: int) -> bool:
        """Whether a round has to look at this channel at all; most of many channels are idle in most rounds."""
        return outbox.has_more or self._batcher.queued(name) > 0 or self._handover.beat_due(name, now_ns=now_ns)

    def calls(self, name: str, outbox: Outbox, *, budget: int, now_ns: int, wall_ns: int) -> Iterator[fence.Call]:
        """The calls due in one held channel, `budget` rows at most, each encoded when it is asked for.

        What they take is noted in `outbox`. To be gone through to the end, and at once.
        """
        assert self.table is not None
        call_rows = CALL_ROWS_MAX if self._encodings[name] is Encoding.JSON else PACKED_CALL_ROWS_MAX
        rows_max = min(call_rows, self._batcher.ticks_max)
        budget = min(budget, ROUND_CALLS_MAX * rows_max)
        rows, fresh = self._due_rows(name, outbox, budget=budget, now_ns=now_ns)
        count = len(rows)
        blocked = outbox.blocked(now_ns=now_ns)
        more = max(len(outbox.deletes) - DELETES_PER_CALL_MAX, len(outbox.gaps) - GAPS_PER_CALL_MAX, 0) > 0
        for start in range(0, max(count, 1), rows_max):
            part = slice(start, start + rows_max)
            first = start == 0 and not blocked
            deletes = tuple(islice(outbox.deletes, DELETES_PER_CALL_MAX)) if first else ()
            gaps = tuple(outbox.gaps[:GAPS_PER_CALL_MAX]) if first else ()
            if not count and not deletes and not gaps and not self._handover.beat_due(name, now_ns=now_ns):
                break
            last = (
                start + rows_max >= count
                and not more
                and len(deletes) == len(outbox.deletes)
                and not outbox.repeats
                and not self._batcher.queued(name)
            )
            mark = self._handover.begin_call(name, now_ns=now_ns, last=last)
            numbered = bool(count or gaps)
            seq = outbox.seq
            outbox.seq += numbered
            for field in deletes:
                del outbox.deletes[field]
            del outbox.gaps[: len(gaps)]
            holes = outbox.untold_holes() if start == 0 else b""
            carried = rows if count <= rows_max else rows.take(part)
            takes = fields_to_take(carried.slot, table=self.table, taken=outbox.taken)
            outbox.sent[mark.n] = Parcel(
                mark=mark,
                revision=self.table.revision,
                slots=carried.slot,
                fresh_ns=carried.received_ns if fresh is None else carried.received_ns[fresh[part]],
                numbered=numbered,
                deletes=deletes,
                gaps=gaps,
                holes=holes,
            )
            yield self.make(
                mark, carried, seq=seq, deletes=deletes, gaps=gaps, holes=holes, takes=takes, wall_ns=wall_ns
            )

    def _due_rows(
        self, name: str, outbox: Outbox, *, budget: int, now_ns: int
    ) -> tuple[TickRows, NDArray[np.bool_] | None]:
        """Rows to send now, and which of them are not repetitions (nothing: all); repetitions first."""
        if outbox.blocked(now_ns=now_ns):
            return _EMPTY, None
        if budget > 0 and outbox.repeats:
            slots = outbox.take_repeated(budget)
            queued = self._batcher.take_out(name, mask_of(slots, len(outbox.repeating)))
            rows = self._newest.newest(slots)
            if not len(queued):
                return rows, np.zeros(len(rows), np.bool_)
            # Per instrument one row leaves: the newest one, which is the last that was queued.
            newest_queued = queued.take(newest_positions(queued.slot))
            self._ledger.conflated += len(queued) - len(newest_queued)
            unknown = newest_queued.take(~np.isin(newest_queued.slot, rows.slot))
            rows = join_rows([rows, unknown]) if len(unknown) else rows
            return rows, np.isin(rows.slot, newest_queued.slot)
        if budget > 0 and isinstance(self._batcher.due(name, now_ns=now_ns, outstanding=bool(outbox.sent)), Flush):
            return self._batcher.take(name, rows_max=budget), None
        return _EMPTY, None

    def make(
        self,
        mark: CallMark,
        rows: TickRows,
        *,
        seq: int,
        deletes: tuple[str, ...],
        gaps: tuple[GapRecord, ...],
        wall_ns: int,
        holes: bytes = b"",
        takes: tuple[str, ...] = (),
    ) -> fence.Call:
        """One call with these rows and records, encoded."""
        table = self.table
        assert table is not None
        assert self._book is not None
        records = tuple(gap.encode() for gap in gaps)
        message, numbers, arguments = b"", b"", NO_ROWS
        if len(rows) or records:
            shard = lane_member(self._shard, split_lane(mark.channel)[1])
            head = Head(shard, self._process, mark.epoch, seq, self._source, wall_ns)
            encoder = self._encoders[self._encodings[mark.channel]]
            message, arguments = encoder.encode(head, rows, book=self._book, gaps=records)
            numbers = head.numbers()
        return fence.Call(
            channel=mark.channel,
            epoch=mark.epoch,
            holder=self._process,
            n=mark.n,
            state=mark.state,
            revision=table.revision,
            message=message,
            numbers=numbers,
            rows=arguments,
            deletes=deletes,
            gaps=records,
            holes=holes,
            takes=takes,
            stream_max=self.stream_max,
        )
