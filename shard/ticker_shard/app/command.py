"""``tickershard shard``: from settings to a running process and its exit code.

The only place that reads the environment (through the settings), makes the process's name, and catches signals.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from ticker_common.listening import PortUnusableError
from ticker_common.logs import configure_logging
from ticker_common.settings import settings_options
from ticker_crds.names import assignment_name, shard_name
from ticker_shard.app.give_back import give_back_linker
from ticker_shard.app.kernels import warm_up
from ticker_shard.app.settings import ShardSettings
from ticker_shard.app.shard import Outside, Shard
from ticker_shard.assignment.api import ApiServer
from ticker_shard.assignment.folder import (
    FolderAssignment,
    FolderCredentials,
    FolderStatus,
    FolderVoice,
    InstanceLock,
    read_instance,
)
from ticker_shard.assignment.follower import ObjectFollower
from ticker_shard.assignment.kubernetes import (
    KubernetesAssignment,
    KubernetesCredentials,
    KubernetesStatus,
    KubernetesVoice,
)
from ticker_shard.ticks.engine import EngineMissingError

log = logging.getLogger(__name__)

INSTANCE_POLL_S: Final = 0.2
EXIT_DEATH: Final = 1


class RefusedError(Exception):
    """The process cannot start as it was told to; the text says what to change."""


@click.command(help="Run one account's shard: sockets, ticks, batched and fenced publishing to Redis.")
@settings_options(ShardSettings)
def command(settings: ShardSettings) -> None:
    """Entry point of the verb; ends the interpreter with the shard's exit code."""
    configure_logging(level=settings.log_level)
    try:
        code = asyncio.run(run_shard(settings))
    except RefusedError as error:
        raise click.UsageError(str(error)) from None
    except Exception:
        log.exception("the shard ended by a fault of its own")
        code = EXIT_DEATH
    logging.shutdown()
    sys.exit(code)


async def run_shard(settings: ShardSettings) -> int:
    """Run until handed over or drained.

    Raises
    ------
    RefusedError
        When the surroundings do not fit the settings: no folder, no instance, no API server, no port.
    """
    loop = asyncio.get_running_loop()
    wanted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wanted.set)
    async with _outside(settings, stop=wanted) as (outside, process):
        if outside is None:
            return 0
        try:
            await asyncio.to_thread(warm_up, settings.engine)
        except EngineMissingError as error:
            raise RefusedError(f"--engine (TICKERSHARD_SHARD_ENGINE): {error}") from error
        given = give_back_linker()
        log.info("memory given back that only the start needed", extra={"mib": given >> 20})
        shard = Shard(settings, outside, process=process)
        # What was made so far lives as long as the process: no collection needs to walk it again.
        gc.collect()
        gc.freeze()
        watcher = asyncio.create_task(_terminate_when(wanted, shard))
        try:
            return await shard.run()
        except PortUnusableError as error:
            raise RefusedError(f"--host, --port (TICKERSHARD_SHARD_PORT): {error}") from error
        finally:
            watcher.cancel()


async def _terminate_when(wanted: asyncio.Event, shard: Shard) -> None:
    await wanted.wait()
    shard.terminate()


@asynccontextmanager
async def _outside(settings: ShardSettings, *, stop: asyncio.Event) -> AsyncIterator[tuple[Outside | None, str]]:
    if settings.source == "folder":
        assert settings.folder is not None, "validated"
        if not settings.folder.is_dir():
            raise RefusedError(f"--folder (TICKERSHARD_SHARD_FOLDER): {settings.folder} is not a folder")
        process = await _folder_process(settings.folder, settings.instance, stop=stop)
        if process is None:
            yield None, ""
            return
        folder = settings.folder
        yield (
            Outside(FolderAssignment(folder), FolderCredentials(folder), FolderStatus(folder), FolderVoice(folder)),
            process,
        )
        return
    process = process_id(settings.instance or "")
    async with ApiServer(
        api_url(settings),
        token_file=settings.service_account_dir / "token",
        ca_file=_existing(settings.service_account_dir / "ca.crt"),
        monotonic_ns=time.monotonic_ns,
    ) as api:
        yield kubernetes_outside(settings, api, process=process), process


def kubernetes_outside(settings: ShardSettings, api: ApiServer, *, process: str) -> Outside:
    """The four ports of one shard on one API server."""
    assert settings.secret_name is not None, "validated"
    namespace, shard, secret = settings.namespace, shard_name(settings.account), settings.secret_name
    table = assignment_name(settings.account)
    collection = f"/api/v1/namespaces/{namespace}"
    return Outside(
        assignment=KubernetesAssignment(
            ObjectFollower(api, collection=f"{collection}/configmaps", name=table, monotonic_ns=time.monotonic_ns),
            name=table,
        ),
        credentials=KubernetesCredentials(
            ObjectFollower(api, collection=f"{collection}/secrets", name=secret, monotonic_ns=time.monotonic_ns),
            name=secret,
        ),
        status=KubernetesStatus(api, namespace=namespace, shard=shard),
        voice=KubernetesVoice(
            api,
            namespace=namespace,
            account=settings.account,
            process=process,
            monotonic_ns=time.monotonic_ns,
            wall_clock=lambda: datetime.now(tz=UTC),
        ),
    )


def process_id(instance: str) -> str:
    """A name that no other run of this instance ever had or will have."""
    return f"{instance}/{secrets.token_hex(6)}"


def api_url(settings: ShardSettings) -> str:
    """The API server's address.

    Raises
    ------
    RefusedError
        Outside a cluster, when none was given.
    """
    if settings.api_url is not None:
        return settings.api_url
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise RefusedError(
            "--api-url (TICKERSHARD_SHARD_API_URL): needed outside a cluster (KUBERNETES_SERVICE_HOST is not set)"
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


async def _folder_process(folder: Path, instance: str | None, *, stop: asyncio.Event) -> str | None:
    """The process's id; `None` when it was asked to end while an earlier process of its instance still lived."""
    if instance is not None:
        return process_id(instance)
    named = read_instance(folder)
    if named is None:
        raise RefusedError(f"--folder (TICKERSHARD_SHARD_FOLDER): {folder} has no usable file instance-id")
    lock = InstanceLock(folder)
    told = False
    while not lock.try_take():
        if not told:
            log.warning("another process of this instance lives; waiting for its end", extra={"instance": named})
            told = True
        try:
            async with asyncio.timeout(INSTANCE_POLL_S):
                await stop.wait()
            return None
        except TimeoutError:
            pass
    return process_id(named)


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None
