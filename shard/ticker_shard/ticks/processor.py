"""From a frame to rows that may be published: decode, find slots, validate, keep the newest.

`TickProcessor.process` answers for every sequence of bytes and raises for none. Rows of one frame are judged in the
order in which they came: where an instrument occurs more than once in a frame, the frame is gone through in passes,
each holding every instrument at most once, so that one pass is a handful of array operations and the result is the
same as row by row.

Confirmation: the broker acknowledges nothing, so the first packet *of the wanted mode* is the confirmation of a
subscription. `expect` says whose first packet is to be reported, `ProcessedFrame.first_seen` reports each once, and
only when the instrument then has a believed row: a confirmed instrument always has a value to publish.

Implied volatility and Greeks are computed between validation and state (`ticks.greeks`), so they travel with the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_shard.ticks.decode import Frame, FrameFault, decode_frame
from ticker_shard.ticks.engine import Engine, NativeEngine, TakenFrame, load_kernels
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.quarantine import Quarantine
from ticker_shard.ticks.rows import UNKNOWN_SLOT, Kinds, Slots, TickRows, empty_rows, join_rows, unpriced_rows
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.validate import (
    MODE_OF_KIND,
    RICHNESS,
    SAME_INSTRUMENT_MAX,
    RejectReason,
    RowFlag,
    TickValidator,
    ValidationRules,
)

SAMPLES_PER_FRAME_MAX: Final = 4  # of one reason: evidence, not a copy of a broken feed

_NO_SLOTS: Final = np.empty(0, np.int32)
_NONE_REJECTED: Final[dict[RejectReason, Slots]] = {}
_REASONS: Final = tuple(RejectReason)


@dataclass(frozen=True, slots=True)
class ProcessedFrame:
    """What became of one frame; ``received == len(rows) +`` all rejected.

    Attributes
    ----------
    rows
        Accepted rows in arrival order; they are already in the state.
    received
        Packets decoded.
    rejected
        Reason → the slot of each rejected row (`UNKNOWN_SLOT` for unknown tokens), one entry a row.
    malformed
        Fault → count, of what could not be decoded.
    flagged
        Flag → number of accepted rows that are odd.
    first_seen
        Slots that are confirmed by this frame: each once since `expect`.
    """

    rows: TickRows
    received: int
    rejected: Mapping[RejectReason, Slots] = field(default_factory=dict)
    malformed: Mapping[FrameFault, int] = field(default_factory=dict)
    flagged: Mapping[RowFlag, int] = field(default_factory=dict)
    first_seen: Slots = field(default_factory=lambda: _NO_SLOTS)


class TickProcessor:
    """Turns frames into believed rows.

    Parameters
    ----------
    state
        Where the newest rows are kept; it belongs to the processor from now on, others only read it.
    rules
        What validation depends on.
    greeks
        Prices options; none = nobody is asked.
    engine
        How the work is done.

    Attributes
    ----------
    engine
        How it really is: native or numpy.
    crowded
        Frames with so many packets of one instrument that the native engine left them to the reference.

    Raises
    ------
    EngineMissingError
        When the native engine was asked for and cannot be had.
    """

    def __init__(
        self,
        *,
        state: InstrumentState,
        rules: ValidationRules | None = None,
        greeks: GreeksCalculator | None = None,
        engine: Engine = Engine.AUTO,
    ) -> None:
        self.state = state
        self._greeks = greeks
        self.quarantine = Quarantine()
        self._validator = TickValidator(rules=rules or ValidationRules())
        kernels = load_kernels(engine)
        self._native = NativeEngine(kernels, state=state, validator=self._validator) if kernels else None
        self.engine = Engine.NATIVE if kernels else Engine.NUMPY
        self.crowded = 0
        self._wanted = np.zeros(0, np.uint8)
        self._expected: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._expecting = 0
        self._last_place = np.zeros(0, np.int64)
        self.configure(state.table)

    @property
    def table(self) -> InstrumentTable:
        """The table in force."""
        return self.state.table

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`, between two frames and before the feed is told to want it.

        Parameters
        ----------
        table
            Built on the table before it.
        """
        old, expected = self.state.table.instruments, self._expected
        self.state.configure(table)
        self._validator.configure(table)
        if self._native is not None:
            self._native.configure(table)
        if self._greeks is not None:
            self._greeks.configure(table)
        self._wanted = np.array([RICHNESS[row.mode] if row else 0 for row in table.instruments], np.uint8)
        self._expected = np.zeros(table.capacity, np.bool_)
        for slot in np.flatnonzero(expected[: table.capacity]):
            before, now = old[slot], table.instruments[slot]
            self._expected[slot] = before is not None and now is not None and before.identity == now.identity
        self._expecting = int(np.count_nonzero(self._expected))
        self._last_place = np.zeros(table.capacity, np.int64)

    def expect(self, slots: Slots) -> None:
        """Report the next packet of the wanted mode of these slots in `ProcessedFrame.first_seen`."""
        known = slots[(slots >= 0) & (slots < len(self._expected))]
        self._expected[known] = True
        self._expecting = int(np.count_nonzero(self._expected))

    def expect_tokens(self, tokens: Iterable[int]) -> None:
        """The same by instrument token; unknown ones are ignored (their instrument has just been removed)."""
        self.expect(self.table.slots_of(np.fromiter(tokens, np.uint32)))

    def tokens_of(self, slots: Slots) -> list[int]:
        """The instrument tokens of assigned slots."""
        rows = self.table.instruments
        return [row.token for slot in slots.tolist() if (row := rows[slot]) is not None]

    def process(self, frame: Frame, *, received_ns: int) -> ProcessedFrame:
        """Decode one binary message and admit what is believed.

        Parameters
        ----------
        frame
            The payload; read only during the call.
        received_ns
            Wall clock nanoseconds at which it was handed over.
        """
        if self._native is not None:
            taken = self._native.take(frame, received_ns=received_ns, keep=self._greeks is None)
            if taken is not None:
                return self._finish(taken, frame, received_ns=received_ns)
            self.crowded += 1
        return self._process_with_numpy(frame, received_ns=received_ns)

    def warm_up(self, frame: Frame) -> None:
        """Call whatever `process` may call, for a processor that is thrown away afterwards.

        Parameters
        ----------
        frame
            A good one, of instruments in the table.
        """
        result = self.process(frame, received_ns=0)
        if self._native is not None:
            self._native.keep_rows(result.rows)

    # -- private: the native engine's answer

    def _finish(self, taken: TakenFrame, frame: Frame, *, received_ns: int) -> ProcessedFrame:
        """Price what is to be priced, keep evidence of what was refused, confirm."""
        for fault in taken.malformed:
            self.quarantine.add(fault, frame, received_ns=received_ns)
        rows, turn, rejected = taken.rows, taken.turn, _NONE_REJECTED
        if taken.verdict is not None:
            rejected = self._rejected(taken)
            believed = taken.verdict == 0
            rows, turn = rows.take(believed), None if turn is None else turn[believed]
        if self._greeks is not None and len(rows):
            self._price_and_keep(rows, turn, now_ns=received_ns)
        first_seen = self._first_seen(taken.rows) if self._expecting else _NO_SLOTS
        received = len(taken.rows)
        assert received == len(rows) + sum(map(len, rejected.values())), taken
        return ProcessedFrame(rows, received, rejected, taken.malformed, taken.flagged, first_seen)

    def _rejected(self, taken: TakenFrame) -> dict[RejectReason, Slots]:
        verdict, turn = taken.verdict, taken.turn
        assert verdict is not None
        rejected: dict[RejectReason, list[Slots]] = {}
        for number in range(1 if turn is None else int(turn.max()) + 1):
            of_turn = verdict if turn is None else np.where(turn == number, verdict, 0)
            for code in np.unique(of_turn[of_turn > 0]).tolist():
                self._reject(_REASONS[code - 1], taken.rows.take(of_turn == code), rejected)
        return {reason: np.concatenate(slots) for reason, slots in rejected.items()}

    def _price_and_keep(self, rows: TickRows, turn: Kinds | None, *, now_ns: int) -> None:
        """Price each instrument's rows in the order in which they came; every block holds each at most once."""
        assert self._greeks is not None
        assert self._native is not None
        if turn is None:
            self._greeks.price(rows, now_ns=now_ns)
            self._native.keep_rows(rows)
            return
        for number in np.unique(turn).tolist():
            places = np.flatnonzero(turn == number)
            block = rows.take(places)
            self._greeks.price(block, now_ns=now_ns)
            self._native.keep_rows(block)
            rows.greeks[places], rows.outcome[places], rows.priced_ns[places] = (
                block.greeks, block.outcome, block.priced_ns,
            )  # fmt: skip

    # -- private: the reference

    def _process_with_numpy(self, frame: Frame, *, received_ns: int) -> ProcessedFrame:
        decoded = decode_frame(frame)
        report = decoded.report
        for fault in report.faults:
            self.quarantine.add(fault, frame, received_ns=received_ns)
        if not report.accepted:
            return ProcessedFrame(empty_rows(), 0, malformed=report.faults)
        slot = self.table.slots_of(decoded.words[:, 0])
        rows = unpriced_rows(decoded.words, decoded.kind, slot, np.full(len(slot), received_ns, np.int64))
        rejected: dict[RejectReason, list[Slots]] = {}
        flagged: dict[RowFlag, int] = {}
        blocks: list[TickRows] = []
        places: list[NDArray[np.intp]] = []
        for place in self._passes(rows, rejected):
            block = rows if place is None else rows.take(place)
            verdict = self._validator.validate(block, state=self.state, now_ns=received_ns)
            for reason, found in verdict.rejected.items():
                self._reject(reason, block.take(found), rejected)
            for flag, count in verdict.flagged.items():
                flagged[flag] = flagged.get(flag, 0) + count
            if verdict.accepted is not None:
                block = block.take(verdict.accepted)
                place = np.flatnonzero(verdict.accepted) if place is None else place[verdict.accepted]
            self._admit(block)
            blocks.append(block)
            if place is not None:
                places.append(place)
        accepted = join_rows(blocks)
        if len(blocks) > 1:
            accepted = accepted.take(np.argsort(np.concatenate(places), kind="stable"))
        result = ProcessedFrame(
            rows=accepted,
            received=report.accepted,
            rejected={reason: np.concatenate(slots) for reason, slots in rejected.items()},
            malformed=report.faults,
            flagged=flagged,
            first_seen=self._first_seen(rows),
        )
        assert result.received == len(accepted) + sum(map(len, result.rejected.values())), report
        return result

    def _passes(self, rows: TickRows, rejected: dict[RejectReason, list[Slots]]) -> Iterable[NDArray[np.intp] | None]:
        """Positions of the rows of known tokens, in passes without a slot twice; nothing = all rows, as they are."""
        slot = rows.slot
        place: NDArray[np.intp] | None = None
        if np.count_nonzero(unknown := slot == UNKNOWN_SLOT):
            known = ~unknown
            self._reject(RejectReason.UNKNOWN_TOKEN, rows.take(~known), rejected)
            place = np.flatnonzero(known)
            slot = slot[place]
            if not len(slot):
                return []
        order = np.arange(len(slot))
        self._last_place[slot] = order
        if not np.count_nonzero(
            self._last_place[slot] != order
        ):  # every slot is its own last occurrence: none occurs twice
            return [place]
        by_slot = np.argsort(slot, kind="stable")
        starts = np.flatnonzero(np.diff(slot[by_slot], prepend=UNKNOWN_SLOT))
        counts = np.diff(starts, append=len(slot))
        occurrence = np.empty(len(slot), np.int64)
        occurrence[by_slot] = np.arange(len(slot)) - np.repeat(starts, counts)
        surplus = np.empty(len(slot), np.int64)
        surplus[by_slot] = np.repeat(counts - SAME_INSTRUMENT_MAX, counts)
        positions = order if place is None else place
        crowded = occurrence < surplus
        if crowded.any():
            self._reject(RejectReason.TOO_MANY_IN_FRAME, rows.take(positions[crowded]), rejected)
        number = occurrence - np.maximum(surplus, 0)
        return [positions[number == turn] for turn in range(int(number.max()) + 1)]

    def _admit(self, block: TickRows) -> None:
        """Take over accepted rows, with what is computed of them."""
        if self._greeks is not None and len(block):
            self._greeks.price(block, now_ns=int(block.received_ns[0]))
        self.state.admit(block)

    def _reject(self, reason: RejectReason, rows: TickRows, into: dict[RejectReason, list[Slots]]) -> None:
        into.setdefault(reason, []).append(rows.slot)
        for position in range(min(len(rows), SAMPLES_PER_FRAME_MAX)):
            self.quarantine.add(
                reason, rows.words[position].astype(">u4").tobytes(), received_ns=int(rows.received_ns[position])
            )

    def _first_seen(self, rows: TickRows) -> Slots:
        if not self._expecting:
            return _NO_SLOTS
        known = rows.slot != UNKNOWN_SLOT
        slot, kind = rows.slot[known], rows.kind[known]
        waited = self._expected[slot]
        if not waited.any():
            return _NO_SLOTS
        seen: Slots = np.unique(slot[waited & (MODE_OF_KIND[kind] == self._wanted[slot])])
        seen = seen[self.state.has_row[seen]]
        self._expected[seen] = False
        self._expecting -= len(seen)
        return seen
