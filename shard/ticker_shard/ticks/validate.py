"""Which rows are believed: rejected with a reason, flagged, or plain.

Two promises. A healthy feed loses nothing: cached packets after hours with yesterday's times, first packets after a
subscribe, instruments that did not trade today (time 0, price 0 or the smallest tick, no volume), a poorer packet
while a mode request is in flight. And nothing impossible, and nothing older than what is known, becomes an
instrument's newest value.

Rejected (`RejectReason`), first reason in this order:

* ``UNKNOWN_TOKEN``: not in the table; right after an instrument was removed a few are normal.
* ``TOO_MANY_IN_FRAME``: more than `SAME_INSTRUMENT_MAX` packets of one instrument in a frame; the newest are kept.
* ``FUTURE_TIMESTAMP``: exchange time later than the receive time by more than days: garbage. Less than that is
  flagged only: our own clock may be the wrong one, and a simulated day need not be today.
* ``OUT_OF_ORDER``: exchange time before the newest one of the instrument. No such row is news; the broker numbers
  nothing and replays nothing, so there is no gap it could fill. But if nothing else than older rows has come for
  `STUCK_NS`, it was the newest one that was wrong (a time ahead of its day, a feed that started over): then the row is
  accepted and flagged, so that one bad time silences an instrument for seconds and not for ever.
* ``NO_TIMESTAMP``: no time (0) although the instrument has sent a time of today (IST, by the receive time). Before
  that, 0 means "not traded today" and is flagged only; so is the reset of the broker's cache in the morning.
* ``TIMESTAMP_BEFORE_2000``: a time that is neither "none" nor possible.
* ``NEGATIVE_PRICE``: last price or open, high, low, close below zero where they cannot be; commodities can be
  negative, and were in April 2020.
* ``PRICE_OUT_OF_BOUNDS``: a last price beyond `ValidationRules.price_max`; garbage in the high bits.
* ``ZERO_PRICE``: last price 0 although there is volume today.
* ``VOLUME_BACKWARDS``: the day's volume is lower than in the newest row *of the same second*: delivered out of
  order below the clock's resolution. Lower in a later second is flagged only: the exchange does annul trades, and
  refusing the rows that follow would silence the instrument.

With ``enabled=False`` only those that would corrupt the newest state are refused: unknown tokens, too many in a
frame, and the three time checks that keep order.

Flagged (`RowFlag`), accepted and counted: see there. A form that does not fit the segment (an index packet for a
stock) is flagged, not rejected: the official client accepts both, and the fields stand where the form says. So is a
book whose levels are out of order or whose sides cross: during the auctions before the opening and after the close
both are legal (orders at any price are shown as price 0, and nothing is matched until the auction ends), and the last
price beside such a book is as good as ever. Circuit limits are on no packet of the socket (the broker tells them over
REST alone), so the only bounds of a price are those of the rules.

Each check is one expression over columns, safe alone; the reference they are tested against judges row by row. Most
blocks are plain: every row is of the wanted kind, in order, with possible prices. A few reductions prove that
(`TickValidator._plain`) and spare the single checks; what is not plain is judged in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_crds import Mode
from ticker_shard.ticks.instruments import SEGMENT_INDICES, InstrumentTable, segment_of
from ticker_shard.ticks.rows import DEPTH_ENTRIES, PacketKind, TickRows, Word, Words
from ticker_shard.ticks.sessions import MarketHours, phase_at
from ticker_shard.ticks.state import HAS_TIME, HAS_VOLUME, InstrumentState, no_instruments

YEAR_2000_S: Final = 946_684_800
IST_OFFSET_S: Final = 19_800
DAY_S: Final = 86_400
SECOND_NS: Final = 1_000_000_000
STUCK_NS: Final = 10 * SECOND_NS
AHEAD_S: Final = 300  # clocks of nodes differ; beyond five minutes it is worth telling
SAME_INSTRUMENT_MAX: Final = 64  # each further occurrence costs one more pass over the frame
SEGMENTS_MAYBE_NEGATIVE: Final = frozenset({7, 8, 12})  # commodities: MCX, MCXSX, NCO

Mask = NDArray[np.bool_]

_least, _most = partial(np.minimum.reduce, axis=None), partial(np.maximum.reduce, axis=None)


class RejectReason(StrEnum):
    """Why a row is not believed; what each means is in the module's opening."""

    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105 - an instrument's token, no secret
    TOO_MANY_IN_FRAME = "too_many_in_frame"
    FUTURE_TIMESTAMP = "future_timestamp"
    OUT_OF_ORDER = "out_of_order"
    NO_TIMESTAMP = "no_timestamp"
    TIMESTAMP_BEFORE_2000 = "timestamp_before_2000"
    NEGATIVE_PRICE = "negative_price"
    PRICE_OUT_OF_BOUNDS = "price_out_of_bounds"
    ZERO_PRICE = "zero_price"
    VOLUME_BACKWARDS = "volume_backwards"


