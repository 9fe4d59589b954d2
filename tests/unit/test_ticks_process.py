"""What is believed, and what becomes an instrument's newest row, beside a reference that judges row by row.

The reference below is the rules in plain words and plain integers. Random feeds (in order and not, possible and not,
one frame or many, the same instrument often in a frame) must give the same rows, rejections, flags and newest state.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.ticks import (
    FrameFault,
    InstrumentState,
    InstrumentTable,
    PacketKind,
    ProcessedFrame,
    RejectReason,
    RowFlag,
    TickProcessor,
    ValidationRules,
    Word,
    build_instruments,
)
from ticker_shard.ticks.validate import SAME_INSTRUMENT_MAX

R, F = RejectReason, RowFlag
SECOND_NS = 1_000_000_000
OPENING = int(datetime(2026, 11, 23, 3, 45, tzinfo=UTC).timestamp())  # Monday 09:15 in India
WEEK = 7 * 86_400
YESTERDAY = OPENING - 3 * 86_400 + 22_500  # Friday 15:30
OPTION, SHARE, INDEX, CRUDE, CURRENCY = 1001 * 256 + 2, 2002 * 256 + 1, 1 * 256 + 9, 3003 * 256 + 7, 4004 * 256 + 3
STRANGER = 77 * 256 + 2
CHANNEL = Channel("ticker:x")


def a_table(modes: dict[int, Mode], *, revision: int = 1, names: dict[int, str] | None = None) -> AssignmentTable:
    names = names or {}
    rows = tuple(
        AssignedInstrument(token, "NSE", names.get(token, f"S{token}"), mode, (CHANNEL.name,))
        for token, mode in modes.items()
    )
    return AssignmentTable("acc1", revision, (CHANNEL,), rows)


ALL_FULL = dict.fromkeys((OPTION, SHARE, INDEX, CRUDE, CURRENCY), Mode.FULL)


def a_processor(modes: dict[int, Mode] | None = None, **rules: Any) -> TickProcessor:
    processor = TickProcessor(state=InstrumentState(), rules=ValidationRules(**rules))
    processor.configure(build_instruments(a_table(modes or ALL_FULL)))
    return processor


@dataclass(frozen=True)
class Row:
    """One packet in words of the trade."""

    token: int = OPTION
    kind: PacketKind = PacketKind.FULL
    last: int = 18_765
    at: int = OPENING
    volume: int = 1_000
    open: int = 15_000
    low: int = 14_210

    def packet(self) -> bytes:
        def price(value: int) -> int:
            return value & 0xFFFFFFFF

        match self.kind:
            case PacketKind.LTP:
                return struct.pack(">II", self.token, price(self.last))
            case PacketKind.INDEX_QUOTE | PacketKind.INDEX_FULL:
                words = (self.token, self.last, 19_880, self.low, self.open, 14_980, 0, self.at)
                count = 7 if self.kind is PacketKind.INDEX_QUOTE else 8
                return struct.pack(f">{count}I", *map(price, words[:count]))
            case _:
                words = (self.token, self.last, 75, 17_590, self.volume, 10, 20, self.open, 19_880, self.low, 14_980)
                if self.kind is PacketKind.QUOTE:
                    return struct.pack(">11I", *map(price, words))
                return struct.pack(">16I", *map(price, (*words, self.at, 5, 6, 4, self.at))) + bytes(120)


def frame_of(*rows: Row) -> bytes:
    bodies = [row.packet() for row in rows]
    return struct.pack(">H", len(bodies)) + b"".join(struct.pack(">H", len(body)) + body for body in bodies)


def process(processor: TickProcessor, *rows: Row, now: int = OPENING) -> ProcessedFrame:
    return processor.process(frame_of(*rows), received_ns=now * SECOND_NS)


def counts(result: ProcessedFrame) -> dict[RejectReason, int]:
    return {reason: len(slots) for reason, slots in result.rejected.items()}


# -- each reason -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "row", "expected"),
    [
        pytest.param([], Row(token=STRANGER), R.UNKNOWN_TOKEN, id="a token that is not assigned"),
        pytest.param([], Row(at=OPENING + WEEK + 1), R.FUTURE_TIMESTAMP, id="a week and a second ahead"),
        pytest.param([], Row(at=OPENING + WEEK), None, id="a week ahead: a simulated day, or our clock is wrong"),
        pytest.param([], Row(at=0xFFFFFFFF), R.FUTURE_TIMESTAMP, id="the year 2106"),
        pytest.param([Row()], Row(at=OPENING - 1), R.OUT_OF_ORDER, id="older than the newest"),
        pytest.param([Row()], Row(), None, id="the same second again"),
        pytest.param(
            [Row(), Row(kind=PacketKind.QUOTE)], Row(at=OPENING - 1), R.OUT_OF_ORDER,
            id="older, with a packet without time in between",
        ),
        pytest.param([Row()], Row(at=0), R.NO_TIMESTAMP, id="no time after a time of today"),
        pytest.param([Row(at=YESTERDAY)], Row(at=0, volume=0), None, id="no time after a time of yesterday"),
        pytest.param([], Row(at=0, last=5, volume=0), None, id="never traded today"),
        pytest.param([], Row(at=86_400), R.TIMESTAMP_BEFORE_2000, id="second of January 1970"),
        pytest.param([], Row(last=-1), R.NEGATIVE_PRICE, id="an option below zero"),
        pytest.param([], Row(open=-1), R.NEGATIVE_PRICE, id="an open below zero"),
        pytest.param([], Row(token=INDEX, kind=PacketKind.INDEX_FULL, low=-5), R.NEGATIVE_PRICE, id="an index low"),
        pytest.param([], Row(token=CRUDE, last=-3_763, low=-4_032), None, id="crude oil below zero"),
        pytest.param([], Row(last=1_000_000_001), R.PRICE_OUT_OF_BOUNDS, id="more than ten million rupees"),
        pytest.param([], Row(token=CRUDE, last=-(2**31)), R.PRICE_OUT_OF_BOUNDS, id="the sign bit alone"),
        pytest.param([], Row(token=CURRENCY, last=2**31 - 1), None, id="the largest currency price"),
        pytest.param([], Row(last=0), R.ZERO_PRICE, id="no price, but volume"),
        pytest.param([], Row(last=0, volume=0), None, id="no price, no volume: not traded"),
        pytest.param([], Row(token=CRUDE, last=0), None, id="crude oil at zero"),
        pytest.param([Row()], Row(volume=999), R.VOLUME_BACKWARDS, id="less volume in the same second"),
        pytest.param([Row()], Row(volume=999, at=OPENING + 1), None, id="less volume later: an annulled trade"),
        pytest.param([Row(at=YESTERDAY)], Row(volume=0), None, id="less volume on a new day"),
        pytest.param([], Row(kind=PacketKind.QUOTE), None, id="a poorer packet while the mode request is in flight"),
        pytest.param([], Row(kind=PacketKind.LTP), None, id="the poorest packet"),
        pytest.param([], Row(token=SHARE, kind=PacketKind.INDEX_FULL), None, id="index form for a share"),
        pytest.param([], Row(token=INDEX, kind=PacketKind.QUOTE), None, id="quote form for an index"),
    ],
)  # fmt: skip
def test_a_row_is_believed_or_rejected_for_one_reason(
    before: list[Row], row: Row, expected: RejectReason | None
) -> None:
    processor = a_processor()
    for earlier in before:
        assert not process(processor, earlier).rejected

    result = process(processor, row)

    assert counts(result) == ({} if expected is None else {expected: 1})
    assert len(result.rows) == (expected is None)
    assert result.received == 1


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row(token=STRANGER), R.UNKNOWN_TOKEN),
        (Row(at=OPENING + WEEK + 1), R.FUTURE_TIMESTAMP),
        (Row(at=OPENING - 1), R.OUT_OF_ORDER),
        (Row(at=0), R.NO_TIMESTAMP),
        (Row(at=OPENING + 1, last=-1), None),
        (Row(at=OPENING + 1, last=0), None),
        (Row(volume=1), None),
        (Row(at=OPENING + 1, last=2**31 - 1), None),
    ],
)
def test_switched_off_it_still_refuses_what_would_corrupt_the_newest_state(
    row: Row, expected: RejectReason | None
) -> None:
    processor = a_processor(enabled=False)
    process(processor, Row())

    assert counts(process(processor, row)) == ({} if expected is None else {expected: 1})


def test_a_future_time_does_not_make_the_truth_look_old() -> None:
    processor = a_processor()

    process(processor, Row(at=0xFFFFFFF0))

    assert counts(process(processor, Row())) == {}


def test_a_time_ahead_within_tolerance_silences_an_instrument_for_seconds_only() -> None:
    processor = a_processor()
    process(processor, Row(at=OPENING + 3_600))

    seen = [process(processor, Row(at=OPENING + second), now=OPENING + second) for second in range(12)]

    assert [len(result.rows) for result in seen] == [0] * 10 + [1, 1]
    assert seen[10].flagged == {F.TIME_WENT_BACK: 1}
    assert seen[11].flagged == {}


def test_a_feed_that_starts_over_is_followed_after_a_while() -> None:
    processor = a_processor()
    process(processor, Row(at=OPENING + 500), Row(SHARE, at=OPENING + 500), now=OPENING + 500)

    for second in range(10):
        assert len(process(processor, Row(at=OPENING + second), now=OPENING + 500 + second).rows) == 0
    assert len(process(processor, Row(at=OPENING + 20), Row(SHARE), now=OPENING + 520).rows) == 1
    assert len(process(processor, Row(at=OPENING + 31), Row(SHARE), now=OPENING + 531).rows) == 2


def test_a_clock_that_is_hours_behind_loses_nothing() -> None:
    processor = a_processor()

    for second in range(20):
        result = process(processor, Row(at=OPENING + second, volume=second), now=OPENING - 30_000 + second)
        assert counts(result) == {}
        assert result.flagged == {F.TIME_AHEAD: 1}


# -- a healthy feed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "now", [OPENING, OPENING + 3_600 * 10, OPENING + 86_400 * 2 - 30_000], ids=["open", "evening", "night"]
)
def test_a_healthy_feed_loses_nothing(now: int) -> None:
    """Cached packets of days ago, then the day's reset, then trading with equal seconds; three times reconnected."""
    processor = a_processor()
    rejected: list[dict[RejectReason, int]] = []

    def feed(*rows: Row) -> None:
        rejected.append(counts(process(processor, *rows, now=now)))

    cached = [
        Row(OPTION, at=YESTERDAY), Row(SHARE, at=YESTERDAY), Row(CRUDE, at=YESTERDAY + 20_000),
        Row(INDEX, PacketKind.INDEX_FULL, at=YESTERDAY), Row(CURRENCY, at=YESTERDAY),
    ]  # fmt: skip
    feed(*[Row(row.token, PacketKind.INDEX_QUOTE if row.token == INDEX else PacketKind.QUOTE) for row in cached])
    feed(*cached)
    feed(*cached)
    feed(Row(OPTION, last=5, at=0, volume=0), Row(SHARE, last=0, at=0, volume=0))
    start = max(now - 120, OPENING)
    for second in range(100):
        at = start + second
        feed(Row(OPTION, at=at, volume=second), Row(OPTION, at=at, volume=second + 1))
        feed(Row(SHARE, at=at, volume=second * 10), Row(INDEX, PacketKind.INDEX_FULL, at=at), Row(CRUDE, at=at))
        if second % 40 == 39:  # reconnected: everything as cached, some first in the default mode
            feed(Row(OPTION, PacketKind.QUOTE, volume=second + 1), Row(OPTION, at=at, volume=second + 1))

    assert [counts for counts in rejected if counts] == []


