"""What is believed, what is refused and for which reason, and what is only flagged."""

from __future__ import annotations

import pytest

from tests.support.packets import (
    CRUDE,
    CURRENCY,
    INDEX,
    OPENING,
    OPTION,
    SHARE,
    STRANGER,
    WEEK,
    YESTERDAY,
    F,
    R,
    Row,
    a_processor,
    counts,
    process,
)
from ticker_shard.ticks import PacketKind, RejectReason

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
