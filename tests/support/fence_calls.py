"""Requests to the fence scripts, with what a test does not care about filled in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.ticks import CHANNEL
from ticker_client.keys import fence_key
from ticker_shard.publish import fence
from ticker_shard.publish.door import Door
from ticker_shard.publish.fence import Asserted, ChannelState, ClaimReason, Record
from ticker_shard.publish.limits import SECOND_NS
from ticker_shard.publish.resp import CallRows

MEMBER = "pool.acc1"
FENCE = fence_key(CHANNEL, member=MEMBER)
ACTIVE, LEAVING, FREE = ChannelState.ACTIVE, ChannelState.LEAVING, ChannelState.FREE


@asynccontextmanager
async def a_door(redis_url: str) -> AsyncIterator[Door]:
    """A door that is open."""
    door = Door(redis_url, member=MEMBER, timeout_ns=2 * SECOND_NS)
    await door.connect()
    yield door
    await door.close()


def a_call(n: int, *, epoch: int = 5, holder: str = "a/1", state: ChannelState = ACTIVE, price: str = "1", **more):
    message = b"m" + price.encode()
    rows = CallRows.within(message, [(b"NFO:X0", price.encode())])
    return fence.Call(CHANNEL, epoch, holder, n, state, 3, message=message, numbers=b"{}", rows=rows, **more)


def a_claim(expected: Record | None, *, reason: ClaimReason = ClaimReason.SILENT, seen: int = 0, revision: int = 9):
    return fence.Claim(CHANNEL, "b/2", reason, expected, seen, revision)


def an_assert(n: int, *, epoch: int = 5, holder: str = "a/1"):
    return fence.Assert(CHANNEL, epoch, holder, n, ACTIVE, 3)


async def given_record(door: Door, record: Record) -> None:
    order = fence.Assert(CHANNEL, record.epoch, record.holder, record.n, record.state, record.revision)
    assert await door.exchange([order]) == [Asserted()]


HELD = Record(5, "a/1", 7, ACTIVE, 3)