def test_flags_are_counted_on_accepted_rows() -> None:
    processor = a_processor()

    result = process(
        processor,
        Row(OPTION, PacketKind.QUOTE),
        Row(SHARE, PacketKind.INDEX_FULL),
        Row(CRUDE, at=YESTERDAY),
        Row(CURRENCY, at=0, last=0, volume=0),
        Row(INDEX, PacketKind.INDEX_FULL, last=-1),
    )

    assert result.flagged == {
        F.POORER_THAN_WANTED: 1, F.FORM_MISMATCH: 1, F.NOT_TODAY: 1, F.NOT_TRADED_TODAY: 1,
    }  # fmt: skip
    assert counts(result) == {R.NEGATIVE_PRICE: 1}


def test_a_decrease_of_volume_within_a_day_is_flagged() -> None:
    processor = a_processor()
    process(processor, Row(volume=1_000))

    assert process(processor, Row(volume=900, at=OPENING + 5)).flagged == {F.VOLUME_DECREASED: 1}


# -- state -------------------------------------------------------------------------------------------------------------


def test_the_newest_row_is_one_packet_and_older_ones_do_not_replace_it() -> None:
    processor = a_processor()
    process(processor, Row(last=100, at=OPENING), Row(last=101, at=OPENING), Row(last=99, at=OPENING - 1))

    [slot] = processor.table.slots_of(np.array([OPTION], np.uint32))
    newest = processor.state.newest(np.array([slot], np.int32))

    assert newest.words[0, Word.LAST_PRICE] == 101
    process(processor, Row(kind=PacketKind.QUOTE, last=102))
    newest = processor.state.newest(np.array([slot], np.int32))
    assert newest.words[0, Word.LAST_PRICE] == 102
    assert newest.kind[0] == PacketKind.QUOTE
    assert newest.words[0, Word.EXCHANGE_TIMESTAMP] == 0, "nothing of an earlier moment in it"


