"""How to hurt feeds and Redis, the same on this machine and on a cluster.

Each fault has its entry in the history, with the recovery time that the settings give it (`bounds`).
"""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from typing import Any

import redis

from tests.support.delivery import bounds as times
from tests.support.delivery.history import SECOND_NS, Target
from tests.support.simulator import Control

RATE_LIMITED = 429
SLOW_S = 0.2


class Hurting(ABC):
    """Keeps the list of what was done."""

    @abstractmethod
    def note(
        self, kind: str, target: Target, start_ns: int, *, recover_ns: int, account: str | None = None,
        loses_data: bool = False,
    ) -> None:  # fmt: skip
        """A fault that began then and is over now."""


class FeedFaults(Hurting):
    """What a world can do to the sockets and the token of one of its accounts."""

    @property
    @abstractmethod
    def control(self) -> Control:
        """Of the simulator."""

    @abstractmethod
    def api_key(self, account: str) -> str:
        """As the simulator knows the account."""

    @abstractmethod
    def rotate_token(self, account: str) -> None:
        """What happens every morning: another token."""

    def feed_fault(self, kind: str, *, account: str, for_s: float = 0.0, noticed_ns: int = 0, **fields: Any) -> None:
        """A fault of the simulator's for one key, for some time; returns when it is over."""
        start_ns = time.monotonic_ns()
        fault = self.control.fault(kind, api_key=self.api_key(account), **fields)
        if for_s:
            time.sleep(for_s)
            self.control.heal(fault)
        self.note(kind, Target.FEED, start_ns, recover_ns=times.RECONNECT_NS + noticed_ns, account=account)

    def refuse_feed(self, *, account: str, for_s: float, status: int = 502) -> None:
        """The socket is closed, and new ones are refused for some time."""
        recover_ns = times.RATE_LIMITED_NS if status == RATE_LIMITED else times.REFUSED_NS
        what = f"refused with {status}"
        self._turn_away(what, "refuse_upgrade", account=account, for_s=for_s, recover_ns=recover_ns, status=status)

    def accept_then_drop(self, *, account: str, for_s: float, **fields: Any) -> None:
        """The socket is closed, and new ones are let in and lost again for some time."""
        recover_ns = times.REFUSED_NS
        what = "accept_then_drop"
        self._turn_away(what, what, account=account, for_s=for_s, recover_ns=recover_ns, **fields)

    def lose_token(self, *, account: str, for_s: float) -> None:
        """The token is revoked and the socket closed (what connects is told 403); after a while there is a new one."""
        start_ns = time.monotonic_ns()
        self.control.revoke(self.api_key(account))
        self.control.fault("drop", api_key=self.api_key(account))
        time.sleep(for_s)
        self.rotate_token(account)
        self.note("token dead", Target.FEED, start_ns, recover_ns=times.NEW_TOKEN_NS, account=account)

    def _turn_away(self, what: str, fault: str, *, account: str, for_s: float, recover_ns: int, **fields: Any) -> None:
        start_ns = time.monotonic_ns()
        refusing = self.control.fault(fault, api_key=self.api_key(account), **fields)
        self.control.fault("drop", api_key=self.api_key(account))
        time.sleep(for_s)
        self.control.heal(refusing)
        self.note(what, Target.FEED, start_ns, recover_ns=recover_ns, account=account)


class RedisFaults(Hurting):
    """What a world can do to its Redis without ending it."""

    @abstractmethod
    def signal_redis(self, which: signal.Signals) -> None:
        """To the server's process."""

    @abstractmethod
    def redis_client(self, **options: Any) -> redis.Redis:
        """A client of it."""

    def pause_redis(self, *, for_s: float) -> None:
        """A black hole: connections stay, nothing answers."""
        start_ns = time.monotonic_ns()
        self.signal_redis(signal.SIGSTOP)
        time.sleep(for_s)
        self.signal_redis(signal.SIGCONT)
        self.note("redis paused", Target.REDIS, start_ns, recover_ns=times.REDIS_BACK_NS)

    def slow_redis(self, *, for_s: float) -> None:
        """It answers, but hardly ever sooner than after `SLOW_S`: stopped so long, running for a moment, and again."""
        start_ns = time.monotonic_ns()
        while time.monotonic_ns() - start_ns < for_s * SECOND_NS:
            self.signal_redis(signal.SIGSTOP)
            time.sleep(SLOW_S)
            self.signal_redis(signal.SIGCONT)
            time.sleep(SLOW_S / 10)
        self.note("redis slow", Target.REDIS, start_ns, recover_ns=times.REDIS_BACK_NS)

    def configure_redis(self, kind: str, *, for_s: float, set_: tuple[str, ...], back: tuple[str, ...]) -> None:
        """A server that answers with errors for some time: two of its own commands, there and back."""
        start_ns = time.monotonic_ns()
        with self.redis_client(socket_timeout=5.0) as client:
            client.execute_command(*set_)  # type: ignore[no-untyped-call]
            time.sleep(for_s)
            client.execute_command(*back)  # type: ignore[no-untyped-call]
        self.note(kind, Target.REDIS, start_ns, recover_ns=times.REDIS_BACK_NS)
