"""What a step does to a world: to its day, its feeds and its Redis everywhere, to processes on this machine.

A killed pod is replaced at once, as a Deployment does.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from tests.support.chaos.drive import Hand
from tests.support.chaos.schedule import Lane, Step
from tests.support.delivery import bounds
from tests.support.delivery.hurting import RATE_LIMITED, FeedFaults, RedisFaults
from tests.support.delivery.world import Pod, World

ACCOUNT = {Lane.FEED_1: "acc1", Lane.FEED_2: "acc2", Lane.PROCESS: "acc1"}
PAIR_S = 30.0  # longest wait for a holder and a Ready standby before a process is hurt
NOTICED_BY_SILENCE = ("half_open", "silence")
REDIS_COMMANDS = {
    "redis_out_of_memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "redis_read_only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "redis_clients_killed": (("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "KILL", "TYPE", "pubsub")),
}


def live_the_day(world: FeedFaults, accounts: Iterable[str], step: Step) -> bool:
    """The open's burst, a lunch without changes, a close after which every token is another."""
    if step.kind == "open_burst":
        world.control.fault("burst", factor=10, for_ms=int(step.for_s * 1_000))
        return True
    world.control.pause(finish=False)
    if step.kind == "close":
        for account in accounts:
            world.rotate_token(account)
    time.sleep(step.for_s)
    world.control.resume()
    return True


def hurt_feed(world: FeedFaults, step: Step) -> bool:
    """One account's socket or token."""
    account = ACCOUNT[step.lane]
    match step.kind:
        case "refuse":
            world.refuse_feed(account=account, for_s=step.for_s)
        case "refuse_429":
            world.refuse_feed(account=account, for_s=step.for_s, status=RATE_LIMITED)
        case "accept_then_drop":
            world.accept_then_drop(account=account, for_s=step.for_s, **dict(step.fields))
        case "token_dead":
            world.lose_token(account=account, for_s=step.for_s)
        case kind:  # a mute socket goes on by itself when the fault is over
            noticed_ns = bounds.SILENCE_NS if kind in NOTICED_BY_SILENCE else 0
            world.feed_fault(kind, account=account, for_s=step.for_s, noticed_ns=noticed_ns, **dict(step.fields))
    return True


def hurt_redis(world: RedisFaults, step: Step) -> bool:
    """A server that goes on, but badly."""
    match step.kind:
        case "redis_paused":
            world.pause_redis(for_s=step.for_s)
        case "redis_slow":
            world.slow_redis(for_s=step.for_s)
        case kind:
            there, back = REDIS_COMMANDS[kind]
            world.configure_redis(kind.replace("_", " "), for_s=step.for_s, set_=there, back=back)
    return True


def hands_on_processes(world: World) -> dict[Lane, Hand]:
    """Of `make chaos`: pods that are processes of this machine."""
    return {
        Lane.DAY: lambda step: live_the_day(world, world.accounts, step),
        Lane.FEED_1: lambda step: hurt_feed(world, step),
        Lane.FEED_2: lambda step: hurt_feed(world, step),
        Lane.PROCESS: lambda step: _hurt_process(world, step, ACCOUNT[step.lane]),
        Lane.REDIS: lambda step: _hurt_redis_process(world, step),
    }


def _hurt_process(world: World, step: Step, account: str) -> bool:
    holder = _holder_of_a_pair(world, account)
    if holder is None:
        return False
    match step.kind:
        case "sigkill":
            world.kill_holder(account, holder=holder)
            world.start_pod(account)
        case "sigterm":
            world.hand_over(account, holder=holder)
            world.start_pod(account)
        case "sigstop":
            world.freeze_holder(account, for_s=step.for_s, holder=holder)
    return True


def _hurt_redis_process(world: World, step: Step) -> bool:
    if step.kind in ("redis_restarted", "redis_restarted_empty"):
        world.restart_redis(down_s=step.for_s, empty=step.kind.endswith("empty"))
        return True
    return hurt_redis(world, step)


def _holder_of_a_pair(world: World, account: str) -> Pod | None:
    """The holder, once a Ready standby is beside it; `None`: not in time."""
    deadline = time.monotonic() + PAIR_S
    while time.monotonic() < deadline:
        holder = world.holder(account)
        if holder is not None and world.standby(account, beside=holder) is not None:
            return holder
        time.sleep(0.2)
    return None