def test_update_keeps_the_newest_of_a_block_whatever_its_order() -> None:
    processor = a_processor()
    rows = process(processor, Row(last=1, at=OPENING), Row(last=2, at=OPENING + 5), Row(SHARE, last=3)).rows
    state = InstrumentState()
    state.configure(processor.table)

    state.update(rows.take(np.array([1, 0, 2])))

    newest = state.newest(rows.slot[[0, 2]])
    assert newest.words[:, Word.LAST_PRICE].tolist() == [2, 3]


def test_newest_gives_only_slots_that_have_a_row_and_a_copy_of_it() -> None:
    processor = a_processor()
    process(processor, Row(SHARE, last=7))
    slots = np.array([-1, *range(len(ALL_FULL) + 2)], np.int32)

    newest = processor.state.newest(slots)
    newest.words[:] = 0

    assert len(newest) == 1
    assert processor.state.newest(slots).words[0, Word.LAST_PRICE] == 7


def table_after(before: InstrumentTable, modes: dict[int, Mode], **names: Any) -> InstrumentTable:
    return build_instruments(a_table(modes, revision=before.revision + 1, **names), previous=before)


def test_a_new_table_keeps_rows_of_what_stays_and_empties_what_changes_hands() -> None:
    processor = a_processor({OPTION: Mode.FULL, SHARE: Mode.FULL})
    process(processor, Row(OPTION, last=1), Row(SHARE, last=2))
    slots = {token: int(processor.table.slots_of(np.array([token], np.uint32))[0]) for token in (OPTION, SHARE)}

    table = table_after(processor.table, {SHARE: Mode.LTP})
    processor.configure(table)
    processor.configure(table_after(table, {SHARE: Mode.LTP, CRUDE: Mode.FULL, CURRENCY: Mode.FULL}))

    assert processor.table.slots_of(np.array([CRUDE], np.uint32)).tolist() == [slots[OPTION]], "a freed slot is reused"
    newest = processor.state.newest(np.arange(processor.table.capacity, dtype=np.int32))
    assert newest.words[:, Word.TOKEN].tolist() == [SHARE]
    assert counts(process(processor, Row(CRUDE, at=OPENING - 100), Row(OPTION))) == {R.UNKNOWN_TOKEN: 1}


