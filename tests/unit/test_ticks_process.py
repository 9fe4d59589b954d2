"""What becomes an instrument's newest row, what confirms it, and what is left of a frame that is not whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.packets import (
    ALL_FULL,
    CRUDE,
    CURRENCY,
    INDEX,
    OPENING,
    OPTION,
    SECOND_NS,
    SHARE,
    STRANGER,
    R,
    Row,
    a_processor,
    a_table,
    counts,
    frame_of,
    process,
)
from ticker_crds import Mode
from ticker_shard.ticks import (
    FrameFault,
    InstrumentState,
    InstrumentTable,
    PacketKind,
    TickProcessor,
    Word,
    build_instruments,
)
from ticker_shard.ticks.validate import SAME_INSTRUMENT_MAX

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
