"""Delivery on a real cluster, judged by the checker: what consumers got against what the broker's market had.

One pool, hurt three times: a shard's pod killed, a shard rolled out, the Redis pod restarted (empty). Runs after the
other tests of the pool, because it takes Redis's data away.
"""

from __future__ import annotations

import time

import pytest

from tests.support.cluster_client import eventually
from tests.support.cluster_pool import READY_S, SYMBOLS, TEST_S, WORLD, Pool
from tests.support.delivery import bounds
from tests.support.delivery.check import check, summary
from tests.support.delivery.cluster import CHANNEL, PoolDelivery, recording_pool
from tests.support.delivery.history import History, Target
from ticker_client import last_values_key
from ticker_crds.names import shard_name

pytestmark = pytest.mark.timeout(TEST_S)

WATCHED_MESSAGES = 50


def judged(delivery: PoolDelivery) -> History:
    """The end: nothing is violated."""
    history = delivery.finish()
    violations = check(history, delivery.bounds)
    assert not violations, f"{summary(violations)}\n{delivery.bounds}\n{history.faults}\n{history.gaps}"
    assert len(history.given) > len(SYMBOLS), "nothing was given out"
    return history


def more_messages(delivery: PoolDelivery) -> None:
    """Let the market run on."""
    before = len(delivery.recorder.listener.told)
    eventually(
        lambda: len(delivery.recorder.listener.told) - before,
        until=lambda more: more >= WATCHED_MESSAGES,
        timeout_s=READY_S,
        what=f"{WATCHED_MESSAGES} more messages",
    )


def await_one_pod(pool: Pool, account: str, *, other_than: str) -> None:
    """Until one pod is left, Ready, and it is another one."""
    pool.client.kubectl("rollout", "status", f"deployment/{shard_name(account)}", "--timeout=90s", timeout_s=100)
    eventually(
        lambda: pool.pods(account),
        until=lambda names: len(names) == 1 and other_than not in names,
        timeout_s=READY_S,
        what=f"{account}: only the replacement is left",
    )
    pool.await_streaming(pool.accounts(), len(SYMBOLS))


def test_a_killed_pod_leaves_a_declared_gap_and_every_last_value(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:
        start_ns = time.monotonic_ns()
        pod = streaming.shard_pod("acc1")["metadata"]["name"]
        streaming.client.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
        await_one_pod(streaming, "acc1", other_than=pod)
        delivery.note("pod killed", Target.PROCESS, start_ns, recover_ns=bounds.POD_NS, account="acc1")
        more_messages(delivery)
        history = judged(delivery)

    assert {gap.shard for gap in history.gaps if gap.start_ns >= history.start_ns} <= {delivery.shard("acc1")}


def test_a_rolled_out_shard_has_no_gap_at_all(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:
        start_ns = time.monotonic_ns()
        pod = streaming.shard_pod("acc1")["metadata"]["name"]
        streaming.client.kubectl("rollout", "restart", f"deployment/{shard_name('acc1')}")
        await_one_pod(streaming, "acc1", other_than=pod)
        delivery.note("rolled out", Target.PROCESS, start_ns, recover_ns=0, account="acc1")
        more_messages(delivery)
        history = judged(delivery)

    assert [gap for gap in history.gaps if gap.start_ns >= history.start_ns] == []


def test_a_restarted_redis_pod_has_every_last_value_again(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:
        start_ns = time.monotonic_ns()
        deployment = f"{WORLD}-redis"
        streaming.client.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=redis", "--wait=true")
        streaming.client.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s", timeout_s=70)
        recover_ns = bounds.REDIS_BACK_NS + bounds.TAKE_OVER_NS
        delivery.note("redis restarted empty", Target.REDIS, start_ns, recover_ns=recover_ns, loses_data=True)
        more_messages(delivery)
        eventually(
            lambda: streaming.redis.hlen(last_values_key(CHANNEL)),
            until=lambda number: number == len(SYMBOLS),
            timeout_s=READY_S,
            what="every last value is there again",
        )
        judged(delivery)
