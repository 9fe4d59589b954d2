"""Gap records as such: held, merged, closed and read again."""

from __future__ import annotations

import json

from ticker_shard.publish.encode_times import iso_utc
from ticker_shard.publish.gaps import close_holes, encode_holes, gap_record, hold_gap
from ticker_shard.publish.limits import GAP_SYMBOLS_MAX, GAPS_HELD_MAX


def test_held_gaps_are_bounded_and_a_merged_one_is_their_union():
    held = []
    for number in range(GAPS_HELD_MAX + 3):
        hold_gap(held, gap_record("s", [f"X{number}"], start_ns=number, end_ns=number + 1, cause=f"c{number % 2}"))

    assert len(held) == GAPS_HELD_MAX
    assert (held[-1].start_ns, held[-1].end_ns) == (GAPS_HELD_MAX - 1, GAPS_HELD_MAX + 3)
    assert (held[-1].instruments, set(held[-1].cause.split("+"))) == (4, {"c0", "c1"})


def test_a_gap_lists_some_symbols_and_counts_all():
    record = gap_record("s", [f"X{number}" for number in range(500)], start_ns=2, end_ns=1, cause="c")

    assert (record.instruments, len(record.symbols)) == (500, GAP_SYMBOLS_MAX)
    assert json.loads(record.encode())["end"] == json.loads(record.encode())["start"] == iso_utc(2)


def test_holes_that_somebody_spoiled_say_nothing():
    for text in (b"", b"spoiled", b"[1]", b'[["a", 1]]', b"{}"):
        assert close_holes(text, shard="s", end_ns=1) == []


def test_holes_are_what_they_were_when_they_are_closed():
    record = gap_record("s", ["A", "B"], start_ns=5, end_ns=5, cause="reset")
    held = gap_record("s", ["C"], start_ns=1, end_ns=3, cause="silent")

    closed = close_holes(encode_holes([record], [held]), shard="s", end_ns=9)

    assert [(gap.symbols, gap.start_ns, gap.end_ns, gap.cause) for gap in closed] == [
        (("A", "B"), 5, 9, "reset"),
        (("C",), 1, 3, "silent"),
    ]
