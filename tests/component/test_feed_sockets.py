"""Three sockets of one account on the simulated broker: what befalls one leaves the other two alone.

Thirty-one instruments: the first socket carries eleven, the others ten each, which tells them apart at the broker.
"""

from __future__ import annotations

import csv
import io
import time
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.feed_shard import FeedShard, a_table, streaming
from tests.support.simulator import SimulatorProcess, simulator
from ticker_crds import AssignmentTable, Mode
from ticker_shard.feed import ChangeKind, CloseReason, SessionState
from ticker_shard.feed.slots import JUST_S
from ticker_shard.ticks.sessions import MarketHours

SOCKETS, FIRST, SIZE = 3, 11, 31
KEY = "simkey1"
MUTE_MS = 2_500


@pytest.fixture(scope="module")
def shared() -> Iterator[SimulatorProcess]:
    # A half-open socket keeps its place at the broker; here there is a place beside it.
    with simulator(
        seed=8, ticks_per_second=1_500, heartbeat_ms=200, rate_limits=False, sockets_per_key=2 * SOCKETS
    ) as running:
        yield running


@pytest.fixture
def sim(shared: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield shared
    shared.control.heal()
    shared.control.resume()
    shared.control.grant(KEY, "simtoken1")


@pytest.fixture(scope="module")
def table(shared: SimulatorProcess) -> AssignmentTable:
    with urllib.request.urlopen(f"{shared.url}/instruments") as answer:
        rows = list(csv.DictReader(io.StringIO(answer.read().decode())))
    shares = [row for row in rows if row["segment"] == "NSE"][:SIZE]
    assert len(shares) == SIZE
    return a_table(shares, modes=(Mode.FULL,))


def at_the_broker(sim: SimulatorProcess) -> dict[int, int]:
    """Number of each open socket → instruments subscribed on it."""
    return {entry["socket"]: entry["subscribed"] for entry in sim.control.stats(api_key=KEY, tokens=False).sockets}


def first_socket(sim: SimulatorProcess) -> int:
    """The broker's number of our socket 0."""
    (found,) = [number for number, subscribed in at_the_broker(sim).items() if subscribed == FIRST]
    return found


def connects(shard: FeedShard) -> list[int]:
    return [socket.counts["connects"] for socket in shard.status.sockets]


def frames(shard: FeedShard) -> list[int]:
    return [socket.counts["frames"] - socket.counts["heartbeats"] for socket in shard.status.sockets]


async def until_settled(shard: FeedShard) -> None:
    """All confirmed, and so long ago that a socket which ends now was not displaced by another one's coming."""
    await shard.until_all_confirmed()
    newest_ns = max(socket.opened_ns or 0 for socket in shard.status.sockets)
    await shard.until(lambda: time.monotonic_ns() - newest_ns > 1.2 * JUST_S * 1e9, "nobody has just come in")


async def until_others_stream(shard: FeedShard) -> None:
    before = frames(shard)
    await shard.until(
        lambda: all(now >= then + 20 for now, then in zip(frames(shard)[1:], before[1:], strict=True)), "others stream"
    )


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param("drop", CloseReason.CLOSE_FRAME, id="close frame"),
        pytest.param("reset", CloseReason.LOST, id="reset"),
        pytest.param("half_open", CloseReason.SILENT, id="half open"),
        pytest.param("silence", CloseReason.SILENT, id="silent"),
        pytest.param("mute", CloseReason.MUTE, id="mute"),
    ],
)
async def test_one_of_three_is_replaced_and_the_others_stream_on(
    sim: SimulatorProcess, table: AssignmentTable, fault: str, reason: CloseReason
) -> None:
    hours = MarketHours.ALWAYS if reason is CloseReason.MUTE else MarketHours.NEVER
    async with streaming(
        sim, table, sockets=SOCKETS, instruments_per_socket=FIRST, mute_ms=MUTE_MS, market_hours=hours,
        silence_ms=4_000, confirm_ms=20_000,
    ) as shard:  # fmt: skip
        await until_settled(shard)
        struck = first_socket(sim)
        newest = max(at_the_broker(sim))
        sim.control.fault(fault, socket=struck)

        await shard.until(lambda: shard.seen(ChangeKind.CLOSED) >= 1, "the socket has ended")
        await until_others_stream(shard)
        await shard.until_all_confirmed()
        await until_others_stream(shard)

        closed = [(change.socket, change.detail) for change in shard.changes if change.kind is ChangeKind.CLOSED]
        assert closed == [(0, reason)]
        assert connects(shard) == [2, 1, 1]
        asked = [entry for entry in sim.control.history() if entry["kind"] == "request" and entry["socket"] > newest]
        exactly = [("subscribe", FIRST), ("mode", FIRST)]
        requests = [(entry["action"], entry["accepted"]) for entry in asked]
        # Where ticks are long in coming after a mute spell, what was missed until they came is asked for as well.
        assert requests == exactly or (reason is CloseReason.MUTE and requests == 2 * exactly), requests
        standing = {number: subscribed for number, subscribed in at_the_broker(sim).items() if number != struck}
        assert sorted(standing.values()) == [10, 10, FIRST]


