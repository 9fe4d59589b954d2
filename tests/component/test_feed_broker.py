"""Feed and ticks together against the simulated broker: everything wanted is streamed, confirmed, and streamed again.

One account, a hundred instruments of every segment in three modes. What the shard's state holds in the end is compared
with the simulator's own record of what it sent.
"""

from __future__ import annotations

import csv
import io
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.feed_shard import a_table, streaming
from tests.support.simulator import SimulatorProcess, put_right, simulator
from ticker_crds import Mode
from ticker_shard.feed import (
    ChangeKind,
    CloseReason,
    Credentials,
    SessionState,
    TextKind,
)
from ticker_shard.ticks import (
    RejectReason,
    Word,
    segment_of,
)

PRICES_AND_QUANTITIES = (
    "last_price", "last_traded_quantity", "average_traded_price", "volume_traded", "total_buy_quantity",
    "total_sell_quantity", "open", "high", "low", "close", "last_trade_time", "oi", "oi_day_high", "oi_day_low",
    "exchange_timestamp",
)  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorProcess]:
    with simulator(seed=5, ticks_per_second=2_000, heartbeat_ms=200, frame_packets=50, rate_limits=False) as running:
        yield running


@pytest.fixture
def sim(shared: SimulatorProcess) -> Iterator[SimulatorProcess]:
    with put_right(shared, keys=3) as running:
        yield running


@pytest.fixture(scope="module")
def dump(shared: SimulatorProcess) -> list[dict[str, str]]:
    """Ten instruments of each segment of the day's list."""
    with urllib.request.urlopen(f"{shared.url}/instruments") as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    chosen, seen = [], Counter[int]()
    for row in rows:
        segment = segment_of(int(row["instrument_token"]))
        seen[segment] += 1
        if seen[segment] <= 25:
            chosen.append(row)
    assert len(seen) >= 3, seen
    return chosen


async def test_three_modes_of_every_segment_are_streamed_as_recorded(
    sim: SimulatorProcess, dump: list[dict[str, str]]
) -> None:
    async with streaming(sim, a_table(dump)) as shard:
        await shard.until_all_confirmed()
        assert await sim.async_control.pause()
        stats = await sim.async_control.stats(api_key="simkey1")
        sent = sum(entry.packets for entry in stats.tokens.values())
        await shard.until(lambda: shard.rows >= sent, "every packet is here")

        assert shard.rows == sent, "none lost, none rejected"
        assert dict(shard.rejected) == {}
        assert dict(shard.malformed) == {}
        table = shard.processor.table
        newest = shard.processor.state.newest(table.token_slots)
        assert len(newest) == len(dump)
        for words, signed in zip(newest.words, newest.words.view(np.int32), strict=True):
            row = stats.tokens[int(words[Word.TOKEN])].row
            for name in PRICES_AND_QUANTITIES:
                if name in row:
                    column = signed if name.endswith("price") or name in ("open", "high", "low", "close") else words
                    assert int(column[Word[name.upper()]]) == row[name], (name, row)
            if "buy" in row:
                entries = words[Word.DEPTH :].reshape(2, 5, 3).tolist()
                for side, levels in zip(("buy", "sell"), entries, strict=True):
                    assert levels == [[e["quantity"], e["price"], e["orders"] << 16] for e in row[side]]


