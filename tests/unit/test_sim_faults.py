"""Faults: refused by name, repeatable by seed, over when they should be, and each one doing what it says."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from ticker_sim import faults, spoil, wire
from ticker_sim.fault_book import FAULTS_MAX, FaultBook
from ticker_sim.faults import FAULT_KINDS, FaultRefusedError, fault_json, parse_fault
from ticker_sim.wire import Mode

S = 1_000_000_000
NEEDED: dict[str, dict[str, Any]] = {
    "linger": {"linger_ms": 10},
    "mute_tokens": {"tokens": [256265]},
    "refuse_upgrade": {"status": 429},
    "slow_upgrade": {"delay_ms": 10},
    "malformed": {"how": "truncated"},
    "slow_frames": {"delay_ms": 10},
    "timestamps": {"zero": True},
    "distort": {"how": "empty_book"},
    "partial_subscribe": {"keep": 2},
    "rest_error": {"status": 502},
    "truncated_dump": {"keep_bytes": 10},
}


def a_book(*, seed: int = 1, **fault: Any) -> FaultBook:
    book = FaultBook(seed=seed)
    if fault:
        book.add(parse_fault(fault), now_ns=0, sockets_before=2)
    return book


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_every_kind_is_made_from_json_and_back(kind: str) -> None:
    fault = parse_fault({"kind": kind, **NEEDED.get(kind, {})})

    shown = {name: list(value) if isinstance(value, tuple) else value for name, value in fault_json(fault).items()}
    assert type(fault) is FAULT_KINDS[kind]
    assert parse_fault(shown) == fault


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "an object with a kind"),
        ({}, "kind: None is none of"),
        ({"kind": "earthquake"}, "kind: 'earthquake' is none of"),
        ({"kind": ["drop"]}, "kind: .* is none of"),
        ({"kind": "drop", "force": 3}, "force: drop has no such field"),
        ({"kind": "refuse_upgrade"}, "status: refuse_upgrade needs it"),
        ({"kind": "refuse_upgrade", "status": 200}, "status: 200 is not between 400 and 599"),
        ({"kind": "refuse_upgrade", "status": "429"}, "status: '429' is not a int"),
        ({"kind": "drop", "code": True}, "code: True is not a int"),
        ({"kind": "drop", "probability": 1.5}, "probability: 1.5 is not between 0 and 1"),
        ({"kind": "drop", "api_key": 5}, "api_key: 5 is not a str"),
        ({"kind": "malformed", "how": "badly"}, "how: 'badly' is none of truncated"),
        ({"kind": "mute_tokens", "tokens": []}, "tokens: a list of at least one integer"),
        ({"kind": "mute_tokens", "tokens": ["1"]}, "tokens: a list of at least one integer"),
        ({"kind": "mute", "count": 3}, "count: mute lasts"),
        ({"kind": "half_open", "probability": 0.5}, "probability: half_open lasts"),
        ({"kind": "drop", "for_ms": 5}, "for_ms: drop strikes the open sockets once"),
        ({"kind": "burst", "api_key": "k"}, "api_key: there is one market"),
        ({"kind": "timestamps"}, "shift_s: either zero or a shift"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_name_of_the_field(value: Any, message: str) -> None:
    with pytest.raises(FaultRefusedError, match=message):
        parse_fault(value)


def test_a_fault_strikes_as_often_as_it_was_asked_to() -> None:
    book = a_book(kind="slow_frames", delay_ms=5, count=2)

    strikes = [book.strike(faults.SlowFrames, now_ns=0, api_key="k", socket=1) for _ in range(4)]

    assert [strike is not None for strike in strikes] == [True, True, False, False]
    assert book.as_json(now_ns=0) == []


def test_a_fault_is_over_when_its_time_is_up() -> None:
    book = a_book(kind="mute", for_ms=1_000)

    assert book.in_force(faults.Mute, now_ns=S - 1, api_key="k")
    assert not book.in_force(faults.Mute, now_ns=S, api_key="k")


def test_a_fault_for_one_key_spares_the_others() -> None:
    book = a_book(kind="mute", api_key="simkey1")

    assert book.in_force(faults.Mute, now_ns=0, api_key="simkey1")
    assert not book.in_force(faults.Mute, now_ns=0, api_key="simkey2")


def test_half_open_spares_sockets_that_come_later() -> None:
    book = a_book(kind="half_open")

    assert book.in_force(faults.HalfOpen, now_ns=0, api_key="k", socket=2)
    assert not book.in_force(faults.HalfOpen, now_ns=0, api_key="k", socket=3)
    assert a_book(kind="half_open", new_sockets=True).in_force(faults.HalfOpen, now_ns=0, api_key="k", socket=3)


def test_chance_is_the_seeds() -> None:
    def strikes(seed: int) -> list[bool]:
        book = a_book(seed=seed, kind="malformed", how="truncated", probability=0.5)
        return [book.strike(faults.Malformed, now_ns=0, api_key="k", socket=1) is not None for _ in range(64)]

    assert strikes(1) == strikes(1) != strikes(2)
    assert 16 < sum(strikes(1)) < 48


def test_a_momentary_fault_strikes_its_count_of_sockets_and_is_not_kept() -> None:
    book = a_book(kind="drop", count=1)

    assert book.struck(faults.Drop(count=1), [4, 5, 6]) == [4]
    assert book.struck(faults.Drop(probability=0.0), [4, 5, 6]) == []
    assert book.as_json(now_ns=0) == []


def test_faults_are_listed_lifted_and_bounded() -> None:
    book = a_book()
    ids = [book.add(faults.Mute(api_key=f"k{n}"), now_ns=0, sockets_before=0) for n in range(FAULTS_MAX)]

    with pytest.raises(FaultRefusedError, match=str(FAULTS_MAX)):
        book.add(faults.Mute(), now_ns=0, sockets_before=0)
    assert (book.remove(ids[0]), book.remove(ids[0]), book.remove()) == (1, 0, FAULTS_MAX - 1)


def two_rows() -> wire.Rows:
    rows = wire.empty_rows(2)
    rows["instrument_token"], rows["last_price"], rows["volume_traded"] = (738561, 408065), (150_000, 157_315), 900
    rows["exchange_timestamp"], rows["last_trade_time"] = 1_763_696_730, (1_763_696_729, 0)
    rows["buy"]["price"], rows["sell"]["price"], rows["buy"]["quantity"] = 149_990, 150_010, 5
    return rows


def parsed(frame: bytes) -> list[int] | str:
    """Tokens that the vendor's parser makes of a frame, or how it fails."""
    try:
        return [tick["instrument_token"] for tick in KiteTicker("key", "token")._parse_binary(frame)]
    except struct.error:
        return "struct.error"


