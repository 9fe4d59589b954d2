"""Which engine takes the frames, and the native one's place between Python and its kernels.

`NativeEngine` owns what the kernels need beside the state: the index of tokens, scratch, counters. Its answer to a
frame is columns and numbers; `processor` makes of both engines' answers the same `ProcessedFrame`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from ticker_shard.ticks.decode import COUNT_BYTES, PACKET_STRIDE_MIN, Frame, FrameFault
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.pricing import BlockPricer
from ticker_shard.ticks.rows import GREEKS, WORDS, Kinds, TickRows
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.underlying import ChainMarket
from ticker_shard.ticks.validate import SECOND_NS, RowFlag, TickValidator, midnight

if TYPE_CHECKING:
    from types import ModuleType

# Faults in the order in which a walk meets them; the first two can come either way.
_FAULTS: Final = tuple(enumerate(FrameFault))
_FLAGS: Final = tuple(RowFlag)  # many frames have a flag, and to go through an enumeration costs a microsecond
_NO_KINDS: Final[Kinds] = np.empty(0, np.uint8)
_NO_OCTETS: Final[Kinds] = np.frombuffer(b"", np.uint8)
_ZERO_FIRST: Final = (_FAULTS[1], _FAULTS[0], *_FAULTS[2:])


class Engine(StrEnum):
    """How frames are taken; the results are the same bits."""

    AUTO = "auto"  # native, where its compiler can be imported
    NATIVE = "native"  # one compiled pass per frame
    NUMPY = "numpy"  # the reference


class EngineMissingError(Exception):
    """The native engine was asked for, and its compiler cannot be imported."""


def load_kernels(wanted: Engine) -> ModuleType | None:
    """The compiled kernels, or nothing where numpy is to do the work.

    Parameters
    ----------
    wanted
        What was asked for.

    Raises
    ------
    EngineMissingError
        When `Engine.NATIVE` was asked for in vain.
    """
    if wanted is Engine.NUMPY:
        return None
    try:
        from ticker_shard.ticks import native
    except ImportError as error:
        if wanted is Engine.NATIVE:
            raise EngineMissingError(f"engine native cannot be had: {error}") from error
        return None
    return native


def load_pricer(wanted: Engine) -> BlockPricer:
    """Who prices a block of options: compiled, or by arrays of numpy where numpy is to do the work.

    Parameters
    ----------
    wanted
        What was asked for.

    Raises
    ------
    EngineMissingError
        When `Engine.NATIVE` was asked for in vain.
    """
    if load_kernels(wanted) is None:
        from ticker_shard.ticks.greeks_arrays import array_pricer  # scipy: tens of megabytes, half a second

        return array_pricer()
    from ticker_shard.ticks.greeks_native import price_block

    return price_block


def load_market(wanted: Engine) -> type[ChainMarket]:
    """Who watches underlyings, by the same rule as `load_pricer`."""
    if load_kernels(wanted) is None:
        return ChainMarket
    from ticker_shard.ticks.underlying_native import NativeChainMarket

    return NativeChainMarket


@dataclass(frozen=True, slots=True)
class TakenFrame:
    """What the native pass found; marks are in the state, rows too where that was asked for.

    Attributes
    ----------
    rows
        Every decoded row in arrival order, refused ones included.
    verdict
        (n,) 0 or 1 + the place in `RejectReason`; nothing when every row is believed.
    turn
        (n,) how often the row's instrument came earlier in the frame; nothing when none came twice.
    malformed, flagged
        As in `ProcessedFrame`.
    """

    rows: TickRows
    verdict: Kinds | None
    turn: Kinds | None
    malformed: dict[FrameFault, int]
    flagged: dict[RowFlag, int]


class NativeEngine:
    """The compiled pass over one state.

    Parameters
    ----------
    kernels
        `ticker_shard.ticks.native`.
    state, validator
        Those of the processor; configured with a table before `configure` is.
    """

    def __init__(self, kernels: ModuleType, *, state: InstrumentState, validator: TickValidator) -> None:
        self._kernels, self._state, self._validator = kernels, state, validator
        self._counters = np.zeros(kernels.COUNTERS, np.int64)
        self._second = self._today_s = 0
        self._verdict = self._turn = _NO_KINDS  # used again while frames are of one size

    def configure(self, table: InstrumentTable) -> None:
        """Go over to `table`."""
        slots_needed = 4 << max(1, table.assigned).bit_length()
        lookup = np.empty((slots_needed, 2), np.int64)
        self._kernels.fill_lookup(table.tokens, table.token_slots, lookup)
        self._instruments = (lookup, self._validator.facts, np.zeros(table.capacity, np.int32))
        self._marks, self._kept = self._state.marks, self._state.kept
        rules = self._validator.rules
        self._tolerance_s, self._checked = rules.future_tolerance_s, rules.enabled

    def take(self, frame: Frame, *, received_ns: int, keep: bool) -> TakenFrame | None:
        """Decode, judge and, with `keep`, keep; nothing (and nothing changed) where the reference is to take the frame.

        Parameters
        ----------
        frame
            The payload; read only during the call.
        received_ns
            Wall clock nanoseconds.
        keep
            Whether the believed rows enter the state at once; else `keep_rows` is to be called for them.
        """
        self._validator.follow_market(now_ns=received_ns)
        size = len(frame)
        # Kernels are compiled for one kind of array: one that cannot be written.
        octets = np.frombuffer(memoryview(frame).toreadonly(), np.uint8) if size else _NO_OCTETS
        declared = frame[0] << 8 | frame[1] if size >= COUNT_BYTES else 0
        room = min(declared, max(0, size - COUNT_BYTES) // PACKET_STRIDE_MIN)
        columns = (
            np.empty((room, WORDS), np.uint32),
            np.empty(room, np.uint8),
            np.empty(room, np.int32),
            np.empty(room, np.int64),
            np.empty((room, GREEKS)),
            np.empty(room, np.uint8),
            np.empty(room, np.int64),
        )
        if len(self._verdict) != room:
            self._verdict, self._turn = np.empty(room, np.uint8), np.empty(room, np.uint8)
        verdict, turn = self._verdict, self._turn
        kernels, counters = self._kernels, self._counters
        found: int = kernels.take_frame(
            octets, declared, (received_ns, self._midnight(received_ns), self._tolerance_s, self._checked), keep,
            self._instruments, columns, verdict, turn, counters, self._marks, self._kept,
        )  # fmt: skip
        if found == room:  # the usual frame: as many rows as declared, and nothing to tell
            return TakenFrame(TickRows(*columns), None, None, {}, {})
        if found == kernels.TOO_CROWDED:
            return None
        if found & (kernels.REJECTED | kernels.REPEATED):  # they are told of, so they are not ours any more
            self._verdict = self._turn = _NO_KINDS
        return self._told(found, columns, verdict, turn)

    def keep_rows(self, rows: TickRows) -> None:
        """Let believed rows into the state, with what was computed for them."""
        columns = (rows.words, rows.kind, rows.slot, rows.received_ns, rows.greeks, rows.outcome, rows.priced_ns)
        self._kernels.keep_rows(columns, self._kept)

    # -- private

    def _midnight(self, now_ns: int) -> int:
        second = now_ns // SECOND_NS
        if second != self._second:
            self._second, self._today_s = second, midnight(second)
        return self._today_s

    def _told(self, found: int, columns: tuple[np.ndarray, ...], verdict: Kinds, turn: Kinds) -> TakenFrame:
        kernels, counters = self._kernels, self._counters
        count = found & ((1 << kernels.COUNT_BITS) - 1)
        if count < len(verdict):
            columns, verdict, turn = tuple(column[:count] for column in columns), verdict[:count], turn[:count]
        malformed: dict[FrameFault, int] = {}
        flagged: dict[RowFlag, int] = {}
        if found & (kernels.ODD_BYTES | kernels.FLAGGED):
            counted = counters.tolist()
            flagged = {flag: number for flag, number in zip(_FLAGS, counted[kernels.FLAGS_AT :], strict=True) if number}
            if found & kernels.ODD_BYTES:
                order = _ZERO_FIRST if counted[kernels.ZERO_LENGTH_FIRST] else _FAULTS
                malformed = {fault: counted[place] for place, fault in order if counted[place]}
        return TakenFrame(
            TickRows(*columns),
            verdict if found & kernels.REJECTED else None,
            turn if found & kernels.REPEATED else None,
            malformed,
            flagged,
        )
