"""``python -m ticker_shard.app``: the shard without the other verbs."""

from ticker_shard.app.command import command

command()
