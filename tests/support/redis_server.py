"""A real redis-server of the test's own: free port, nothing left on disk, stopped by its recorded process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory

import redis

from tests.support.require import unavailable

START_S = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    """A running server; `stop` and `start` keep the port, so clients see an outage."""

    port: int
    arguments: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    folder: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)  # a replica writes what it is sent

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def start(self, *more: str, wait: bool = True) -> None:
        """Start with `more` arguments; by default until it answers."""
        binary = shutil.which("redis-server") or unavailable("no redis-server on the PATH (Debian: redis-server)")
        self.process = subprocess.Popen(
            [
                binary,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
                *("--dir", self.folder.name),
                *self.arguments,
                *more,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if not wait:
            return
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except (redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server(*arguments: str, port: int | None = None) -> Iterator[RedisServer]:
    """A server with extra `arguments`, gone afterwards."""
    server = RedisServer(port or free_port(), arguments)
    server.start()
    try:
        yield server
    finally:
        server.stop()
