"""Frames beside a reference that judges row by row, in plain words and plain integers.

Random feeds (in order and not, possible and not, one frame or many, the same instrument often in a frame) must give the
same rows, rejections, flags and newest state; and no bytes raise.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.packets import (
    ALL_FULL,
    CURRENCY,
    INDEX,
    OPENING,
    SECOND_NS,
    WEEK,
    F,
    R,
    Row,
    a_processor,
    counts,
    frame_of,
    orderly_rows,
    process,
    rows_of_any_sort,
)
from ticker_shard.ticks import PacketKind, RejectReason, RowFlag, Word

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
