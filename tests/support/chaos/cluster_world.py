"""A recorded pool on a cluster, and how to hurt it: sockets and tokens, the Redis pod, shards' pods, the control plane.

Each fault has its entry in the history, with the recovery time that the settings give it (`bounds`); what is planned
has none, because nobody may miss anything.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.support.cluster_client import eventually
from tests.support.cluster_pool import NAMESPACE, OPERATOR, READY_S, ROLL_S, SYMBOLS
from tests.support.delivery import bounds as times
from tests.support.delivery.cluster import CHANNEL, PoolDelivery, connector
from tests.support.delivery.history import History, Target
from tests.support.delivery.hurting import FeedFaults, RedisFaults
from tests.support.delivery.starving import processes_in_pods
from tests.support.simulator import Control
from ticker_client.keys import fence_key
from ticker_crds.names import shard_name

OTHERS, OTHER_SYMBOLS = "others", ("NSE:MARUTI", "NSE:NTPC", "NSE:ONGC", "NSE:RELIANCE", "NSE:SBIN", "NSE:TCS")
RECORDS_S = 15.0
POLL_S = 0.1
AWAY = (redis.RedisError, OSError)


@dataclass
class ClusterWorld(FeedFaults, RedisFaults):
    """`numbers`: each account's key at the simulator.

    One lock stands for a limit of the product (docs/reliability.md): Redis's data and the only process that knows since
    when nothing was published are not taken at once.
    """

    delivery: PoolDelivery
    numbers: dict[str, int]
    _tokens: int = 0
    _rotating: threading.Lock = field(default_factory=threading.Lock)
    _witness: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.pool = self.delivery.pool
        self._connect = connector(self.pool.redis)

    @property
    def control(self) -> Control:
        return self.pool.simulator

    def api_key(self, account: str) -> str:
        return f"simkey{self.numbers[account]}"

    def note(
        self, kind: str, target: Target, start_ns: int, *, recover_ns: int, account: str | None = None,
        loses_data: bool = False,
    ) -> None:  # fmt: skip
        self.delivery.note(kind, target, start_ns, recover_ns=recover_ns, account=account, loses_data=loses_data)

    def finish(self) -> History:
        """Heal what is left, wait until everything streams, let the market stand still, and read everything."""
        self.control.heal()
        self.control.resume()
        for account in self.numbers:
            self._settled(account, set())
        self.pool.await_streaming(list(self.numbers), len(SYMBOLS))
        return self.delivery.finish()

    # -- tokens

    def rotate_token(self, account: str) -> None:
        """Another token, through the Secret. One at a time: broker and Secret must not be told in different orders."""
        with self._rotating:
            self._tokens += 1
            self.pool.rotate(account, number=self.numbers[account], token=f"canary-{account}-chaos-{self._tokens}")

    def change_token(self, account: str) -> None:
        """The same as a fault: what connects before the Secret has arrived is refused."""
        start_ns = time.monotonic_ns()
        self.rotate_token(account)
        self.note("token rotated", Target.FEED, start_ns, recover_ns=times.NEW_TOKEN_NS, account=account)

    # -- Redis

    def redis_client(self, **options: Any) -> redis.Redis:
        return self._connect(**options)

    def signal_redis(self, which: signal.Signals) -> None:
        for process in processes_in_pods("redis-server"):
            os.kill(int(process), which)

    def restart_redis(self) -> None:
        """Its pod is deleted; the next one has nothing. Returns when the holders have put their records back."""
        with self._witness:
            held = self._held()
            start_ns = time.monotonic_ns()
            self.pool.client.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=redis", "--wait=true")
            eventually(self._redis_answers, timeout_s=READY_S, what="Redis is back", every_s=POLL_S)
            self.note("redis restarted empty", Target.REDIS, start_ns, recover_ns=times.REDIS_BACK_NS, loses_data=True)
            deadline = time.monotonic() + RECORDS_S
            while not held <= self._held() and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def _redis_answers(self) -> bool:
        try:
            with self.redis_client(socket_timeout=0.5) as client:
                return bool(client.ping())
        except AWAY:
            return False

    def _held(self) -> set[str]:
        """Accounts with a record."""
        try:
            with self.redis_client(socket_timeout=1.0) as client:
                shards = {account: self.delivery.shard(account) for account in self.numbers}
                return {account for account, shard in shards.items() if client.exists(fence_key(CHANNEL, member=shard))}
        except AWAY:
            return set()

    # -- processes and pods

    def kill(self, account: str) -> None:
        """SIGKILL: the kubelet starts the container anew, in its pod."""
        with self._witness:
            before = self._processes(account)
            start_ns = time.monotonic_ns()
            self._signal(before, signal.SIGKILL)
            self.note("sigkill", Target.PROCESS, start_ns, recover_ns=times.POD_NS, account=account)
            self._settled(account, before)

    def freeze(self, account: str, *, for_s: float) -> None:
        """SIGSTOP, then SIGCONT; nobody stands by."""
        start_ns = time.monotonic_ns()
        frozen = self._processes(account)
        self._signal(frozen, signal.SIGSTOP)
        time.sleep(for_s)
        self._signal(frozen, signal.SIGCONT)
        self.note("sigstop", Target.PROCESS, start_ns, recover_ns=times.TAKE_OVER_NS, account=account)

    def delete_by_force(self, account: str) -> None:
        """The object is gone at once; the process has what the kubelet gives it."""
        with self._witness:
            before = self._processes(account)
            start_ns = time.monotonic_ns()
            self.pool.client.kubectl("delete", "pod", self._pod(account), "--grace-period=0", "--force")
            self.note("pod deleted by force", Target.PROCESS, start_ns, recover_ns=times.POD_NS, account=account)
            self._settled(account, before)

    def replace(self, kind: str, account: str) -> None:
        """A planned end, by one of three ways: the next pod is there first."""
        before = self._processes(account)
        start_ns = time.monotonic_ns()
        match kind:
            case "pod_deleted":
                self.pool.client.kubectl("delete", "pod", self._pod(account), "--wait=false")
            case "evicted":
                self.pool.evict(self._pod(account))
            case "rolled_out":
                self.pool.client.kubectl("rollout", "restart", f"deployment/{shard_name(account)}")
        self._settled(account, before)
        self.note(kind.replace("_", " "), Target.PROCESS, start_ns, recover_ns=0, account=account)

    def restarts(self, account: str) -> int:
        """How often the container of its pod was started anew."""
        return max(int(each["restartCount"]) for each in self.pool.shard_pod(account)["status"]["containerStatuses"])

    def _pod(self, account: str) -> str:
        name: str = self.pool.shard_pod(account)["metadata"]["name"]
        return name

    def _processes(self, account: str) -> set[str]:
        return set(processes_in_pods("shard", f"--account={account}", f"--namespace={NAMESPACE}"))

    def _settled(self, account: str, before: set[str]) -> None:
        """One process that is another than those before, in one pod that is Ready."""
        eventually(
            lambda: self._processes(account),
            until=lambda found: len(found) == 1 and not found & before,
            timeout_s=ROLL_S,
            what=f"{account}: one process, another than {before}",
        )
        self.pool.await_shards([account], lambda _: True, what="settled")

    @staticmethod
    def _signal(processes: set[str], which: signal.Signals) -> None:
        for process in processes:
            os.kill(int(process), which)

    # -- control plane

    def delete_operator(self) -> None:
        """Shards do not need it to stream."""
        start_ns = time.monotonic_ns()
        self.note("operator deleted", Target.CONTROL, start_ns, recover_ns=0)
        self.pool.client.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=true")
        self.pool.client.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=60s")

    def drain(self, account: str, *, for_s: float) -> None:
        """Its instruments move to the others, and it takes its share back."""
        self._set_state(account, "Draining", kind="account drained")
        time.sleep(for_s)
        self._set_state(account, "Active", kind="account taken back in")

    def subscribe_more(self, *, for_s: float) -> None:
        """Somebody else's instruments come and go, on a channel of their own: nobody here may feel it."""
        self.note("subscription added", Target.CONTROL, time.monotonic_ns(), recover_ns=0)
        self.pool.subscribe(OTHERS, OTHER_SYMBOLS)
        time.sleep(for_s)
        self.note("subscription removed", Target.CONTROL, time.monotonic_ns(), recover_ns=0)
        self.pool.client.kubectl("delete", "tickersubscription", OTHERS)

    def _set_state(self, account: str, state: str, *, kind: str) -> None:
        self.note(kind, Target.CONTROL, time.monotonic_ns(), recover_ns=0)
        patch = f'{{"spec": {{"state": "{state}"}}}}'
        self.pool.client.kubectl("patch", "kiteaccount", account, "--type=merge", "-p", patch)