async def test_a_new_table_is_followed_on_the_open_socket(sim: SimulatorProcess, dump: list[dict[str, str]]) -> None:
    async with streaming(sim, a_table(dump[:20])) as shard:
        await shard.until_all_confirmed()

        shard.assign(a_table(dump[10:40], revision=2, modes=(Mode.FULL,)))
        await shard.until_all_confirmed()

        assert shard.status.wanted == 30
        assert shard.seen(ChangeKind.OPENED) == 1
        sockets = (await sim.async_control.stats(api_key="simkey1", tokens=False)).sockets
        assert len(sockets) == 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param({"kind": "drop"}, CloseReason.CLOSE_FRAME, id="close frame"),
        pytest.param({"kind": "reset"}, CloseReason.LOST, id="TCP reset"),
        pytest.param({"kind": "half_open"}, CloseReason.SILENT, id="half open"),
        pytest.param({"kind": "silence", "new_sockets": False}, CloseReason.SILENT, id="not even heartbeats"),
    ],
)
async def test_a_lost_connection_is_replaced_and_everything_confirmed_again(
    sim: SimulatorProcess, dump: list[dict[str, str]], fault: dict[str, Any], reason: CloseReason
) -> None:
    async with streaming(sim, a_table(dump), silence_ms=600) as shard:
        await shard.until_all_confirmed()

        sim.control.fault(**fault)
        await shard.until(lambda: shard.seen(ChangeKind.CLOSED) >= 1, "connection ended")
        sim.control.heal()
        await shard.until(lambda: shard.seen(ChangeKind.OPENED) >= 2, "connected again")
        await shard.until_all_confirmed()

        assert shard.seen(ChangeKind.CLOSED, reason) >= 1
        assert dict(shard.rejected) == {}


async def test_heartbeats_alone_keep_the_connection(sim: SimulatorProcess, dump: list[dict[str, str]]) -> None:
    async with streaming(sim, a_table(dump[:5]), silence_ms=1_500) as shard:
        await shard.until_all_confirmed()
        sim.control.fault("mute")
        beats = shard.status.sockets[0].counts["heartbeats"]

        await shard.until(lambda: shard.status.sockets[0].counts["heartbeats"] >= beats + 10, "ten heartbeats")

        assert shard.seen(ChangeKind.CLOSED) == 0


async def test_lost_subscriptions_are_repaired_and_the_dead_instrument_is_listed(
    sim: SimulatorProcess, dump: list[dict[str, str]]
) -> None:
    table = a_table(dump[:30], modes=(Mode.FULL,))
    dead = table.instruments[0].token
    sim.control.fault("mute_tokens", tokens=[dead])
    partial = sim.control.fault("partial_subscribe", keep=10)
    async with streaming(sim, table) as shard:
        await shard.until(lambda: shard.status.confirmed >= 9, "some confirmed")
        sim.control.heal(partial)
        await shard.until(lambda: shard.status.unconfirmed == (dead,), "only the dead one is listed")

        assert shard.status.confirmed == 29
        assert shard.status.warm

        sim.control.heal()
        await shard.until_all_confirmed()
        assert shard.status.unconfirmed == ()


async def test_a_first_packet_in_the_wrong_mode_does_not_confirm(
    sim: SimulatorProcess, dump: list[dict[str, str]]
) -> None:
    sim.control.fault("quote_first")
    async with streaming(sim, a_table(dump[:30], modes=(Mode.FULL,))) as shard:
        await shard.until_all_confirmed()

        kinds = shard.processor.state.newest(shard.processor.table.token_slots).kind
        assert len(kinds) == 30


async def test_a_dead_token_waits_and_a_new_one_revives_without_a_restart(
    sim: SimulatorProcess, dump: list[dict[str, str]]
) -> None:
    sim.control.revoke("simkey1")
    async with streaming(sim, a_table(dump[:10])) as shard:
        await shard.until(lambda: shard.status.sockets[0].state is SessionState.REJECTED, "rejected")
        assert shard.status.rejected_since_ns is not None
        refused = (await sim.async_control.stats(tokens=False)).refused

        sim.control.grant("simkey1", "fresh-token")
        shard.pool.set_credentials(Credentials("simkey1", "fresh-token"))
        await shard.until_all_confirmed()

        assert (await sim.async_control.stats(tokens=False)).refused == refused, "one refusal, no hammering"
        assert shard.status.rejected_since_ns is None


