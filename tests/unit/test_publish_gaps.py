"""Gap records as such: held, merged, closed and read again."""

from __future__ import annotations

from ticker_shard.publish.gaps import close_holes, encode_holes, gap_record


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
