"""``tickershard simulator``."""

from __future__ import annotations

import asyncio

import click

from ticker_common.listening import PortUnusableError
from ticker_common.logs import configure_logging
from ticker_common.settings import settings_options
from ticker_sim.credentials import CredentialsRefusedError
from ticker_sim.server import serve
from ticker_sim.settings import SimulatorSettings


@click.command("simulator")
@settings_options(SimulatorSettings)
def command(settings: SimulatorSettings) -> None:
    """Run a wire-accurate Kite on this machine: WebSocket, REST and faults.

    Prints one line of JSON with its address once it accepts connections, and runs until SIGTERM.
    """
    configure_logging(level=settings.log_level)
    try:
        asyncio.run(serve(settings))
    except CredentialsRefusedError as error:
        raise click.UsageError(str(error)) from None
    except PortUnusableError as error:
        raise click.UsageError(f"--host, --port (TICKERSHARD_SIMULATOR_PORT): {error}") from None