def test_a_recycled_token_carries_the_row_on_under_its_new_number() -> None:
    processor = a_processor({OPTION: Mode.FULL})
    process(processor, Row(OPTION, last=42))
    renamed = 555 * 256 + 2

    processor.configure(table_after(processor.table, {renamed: Mode.FULL}, names={renamed: f"S{OPTION}"}))

    newest = processor.state.newest(np.array([0], np.int32))
    assert newest.words[0, [Word.TOKEN, Word.LAST_PRICE]].tolist() == [renamed, 42]


# -- confirmation ------------------------------------------------------------------------------------------------------


def test_the_first_packet_of_the_wanted_mode_is_reported_once_since_it_was_expected() -> None:
    processor = a_processor({OPTION: Mode.FULL, SHARE: Mode.QUOTE, INDEX: Mode.FULL, CRUDE: Mode.LTP})
    processor.expect_tokens([OPTION, SHARE, INDEX, STRANGER])

    def confirmed(*rows: Row) -> list[int]:
        return sorted(processor.tokens_of(process(processor, *rows).first_seen))

    assert confirmed(Row(OPTION, PacketKind.QUOTE), Row(CRUDE, PacketKind.LTP)) == []
    assert confirmed(Row(OPTION), Row(OPTION), Row(SHARE), Row(INDEX, PacketKind.INDEX_QUOTE)) == [OPTION]
    assert confirmed(Row(OPTION), Row(SHARE, PacketKind.QUOTE), Row(INDEX, PacketKind.INDEX_FULL)) == [INDEX, SHARE]
    assert confirmed(Row(OPTION), Row(SHARE, PacketKind.QUOTE)) == []
    processor.expect_tokens([OPTION])
    assert confirmed(Row(OPTION, at=OPENING - 5)) == [OPTION], "an older cached packet confirms what has a row"


