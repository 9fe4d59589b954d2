"""What will go wrong, and when: a pure function of seed and length, so that a printed seed replays the run.

A *day* is compressed into `DAY_S` seconds: a burst at the open, trading, a lunch without changes, trading, a close
with the morning's change of token after it. Faults come in *lanes*, one for each thing that can break; a lane is one
fault after another with a rest between, and lanes know nothing of each other, so faults overlap as they like.

Processes of one machine and pods of a cluster are hurt alike, but not in the same ways: `LANES` and `CLUSTER_LANES`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

DAY_S: Final = 100.0
OPEN_BURST_S: Final = 4.0
LUNCH_S: Final = (45.0, 5.0)  # when in the day, and how long
CLOSE_S: Final = (92.0, 4.0)
REST_S: Final = (4.0, 11.0)  # between the end of one fault in a lane and the next
CALM_S: Final = 12.0  # at the end of a run: what is still to recover shall have its time


class Lane(StrEnum):
    """What breaks."""

    DAY = "day"
    FEED_1 = "feed acc1"
    FEED_2 = "feed acc2"
    PROCESS = "process"
    REDIS = "redis"
    CONTROL = "control plane"


@dataclass(frozen=True, slots=True)
class Choice:
    """One kind of fault: how often it is chosen, how long it lasts, and what else it needs, drawn from `options`."""

    kind: str
    weight: float
    for_s: tuple[float, float] = (0.0, 0.0)
    options: Mapping[str, Sequence[Any]] = field(default_factory=dict)


MALFORMED: Final = (
    "truncated", "count_too_high", "count_too_low", "zero_length", "unknown_length", "trailing_bytes", "two_bytes",
)  # fmt: skip
FEED: Final = (
    Choice("drop", 3, options={"code": (1000, 1001, 1011)}),
    Choice("reset", 3),
    Choice("half_open", 1.5, (9.0, 11.0)),
    Choice("silence", 1.0, (9.0, 11.0)),
    Choice("mute", 0.7, (16.0, 19.0)),
    Choice("send_text", 1, options={"what": ("junk", "non_object", "unknown_type")}),
    Choice("malformed", 2, (2.0, 4.0), {"how": MALFORMED, "probability": (0.2, 0.5)}),
    Choice("slow_frames", 1, (2.0, 4.0), {"delay_ms": (50, 150, 300)}),
    Choice("duplicate_frames", 1, (2.0, 4.0)),
    Choice("out_of_order", 1, (2.0, 4.0), {"probability": (0.3,)}),
    Choice("refuse", 1.5, (1.0, 3.0)),
    Choice("refuse_429", 0.3, (1.0, 3.0)),  # seldom: each costs the account 30 to 40 s of its feed
    Choice("accept_then_drop", 1, (2.0, 5.0), {"after_ms": (0, 200, 800), "how": ("close", "reset")}),
    Choice("token_dead", 1, (2.0, 5.0)),
)
PROCESS: Final = (Choice("sigkill", 2), Choice("sigterm", 2), Choice("sigstop", 1, (10.0, 10.0)))
REDIS: Final = (
    Choice("redis_paused", 2, (1.0, 6.0)),
    Choice("redis_restarted", 1.5, (0.5, 4.0)),
    Choice("redis_restarted_empty", 1, (0.5, 3.0)),
    Choice("redis_out_of_memory", 1, (1.0, 4.0)),
    Choice("redis_read_only", 1, (1.0, 4.0)),
    Choice("redis_clients_killed", 1),
    Choice("redis_slow", 1.5, (2.0, 6.0)),
)
PODS: Final = (
    Choice("sigkill", 2),
    Choice("sigstop", 1, (10.0, 10.0)),
    Choice("pod_deleted", 1),
    Choice("pod_deleted_by_force", 1.5),
    Choice("evicted", 1),
    Choice("rolled_out", 1),
)
# A mute socket is measured by its rhythm, which a change of its instruments makes it forget: here they change often.
POD_FEED: Final = tuple(one for one in FEED if one.kind != "mute")
REDIS_POD: Final = tuple(one for one in REDIS if one.kind != "redis_restarted")  # a trial's Redis keeps nothing
CONTROL: Final = (
    Choice("operator_deleted", 1),
    Choice("drained", 1.5, (8.0, 15.0)),
    Choice("subscribed_more", 1.5, (4.0, 8.0)),
)
Lanes = Mapping[Lane, Sequence[Choice]]
LANES: Final[Lanes] = {Lane.FEED_1: FEED, Lane.FEED_2: FEED, Lane.PROCESS: PROCESS, Lane.REDIS: REDIS}
CLUSTER_LANES: Final[Lanes] = {
    Lane.FEED_1: POD_FEED, Lane.FEED_2: POD_FEED, Lane.PROCESS: PODS, Lane.REDIS: REDIS_POD, Lane.CONTROL: CONTROL,
}  # fmt: skip
# A lane's usual rest is multiplied by this: a killed pod's replacement takes its time to warm up.
SLOWER: Final = {Lane.PROCESS: 1.6, Lane.REDIS: 1.6, Lane.CONTROL: 2.4}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do at `at_s` seconds after the start."""

    at_s: float
    lane: Lane
    kind: str
    for_s: float = 0.0
    fields: tuple[tuple[str, Any], ...] = ()


def schedule(seed: int, *, seconds: float, lanes: Lanes = LANES) -> tuple[Step, ...]:
    """Everything that is to happen in a run of so many seconds, in order of time."""
    steps = [*_days(seconds)]
    for lane, choices in lanes.items():
        steps += _lane(random.Random(f"{seed}/{lane}"), lane, choices, until_s=seconds - CALM_S)
    return tuple(sorted(steps, key=lambda step: (step.at_s, step.lane)))


def _days(seconds: float) -> list[Step]:
    steps: list[Step] = []
    start_s = 0.0
    while start_s < seconds:
        steps.append(Step(start_s + 1, Lane.DAY, "open_burst", OPEN_BURST_S))
        steps.append(Step(start_s + LUNCH_S[0], Lane.DAY, "lunch", LUNCH_S[1]))
        steps.append(Step(start_s + CLOSE_S[0], Lane.DAY, "close", CLOSE_S[1]))
        start_s += DAY_S
    return [step for step in steps if step.at_s + step.for_s < seconds - CALM_S]


def _lane(chance: random.Random, lane: Lane, choices: Sequence[Choice], *, until_s: float) -> list[Step]:
    steps: list[Step] = []
    at_s = chance.uniform(1.0, REST_S[1])
    while True:
        choice = chance.choices(choices, [one.weight for one in choices])[0]
        for_s = round(chance.uniform(*choice.for_s), 2)
        fields = tuple((name, chance.choice(list(values))) for name, values in choice.options.items())
        if at_s + for_s >= until_s:
            return steps
        steps.append(Step(round(at_s, 2), lane, choice.kind, for_s, fields))
        at_s += for_s + chance.uniform(*REST_S) * SLOWER.get(lane, 1.0)