async def test_junk_on_one_of_three_costs_no_connection(sim: SimulatorProcess, table: AssignmentTable) -> None:
    async with streaming(sim, table, sockets=SOCKETS, instruments_per_socket=FIRST) as shard:
        await shard.until_all_confirmed()
        struck = first_socket(sim)
        for how in ("truncated", "unknown_length", "two_bytes"):
            sim.control.fault("malformed", how=how, count=3, socket=struck)
        for what in ("junk", "non_object", "unknown_type"):
            sim.control.fault("send_text", what=what, socket=struck)

        await shard.until(lambda: sum(shard.malformed.values()) >= 6, "malformed frames are counted")
        await shard.until(lambda: shard.status.sockets[0].counts["text_junk"] >= 2, "junk texts are counted")
        await until_others_stream(shard)

        assert connects(shard) == [1, 1, 1]
        assert [socket.counts["text_junk"] for socket in shard.status.sockets[1:]] == [0, 0]


async def test_a_token_that_died_stops_only_the_socket_that_was_lost(
    sim: SimulatorProcess, table: AssignmentTable
) -> None:
    async with streaming(sim, table, sockets=SOCKETS, instruments_per_socket=FIRST) as shard:
        await until_settled(shard)
        sim.control.revoke(KEY)
        sim.control.fault("reset", socket=first_socket(sim))

        await shard.until(lambda: shard.status.sockets[0].state is SessionState.REJECTED, "403")
        refused = sim.control.stats(tokens=False).refused
        await until_others_stream(shard)

        assert connects(shard) == [1, 1, 1]
        assert shard.status.open == 2
        assert sim.control.stats(tokens=False).refused == refused, "a dead token is not tried again"


async def test_an_instrument_keeps_its_socket_when_the_table_changes(
    sim: SimulatorProcess, table: AssignmentTable
) -> None:
    async with streaming(sim, table, sockets=SOCKETS, instruments_per_socket=FIRST) as shard:
        await shard.until_all_confirmed()
        before = {token: shard.pool.socket_of(token) for token in shard.processor.table.tokens.tolist()}
        fewer = AssignmentTable(table.account, 2, table.channels, table.instruments[3:])
        shard.assign(fewer)
        shard.assign(AssignmentTable(table.account, 3, table.channels, table.instruments))
        await shard.until_all_confirmed()

        kept = [row.token for row in fewer.instruments]
        assert {token: shard.pool.socket_of(token) for token in kept} == {token: before[token] for token in kept}
        assert connects(shard) == [1, 1, 1]


async def test_a_broker_that_throws_out_the_oldest_meets_no_fight(table: AssignmentTable) -> None:
    with simulator(seed=8, ticks_per_second=500, sockets_per_key=2, rate_limits=False) as small:
        small.control.fault("kick_oldest")
        async with streaming(
            small, table, sockets=SOCKETS, instruments_per_socket=FIRST, rate_limited_ms=(60_000, 80_000)
        ) as shard:
            # By chance it may come in after a first short wait; the next one is long.
            await shard.until(lambda: shard.seen(ChangeKind.CLOSED, CloseReason.DISPLACED) >= 2, "displaced twice")
            await shard.until(lambda: shard.status.open == 2, "two stand")
            opened = small.control.stats(tokens=False).totals["sockets_opened"]
            await until_two_stream(shard)

            assert shard.status.sockets_accepted == 2
            assert small.control.stats(tokens=False).totals["sockets_opened"] == opened <= 5
            assert sorted(socket.state for socket in shard.status.sockets) == [
                SessionState.OPEN, SessionState.OPEN, SessionState.RATE_LIMITED,
            ]  # fmt: skip


async def until_two_stream(shard: FeedShard) -> None:
    before = frames(shard)
    await shard.until(
        lambda: sum(now >= then + 50 for now, then in zip(frames(shard), before, strict=True)) == 2, "two stream"
    )


async def test_a_place_that_a_dead_socket_still_takes_is_waited_for(table: AssignmentTable) -> None:
    with simulator(seed=8, ticks_per_second=500, sockets_per_key=1, rate_limits=False) as small:
        few = AssignmentTable(table.account, 1, table.channels, table.instruments[:5])
        async with streaming(small, few) as shard:
            await shard.until_all_confirmed()
            small.control.fault("linger", linger_ms=700, count=1)
            small.control.fault("reset")

            await shard.until(lambda: shard.seen(ChangeKind.FAILED, CloseReason.RATE_LIMITED) >= 1, "429")
            assert shard.status.sockets_accepted == 0
            await shard.until_all_confirmed()

            assert shard.status.sockets[0].counts["connects"] == 2