def test_an_instrument_that_sends_only_nonsense_is_not_confirmed() -> None:
    processor = a_processor()
    processor.expect_tokens([OPTION])

    assert process(processor, Row(last=-1)).first_seen.tolist() == []
    assert len(process(processor, Row()).first_seen) == 1


def test_expectations_survive_a_new_table_for_what_stays() -> None:
    processor = a_processor({OPTION: Mode.FULL, SHARE: Mode.FULL})
    processor.expect_tokens([OPTION, SHARE])

    processor.configure(table_after(processor.table, {OPTION: Mode.FULL, CRUDE: Mode.FULL}))

    assert processor.tokens_of(process(processor, Row(OPTION), Row(CRUDE)).first_seen) == [OPTION]


# -- frames ------------------------------------------------------------------------------------------------------------


def test_good_packets_of_a_malformed_frame_survive_and_a_sample_is_kept() -> None:
    processor = a_processor()
    frame = frame_of(Row(last=5), Row(SHARE, last=6))[:-10]

    result = processor.process(frame, received_ns=OPENING * SECOND_NS)

    assert len(result.rows) == 1
    assert result.malformed == {FrameFault.TRUNCATED_BODY: 1}
    [sample] = processor.quarantine.samples()
    assert (sample.reason, sample.size) == (FrameFault.TRUNCATED_BODY, len(frame))
    assert sample.data == frame[:256].hex()


def test_rejected_rows_leave_few_samples_with_their_bytes() -> None:
    processor = a_processor()

    process(processor, *[Row(token=STRANGER, last=last) for last in range(50)])

    samples = processor.quarantine.samples()
    assert 1 <= len(samples) <= 4
    assert samples[0].reason == R.UNKNOWN_TOKEN
    assert bytes.fromhex(samples[0].data) == Row(token=STRANGER, last=0).packet()


def test_the_quarantine_is_a_ring() -> None:
    processor = a_processor()
    for last in range(300):
        process(processor, Row(token=STRANGER, last=last))

    samples = processor.quarantine.samples()
    assert len(samples) == 256
    assert bytes.fromhex(samples[-1].data)[4:8] == (299).to_bytes(4)