class RowFlag(StrEnum):
    """What is odd about a row that may still be true."""

    FORM_MISMATCH = "form_mismatch"  # an index form for another segment, or the other way round
    POORER_THAN_WANTED = "poorer_than_wanted"  # its mode request is in flight, or was lost
    NOT_TRADED_TODAY = "not_traded_today"  # exchange time 0, or last price 0
    NOT_TODAY = "not_today"  # exchange time of an earlier day (IST): a cached packet
    TIME_AHEAD = "time_ahead"  # of our clock, by more than `AHEAD_S`
    TIME_WENT_BACK = "time_went_back"  # the instrument's earlier time was the wrong one
    VOLUME_DECREASED = "volume_decreased"  # within a day, in a later second
    DEPTH_DISORDERED = "depth_disordered"  # bids not descending, asks not ascending, or a gap between levels
    BOOK_CROSSED = "book_crossed"  # the best bid at or above the best ask
    MARKET_CLOSED = "market_closed"  # received while its segment does not trade, as far as the rules' hours tell


@dataclass(frozen=True, slots=True)
class ValidationRules:
    """What the checks depend on.

    Attributes
    ----------
    enabled
        False: refuse only what would corrupt the newest state.
    future_tolerance_s
        How far an exchange time may lie ahead of the receive time; a week is more than any clock or calendar gets
        wrong, and far less than what garbage in the high bits makes.
    price_max
        Rupees. The dearest share stands near 150,000, the highest index near 90,000.
    market_hours
        Whose word is taken for whether a segment trades; only a flag depends on it.
    """

    enabled: bool = True
    future_tolerance_s: int = 7 * DAY_S
    price_max: int = 10_000_000
    market_hours: MarketHours = MarketHours.ALWAYS

    def __post_init__(self) -> None:
        assert self.future_tolerance_s >= 0, self
        assert self.price_max > 0, self


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in a block of rows.

    Attributes
    ----------
    accepted
        (n,) bool, or nothing when every row is accepted (the usual case).
    rejected
        Reason → (n,) bool; disjoint, together the complement of `accepted`. Rows out of order have been noted in
        the state, which is how it knows that an instrument is stuck.
    flagged
        Flag → number of accepted rows.
    """

    accepted: Mask | None
    rejected: dict[RejectReason, Mask]
    flagged: dict[RowFlag, int]


_PLAIN: Final = Verdict(None, {}, {})

FACTS: Final = np.dtype(  # what judging needs to know of an instrument, by slot
    [
        ("price_limit", np.int64),  # of a scaled price
        ("segment", np.uint8),
        ("wanted", np.uint8),  # richness
        ("is_index", np.bool_),
        ("maybe_negative", np.bool_),
        ("closed", np.bool_),  # its segment does not trade now
    ],
    align=True,
)

MODE_OF_KIND: Final = np.zeros(len(PacketKind), np.uint8)  # richness: 0 ltp, 1 quote, 2 full
MODE_OF_KIND[[PacketKind.QUOTE, PacketKind.INDEX_QUOTE]] = 1
MODE_OF_KIND[[PacketKind.FULL, PacketKind.INDEX_FULL]] = 2
RICHNESS: Final[dict[Mode, int]] = {Mode.LTP: 0, Mode.QUOTE: 1, Mode.FULL: 2}
_KIND_WANTED: Final = np.array(  # [is index][richness]
    [
        [PacketKind.LTP, PacketKind.QUOTE, PacketKind.FULL],
        [PacketKind.LTP, PacketKind.INDEX_QUOTE, PacketKind.INDEX_FULL],
    ],
    np.uint8,
)
_IS_INDEX_FORM: Final = np.zeros(len(PacketKind), np.bool_)
_IS_INDEX_FORM[[PacketKind.INDEX_QUOTE, PacketKind.INDEX_FULL]] = True


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the checks look at, one value a row."""

    last: NDArray[np.int32]
    lowest: NDArray[np.int32]  # of last, open, high, low, close
    time_s: NDArray[np.int64]
    has_time: Mask
    volume: NDArray[np.int64]
    has_volume: Mask
    state_s: NDArray[np.int64]
    state_volume: NDArray[np.int64]
    stuck: Mask  # only older rows have come for a while
    maybe_negative: Mask
    price_limit: NDArray[np.int64]
    now_s: int
    today_s: int  # midnight IST
    tolerance_s: int


