"""Small worlds of one account's publishers: who holds, what the feed loses, what was declared as missed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
import orjson

from tests.support.handover_world import CHANNELS, STEP_NS, Pod, World
from tests.support.ticks import a_table
from ticker_crds import Role
from ticker_shard.publish import fence
from ticker_shard.publish.gaps import Hole
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.limits import MS_NS, SECOND_NS

ONE = CHANNELS[:1]


def rounds(world: World, seconds: float) -> None:
    for _ in range(round(seconds * SECOND_NS / STEP_NS)):
        world.everybody()


def a_holder(world: World) -> Pod:
    pod = world.start()
    rounds(world, 6)
    assert pod.core.handover.held == world.channels
    return pod


def a_standby(world: World) -> Pod:
    pod = world.start()
    rounds(world, 3)
    assert pod.core.handover.phase is Phase.STANDBY
    return pod


def ns(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6) * 1_000


def declared(world: World) -> list[tuple[str, int, int, int]]:
    """Cause, instruments, start and end of every record that was published, times since the world's beginning in ms."""
    records = [orjson.loads(gap) for call in world.twin.published for gap in call.gaps]
    return [(gap["cause"], gap["instruments"], ns(gap["start"]) // MS_NS, ns(gap["end"]) // MS_NS) for gap in records]


def now_ms(world: World) -> int:
    return world.now_ns // MS_NS


def lose_feed(world: World, pod: Pod, *slots: int) -> int:
    """The pod's feed delivers nothing for these; when, in ms."""
    hole = Hole(np.array(slots, np.int32), world.now_ns, "reset")
    world.set_feed(pod, on=False)
    pod.core.holes.feed_misses([hole])
    return now_ms(world)


def step_with(world: World, pod: Pod, answer: Callable[[fence.Request], fence.Answer]) -> list[fence.Request]:
    """One round in which `answer` stands for Redis."""
    requests = pod.core.plan_round(now_ns=world.now_ns, wall_ns=world.now_ns)
    answers = [answer(request) for request in requests]
    pod.core.settle_round(requests, answers, sent_ns=world.now_ns, now_ns=world.now_ns, wall_ns=world.now_ns)
    return requests


def reload(world: World, pod: Pod, roles: dict[str, Role]) -> None:
    world.assign(pod, a_table(roles, channels=world.channels, revision=pod.table.revision + 1, previous=pod.table))


def sent(world: World) -> list[tuple[str, int]]:
    """Symbol and price in paise of every row that was published."""
    return [
        (row["symbol"], round(row["last_price"] * 100))
        for call in world.twin.published
        for row in orjson.loads(call.message)["ticks"]
    ]
