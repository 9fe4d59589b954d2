"""``python -m ticker_operator.app VERB``: the command where its script is not on the PATH."""

from ticker_operator.app.cli import main

main(prog_name="tickershard")
