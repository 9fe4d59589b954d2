"""Chaos on a cluster: a pool of its own for `make chaos-cluster`, or one that is there, for a part of it in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.chaos.cluster_hands import hands_on_pods
from tests.support.chaos.cluster_world import ClusterWorld
from tests.support.chaos.drive import Driver
from tests.support.chaos.run import judged
from tests.support.chaos.schedule import CLUSTER_LANES, Lanes, schedule
from tests.support.cluster import cluster
from tests.support.cluster_pool import SYMBOLS, Pool, installed_pool, values_of
from tests.support.delivery.cluster import SUBSCRIPTION, recording_pool

NUMBERS = {"acc1": 1, "acc2": 2}


def chaos_on_cluster(folder: Path, *, seed: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Install a pool, run a seed's schedule on it and judge it."""
    with cluster() as running, installed_pool(running) as pool:
        # The simulator's day is every day.
        pool.install(values_of(running, shards={"marketHours": "always"}))
        for account, number in NUMBERS.items():
            pool.add_account(account, number=number)
        pool.subscribe(SUBSCRIPTION, SYMBOLS)
        pool.await_streaming(list(NUMBERS), len(SYMBOLS))
        return chaos_in_pool(pool, folder, seed=seed, seconds=seconds, say=say)


def chaos_in_pool(
    pool: Pool, folder: Path, *, seed: int, seconds: float, say: Callable[[str], None], lanes: Lanes = CLUSTER_LANES
) -> dict[str, Any]:
    """The same on a pool that streams with two accounts."""
    with recording_pool(pool, logs=folder) as delivery:
        world = ClusterWorld(delivery, NUMBERS)
        say(f"bounds: {delivery.bounds}")
        driver = Driver(hands_on_pods(world), schedule(seed, seconds=seconds, lanes=lanes))
        driver.run(say=say)
        history = world.finish()
        memory = dict(delivery.pods.memory)
    return judged(history, delivery.bounds, seed=seed, memory=memory, skipped=len(driver.skipped), say=say)
