"""The one command, ``tickershard``: each verb is imported only when it is used.

A shard pod must not pay for the operator's imports (nor hold a Kubernetes client), so the verbs are names here
and modules only on demand.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

VERBS: Final[dict[str, tuple[str, str]]] = {
    "operator": (
        "ticker_operator.app.operator_command",
        "Run the operator: watch accounts and subscriptions, keep the shards as they should be.",
    ),
    "shard": (
        "ticker_shard.app.command",
        "Run one account's shard: sockets, ticks, batched publishing to Redis.",
    ),
    "simulator": (
        "ticker_sim.command",
        "Run a wire-accurate Kite on this machine: WebSocket, REST and faults.",
    ),
    "local": (
        "ticker_operator.app.local_command",
        "Run a whole pool on one machine from a folder of YAML.",
    ),
    "crds": (
        "ticker_operator.app.crds_command",
        "Print the CustomResourceDefinitions, or check that files hold the current ones.",
    ),
}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(VERBS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The summaries stand here so that --help imports no verb.
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="tickershard")
def main() -> None:
    """Tickershard streams quotes of thousands of instruments through many Kite accounts into Redis.

    Every setting of a verb is a flag and an environment variable; flags win. `tickershard VERB --help` lists them.
    """