Check = tuple[RejectReason, Callable[[_Columns], Mask]]

# Refused even when validation is off: after these rows the newest state would be wrong for good.
_ORDER_CHECKS: Final[tuple[Check, ...]] = (
    (RejectReason.FUTURE_TIMESTAMP, lambda c: c.has_time & (c.time_s > c.now_s + c.tolerance_s)),
    (RejectReason.OUT_OF_ORDER, lambda c: c.has_time & (c.time_s > 0) & (c.time_s < c.state_s) & ~c.stuck),
    (RejectReason.NO_TIMESTAMP, lambda c: c.has_time & (c.time_s == 0) & (c.state_s >= c.today_s)),
)
_VALUE_CHECKS: Final[tuple[Check, ...]] = (
    (RejectReason.TIMESTAMP_BEFORE_2000, lambda c: c.has_time & (c.time_s > 0) & (c.time_s < YEAR_2000_S)),
    (RejectReason.NEGATIVE_PRICE, lambda c: ~c.maybe_negative & (c.lowest < 0)),
    (RejectReason.PRICE_OUT_OF_BOUNDS, lambda c: np.abs(c.last.astype(np.int64)) > c.price_limit),
    (RejectReason.ZERO_PRICE, lambda c: ~c.maybe_negative & (c.last == 0) & c.has_volume & (c.volume > 0)),
    (
        RejectReason.VOLUME_BACKWARDS,
        lambda c: c.has_time & c.has_volume & (c.time_s > 0) & (c.time_s == c.state_s) & (c.volume < c.state_volume),
    ),
)


