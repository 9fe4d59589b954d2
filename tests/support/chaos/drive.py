"""Carries a schedule out on a world: one thread a lane, each step at its time or as soon as its lane is free.

What a step needs (a standby beside the holder) is waited for; where it does not come in time, the step is skipped and
counted, never forced. A killed pod is replaced at once, as a Deployment does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.chaos.schedule import Lane, Step
from tests.support.delivery import bounds
from tests.support.delivery.world import RATE_LIMITED, Pod, World

ACCOUNT = {Lane.FEED_1: "acc1", Lane.FEED_2: "acc2", Lane.PROCESS: "acc1"}
LATE_S = 10.0  # after the last step's own time nothing new is begun
PAIR_S = 30.0  # longest wait for a holder and a Ready standby before a process is hurt
NOTICED_BY_SILENCE = ("half_open", "silence")
REDIS_COMMANDS = {
    "redis_out_of_memory": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    "redis_read_only": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
    "redis_clients_killed": (("CLIENT", "KILL", "TYPE", "normal"), ("CLIENT", "KILL", "TYPE", "pubsub")),
}


@dataclass
class Driver:
    """One run of a schedule."""

    world: World
    steps: Sequence[Step]
    skipped: list[Step] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def run(self, *, say: Callable[[str], None]) -> None:
        """Everything, in its lanes; returns when the last lane is through."""
        started_s = time.monotonic()
        threads = [
            threading.Thread(
                target=self._lane, args=([step for step in self.steps if step.lane is lane], started_s, say)
            )
            for lane in Lane
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _lane(self, steps: Sequence[Step], started_s: float, say: Callable[[str], None]) -> None:
        try:
            for step in steps:
                time.sleep(max(0.0, started_s + step.at_s - time.monotonic()))
                if self.failures:
                    return
                if time.monotonic() - started_s > self.steps[-1].at_s + LATE_S:
                    self.skipped.append(step)  # its lane was held up; the run has its length
                    continue
                say(f"{time.monotonic() - started_s:7.1f} s  {step.lane}: {step.kind} {step.for_s or ''}")
                self._act(step)
        except BaseException as error:
            self.failures.append(error)

    def _act(self, step: Step) -> None:
        match step.lane:
            case Lane.DAY:
                self._live_the_day(step)
            case Lane.FEED_1 | Lane.FEED_2:
                self._hurt_feed(step, ACCOUNT[step.lane])
            case Lane.PROCESS:
                self._hurt_process(step, ACCOUNT[step.lane])
            case Lane.REDIS:
                self._hurt_redis(step)

    def _live_the_day(self, step: Step) -> None:
        control = self.world.sim.control
        if step.kind == "open_burst":
            control.fault("burst", factor=10, for_ms=int(step.for_s * 1_000))
            return
        control.pause(finish=False)
        if step.kind == "close":
            for account in self.world.accounts:
                self.world.rotate_token(account)
        time.sleep(step.for_s)
        control.resume()

    def _hurt_feed(self, step: Step, account: str) -> None:
        match step.kind:
            case "refuse":
                self.world.refuse_feed(account=account, for_s=step.for_s)
            case "refuse_429":
                self.world.refuse_feed(account=account, for_s=step.for_s, status=RATE_LIMITED)
            case "accept_then_drop":
                self.world.accept_then_drop(account=account, for_s=step.for_s, **dict(step.fields))
            case "token_dead":
                self.world.lose_token(account=account, for_s=step.for_s)
            case kind:  # a mute socket goes on by itself when the fault is over
                noticed_ns = bounds.SILENCE_NS if kind in NOTICED_BY_SILENCE else 0
                fields = dict(step.fields)
                self.world.feed_fault(kind, account=account, for_s=step.for_s, noticed_ns=noticed_ns, **fields)

    def _hurt_process(self, step: Step, account: str) -> None:
        holder = self._holder_of_a_pair(account)
        if holder is None:
            self.skipped.append(step)
            return
        match step.kind:
            case "sigkill":
                self.world.kill_holder(account, holder=holder)
                self.world.start_pod(account)
            case "sigterm":
                self.world.hand_over(account, holder=holder)
                self.world.start_pod(account)
            case "sigstop":
                self.world.freeze_holder(account, for_s=step.for_s, holder=holder)

    def _hurt_redis(self, step: Step) -> None:
        match step.kind:
            case "redis_paused":
                self.world.pause_redis(for_s=step.for_s)
            case "redis_slow":
                self.world.slow_redis(for_s=step.for_s)
            case "redis_restarted" | "redis_restarted_empty":
                self.world.restart_redis(down_s=step.for_s, empty=step.kind.endswith("empty"))
            case kind:
                there, back = REDIS_COMMANDS[kind]
                self.world.configure_redis(kind.replace("_", " "), for_s=step.for_s, set_=there, back=back)

    def _holder_of_a_pair(self, account: str) -> Pod | None:
        """The holder, once a Ready standby is beside it; `None`: not in time."""
        deadline = time.monotonic() + PAIR_S
        while time.monotonic() < deadline:
            holder = self.world.holder(account)
            if holder is not None and self.world.standby(account, beside=holder) is not None:
                return holder
            time.sleep(0.2)
        return None