def test_more_packets_of_one_instrument_than_a_frame_may_hold_keeps_the_newest() -> None:
    processor = a_processor()
    rows = [Row(last=number, volume=number) for number in range(1, SAME_INSTRUMENT_MAX + 6)]

    result = process(processor, Row(SHARE), *rows)

    assert counts(result) == {R.TOO_MANY_IN_FRAME: 5}
    assert result.rows.words[:, Word.LAST_PRICE].tolist() == [18_765, *range(6, SAME_INSTRUMENT_MAX + 6)]


def test_before_the_first_table_every_token_is_unknown() -> None:
    processor = TickProcessor(state=InstrumentState())

    assert counts(process(processor, Row(), Row(SHARE))) == {R.UNKNOWN_TOKEN: 2}


# -- the reference -----------------------------------------------------------------------------------------------------

KINDS = list(PacketKind)
TIMED, COUNTED = (PacketKind.INDEX_FULL, PacketKind.FULL), (PacketKind.QUOTE, PacketKind.FULL)
INDEX_FORMS = (PacketKind.INDEX_QUOTE, PacketKind.INDEX_FULL)
RICHNESS = {0: 0, 1: 1, 2: 2, 3: 1, 4: 2}
MIDNIGHT = OPENING - 9 * 3_600 - 15 * 60


@dataclass
class Reference:
    """Row by row, in plain integers."""

    enabled: bool
    newest: dict[int, Row] = field(default_factory=dict)
    time: dict[int, int] = field(default_factory=dict)
    volume: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)

    def judge(self, row: Row, now: int) -> RejectReason | set[RowFlag]:
        if row.token not in ALL_FULL:
            return R.UNKNOWN_TOKEN
        known = self.time.get(row.token, 0)
        volume = self.volume.get(row.token, 0)
        timed, counted, commodity = row.kind in TIMED, row.kind in COUNTED, row.token % 256 == 7
        prices = [row.last] if row.kind is PacketKind.LTP else [row.last, row.open, row.low]
        if timed and row.at > now + WEEK:
            return R.FUTURE_TIMESTAMP
        stuck = now - self.refused.get(row.token, now) >= 10
        if timed and 0 < row.at < known and not stuck:
            self.refused.setdefault(row.token, now)
            return R.OUT_OF_ORDER
        if timed and row.at == 0 and known >= MIDNIGHT:
            return R.NO_TIMESTAMP
        if self.enabled:
            if timed and 0 < row.at < 946_684_800:
                return R.TIMESTAMP_BEFORE_2000
            if not commodity and min(prices) < 0:
                return R.NEGATIVE_PRICE
            if abs(row.last) > 10_000_000 * (10_000_000 if row.token == CURRENCY else 100):
                return R.PRICE_OUT_OF_BOUNDS
            if not commodity and row.last == 0 and counted and row.volume > 0:
                return R.ZERO_PRICE
            if timed and counted and row.at == known > 0 and row.volume < volume:
                return R.VOLUME_BACKWARDS
        flags = set()
        if row.kind is not PacketKind.LTP and (row.kind in INDEX_FORMS) != (row.token == INDEX):
            flags.add(F.FORM_MISMATCH)
        if RICHNESS[row.kind] < 2:
            flags.add(F.POORER_THAN_WANTED)
        if (timed and row.at == 0) or row.last == 0:
            flags.add(F.NOT_TRADED_TODAY)
        if timed and 0 < row.at < MIDNIGHT:
            flags.add(F.NOT_TODAY)
        if timed and row.at > now + 300:
            flags.add(F.TIME_AHEAD)
        if timed and 0 < row.at < known:
            flags.add(F.TIME_WENT_BACK)
        same_day = (row.at + 19_800) // 86_400 == (known + 19_800) // 86_400
        if timed and counted and row.at > known and same_day and row.volume < volume:
            flags.add(F.VOLUME_DECREASED)
        return flags

    def take(self, row: Row) -> None:
        self.newest[row.token] = row
        if row.kind in TIMED and row.at:
            self.time[row.token] = row.at
            self.refused.pop(row.token, None)
        if row.kind in COUNTED:
            self.volume[row.token] = row.volume