class TickValidator:
    """Judges blocks of rows of known slots, each slot at most once in a block.

    Parameters
    ----------
    rules
        What the checks depend on.

    Attributes
    ----------
    facts
        (capacity,) `FACTS`.
    """

    def __init__(self, *, rules: ValidationRules) -> None:
        self.rules = rules
        self._any_closed = False
        self.configure(no_instruments())

    def configure(self, table: InstrumentTable) -> None:
        """Judge by `table` from now on."""
        facts = np.zeros(table.capacity, FACTS)
        segments = [segment_of(row.token) if row else 0 for row in table.instruments]
        facts["segment"] = segments
        facts["maybe_negative"] = [number in SEGMENTS_MAYBE_NEGATIVE for number in segments]
        facts["is_index"] = facts["segment"] == SEGMENT_INDICES
        facts["price_limit"] = table.divisor * self.rules.price_max
        facts["wanted"] = [RICHNESS[row.mode] if row else 0 for row in table.instruments]
        self.facts = facts
        self._lowest_limit = int(facts["price_limit"].min(initial=2**31))
        self._wanted_kind = _KIND_WANTED[facts["is_index"].astype(np.intp), facts["wanted"]]
        self._all_timed = bool(HAS_TIME[self._wanted_kind].all())
        self._phase_holds_from = self._phase_holds_until = 0

    def follow_market(self, *, now_ns: int) -> None:
        """Know which segments trade at `now_ns`; two comparisons but for when a session begins or ends."""
        if self._phase_holds_from <= now_ns < self._phase_holds_until:
            return
        phase = phase_at(now_ns, hours=self.rules.market_hours)
        self._phase_holds_from, self._phase_holds_until = phase.from_ns, phase.until_ns
        self.facts["closed"] = ~phase.open[self.facts["segment"]]
        self._any_closed = bool(self.facts["closed"].any())

    def validate(self, rows: TickRows, *, state: InstrumentState, now_ns: int) -> Verdict:
        """Judge `rows` against what is known before them.

        Parameters
        ----------
        rows
            Rows with known slots, no slot twice.
        state
            The newest rows, configured with the same table.
        now_ns
            Wall clock.
        """
        now_s = now_ns // SECOND_NS
        self.follow_market(now_ns=now_ns)
        plain = self._plain(rows, state, now_s=now_s)
        if plain is not None:
            return plain
        columns = self._columns(rows, state, now_ns=now_ns)
        rejected: dict[RejectReason, Mask] = {}
        accepted: Mask | None = None
        for reason, check in _ORDER_CHECKS + (_VALUE_CHECKS if self.rules.enabled else ()):
            found = check(columns)
            if not found.any():
                continue
            if accepted is None:
                accepted = ~found
            else:
                found &= accepted
                if not found.any():
                    continue
                accepted &= ~found
            rejected[reason] = found
            if reason is RejectReason.OUT_OF_ORDER:
                state.note_refused(rows.slot[found], now_ns=now_ns)
        return Verdict(accepted, rejected, self._flags(rows, columns, accepted))

    def _plain(self, rows: TickRows, state: InstrumentState, *, now_s: int) -> Verdict | None:
        """The verdict where no check can find anything; nothing where that is not obvious."""
        words, slot, kind = rows.words, rows.slot, rows.kind
        if self._any_closed or np.count_nonzero(kind != self._wanted_kind[slot]):
            return None
        prices = words.view(np.int32)
        last = prices[:, Word.LAST_PRICE]
        if _least(last, initial=1) <= 0 or _most(last, initial=0) > self._lowest_limit:
            return None
        if _least(prices[:, Word.OPEN : Word.CLOSE + 1], initial=0) < 0:
            return None
        if np.count_nonzero(words[:, Word.VOLUME_TRADED] < state.volume[slot]):
            return None
        time_s = words[:, Word.EXCHANGE_TIMESTAMP]
        if not self._all_timed:
            timed = HAS_TIME[kind]
            time_s, slot = time_s[timed], slot[timed]
        earliest = int(_least(time_s, initial=now_s))
        if earliest < YEAR_2000_S or _most(time_s, initial=0) > now_s + AHEAD_S:
            return None
        if np.count_nonzero(time_s < state.exchange_s[slot]):
            return None
        today_s = midnight(now_s)
        if earliest < today_s or any(mask.any() for mask in odd_books(words)):
            return None
        return _PLAIN

    def _columns(self, rows: TickRows, state: InstrumentState, *, now_ns: int) -> _Columns:
        now_s = now_ns // SECOND_NS
        prices = rows.words.view(np.int32)
        last = prices[:, Word.LAST_PRICE]
        lowest = np.minimum(last, prices[:, Word.OPEN : Word.CLOSE + 1].min(axis=1, initial=0))
        slot = rows.slot
        facts = self.facts[slot]
        return _Columns(
            last=last,
            lowest=lowest,
            time_s=rows.words[:, Word.EXCHANGE_TIMESTAMP].astype(np.int64),
            has_time=HAS_TIME[rows.kind],
            volume=rows.words[:, Word.VOLUME_TRADED].astype(np.int64),
            has_volume=HAS_VOLUME[rows.kind],
            state_s=state.exchange_s[slot],
            state_volume=state.volume[slot],
            stuck=state.stuck(slot, now_ns=now_ns, limit_ns=STUCK_NS),
            maybe_negative=facts["maybe_negative"],
            price_limit=facts["price_limit"],
            now_s=now_s,
            today_s=midnight(now_s),
            tolerance_s=self.rules.future_tolerance_s,
        )

    def _flags(self, rows: TickRows, columns: _Columns, accepted: Mask | None) -> dict[RowFlag, int]:
        kind, slot, c = rows.kind, rows.slot, columns
        mode, facts = MODE_OF_KIND[kind], self.facts[slot]
        disordered, crossed = odd_books(rows.words)
        timed = c.has_time & (c.time_s > 0)
        later = c.has_volume & timed & (c.time_s > c.state_s) & (c.volume < c.state_volume)
        found = {
            RowFlag.FORM_MISMATCH: (_IS_INDEX_FORM[kind] != facts["is_index"]) & (mode > 0),
            RowFlag.POORER_THAN_WANTED: mode < facts["wanted"],
            RowFlag.NOT_TRADED_TODAY: (c.has_time & (c.time_s == 0)) | (c.last == 0),
            RowFlag.NOT_TODAY: timed & (c.time_s < c.today_s),
            RowFlag.TIME_AHEAD: timed & (c.time_s > c.now_s + AHEAD_S),
            RowFlag.TIME_WENT_BACK: timed & (c.time_s < c.state_s),
            RowFlag.VOLUME_DECREASED: later & (_day(c.time_s) == _day(c.state_s)),
            RowFlag.DEPTH_DISORDERED: disordered,
            RowFlag.BOOK_CROSSED: crossed,
            RowFlag.MARKET_CLOSED: facts["closed"],
        }
        counts = {
            flag: int(np.count_nonzero(mask if accepted is None else mask & accepted)) for flag, mask in found.items()
        }
        return {flag: count for flag, count in counts.items() if count}


