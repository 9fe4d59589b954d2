"""What a step does to a pool on a cluster."""

from __future__ import annotations

import time

from tests.support.chaos.cluster_world import ClusterWorld
from tests.support.chaos.drive import Hand
from tests.support.chaos.hands import ACCOUNT, hurt_feed, hurt_redis, live_the_day
from tests.support.chaos.schedule import Lane, Step

DRAINED = "acc2"  # the other account's pods are hurt: with both away nobody would be left to stream
RESTARTS_MAX = 2  # a container's third quick end in one pod makes the kubelet wait for 20 s, and longer each time


def hands_on_pods(world: ClusterWorld) -> dict[Lane, Hand]:
    """Of `make chaos-cluster`."""
    return {
        Lane.DAY: lambda step: _live_the_day(world, step),
        Lane.FEED_1: lambda step: hurt_feed(world, step),
        Lane.FEED_2: lambda step: hurt_feed(world, step),
        Lane.PROCESS: lambda step: _hurt_pod(world, step, ACCOUNT[Lane.PROCESS]),
        Lane.REDIS: lambda step: _hurt_redis_pod(world, step),
        Lane.CONTROL: lambda step: _hurt_control_plane(world, step),
    }


def _live_the_day(world: ClusterWorld, step: Step) -> bool:
    if step.kind != "close":
        return live_the_day(world, (), step)
    world.control.pause(finish=False)
    for account in world.numbers:
        world.change_token(account)
    time.sleep(step.for_s)
    world.control.resume()
    return True


def _hurt_pod(world: ClusterWorld, step: Step, account: str) -> bool:
    match step.kind:
        case "sigkill" if world.restarts(account) >= RESTARTS_MAX:
            return False
        case "sigkill":
            world.kill(account)
        case "sigstop":
            world.freeze(account, for_s=step.for_s)
        case "pod_deleted_by_force":
            world.delete_by_force(account)
        case kind:
            world.replace(kind, account)
    return True


def _hurt_redis_pod(world: ClusterWorld, step: Step) -> bool:
    if step.kind == "redis_restarted_empty":
        world.restart_redis()
        return True
    return hurt_redis(world, step)


def _hurt_control_plane(world: ClusterWorld, step: Step) -> bool:
    match step.kind:
        case "operator_deleted":
            world.delete_operator()
        case "drained":
            world.drain(DRAINED, for_s=step.for_s)
        case "subscribed_more":
            world.subscribe_more(for_s=step.for_s)
    return True
