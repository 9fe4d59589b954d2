"""What the benchmark's broker sends is what Kite sends, moves all the time, and can be found again at the other end."""

from __future__ import annotations

import datetime as dt
import struct

import numpy as np
from kiteconnect import KiteTicker

from benchmarks.frames import STEP_AT, Tape, header, packets_of, single_frame
from benchmarks.market import DAYS_PER_YEAR, EXPIRY_DAYS, RATE, VARIATIONS, black76, make_market
from ticker_shard.ticks import decode_frame
from ticker_shard.ticks.rows import Word

TODAY = dt.date(2026, 11, 20)
NOW_S = 1_795_000_000
MARKET = make_market(600, today=TODAY)
EVERYTHING = np.arange(MARKET.size)


def a_tape(*, frame_packets: int = 50) -> Tape:
    sweeps = np.array([packets_of(MARKET, EVERYTHING, variation=variation) for variation in range(VARIATIONS)])
    return Tape(sweeps, frame_packets=frame_packets)


def payload_of(message: bytes | memoryview) -> bytes:
    """The one WebSocket message in `message`, which must be whole."""
    data = bytes(message)
    assert data[0] == 0x82
    size = data[1]
    at = 2
    if size == 126:
        (size,), at = struct.unpack_from(">H", data, 2), 4
    elif size == 127:
        (size,), at = struct.unpack_from(">Q", data, 2), 10
    assert len(data) == at + size
    return data[at:]


def test_headers_of_all_three_sizes_announce_what_follows() -> None:
    for size in (0, 125, 126, 65_535, 65_536, 200_000):
        assert len(payload_of(header(size) + bytes(size))) == size


def test_the_official_client_reads_the_frames_as_the_shard_does() -> None:
    frame = payload_of(a_tape().stamped(0, steps=np.arange(1, 13), now_s=NOW_S)[2])

    theirs = KiteTicker.__new__(KiteTicker)._parse_binary(frame)
    ours = decode_frame(frame).words

    assert [tick["instrument_token"] for tick in theirs] == MARKET.tokens[100:150].tolist() == ours[:, 0].tolist()
    assert [tick["last_price"] for tick in theirs] == (MARKET.price[0, 100:150] / 100).tolist()
    assert {tick["total_buy_quantity"] for tick in theirs} == {3}
    assert {tick["exchange_timestamp"].timestamp() for tick in theirs} == {NOW_S}
    assert all(len(tick["depth"]["sell"]) == 5 for tick in theirs)
    assert struct.unpack_from(">I", frame, STEP_AT) == (3,)


def test_no_two_packets_of_an_instrument_are_alike_and_volume_only_grows() -> None:
    tape = a_tape(frame_packets=600)
    rows = [
        decode_frame(payload_of(tape.stamped(sweep, steps=np.array([sweep + 1]), now_s=NOW_S + sweep // 4)[0])).words
        for sweep in range(3 * VARIATIONS)
    ]

    volumes = np.array([row[:, Word.VOLUME_TRADED] for row in rows]).astype(np.int64)
    prices = np.array([row[:, Word.LAST_PRICE] for row in rows])
    assert (np.diff(volumes, axis=0) > 0).all()
    futures = ~MARKET.is_option
    assert (np.diff(prices[:, futures].astype(np.int64), axis=0) != 0).all(), "every future moves each time"


def test_a_sweep_in_one_piece_is_its_frames_one_after_another() -> None:
    tape = a_tape()
    frames = tape.stamped(3, steps=np.arange(1, 13), now_s=NOW_S)

    assert bytes(tape.whole(3)) == b"".join(bytes(frame) for frame in frames)


def test_a_burst_is_one_message_with_everything() -> None:
    frame = payload_of(single_frame(packets_of(MARKET, EVERYTHING, variation=0)))

    assert decode_frame(frame).words[:, 0].tolist() == MARKET.tokens.tolist()


def test_nearly_every_option_of_the_market_has_a_volatility() -> None:
    """Prices lie between the bounds of no-arbitrage; else a contender would be fast by finding nothing to do."""
    options = MARKET.is_option
    discount = np.exp(-RATE * EXPIRY_DAYS / DAYS_PER_YEAR)
    for price in MARKET.price:
        forward = price[MARKET.future][options] / 100
        strike, call = MARKET.strike[options], MARKET.is_call[options]
        intrinsic = discount * np.maximum(np.where(call, forward - strike, strike - forward), 0)
        upper = discount * np.where(call, forward, strike)
        inside = (price[options] / 100 > intrinsic) & (price[options] / 100 < upper)
        assert inside.mean() > 0.95


def test_puts_and_calls_of_the_market_keep_parity() -> None:
    forward, strike = np.full(3, 25_000.0), np.array([24_000.0, 25_000.0, 26_000.0])

    call = black76(forward, strike, 0.1, is_call=np.full(3, True))
    put = black76(forward, strike, 0.1, is_call=np.full(3, False))

    np.testing.assert_allclose(call - put, np.exp(-RATE * 0.1) * (forward - strike), atol=1e-8)