def odd_books(words: Words) -> tuple[Mask, Mask]:
    """Which books have levels out of order, and which cross; both (n,), never a row without depth.

    A level without a quantity is empty, and none follows it; the wire fills it with zeros.
    """
    levels = words[:, Word.DEPTH :].reshape(len(words), 2, DEPTH_ENTRIES // 2, 3)
    there, price = levels[..., 0] > 0, levels[..., 1].view(np.int32)
    follows = there[:, :, 1:]
    gap = follows & ~there[:, :, :-1]
    bids, asks = price[:, 0], price[:, 1]
    unsorted = follows[:, 0] & (bids[:, :-1] <= bids[:, 1:]) | follows[:, 1] & (asks[:, :-1] >= asks[:, 1:])
    crossed = there[:, 0, 0] & there[:, 1, 0] & (bids[:, 0] >= asks[:, 0])
    disordered: Mask = np.logical_or(gap.any(axis=(1, 2)), unsorted.any(axis=1))
    return disordered, crossed


def midnight(now_s: int) -> int:
    """When the day in India began, epoch seconds."""
    return (now_s + IST_OFFSET_S) // DAY_S * DAY_S - IST_OFFSET_S


def _day(time_s: NDArray[np.int64]) -> NDArray[np.int64]:
    """The day in India, as a number."""
    return (time_s + IST_OFFSET_S) // DAY_S