rows_of_any_sort = st.builds(
    Row,
    token=st.sampled_from([*ALL_FULL, OPTION, OPTION, STRANGER]),
    kind=st.sampled_from([*KINDS, PacketKind.FULL, PacketKind.FULL, PacketKind.FULL]),
    last=st.sampled_from([18_765, 18_765, 18_770, 5, 0, -5, 2**31 - 1, -(2**31)]),
    at=st.sampled_from(
        [
            OPENING,
            OPENING,
            OPENING + 1,
            OPENING + 2,
            OPENING - 5,
            YESTERDAY,
            0,
            5,
            OPENING + 400,
            2**32 - 1,
            OPENING + WEEK + 9,
        ]
    ),
    volume=st.sampled_from([1_000, 1_001, 999, 0, 2**32 - 1]),
    open=st.sampled_from([15_000, 15_000, 15_000, -1]),
)
orderly_rows = st.builds(
    Row, token=st.sampled_from([OPTION, SHARE, CRUDE]), last=st.integers(1, 50_000),
    at=st.integers(OPENING, OPENING + 3), volume=st.integers(1_000, 1_010),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0, 0, 1, 6, 10]), st.lists(st.one_of(rows_of_any_sort, orderly_rows), max_size=8)),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
)
def test_frames_are_judged_as_if_row_by_row(frames: list[tuple[int, list[Row]]], enabled: bool) -> None:
    processor, reference = a_processor(enabled=enabled), Reference(enabled)
    now = OPENING
    for pause, rows in frames:
        now += pause
        result = process(processor, *rows, now=now)

        accepted: list[Row] = []
        rejected: dict[RejectReason, int] = {}
        flagged: dict[RowFlag, int] = {}
        for row in rows:
            verdict = reference.judge(row, now)
            if isinstance(verdict, RejectReason):
                rejected[verdict] = rejected.get(verdict, 0) + 1
                continue
            reference.take(row)
            accepted.append(row)
            for flag in verdict:
                flagged[flag] = flagged.get(flag, 0) + 1
        assert counts(result) == rejected
        assert result.flagged == flagged
        assert result.rows.words[:, Word.TOKEN].tolist() == [row.token for row in accepted]
        assert result.rows.words.view(np.int32)[:, Word.LAST_PRICE].tolist() == [row.last for row in accepted]
        assert result.rows.kind.tolist() == [row.kind for row in accepted]
        assert result.received == len(rows)
    newest = processor.state.newest(np.arange(processor.table.capacity, dtype=np.int32))
    kept = zip(
        newest.words[:, Word.TOKEN].tolist(), newest.words.view(np.int32)[:, 1].tolist(), newest.kind, strict=True
    )
    assert {(token, last, int(kind)) for token, last, kind in kept} == {
        (row.token, row.last, int(row.kind)) for row in reference.newest.values()
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=600), min_size=1, max_size=3))
def test_no_bytes_raise(frames: list[bytes]) -> None:
    processor = a_processor()
    for frame in frames:
        result = processor.process(memoryview(frame), received_ns=OPENING * SECOND_NS)

        assert result.received == len(result.rows) + sum(counts(result).values())


@settings(max_examples=100, deadline=None)
@given(st.lists(rows_of_any_sort, min_size=1, max_size=5), st.data())
def test_no_damage_to_a_frame_raises(rows: list[Row], data: st.DataObject) -> None:
    frame = bytearray(frame_of(*rows))
    for _ in range(data.draw(st.integers(1, 5))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))

    result = a_processor().process(bytes(frame), received_ns=OPENING * SECOND_NS)

    assert result.received == len(result.rows) + sum(counts(result).values())
