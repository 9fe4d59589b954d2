"""``tickershard operator``: settings, logs, signals, exit code."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys

import click

from ticker_common.listening import PortUnusableError
from ticker_common.logs import configure_logging
from ticker_common.settings import settings_options
from ticker_operator.app.settings import OperatorSettings
from ticker_operator.app.supervisor import run_operator
from ticker_operator.kube.connection import NoConnection

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@click.command("operator")
@settings_options(OperatorSettings)
def command(settings: OperatorSettings) -> None:
    """Run the operator of one pool: watch its accounts and subscriptions, and keep the shards as they should be.

    One JSON line with the port of probes and metrics is printed once they answer. Exit code 0 after SIGTERM, 1 when the
    Lease was lost or a part died (start it again), 2 for refused settings.
    """
    configure_logging(level=settings.log_level)
    # One line per event and handler would say nothing that the passes do not say.
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    try:
        sys.exit(asyncio.run(_run(settings)))
    except NoConnection as error:
        raise click.ClickException(f"no API server: {error}") from None
    except PortUnusableError as error:
        raise click.UsageError(f"--host, --port (TICKERSHARD_OPERATOR_PORT): {error}") from None


async def _run(settings: OperatorSettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def take_signals() -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, stop.set)

    take_signals()
    return await run_operator(settings, stop=stop, take_signals=take_signals, listening=_say_port)


def _say_port(port: int) -> None:
    click.echo(json.dumps({"port": port}))
