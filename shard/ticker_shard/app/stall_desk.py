"""Stalled instruments, from the columns of slots to tokens, symbols and gap records.

`StallWatch` knows rhythms and slots; here is what it cannot know: which socket an instrument is on and whether that
flows, whether its market is open, and, when it comes back, whether anything was missed: if the packet that ends a stall
says what the last one said, nothing happened meanwhile and there is no hole to tell of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.app.outages import Gap
from ticker_shard.app.settings import ShardSettings
from ticker_shard.feed import FeedStatus, SessionState, SocketStatus, StallReport, StallWatch
from ticker_shard.ticks.instruments import InstrumentTable, segment_of
from ticker_shard.ticks.sessions import MarketPhase
from ticker_shard.ticks.state import InstrumentState, no_instruments

NS_PER_S: Final = 1_000_000_000
LOOK_S: Final = 1.0
FLOWS_S: Final = 10.0  # a socket flows while its last unasked packet is younger
SYMBOLS_MAX: Final = 20  # in one log line
NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class StallFindings:
    """What is to be done.

    Attributes
    ----------
    ask
        Tokens to be subscribed again.
    gaps
        Holes of instruments that are back.
    stalled
        Symbols newly found, a bounded number.
    counts
        Event → instruments: ``stalled``, ``asked``, ``recovered``, ``missed`` (recovered with another value).
    """

    ask: list[int] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    stalled: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


class StallDesk:
    """The account's stalled instruments.

    Parameters
    ----------
    settings
        Floor and multiple.
    """

    def __init__(self, settings: ShardSettings) -> None:
        self._watch = StallWatch(floor_s=settings.stall_floor_s, multiple=settings.stall_multiple)
        self._looked_ns: int | None = None
        self._said: dict[int, bytes] = {}  # slot → its last packet before the stall
        self._table = no_instruments()
        self.configure(self._table, socket_of=lambda token: None)

    @property
    def stalled(self) -> int:
        """How many are stalled now."""
        return self._watch.stalled

    def configure(self, table: InstrumentTable, *, socket_of: Callable[[int], int | None]) -> None:
        """Go over to `table`, after its instruments were placed on sockets."""
        before, self._table = self._table, table
        places = [None if row is None else socket_of(row.token) for row in table.instruments]
        self._socket = np.array([NOWHERE if place is None else place for place in places], np.intp)
        segments = [0 if row is None else segment_of(row.token) for row in table.instruments]
        self._segment: NDArray[np.intp] = np.array(segments, np.intp)
        self._said = {slot: said for slot, said in self._said.items() if _same(before, table, slot)}
        self._watch.configure(table)

    def due(self, *, now_ns: int) -> bool:
        """Whether it is time to look."""
        return self._looked_ns is None or now_ns - self._looked_ns >= LOOK_S * NS_PER_S

    def look(self, state: InstrumentState, feed: FeedStatus, *, phase: MarketPhase, now_ns: int) -> StallFindings:
        """Look once.

        Parameters
        ----------
        state
            The newest rows, of the table in force.
        feed
            The sockets.
        phase
            Which segments trade.
        now_ns
            Monotonic.
        """
        self._looked_ns = now_ns
        flows = np.array([*(_flows(socket, now_ns) for socket in feed.sockets), False], np.bool_)  # NOWHERE is the last
        judged = flows[self._socket] & phase.open[self._segment] & state.has_row
        report = self._watch.look(np.where(state.has_row, state.received_ns, 0), judged, now_ns=now_ns)
        for slot in report.stalled.tolist():
            self._said[slot] = state.newest(np.array([slot], np.int32)).words.tobytes()
        gaps = self._gaps(report, state)
        counts = {
            "stalled": len(report.stalled), "asked": len(report.ask), "recovered": len(report.recovered),
            "missed": len(gaps),
        }  # fmt: skip
        return StallFindings(
            ask=[row.token for slot in report.ask.tolist() if (row := self._table.instruments[slot]) is not None],
            gaps=gaps,
            stalled=[
                row.symbol
                for slot in report.stalled[:SYMBOLS_MAX].tolist()
                if (row := self._table.instruments[slot]) is not None
            ],
            counts={event: number for event, number in counts.items() if number},
        )

    def _gaps(self, report: StallReport, state: InstrumentState) -> list[Gap]:
        gaps = []
        for slot, since_ns in zip(report.recovered.tolist(), report.silent_since_ns.tolist(), strict=True):
            said, row = self._said.pop(slot, b""), self._table.instruments[slot]
            newest = state.newest(np.array([slot], np.int32))
            if row is None or newest.words.tobytes() == said:
                continue
            # The wall clock may have been set back meanwhile; a hole has no negative length.
            end_ns = max(since_ns, int(newest.received_ns[0]))
            gaps.append(Gap((row.token,), since_ns, end_ns, "stalled"))
        return gaps


def _flows(socket: SocketStatus, now_ns: int) -> bool:
    if socket.state is not SessionState.OPEN or socket.flowed_ns is None:
        return False
    return now_ns - socket.flowed_ns < FLOWS_S * NS_PER_S


def _same(before: InstrumentTable, after: InstrumentTable, slot: int) -> bool:
    old = before.instruments[slot] if slot < before.capacity else None
    new = after.instruments[slot] if slot < after.capacity else None
    return old is not None and new is not None and old.identity == new.identity
