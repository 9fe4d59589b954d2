"""The judges of the component tests find what they are there to find."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.shard_checks import books, differences, judge_stream

SENT: dict[str, Any] = {
    "instrument_token": 408065, "last_price": 153430, "volume_traded": 7, "open": 153440, "high": 153450,
    "low": 153410, "close": 154000, "exchange_timestamp": 1795146306,
    "buy": [{"quantity": 34, "price": 153420, "orders": 3}], "sell": [],
}  # fmt: skip
ROW: dict[str, Any] = {
    "instrument_token": 408065, "last_price": 1534.3, "volume_traded": 7,
    "ohlc": {"open": 1534.4, "high": 1534.5, "low": 1534.1, "close": 1540.0},
    "exchange_timestamp": "2026-11-20T03:45:06Z",
    "depth": {"buy": [{"quantity": 34, "price": 1534.2, "orders": 3}], "sell": []},
}  # fmt: skip


def test_equal_rows_have_no_differences() -> None:
    assert differences(SENT, ROW) == []


@pytest.mark.parametrize("name", [name for name in ROW if name != "symbol"])
def test_a_missing_or_other_field_is_named(name: str) -> None:
    other = {**ROW, name: None}

    assert len(differences(SENT, other)) == 1
    assert differences(SENT, other)[0].startswith(name)


def test_currency_prices_have_their_own_divisor() -> None:
    assert differences({"instrument_token": 256 + 3, "last_price": 845_012_500}, {
        "instrument_token": 259, "last_price": 84.50125}) == []  # fmt: skip


def message(epoch: int, process: str, seq: int) -> dict[str, Any]:
    return {"epoch": epoch, "process": process, "seq": seq, "ticks": [{}]}


def test_a_hand_over_without_a_hole_is_valid() -> None:
    verdict = judge_stream(
        [(0.0, message(1, "a", 1)), (0.1, message(1, "a", 2)), (0.2, message(2, "b", 1))], silence_s=0.5
    )

    assert verdict.valid
    assert verdict.processes == ("a", "b")


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        pytest.param([(0.0, message(1, "a", 1)), (0.1, message(1, "a", 3))], "seq 3, expected 2", id="a lost message"),
        pytest.param([(0.0, message(1, "a", 1)), (9.0, message(1, "a", 2))], "nothing for 9.00 s", id="a hole"),
        pytest.param(
            [(0.0, message(1, "a", 1)), (0.1, message(2, "b", 1)), (0.2, message(1, "a", 2))], "published again",
            id="a fenced process that goes on",
        ),
        pytest.param([(0.0, message(2, "a", 1)), (0.1, message(2, "b", 1))], "epoch 2 follows", id="one epoch twice"),
    ],
)  # fmt: skip
def test_what_a_consumer_would_complain_about_is_found(messages: list[Any], words: str) -> None:
    verdict = judge_stream(messages, silence_s=0.5)

    assert not verdict.valid
    assert any(words in complaint for complaint in verdict.complaints)


def test_a_silence_is_as_long_as_the_processes_could_run_in_it() -> None:
    messages = [(0.0, message(1, "a", 1)), (0.8, message(1, "a", 2)), (2.0, message(1, "a", 3))]

    verdict = judge_stream(messages, silence_s=0.5, ran_s=lambda start_s, end_s: (end_s - start_s) / 2)

    assert verdict.complaints == ("nothing for 1.20 s before message 3",)


def test_books_that_do_not_balance_are_found() -> None:
    terms = dict.fromkeys(("conflated", "rejected", "dropped", "withheld", "superseded", "in_flight"), 0)

    assert books({"received": 5, "published": 5, **terms}) == 0
    assert books({"received": 5, "published": 4, **terms}) == 1
