"""``python -m ticker_sim``: the same as ``tickershard simulator``."""

from ticker_sim.command import command

command()
