"""The tape tells the market's changes and the packets apart, ties them by version, and is bounded."""

from __future__ import annotations

import hashlib

import numpy as np

from ticker_sim import wire
from ticker_sim.tape import MARKET, Tape, digests_of
from ticker_sim.wire import Mode

TOKENS = np.array([408065, 256265], np.uint32)  # a share and an index
FULL = np.array([Mode.FULL, Mode.FULL], np.uint8)
BOTH = np.array([0, 1])


def rows(last_price: int) -> wire.Rows:
    found = wire.empty_rows(2)
    found["instrument_token"], found["last_price"], found["exchange_timestamp"] = TOKENS, last_price, 1_795_146_306
    return found


def a_tape(entries_max: int = 100) -> Tape:
    tape = Tape(TOKENS, lambda: 5)
    tape.start(entries_max)
    return tape


def send(tape: Tape, last_price: int, *, doubtful: bool = False) -> None:
    tape.sent(3, BOTH, FULL, rows(last_price), versions=tape.versions(BOTH), doubtful=doubtful)


def read(tape: Tape, *, since: int = 0, limit: int = 1_000) -> list[tuple[int, int, int, int]]:
    found = tape.as_json(since=since, limit=limit)
    return list(zip(found["socket"], found["token"], found["version"], found["digest"], strict=True))


def test_a_digest_is_that_of_the_packets_body() -> None:
    modes = np.array([Mode.QUOTE, Mode.FULL], np.uint8)
    found = digests_of(rows(1_000), modes)

    for place, mode in enumerate((Mode.QUOTE, Mode.FULL)):
        body = wire.encode_packet(rows(1_000)[place : place + 1], mode=mode)
        assert int(found[place]) == int.from_bytes(hashlib.blake2b(body, digest_size=6).digest(), "big")


def test_a_packet_and_the_change_that_it_carries_have_one_version_and_one_digest() -> None:
    tape = a_tape()
    tape.changed(BOTH, rows(1_000))  # nobody has heard of them: no entry, but a version
    send(tape, 1_000)
    tape.changed(BOTH, rows(1_001))
    send(tape, 1_001)

    entries = read(tape)
    assert [entry[0] for entry in entries] == [3, 3, MARKET, MARKET, 3, 3]
    assert [entry[2] for entry in entries] == [1, 1, 2, 2, 2, 2]
    assert [entry[1:] for entry in entries[2:4]] == [entry[1:] for entry in entries[4:]]


def test_a_change_that_changes_nothing_is_none() -> None:
    tape = a_tape()
    send(tape, 1_000)
    tape.changed(BOTH, rows(1_000))
    tape.changed(BOTH, rows(1_000))

    assert [entry[0] for entry in read(tape)] == [3, 3, MARKET, MARKET]


def test_doubtful_packets_are_marked() -> None:
    tape = a_tape()
    send(tape, 1_000, doubtful=True)

    assert tape.as_json(since=0, limit=10)["doubtful"] == [1, 1]


def test_the_oldest_entries_go_first_and_the_answer_says_so() -> None:
    tape = a_tape(entries_max=5)
    for price in range(4):
        send(tape, price)

    found = tape.as_json(since=0, limit=100)
    assert (found["first"], found["last"], found["from"]) == (4, 8, 4)
    assert found["token"] == [256265, 408065, 256265, 408065, 256265]


def test_it_is_read_in_parts_without_a_hole() -> None:
    tape = a_tape()
    for price in range(5):
        send(tape, price)

    parts, since = [], 0
    while found := read(tape, since=since, limit=3):
        parts += found
        since += len(found)
    assert parts == read(tape)
    assert len(parts) == 10


def test_a_tape_that_was_not_asked_for_holds_nothing() -> None:
    tape = Tape(TOKENS, lambda: 5)
    tape.changed(BOTH, rows(1_000))
    send(tape, 1_000)

    assert tape.as_json(since=0, limit=10)["token"] == []
