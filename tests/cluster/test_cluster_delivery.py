"""Delivery on a real cluster, judged by the checker: what consumers got against what the broker's market had.

One pool, hurt in turn: a shard rolled out, its pod evicted, its process killed, its pod deleted by force, the Redis pod
restarted (empty). Runs after the other tests of the pool, because the last one takes Redis's data away.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.support.cluster_client import eventually
from tests.support.cluster_pool import NAMESPACE, READY_S, SYMBOLS, TEST_S, WORLD, Pool
from tests.support.delivery import bounds
from tests.support.delivery.check import check, summary
from tests.support.delivery.cluster import CHANNEL, PoolDelivery, recording_pool
from tests.support.delivery.history import GapTold, History, Interval, Target
from tests.support.delivery.starving import processes_in_pods
from ticker_client import last_values_key
from ticker_crds.names import shard_name

pytestmark = pytest.mark.timeout(TEST_S)

WATCHED_MESSAGES = 50
ACCOUNT = "acc1"


def judged(delivery: PoolDelivery) -> History:
    """The end: nothing is violated."""
    more_messages(delivery)
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


def declared(history: History) -> set[tuple[str, str]]:
    """(Shard, cause) of the gap records of the time that counts."""
    return {(gap.shard, gap.cause) for gap in history.gaps if gap.start_ns >= history.start_ns}


def unexplained(history: History, delivery: PoolDelivery) -> list[GapTold]:
    """Gap records of the time that counts, without pauses that the machine made by keeping the CPU from a process."""
    return [
        gap
        for gap in history.gaps
        if gap.start_ns >= history.start_ns
        and (gap.cause == "takeover" or history.ran_ns(Interval(gap.start_ns, gap.end_ns)) > delivery.bounds.hole_ns)
    ]


def replaced(delivery: PoolDelivery, kind: str, hurt: Callable[[str], object], *, recover_ns: int) -> None:
    """Do `hurt` to the pod of that name; until another process publishes alone and everything streams."""
    pool, told = delivery.pool, delivery.recorder.listener.told
    shard = delivery.shard(ACCOUNT)
    before = {each.process for each in told if each.shard == shard}
    start_ns = time.monotonic_ns()
    hurt(pool.shard_pod(ACCOUNT)["metadata"]["name"])
    eventually(
        lambda: next((each.process for each in reversed(told) if each.shard == shard), ""),
        until=lambda process: process not in before,
        timeout_s=READY_S,
        what=f"{kind}: a successor publishes",
    )
    pool.await_shards([ACCOUNT], lambda _: True, what=kind)
    pool.await_streaming(pool.accounts(), len(SYMBOLS))
    delivery.note(kind, Target.PROCESS, start_ns, recover_ns=recover_ns, account=ACCOUNT)


# -- planned: nobody misses anything -------------------------------------------------


def test_a_rolled_out_shard_has_no_gap_at_all(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:

        def roll_out(_: str) -> None:
            streaming.client.kubectl("rollout", "restart", f"deployment/{shard_name(ACCOUNT)}")

        replaced(delivery, "rolled out", roll_out, recover_ns=0)
        history = judged(delivery)

    assert unexplained(history, delivery) == []


def test_an_evicted_pod_leaves_no_gap_at_all(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:
        replaced(delivery, "evicted", streaming.evict, recover_ns=0)
        history = judged(delivery)

    assert unexplained(history, delivery) == []


# -- not planned: what was missed is said --------------------------------------------


def test_a_killed_process_leaves_a_declared_gap_and_every_last_value(streaming: Pool) -> None:
    def kill(pod: str) -> None:
        for found in processes_in_pods("shard", f"--account={ACCOUNT}", f"--namespace={NAMESPACE}"):
            os.kill(int(found), signal.SIGKILL)

    with recording_pool(streaming) as delivery:
        pod = streaming.shard_pod(ACCOUNT)["metadata"]["uid"]
        replaced(delivery, "process killed", kill, recover_ns=bounds.POD_NS)
        history = judged(delivery)

    assert (delivery.shard(ACCOUNT), "takeover") in declared(history)
    assert {gap.shard for gap in unexplained(history, delivery)} <= {delivery.shard(ACCOUNT)}
    assert streaming.shard_pod(ACCOUNT)["metadata"]["uid"] == pod, "the container was started anew in its pod"


def test_a_pod_deleted_by_force_is_replaced_and_what_is_missed_is_said(streaming: Pool) -> None:
    """The kubelet still lets the process end by itself: a successor that is quick enough leaves nothing to declare."""

    def delete(pod: str) -> None:
        streaming.client.kubectl("delete", "pod", pod, "--grace-period=0", "--force")

    with recording_pool(streaming) as delivery:
        pod = streaming.shard_pod(ACCOUNT)["metadata"]["uid"]
        replaced(delivery, "pod deleted by force", delete, recover_ns=bounds.POD_NS)
        history = judged(delivery)

    assert streaming.shard_pod(ACCOUNT)["metadata"]["uid"] != pod
    assert {gap.shard for gap in unexplained(history, delivery)} <= {delivery.shard(ACCOUNT)}


def test_a_restarted_redis_pod_has_every_last_value_again(streaming: Pool) -> None:
    with recording_pool(streaming) as delivery:
        start_ns = time.monotonic_ns()
        deployment = f"{WORLD}-redis"
        streaming.client.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=redis", "--wait=true")
        streaming.client.kubectl("rollout", "status", f"deployment/{deployment}", "--timeout=60s", timeout_s=70)
        recover_ns = bounds.REDIS_BACK_NS + bounds.TAKE_OVER_NS
        delivery.note("redis restarted empty", Target.REDIS, start_ns, recover_ns=recover_ns, loses_data=True)
        more_messages(delivery)
        found = eventually(
            lambda: streaming.redis.hlen(last_values_key(CHANNEL)),
            until=lambda number: number == len(SYMBOLS),
            timeout_s=READY_S,
            what="every last value is there again",
        )
        history = judged(delivery)

    assert found == len(SYMBOLS)
    assert declared(history) >= {(delivery.shard(account), "redis") for account in streaming.accounts()}
