"""A live option chain in the terminal: strikes down the middle, calls left, puts right.

    python docs/examples/option_chain.py redis://localhost:6379/0 ticker:nifty:options

Any Tickershard channel with options will do. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import time
from collections.abc import Mapping

import redis
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ticker_client import GapSeen, Ignored, Lost, Row, Snapshot, Subscriber, Update

# NFO:NIFTY26NOV26000CE, NFO:NIFTY26N1226000PE: underlying and expiry, strike, side
SYMBOL = re.compile(
    r"^[A-Z]+:(?P<series>.+?(?:\d{2}[A-Z]{3}|\d{2}[1-9OND]\d{2}))(?P<strike>\d+(?:\.\d+)?)(?P<side>CE|PE)$"
)
REFRESH_S = 0.25


def chain(rows: Mapping[str, Row], note: str) -> Table:
    """The chain of the first series that has options, as a table."""
    parsed = [(match, row) for symbol, row in rows.items() if (match := SYMBOL.match(symbol))]
    series = min((match["series"] for match, _ in parsed), default="no options yet")
    sides: dict[float, dict[str, Row]] = {}
    for match, row in parsed:
        if match["series"] == series:
            sides.setdefault(float(match["strike"]), {})[match["side"]] = row
    table = Table(title=series, caption=note)
    for heading in ("OI", "volume", "IV", "call", "strike", "put", "IV", "volume", "OI"):
        table.add_column(heading, justify="right")
    for strike in sorted(sides):
        call, put = sides[strike].get("CE"), sides[strike].get("PE")
        table.add_row(*reversed(cells(call)), f"{strike:g}", *cells(put))
    return table


def cells(row: Row | None) -> list[str]:
    """Price, IV, volume, open interest of one side, from the strike outwards."""
    if row is None:
        return ["", "", "", ""]
    iv = "" if row.iv is None else f"{row.iv:.1%}"
    return [f"{row.last_price:.2f}", iv, f"{row.volume_traded or 0:,}", f"{row.oi or 0:,}"]


def main() -> None:
    """Subscribe and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("redis_url")
    parser.add_argument("channel")
    arguments = parser.parse_args()
    rows: dict[str, Row] = {}
    updates = lost = gaps = 0
    drawn = 0.0
    try:
        client = redis.Redis.from_url(arguments.redis_url, retry=None)
        client.ping()
    except (ValueError, redis.RedisError) as error:
        parser.error(f"redis_url: {error}")
    with Subscriber(client, [arguments.channel]) as ticks, Live(console=Console(), auto_refresh=False) as screen:
        for event in ticks.events():
            match event:
                case Snapshot(rows=values):
                    rows = dict(values)
                case Update(row=row):
                    rows[row.symbol] = row
                    updates += 1
                case Lost(messages=messages):
                    lost += messages
                case GapSeen():
                    gaps += 1
                case Ignored(reason=reason):
                    screen.console.print(f"ignored: {reason}")
            if time.monotonic() - drawn > REFRESH_S:
                drawn = time.monotonic()
                screen.update(chain(rows, f"{updates:,} updates, {lost} messages lost, {gaps} gaps"), refresh=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
