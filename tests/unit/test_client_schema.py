"""The schema at the edge and the publisher's validator: two readings of one row that agree on every field."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.support.wild_rows import a_wild_table, wild_rows
from ticker_client import Row, decode_row
from ticker_client.schema import PRICE_MAX, SEGMENTS_MAYBE_NEGATIVE, Tick
from ticker_crds import Encoding
from ticker_shard.publish.encode import Head, make_encoders
from ticker_shard.publish.symbols import SymbolBook
from ticker_shard.ticks import validate
from ticker_shard.ticks.rows import TickRows, Word
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.validate import RejectReason, TickValidator, ValidationRules

NOW_NS = 1_763_696_730_123_456_789  # 2025-11-21, in trading hours
HEAD = Head(shard="pool.acc1", process="i/r", epoch=1, seq=1, source="live", sent_ns=NOW_NS)
TABLE = a_wild_table()
BOOK = SymbolBook(TABLE)
ENCODERS = [
    pytest.param(make_encoders(native=native)[Encoding.JSON], id=f"native={native}") for native in (False, True)
]


def at_one_time(rows: TickRows) -> TickRows:
    """The rows as if received now; times of pricing keep their distance."""
    priced = np.where(rows.priced_ns > 0, NOW_NS + (rows.priced_ns - rows.received_ns), 0)
    return replace(rows, received_ns=np.full(len(rows), NOW_NS), priced_ns=priced)


def reason_of_the_validator(row: TickRows) -> RejectReason | None:
    state, validator = InstrumentState(), TickValidator(rules=ValidationRules())
    state.configure(TABLE)
    validator.configure(TABLE)
    verdict = validator.validate(row, state=state, now_ns=NOW_NS)
    return next(iter(verdict.rejected), None)


def reason_of_the_schema(payload: bytes) -> str | None:
    try:
        Tick.model_validate_json(payload)
    except ValidationError as error:
        return "+".join(found["type"] for found in error.errors())
    return None


def nearly_possible(words: np.ndarray, data: st.DataObject) -> None:
    """Push a row to the edges of the rules: wild words alone would seldom be believed."""
    edge = st.sampled_from([0, 1, 946_684_799, 946_684_800, NOW_NS // 10**9, NOW_NS // 10**9 + 7 * 86_400 + 1])
    words[Word.EXCHANGE_TIMESTAMP] = data.draw(edge) if words[Word.EXCHANGE_TIMESTAMP] else 0
    prices = st.sampled_from([0, 5, 10_000, PRICE_MAX * 100, PRICE_MAX * 100 + 1, 2**32 - 5])
    words[Word.LAST_PRICE] = data.draw(prices)
    words[Word.OPEN : Word.CLOSE + 1] &= 0x7FFFFFFF if data.draw(st.booleans()) else 0xFFFFFFFF


@pytest.mark.parametrize("encoder", ENCODERS)
@given(rows=wild_rows(TABLE), data=st.data())
def test_both_refuse_the_same_rows_for_the_same_reason_and_read_the_same_fields(encoder, rows, data) -> None:
    rows = at_one_time(rows)
    for position in range(len(rows)):
        nearly_possible(rows.words[position], data)
    payloads = encoder.encode(HEAD, rows, book=BOOK, gaps=[])[1]
    for position, (_, payload) in enumerate(payloads):
        refused = reason_of_the_validator(rows.take(slice(position, position + 1)))

        assert reason_of_the_schema(payload) == (refused.value if refused else None)
        if refused is None:
            row = decode_row(payload)
            assert isinstance(row, Row)
            assert asdict(row) == Tick.model_validate_json(payload).model_dump()


def test_the_schema_has_exactly_the_fields_of_a_row() -> None:
    assert set(Tick.model_fields) == {field.name for field in fields(Row)}


def test_the_schema_repeats_the_rules_of_the_validator_and_imports_nothing_of_it() -> None:
    assert validate.SEGMENTS_MAYBE_NEGATIVE == SEGMENTS_MAYBE_NEGATIVE
    assert ValidationRules().price_max == PRICE_MAX


def test_what_is_no_row_is_refused_by_member() -> None:
    with pytest.raises(ValidationError) as refused:
        Tick.model_validate_json(b'{"instrument_token": -1, "symbol": "INFY", "last_price": "dear"}')

    assert {error["loc"][0] for error in refused.value.errors()} == {
        "instrument_token", "symbol", "last_price", "received_at"
    }  # fmt: skip
