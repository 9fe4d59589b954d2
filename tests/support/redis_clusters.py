"""Several real redis-servers that belong together: a master with a replica and Sentinels, a small cluster, TLS."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.redis_server import RedisServer, free_port, redis_server
from tests.support.require import unavailable

WITHIN_S = 30
SERVICE = "mymaster"
SLOTS = 16_384


def eventually(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition of servers that come up."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if condition():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.05)


@dataclass
class Watched:
    """A master, its replica, and Sentinels that watch them."""

    master: RedisServer
    replica: RedisServer
    sentinels: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def named(self) -> int:
        """The port of the master that a Sentinel names."""
        with self.sentinels[0].client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def fail_over(self) -> None:
        """Begin a fail-over, as an operator would; the old master becomes a replica."""
        with self.sentinels[0].client() as client:
            client.execute_command("SENTINEL", "FAILOVER", SERVICE)


@contextmanager
def watched_redis(folder: Path, *, sentinels: int = 1, down_after_ms: int = 1_000) -> Iterator[Watched]:
    """A master with one replica; enough Sentinels to agree."""
    with ExitStack() as stack:
        master = stack.enter_context(redis_server("--repl-diskless-sync-delay", "0"))
        replica = stack.enter_context(redis_server("--replicaof", "127.0.0.1", str(master.port)))
        with replica.client() as client:
            eventually(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        watchers = []
        for number in range(sentinels):
            file = folder / f"sentinel{number}.conf"
            file.write_text(
                f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} {sentinels // 2 + 1}\n"
                f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
                f"sentinel failover-timeout {SERVICE} 5000\n"
            )
            watchers.append(stack.enter_context(_sentinel(file)))
        found = Watched(master, replica, tuple(watchers))
        with watchers[0].client() as client:
            eventually(lambda: client.execute_command("SENTINEL", "REPLICAS", SERVICE), "Sentinel knows the replica")
        yield found


@contextmanager
def _sentinel(file: Path) -> Iterator[RedisServer]:
    binary = shutil.which("redis-server") or unavailable("no redis-server on the PATH (Debian: redis-server)")
    server = RedisServer(free_port())
    server.process = subprocess.Popen(
        [binary, str(file), "--sentinel", "--port", str(server.port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with server.client() as client:
            eventually(client.ping, "the Sentinel answers")
        yield server
    finally:
        server.stop()


@dataclass
class Cluster:
    """Masters without replicas; the slots are dealt out evenly."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def node_of(self, slot: int) -> RedisServer:
        with self.nodes[0].client() as client:
            for first, last, (_, port, *_), *_ in client.execute_command("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody serves slot {slot}")

    def move(self, slot: int) -> None:
        """Move one slot with its keys to another node, step by step, as `redis-cli --cluster reshard` does."""
        source = self.node_of(slot)
        target = next(node for node in self.nodes if node is not source)
        with source.client() as giving, target.client() as taking:
            giver, taker = (client.execute_command("CLUSTER", "MYID").decode() for client in (giving, taking))
            taking.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", giver)
            giving.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", taker)
            while keys := giving.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1):
                giving.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "REPLACE", "KEYS", *keys)
                time.sleep(0.05)  # so that calls meet a slot of which a part has gone
            for client in (taking, giving):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", taker)


def _port_of_a_node() -> int:
    """A free port below those for which the bus's port (10,000 higher) would not exist."""
    while (port := free_port()) > 55_000:
        pass
    return port


@contextmanager
def redis_cluster(folder: Path, *, nodes: int = 2) -> Iterator[Cluster]:
    """A cluster of real servers."""
    with ExitStack() as stack:
        servers = tuple(
            stack.enter_context(
                redis_server(
                    *("--cluster-enabled", "yes", "--cluster-config-file", str(folder / f"nodes{number}.conf")),
                    *("--cluster-node-timeout", "2000"),
                    port=_port_of_a_node(),
                )
            )
            for number in range(nodes)
        )
        share = SLOTS // nodes
        for number, server in enumerate(servers):
            last = SLOTS - 1 if number == nodes - 1 else (number + 1) * share - 1
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", number * share, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        with servers[0].client() as client:
            for server in servers[1:]:
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", server.port)
        for server in servers:
            with server.client() as client:
                eventually(
                    lambda client=client: (
                        b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")
                        and len(client.execute_command("CLUSTER", "SLOTS")) >= nodes
                    ),
                    "the cluster is whole",
                )
        yield Cluster(servers)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    certificate, key = folder / "redis.crt", folder / "redis.key"
    openssl = shutil.which("openssl") or unavailable("no openssl on the PATH")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=redis"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key
