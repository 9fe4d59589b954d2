"""A batch leaves when its frame is complete, its window over or its size reached; queues are bounded, losses named."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_shard.publish.batcher import Conflated, Flush, FlushReason, Queued, TickBatcher, Wait
from ticker_shard.publish.limits import MS_NS

TABLE = a_table(4)


def a_batcher(*, ticks_max: int = 10, instruments: int = 4) -> TickBatcher:
    batcher = TickBatcher(window_ms=100, ticks_max=ticks_max)
    batcher.configure({CHANNEL: instruments})
    return batcher


def test_rows_of_a_complete_frame_leave_at_once():
    batcher = a_batcher()

    batcher.offer(CHANNEL, some_rows(TABLE, [0, 1]), now_ns=0)
    before = batcher.due(CHANNEL, now_ns=0, outstanding=False)
    batcher.frame_complete()

    assert before == Wait(100 * MS_NS)
    assert batcher.due(CHANNEL, now_ns=0, outstanding=False) == Flush(FlushReason.FRAME_COMPLETE)


def test_rows_wait_while_a_call_is_outstanding():
    batcher = a_batcher()
    batcher.offer(CHANNEL, some_rows(TABLE, [0]), now_ns=0)
    batcher.frame_complete()

    assert batcher.due(CHANNEL, now_ns=10**12, outstanding=True) == Wait(None)


def test_an_incomplete_frame_leaves_when_its_window_is_over():
    batcher = a_batcher()
    batcher.offer(CHANNEL, some_rows(TABLE, [0]), now_ns=5)
    batcher.offer(CHANNEL, some_rows(TABLE, [1]), now_ns=50 * MS_NS)

    assert batcher.due(CHANNEL, now_ns=100 * MS_NS, outstanding=False) == Wait(100 * MS_NS + 5)
    assert batcher.due(CHANNEL, now_ns=100 * MS_NS + 5, outstanding=False) == Flush(FlushReason.WINDOW_OVER)


def test_a_full_batch_leaves_without_its_frame_being_complete():
    batcher = a_batcher(ticks_max=3)
    batcher.offer(CHANNEL, some_rows(TABLE, [0, 1, 2, 3]), now_ns=0)

    assert batcher.due(CHANNEL, now_ns=0, outstanding=False) == Flush(FlushReason.TICKS_MAX)
    assert batcher.take(CHANNEL, rows_max=3).slot.tolist() == [0, 1, 2]
    assert batcher.queued(CHANNEL) == 1


def test_above_the_ceiling_only_the_newest_row_of_each_instrument_stays():
    batcher = a_batcher(ticks_max=2, instruments=2)  # ceiling 2 x 2 + 2
    for price in range(1, 4):
        assert batcher.offer(CHANNEL, some_rows(TABLE, [0, 1], price=price), now_ns=0) == Queued()

    assert batcher.offer(CHANNEL, some_rows(TABLE, [1], price=9), now_ns=0) == Conflated(rows=5)
    left = batcher.take(CHANNEL, rows_max=100)
    assert left.slot.tolist() == [0, 1]
    assert left.words[:, 1].tolist() == [3, 9]


def test_while_it_conflates_a_queue_holds_half_as_much_again_as_there_are_instruments():
    batcher = a_batcher()  # of four instruments
    batcher.offer(CHANNEL, some_rows(TABLE, [0, 1, 0], price=1), now_ns=0)

    assert batcher.conflate(True) == 1
    for price in range(2, 6):
        assert batcher.offer(CHANNEL, some_rows(TABLE, [1], price=price), now_ns=0) == Queued()
    assert batcher.offer(CHANNEL, some_rows(TABLE, [1], price=6), now_ns=0) == Conflated(rows=5)
    batcher.conflate(False)
    for price in range(7, 16):
        assert batcher.offer(CHANNEL, some_rows(TABLE, [1], price=price), now_ns=0) == Queued()
    assert batcher.in_flight() == 11


def test_a_batch_is_cut_out_of_several_frames_and_what_stays_is_in_order():
    batcher = a_batcher()
    for price, slots in enumerate(([0, 1], [2, 3], [0, 1, 2]), start=1):
        batcher.offer(CHANNEL, some_rows(TABLE, slots, price=price), now_ns=0)

    first, second = batcher.take(CHANNEL, rows_max=5), batcher.take(CHANNEL, rows_max=5)

    assert (first.slot.tolist(), first.words[:, 1].tolist()) == ([0, 1, 2, 3, 0], [1, 1, 2, 2, 3])
    assert (second.slot.tolist(), second.words[:, 1].tolist()) == ([1, 2], [3, 3])
    assert batcher.in_flight() == 0


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("offer"), st.lists(st.integers(0, 3), min_size=1, max_size=6)),
            st.tuples(st.just("complete"), st.just([])),
            st.tuples(st.just("take"), st.lists(st.integers(0, 3), min_size=1, max_size=1)),
            st.tuples(st.just("take_out"), st.lists(st.integers(0, 3), max_size=2)),
            st.tuples(st.just("conflate"), st.lists(st.integers(0, 3), max_size=1)),
        ),
        max_size=30,
    )
)
def test_every_row_is_queued_taken_or_conflated_and_no_instrument_goes_back(steps):
    batcher = a_batcher(ticks_max=3)
    offered = taken = conflated = 0
    last_taken = dict.fromkeys(range(4), -1)
    for number, (step, slots) in enumerate(steps):
        match step:
            case "offer":
                answer = batcher.offer(CHANNEL, some_rows(TABLE, slots, price=number), now_ns=number)
                offered += len(slots)
                conflated += answer.rows if isinstance(answer, Conflated) else 0
            case "complete":
                batcher.frame_complete()
            case "conflate":
                conflated += batcher.conflate(bool(slots))
            case _:
                mask = np.zeros(4, np.bool_)
                mask[slots] = True
                out = batcher.take(CHANNEL, rows_max=slots[0]) if step == "take" else batcher.take_out(CHANNEL, mask)
                taken += len(out)
                for slot, price in zip(out.slot.tolist(), out.words[:, 1].tolist(), strict=True):
                    assert price >= last_taken[slot]
                    last_taken[slot] = price
        assert batcher.in_flight() == batcher.queued(CHANNEL) <= 2 * 4 + 3
        assert offered == taken + conflated + batcher.in_flight()
