"""``tickershard local``: a whole pool on one machine; what `make demo` runs, and a single trader uses for real."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import click
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict
from rich.console import Console

from ticker_common.logs import configure_logging
from ticker_common.settings import ProgramSettings, settings_options
from ticker_operator.app.dump import HttpInstruments
from ticker_operator.app.local_view import REFRESH_S, LiveView
from ticker_operator.app.settings import NAME, PREFIX, addresses
from ticker_operator.desired import ShardKnobs
from ticker_operator.local.embedded_redis import NoRedisServer, embedded_redis
from ticker_operator.local.files import replace_bytes
from ticker_operator.local.layout import Layout
from ticker_operator.local.pool import FolderBusy, LocalPool, make_pool, only_operator
from ticker_operator.local.processes import end_with_parent
from ticker_operator.local.summary import shard_reports, succeeded, summarize
from ticker_operator.local.workloads import LocalKnobs
from ticker_operator.reconcile.decide import Policy
from ticker_operator.reconcile.gather import Rules
from ticker_operator.reconcile.instruments import INDIA
from ticker_operator.reconcile.loop import LoopSettings, PoolLoop
from ticker_operator.reconcile.ports import Unreachable

SIMULATOR_START_S: Final = 30.0
SIMULATE_FILE: Final = "simulate.json"
SIMULATOR_SETTINGS: Final = ("ticks_per_second", "speed", "frame_packets", "seed")  # passed on as simulate_…

log = logging.getLogger(__name__)


class LocalSettings(ProgramSettings):
    """What ``tickershard local`` can be told."""

    model_config = SettingsConfigDict(env_prefix="TICKERSHARD_LOCAL_")

    namespace: str = Field(
        "default",
        description="Name of the pool; keeps two pools on one Redis apart.",
        max_length=63,
        pattern=NAME,
    )
    state: Path | None = Field(None, description="Where state lies; without it, FOLDER/.tickershard.")
    redis_url_file: Path | None = Field(
        None, description="File with the Redis URL; without it, an embedded redis-server runs as long as the pool."
    )
    prefix: str = Field("ticker", description="What every Redis name begins with.", max_length=64, pattern=PREFIX)
    endpoints_allowed: tuple[str, ...] = Field((), description="Addresses beside the broker's that accounts may name.")
    simulate: bool = Field(
        False, description="Start a simulator; no account reaches its broker, whatever its file says."
    )
    simulate_day: date | None = Field(
        None,
        description="The simulated trading day (YYYY-MM-DD); without it, the one in FOLDER/simulate.json, else today.",
    )
    simulate_ticks_per_second: float = Field(
        1_000, ge=0, le=1_000_000, description="Changes per second of the simulated market."
    )
    simulate_speed: float = Field(1.0, gt=0, le=10_000, description="Simulated seconds per second.")
    simulate_frame_packets: int = Field(200, ge=1, le=3_000, description="Most packets in one simulated frame.")
    simulate_seed: int = Field(1, ge=0, description="All chance of the simulated market is made from it.")
    simulate_rate_limits: bool = Field(
        True, description="Whether the simulator limits REST requests as the broker does."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least important line.")

    @field_validator("redis_url_file")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}; write redis://user:password@host:6379/0 into it")
        return value

    @field_validator("endpoints_allowed")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return addresses(value)


@click.command("local", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--for", "seconds", metavar="SECONDS", type=click.FloatRange(min=0, min_open=True), help="Stop after so long."
)
@settings_options(LocalSettings)
def command(settings: LocalSettings, folder: Path, seconds: float | None) -> None:
    """Run the pool that the YAML files below FOLDER declare, on this machine.

    KiteAccounts, TickerSubscriptions and the Secrets that accounts name are read from FOLDER and followed: edit a
    file, and the pool follows. Each account's shard is a child process. Logs go to operator.log in the state folder,
    a table to the terminal. The last line is one JSON object; the exit code is 0 only if every assigned instrument was
    confirmed and every tick is accounted for.
    """
    layout = Layout((settings.state or folder / ".tickershard").resolve())
    with _log_file(layout) as stream:
        configure_logging(level=settings.log_level, stream=stream)
        try:
            summary = asyncio.run(_run(settings, folder.resolve(), layout, seconds))
        except (NoRedisServer, FolderBusy, Unreachable) as error:
            raise click.ClickException(str(error)) from None
    click.echo(json.dumps(summary))
    sys.exit(0 if succeeded(summary) else 1)


def _log_file(layout: Layout) -> TextIO:
    try:
        layout.root.mkdir(parents=True, exist_ok=True)
        return (layout.root / "operator.log").open("a")
    except OSError as error:
        raise click.UsageError(
            f"--state (TICKERSHARD_LOCAL_STATE): {layout.root} cannot hold the state: {error.strerror}"
        ) from None


@dataclass(frozen=True, slots=True)
class _World:
    """Addresses of what the pool talks to."""

    redis_url_file: Path
    endpoints: Mapping[str, str] | None
    day: date | None

    def wall(self) -> datetime:
        """Now; on a simulated day, its date with the time of today."""
        now = datetime.now(UTC)
        return now if self.day is None else now + (self.day - now.astimezone(INDIA).date())


def _pinned_day(folder: Path) -> date | None:
    """The day on which the folder's symbols exist, if it says so."""
    path = folder / SIMULATE_FILE
    if not path.exists():
        return None
    try:
        return date.fromisoformat(json.loads(path.read_text())["day"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f'{path} must hold {{"day": "YYYY-MM-DD"}}: {type(error).__name__}') from None


async def _run(settings: LocalSettings, folder: Path, layout: Layout, seconds: float | None) -> dict[str, Any]:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with only_operator(layout):
        async with _world(settings, layout, day=settings.simulate_day or _pinned_day(folder)) as world:
            pool = make_pool(
                folder,
                layout=layout,
                knobs=LocalKnobs(
                    settings.namespace,
                    world.redis_url_file,
                    settings.prefix,
                    settings.log_level,
                    # The simulator's day goes on at whatever hour it is run.
                    market_hours="always" if settings.simulate else "schedule",
                ),
                instruments=HttpInstruments(),
                endpoints=world.endpoints,
                wall=world.wall,
            )
            loop = PoolLoop(pool.ports, _loop_settings(settings, world), wall=world.wall)
            await _keep_running(pool, loop, stop=stop, seconds=seconds)
            return await _end(pool)


def _loop_settings(settings: LocalSettings, world: _World) -> LoopSettings:
    allowed = {*settings.endpoints_allowed, *(world.endpoints or {}).values()}
    # Image and Secret name a Deployment's parts, and there is none here.
    knobs = ShardKnobs(image="local", redis_secret="local", prefix=settings.prefix, log_level=settings.log_level)  # noqa: S106
    return LoopSettings(
        rules=Rules(settings.namespace, frozenset(allowed), drain_deadline_s=60.0),
        policy=Policy(knobs=knobs, prefix=settings.prefix),
    )


async def _keep_running(pool: LocalPool, loop: PoolLoop, *, stop: asyncio.Event, seconds: float | None) -> None:
    """Run until asked to stop; the first task that fails ends all, and its error is raised."""
    view = LiveView(Console(stderr=True))
    view.start()
    tasks = [
        asyncio.create_task(loop.run(), name="loop"),
        asyncio.create_task(pool.follow(loop), name="follow"),
        asyncio.create_task(pool.workloads.keep(), name="processes"),
        asyncio.create_task(_watch(pool, view), name="view"),
        asyncio.create_task(stop.wait(), name="signal"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        view.stop(pool.reader.notes)


async def _watch(pool: LocalPool, view: LiveView) -> None:
    while True:
        view.show(pool.overview(), notes=pool.reader.notes, now_s=time.monotonic())
        await asyncio.sleep(REFRESH_S)


async def _end(pool: LocalPool) -> dict[str, Any]:
    """Have every shard flush and end, then add up what their files say."""
    accounts = pool.workloads.prepared()
    assigned = sum(shard["assigned"] for shard in pool.overview().values())
    if not await pool.workloads.stop():
        log.error("a shard did not end by itself and was killed")
    return summarize(shard_reports(pool.layout, accounts), accounts=pool.reader.accounts, assigned=assigned)


@asynccontextmanager
async def _world(settings: LocalSettings, layout: Layout, *, day: date | None) -> AsyncIterator[_World]:
    """Redis and simulator, as far as this run brings its own."""
    async with AsyncExitStack() as stack:
        url_file = settings.redis_url_file
        if url_file is None:
            url_file = layout.redis_url
            replace_bytes(url_file, (await stack.enter_async_context(embedded_redis())).encode(), mode=0o600)
        endpoints = await stack.enter_async_context(_simulator(settings, day)) if settings.simulate else None
        yield _World(url_file.resolve(), endpoints, day if settings.simulate else None)


def simulator_flags(settings: LocalSettings, day: date | None) -> list[str]:
    """What the simulator of this run is told."""
    flags = ["--port=0", "--accept-any"]
    flags += [f"--{name.replace('_', '-')}={getattr(settings, f'simulate_{name}')}" for name in SIMULATOR_SETTINGS]
    flags.append("--rate-limits" if settings.simulate_rate_limits else "--no-rate-limits")
    if day is not None:
        flags.append(f"--day={day.isoformat()}")
    return flags


@asynccontextmanager
async def _simulator(settings: LocalSettings, day: date | None) -> AsyncIterator[Mapping[str, str]]:
    """A running simulator's addresses. It takes any credentials: the ones in the folder are meant for the broker."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ticker_operator.app", "simulator", *simulator_flags(settings, day)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with_parent,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(SIMULATOR_START_S):
            line = await process.stdout.readline()
        if not line:
            raise Unreachable(f"the simulator ended at its start (exit code {await process.wait()})")
        address = json.loads(line)
        yield {"ticker": address["ws"], "api": address["listening"]}
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
