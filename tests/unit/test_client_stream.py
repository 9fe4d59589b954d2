"""The consumer's stream: snapshot first, nothing twice, nothing older, losses and gaps told, foreign bytes survived."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ticker_client
from ticker_client import (
    GapSeen,
    Ignored,
    Lost,
    Snapshot,
    Source,
    TickStream,
    Undecodable,
    Update,
    decode_message,
    decode_row,
    latest,
)
from ticker_client.stream import KEPT_BACK_MAX, SOURCES_MAX

CHANNEL = "ticker:nifty:options"
OLD, NEW = ("pool.acc1", "pod1/1", 5), ("pool.acc1", "pod2/1", 6)
OTHER = ("pool.acc2", "pod7/1", 9)


def a_time(second: float) -> str:
    return f"2025-11-21T03:{int(second) // 60:02d}:{second % 60:09.6f}Z"


def a_row(symbol: str = "X", price: float = 1.0, *, at: float | None = None, **more) -> dict:
    row = {"instrument_token": 1, "symbol": symbol, "last_price": price, "received_at": a_time(1), **more}
    return row if at is None else row | {"exchange_timestamp": a_time(at)}


def a_message(seq: int, *rows: dict, source=OLD, sent: float = 1, **more) -> bytes:
    shard, process, epoch = source
    head = {"v": 1, "shard": shard, "process": process, "epoch": epoch, "seq": seq, "source": "live"}
    return json.dumps({**head, "sent_at": a_time(sent), "ticks": rows, **more}).encode()


def a_stream(**rows: dict) -> TickStream:
    stream = TickStream()
    stream.subscribed(CHANNEL)
    stream.snapshot(CHANNEL, {name: json.dumps(row).encode() for name, row in rows.items()})
    return stream


def prices(events) -> list[float]:
    return [event.row.last_price for event in events if isinstance(event, Update)]


def test_what_comes_before_the_snapshot_follows_it():
    stream = TickStream()
    stream.subscribed(CHANNEL)
    assert stream.message(CHANNEL, a_message(4, a_row(price=2.0), a_row("Y", 5.0))) == []

    events = stream.snapshot(CHANNEL, {b"X": json.dumps(a_row(price=2.0)).encode()})

    assert isinstance(events[0], Snapshot)
    assert {symbol: row.last_price for symbol, row in events[0].rows.items()} == {"X": 2.0}
    assert [(event.row.symbol, event.row.last_price) for event in events[1:]] == [("Y", 5.0)]  # X is in the snapshot


def test_a_successors_rewrite_is_given_out_once():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=1.0, at=10), a_row("Y", 7.0, at=10)))

    events = stream.message(
        CHANNEL, a_message(1, a_row(price=1.0, at=10, received_at=a_time(2)), a_row("Y", 8.0, at=11), source=NEW)
    )

    assert [(event.row.symbol, event.row.last_price) for event in events] == [("Y", 8.0)]
    assert stream.duplicates == 1


def test_an_option_priced_again_is_news_once_and_never_goes_back():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(at=10, iv=0.20)))
    again = [a_row(at=10, iv=iv, priced_at=a_time(second)) for iv, second in ((0.21, 3), (0.22, 4), (0.21, 3))]

    events = stream.message(CHANNEL, a_message(2, *again, again[1]))

    assert [event.row.iv for event in events] == [0.21, 0.22]
    assert events[-1].row.priced_at == datetime(2025, 11, 21, 3, 0, 4, tzinfo=UTC)


def test_a_successor_that_computes_other_greeks_on_the_same_packet_tells_nothing_new():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(at=10, iv=0.20, underlying_price=100.0)))

    events = stream.message(
        CHANNEL, a_message(1, a_row(at=10, no_greeks="no_underlying", received_at=a_time(2)), source=NEW)
    )

    assert (events, stream.duplicates) == ([], 1)


def test_a_row_older_by_the_exchanges_clock_or_volume_is_late():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=3.0, at=12, volume_traded=100)))

    assert prices(stream.message(CHANNEL, a_message(2, a_row(price=2.0, at=11, volume_traded=90)))) == []
    assert prices(stream.message(CHANNEL, a_message(3, a_row(price=2.5, at=12, volume_traded=99)))) == []
    assert prices(stream.message(CHANNEL, a_message(4, a_row(price=4.0, at=12, volume_traded=101)))) == [4.0]
    assert stream.late == 2


def test_a_time_that_was_wrong_silences_an_instrument_for_seconds_only():
    stream = a_stream()
    wrong, right = 3_000, 20  # the publisher believed the first one, until nothing but older ones came
    stream.message(CHANNEL, a_message(1, a_row(price=3.0, at=wrong, received_at=a_time(20))))

    soon = stream.message(CHANNEL, a_message(2, a_row(price=4.0, at=right, received_at=a_time(29))))
    later = stream.message(CHANNEL, a_message(3, a_row(price=5.0, at=right + 1, received_at=a_time(30))))
    after = stream.message(CHANNEL, a_message(4, a_row(price=6.0, at=right + 2, received_at=a_time(31))))

    assert (prices(soon), prices(later), prices(after)) == ([], [5.0], [6.0])


def test_without_an_exchange_time_arrival_decides():
    stream = a_stream()

    events = [event for seq, price in enumerate([2.0, 1.0, 2.0]) for event in stream.message(
        CHANNEL, a_message(seq + 1, a_row(price=price))
    )]  # fmt: skip

    assert prices(events) == [2.0, 1.0, 2.0]


def test_a_settling_account_is_ignored_while_the_other_one_speaks():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=1.0), sent=10))

    beside = stream.message(CHANNEL, a_message(1, a_row(price=9.0, settling=True), source=OTHER, sent=12))
    after = stream.message(CHANNEL, a_message(2, a_row(price=9.5, settling=True), source=OTHER, sent=16))

    assert prices(beside) == []
    assert prices(after) == [9.5]


def test_a_new_owner_is_believed_at_once():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=1.0), sent=10))

    assert prices(stream.message(CHANNEL, a_message(1, a_row(price=2.0), source=OTHER, sent=10))) == [2.0]


def test_missing_numbers_are_told_with_their_source():
    stream = a_stream()
    stream.message(CHANNEL, a_message(7, a_row(price=1.0)))

    events = stream.message(CHANNEL, a_message(10, a_row(price=2.0)))

    assert events[0] == Lost(CHANNEL, Source(*OLD), first=8, messages=2)
    assert prices(events) == [2.0]


def test_messages_that_the_snapshot_holds_are_skipped_and_the_next_number_is_known():
    stream = TickStream()
    stream.subscribed(CHANNEL)
    for seq in (3, 4, 5):
        stream.message(CHANNEL, a_message(seq, a_row(price=float(seq))))
    number = json.dumps({"process": OLD[1], "epoch": OLD[2], "seq": 4})

    events = stream.snapshot(CHANNEL, {b"X": json.dumps(a_row(price=4.0))}, {b"pool.acc1": number, b"odd": b"{"})
    events += stream.message(CHANNEL, a_message(7, a_row(price=7.0)))

    assert isinstance(events[0], Ignored)
    assert prices(events) == [5.0, 7.0]
    assert Lost(CHANNEL, Source(*OLD), first=6, messages=1) in events


def test_what_a_predecessor_said_before_the_snapshot_is_in_it():
    stream = TickStream()
    stream.subscribed(CHANNEL)
    stream.message(CHANNEL, a_message(9, a_row(price=1.0), source=OLD))
    stream.message(CHANNEL, a_message(1, a_row(price=2.0), source=NEW))
    number = json.dumps({"process": NEW[1], "epoch": NEW[2], "seq": 1})

    events = stream.snapshot(CHANNEL, {b"X": json.dumps(a_row(price=2.0))}, {b"pool.acc1": number})

    assert prices(events) == []
    assert stream.last(CHANNEL)["X"].last_price == 2.0


def test_accounts_count_apart_and_a_new_one_starts_where_it_is():
    stream = a_stream()
    stream.message(CHANNEL, a_message(7, a_row(price=1.0)))

    events = stream.message(CHANNEL, a_message(3, a_row(price=2.0), source=OTHER))
    events += stream.message(CHANNEL, a_message(8, a_row(price=3.0)))

    assert not any(isinstance(event, Lost) for event in events)


def test_a_successors_first_messages_are_missed_too():
    stream = a_stream()
    stream.message(CHANNEL, a_message(7, a_row(price=1.0)))

    events = stream.message(CHANNEL, a_message(3, a_row(price=2.0), source=NEW))

    assert events[0] == Lost(CHANNEL, Source(*NEW), first=1, messages=2)
    assert prices(events) == [2.0]


def test_a_new_subscription_starts_over_with_a_snapshot_and_no_false_loss():
    stream = a_stream()
    stream.message(CHANNEL, a_message(7, a_row(price=1.0)))

    stream.subscribed(CHANNEL)
    events = stream.snapshot(CHANNEL, {b"X": json.dumps(a_row(price=5.0)).encode()})
    events += stream.message(CHANNEL, a_message(20, a_row(price=6.0)))

    assert [type(event) for event in events] == [Snapshot, Update]
    assert latest(events)["X"].last_price == 6.0


def test_the_publishers_own_gaps_are_handed_on():
    gap = {
        "shard": "pool.acc1",
        "instruments": 2,
        "symbols": ["X"],
        "start": a_time(1),
        "end": a_time(3),
        "cause": "silent",
    }

    events = a_stream().message(CHANNEL, a_message(1, gaps=[gap]))

    assert isinstance(events[0], GapSeen)
    assert (events[0].gap.instruments, events[0].gap.cause) == (2, "silent")


def test_unknown_members_are_ignored_and_an_unknown_version_is_not_guessed_at():
    known = decode_message(a_message(1, a_row(colour="red"), novelty={"a": 1}))
    future = json.loads(a_message(1, a_row())) | {"v": 2}

    assert known.ticks[0].last_price == 1.0
    assert decode_message(json.dumps(future)) == Undecodable("schema version 2, this client reads 1")


@given(st.binary() | st.text() | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["v", "shard", "process", "epoch", "seq", "sent_at", "ticks", "gaps", "symbol", "last_price"]),
        inner,
    ),
    max_leaves=20,
).map(json.dumps))  # fmt: skip
def test_any_bytes_are_a_message_or_named(payload):
    stream = a_stream()

    assert all(isinstance(event, Ignored | Update | Lost | GapSeen) for event in stream.message(CHANNEL, payload))
    decode_row(payload)


def test_a_malformed_last_value_costs_only_itself():
    stream = TickStream()
    stream.subscribed(CHANNEL)

    events = stream.snapshot(CHANNEL, {b"X": b"{", b"Y": json.dumps(a_row("Y")).encode()})

    assert [type(event) for event in events] == [Ignored, Snapshot]
    assert set(events[1].rows) == {"Y"}


def test_what_waits_for_a_snapshot_is_bounded():
    stream = TickStream()
    stream.subscribed(CHANNEL)
    payload = a_message(1)

    events = [event for _ in range(KEPT_BACK_MAX + 2) for event in stream.message(CHANNEL, payload)]

    assert stream.kept_back == KEPT_BACK_MAX
    assert [type(event) for event in events] == [Ignored, Ignored]


def test_known_sources_are_bounded():
    stream = a_stream()
    for epoch in range(SOURCES_MAX + 10):
        stream.message(CHANNEL, a_message(1, source=("pool.acc1", "pod1/1", epoch)))

    # The first source was forgotten: what follows is a new start, not a loss.
    assert stream.message(CHANNEL, a_message(9, source=("pool.acc1", "pod1/1", 0))) == []
    assert len(stream._next) == SOURCES_MAX


@pytest.mark.parametrize("name", ticker_client.__all__)
def test_every_public_name_exists(name):
    assert hasattr(ticker_client, name)


def test_the_public_names_are_these():
    assert set(ticker_client.__all__) == {
        *("AsyncSubscriber", "Depth", "DepthLevel", "Event", "Gap", "GapSeen", "Ignored", "Lost", "Message", "Ohlc"),
        *("AsyncReplay", "OLDEST", "Replay", "StreamAbsentError", "Trimmed"),
        *("Row", "SCHEMA_VERSION", "Snapshot", "Source", "Subscriber", "TickStream", "Undecodable", "Update"),
        *("decode_gap", "decode_message", "decode_row", "latest"),
        *("fence_key", "gaps_key", "last_values_key", "numbers_key", "stream_key"),
    }


def test_a_resumed_stream_gives_out_what_was_missed_once_and_no_snapshot():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=1)))
    stream.subscribed(CHANNEL)
    waiting = stream.message(CHANNEL, a_message(4, a_row(price=4)))

    events = stream.resume(CHANNEL, [a_message(seq, a_row(price=seq)) for seq in (2, 3, 4)])
    events += stream.message(CHANNEL, a_message(5, a_row(price=5)))

    assert waiting == []
    assert prices(events) == [2, 3, 4, 5]
    assert all(isinstance(event, Update) for event in events)


def test_what_a_resumed_stream_lacks_is_told_by_number():
    stream = a_stream()
    stream.message(CHANNEL, a_message(1, a_row(price=1)))
    stream.subscribed(CHANNEL)

    events = stream.resume(CHANNEL, [a_message(4, a_row(price=4))])

    assert events[0] == Lost(CHANNEL, Source(*OLD), first=2, messages=2)


def test_known_is_what_was_given_out_or_stood_in_the_snapshot():
    stream = TickStream()
    assert not stream.heard(CHANNEL)
    stream.subscribed(CHANNEL)
    stream.snapshot(CHANNEL, {}, {"pool.acc1": json.dumps({"process": OLD[1], "epoch": OLD[2], "seq": 7})})

    assert stream.heard(CHANNEL)
    assert [stream.knows(CHANNEL, a_message(seq)) for seq in (6, 7, 8)] == [True, True, False]
    assert not stream.knows(CHANNEL, a_message(1, source=NEW))
    assert not stream.knows(CHANNEL, b"junk")


def test_the_example_draws_calls_left_and_puts_right(load_example):
    rows = {
        symbol: decode_row(json.dumps(a_row(symbol, price)))
        for symbol, price in [
            ("NFO:NIFTY26NOV26000CE", 1.5),
            ("NFO:NIFTY26NOV26000PE", 2.5),
            ("NFO:NIFTY26N1226000CE", 9.0),
            ("NSE:NIFTY 50", 3.0),
        ]
    }

    table = load_example("option_chain").chain(rows, "note")

    assert table.title == "NIFTY26N12"
    del rows["NFO:NIFTY26N1226000CE"]
    table = load_example("option_chain").chain(rows, "note")
    assert [list(column.cells) for column in table.columns][3:6] == [["1.50"], ["26000"], ["2.50"]]


@pytest.fixture
def load_example():
    def load(name: str):
        path = Path(__file__).parents[2] / "docs" / "examples" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