@pytest.mark.parametrize(
    ("how", "vendor"),
    [
        ("truncated", [738561]),
        ("count_too_high", "struct.error"),
        ("count_too_low", [738561]),
        ("zero_length", "struct.error"),
        ("unknown_length", [738561, 408065]),
        ("trailing_bytes", [738561, 408065]),
        ("two_bytes", "struct.error"),
        ("oversized", [738561, 408065]),
    ],
)
def test_a_spoiled_frame_is_what_its_name_says_to_the_vendors_parser(how: Any, vendor: Any) -> None:
    good = wire.encode_frame(two_rows(), np.array([Mode.QUOTE, Mode.FULL], np.uint8))
    assert parsed(good) == [738561, 408065]

    bad = spoil.spoil_frame(good, faults.Malformed(how=how))

    assert bad != good
    assert parsed(bad) == vendor


@given(count=st.integers(1, 40), how=st.sampled_from(["truncated", "count_too_high", "zero_length", "two_bytes"]))
def test_spoiling_never_fails_whatever_the_frame(count: int, how: Any) -> None:
    rows = wire.empty_rows(count)
    rows["instrument_token"] = 257

    frame = wire.encode_frame(rows, np.full(count, Mode.LTP, np.uint8))

    assert spoil.spoil_frame(frame, faults.Malformed(how=how)) != frame


def test_times_are_zero_or_shifted_and_a_missing_one_stays_missing() -> None:
    rows = two_rows()

    zero, stale = (
        spoil.shift_times(rows, fault) for fault in (faults.Timestamps(zero=True), faults.Timestamps(shift_s=-600))
    )

    assert not zero["exchange_timestamp"].any()
    assert stale["exchange_timestamp"].tolist() == [1_763_696_130] * 2
    assert stale["last_trade_time"].tolist() == [1_763_696_129, 0]
    assert rows["exchange_timestamp"].tolist() == [1_763_696_730] * 2


def test_distorted_values_cannot_be_true() -> None:
    rows = two_rows()

    assert (spoil.distort(rows, faults.Distort(how="negative_price"))["last_price"] < 0).all()
    assert (spoil.distort(rows, faults.Distort(how="volume_backwards"))["volume_traded"] < 900).all()
    crossed = spoil.distort(rows, faults.Distort(how="crossed_book"))
    assert (crossed["buy"]["price"] > crossed["sell"]["price"]).all()
    assert not spoil.distort(rows, faults.Distort(how="empty_book"))["buy"]["quantity"].any()
    assert rows.tobytes() == two_rows().tobytes()


@pytest.mark.parametrize(
    ("what", "is_object"), [("junk", False), ("non_object", False), ("unknown_type", True), ("given", False)]
)
def test_unexpected_texts_are_what_their_name_says(what: Any, is_object: bool) -> None:
    text = spoil.unexpected_text(faults.SendText(what=what, text="hello"))

    assert text.startswith("{") == is_object
    assert (text == "hello") == (what == "given")


def test_a_fault_may_be_for_one_socket_only() -> None:
    book = a_book(kind="mute", socket=2)

    assert book.in_force(faults.Mute, now_ns=1, api_key="k", socket=2)
    assert not book.in_force(faults.Mute, now_ns=1, api_key="k", socket=1)


def test_what_strikes_before_there_is_a_socket_takes_no_socket() -> None:
    with pytest.raises(FaultRefusedError, match="socket: refuse_upgrade strikes before"):
        parse_fault({"kind": "refuse_upgrade", "status": 429, "socket": 1})