async def test_an_open_socket_outlives_its_token(sim: SimulatorProcess, dump: list[dict[str, str]]) -> None:
    async with streaming(sim, a_table(dump[:10], modes=(Mode.FULL,))) as shard:
        await shard.until_all_confirmed()
        sim.control.revoke("simkey1")
        rows = shard.rows
        shard.pool.set_credentials(Credentials("simkey1", "not-known-yet"))

        await shard.until(lambda: shard.rows > rows + 100, "still streaming")

        assert shard.seen(ChangeKind.CLOSED) == 0


async def test_too_many_sockets_waits_and_gets_in_when_one_is_free(
    sim: SimulatorProcess, dump: list[dict[str, str]]
) -> None:
    async with streaming(sim, a_table(dump[:10]), sockets=3, stopped=True) as first:
        await first.until_all_confirmed()
        async with streaming(sim, a_table(dump[:10])) as second:
            await second.until(lambda: second.seen(ChangeKind.FAILED, CloseReason.RATE_LIMITED) >= 1, "429")
            assert second.status.sockets[0].state is SessionState.RATE_LIMITED

            first.pool.close()
            await second.until_all_confirmed()
            first_closed = first.status
        assert all(socket.state is SessionState.STOPPED for socket in first_closed.sockets)


@pytest.mark.parametrize("how", ["truncated", "count_too_high", "zero_length", "unknown_length", "trailing_bytes"])
async def test_spoiled_frames_cost_no_connection(sim: SimulatorProcess, dump: list[dict[str, str]], how: str) -> None:
    async with streaming(sim, a_table(dump)) as shard:
        await shard.until_all_confirmed()
        sim.control.fault("malformed", how=how, count=5)

        await shard.until(lambda: sum(shard.malformed.values()) >= 5, "five faults")
        rows = shard.rows
        await shard.until(lambda: shard.rows > rows + 100, "and it streams on")

        assert shard.seen(ChangeKind.CLOSED) == 0
        assert len(shard.processor.quarantine) >= 5


async def test_texts_are_told_and_cost_nothing(sim: SimulatorProcess, dump: list[dict[str, str]]) -> None:
    async with streaming(sim, a_table(dump[:5])) as shard:
        await shard.until_all_confirmed()
        for what in ("junk", "non_object", "unknown_type"):
            sim.control.fault("send_text", what=what)
        await shard.until(lambda: shard.seen(ChangeKind.TEXT, TextKind.UNKNOWN) >= 1, "last text")

        assert shard.seen(ChangeKind.TEXT, TextKind.INSTRUMENTS_META) == 1
        assert shard.seen(ChangeKind.TEXT, TextKind.JUNK) == 2
        assert shard.seen(ChangeKind.CLOSED) == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param({"kind": "distort", "how": "negative_price"}, RejectReason.NEGATIVE_PRICE, id="negative price"),
        pytest.param({"kind": "timestamps", "shift_s": -600}, RejectReason.OUT_OF_ORDER, id="ten minutes late"),
        pytest.param({"kind": "timestamps", "shift_s": 864_000}, RejectReason.FUTURE_TIMESTAMP, id="ten days ahead"),
        pytest.param({"kind": "timestamps", "zero": True}, RejectReason.NO_TIMESTAMP, id="no time"),
    ],
)
async def test_impossible_rows_are_rejected_and_the_feed_goes_on(
    sim: SimulatorProcess, dump: list[dict[str, str]], fault: dict[str, Any], reason: RejectReason
) -> None:
    options = [row for row in dump if segment_of(int(row["instrument_token"])) == 2]
    async with streaming(sim, a_table(options, modes=(Mode.FULL,))) as shard:
        await shard.until_all_confirmed()
        number = sim.control.fault(**fault)
        await shard.until(lambda: shard.rejected[reason] >= 10, "ten rejected")
        sim.control.heal(number)
        rows = shard.rows
        await shard.until(lambda: shard.rows > rows + 100, "and it streams on")

        assert set(shard.rejected) == {reason}
        assert shard.seen(ChangeKind.CLOSED) == 0
