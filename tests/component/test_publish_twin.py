"""The twin of the fence scripts gives the answers that Redis gives, whatever the requests and their order."""

from __future__ import annotations

import asyncio

import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fence_calls import FENCE, MEMBER, given_record
from tests.support.fence_twin import FenceTwin
from tests.support.ticks import CHANNEL
from ticker_shard.publish import fence
from ticker_shard.publish.door import Door
from ticker_shard.publish.fence import ChannelState, Claimed, ClaimReason, Record, Seen
from ticker_shard.publish.limits import SECOND_NS

History = list[tuple[object, fence.Answer]]  # of each step: the answer (of a claim, that it was one), the record then
epochs = st.integers(1, 3)
numbers = st.integers(1, 4)
holders = st.sampled_from(["a/1", "a/2", "b/1"])
states = st.sampled_from(ChannelState)
records = st.none() | st.builds(Record, epochs, holders, st.integers(0, 4), states, st.integers(0, 2))
requests = st.one_of(
    st.builds(fence.Call, st.just(CHANNEL), epochs, holders, numbers, states, st.integers(0, 2), st.just(b"m")),
    st.builds(fence.Assert, st.just(CHANNEL), epochs, holders, numbers, states, st.integers(0, 2)),
    st.builds(fence.Claim, st.just(CHANNEL), holders, st.sampled_from(ClaimReason), records, epochs, st.integers(0, 2)),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(start=records, steps=st.lists(requests, min_size=1, max_size=8))
def test_the_twin_answers_what_redis_answers(redis_url, start, steps):
    of_redis, of_the_twin = asyncio.run(both(redis_url, start, steps))

    assert of_redis == of_the_twin


async def both(redis_url: str, start: Record | None, steps: list[fence.Request]) -> tuple[History, History]:
    """What Redis and its twin answer."""
    twin = FenceTwin(now_ms=0)  # epochs by the clock differ; both sides' records are put in step after a claim
    of_redis: History = []
    of_the_twin: History = []
    door = Door(redis_url, member=MEMBER, timeout_ns=2 * SECOND_NS)
    await door.connect()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(FENCE)
        if start is not None:
            await given_record(door, start)
            twin.records[CHANNEL] = start
        for step in steps:
            (real,), alike = await door.exchange([step]), twin.execute(step)
            if isinstance(real, Claimed) and isinstance(alike, Claimed):
                client.hset(FENCE, "epoch", str(alike.epoch))
                real = alike = Claimed
            (record,) = await door.exchange([fence.Read(CHANNEL)])
            of_redis.append((real, record))
            of_the_twin.append((alike, Seen(twin.records.get(CHANNEL))))
    await door.close()
    return of_redis, of_the_twin
