"""How much fits where: instruments on sockets, channels on an account, rows in a table, and what a fair share is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ticker_crds import AssignmentError, AssignmentTable, encode_table
from ticker_crds.assignment import TABLE_BYTES_MAX
from ticker_crds.constants import CHANNEL_CHARS_MAX, CHANNELS_PER_ACCOUNT_MAX, INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX

HEADER_BYTES_MAX: Final = 1_048_576 - TABLE_BYTES_MAX  # what a ConfigMap has left beside the rows
ROW_FIXED_CHARS: Final = 120  # numbers, enumerations, date and separators of one row, generously

# The header is plain text beside the rows; even the longest channel names leave room for metadata.
assert CHANNELS_PER_ACCOUNT_MAX * (2 * CHANNEL_CHARS_MAX + 64) < HEADER_BYTES_MAX
assert SOCKETS_MAX * INSTRUMENTS_PER_SOCKET_MAX == 9_000


def fair_shares(capacities: Mapping[str, int], *, loads: Mapping[str, int]) -> dict[str, int]:
    """What each account would carry if what all of them carry were spread as evenly as capacities allow.

    Water filling: everybody gets the same, whoever is full keeps what fits, the rest is spread over the others. What
    does not divide stays, one each, with those that carry most: evenness to the last instrument is not worth a move.
    The shares add up to the smaller of all load and all capacity.
    """
    left = sum(loads.get(name, 0) for name in capacities)
    total = min(left, sum(capacities.values()))
    rising = sorted(capacities, key=lambda name: (capacities[name], name))
    shares: dict[str, int] = {}
    while rising and capacities[rising[0]] * len(rising) <= left:
        name = rising.pop(0)
        shares[name] = capacities[name]
        left -= capacities[name]
    if rising:
        even, over = divmod(left, len(rising))
        for position, name in enumerate(sorted(rising, key=lambda name: (-loads.get(name, 0), name))):
            shares[name] = even + (position < over)
    assert sum(shares.values()) == total, (shares, total)
    return shares


def table_fits(table: AssignmentTable) -> bool:
    """Whether the table can be stored.

    Packing 9,000 rows takes a tenth of a second, so it is tried only where a bound on the plain text does not answer.
    """
    index_chars = len(str(len(table.channels))) + 1
    chars = 0
    for row in table.instruments:
        chars += ROW_FIXED_CHARS + len(row.exchange) + len(row.tradingsymbol) + len(row.strike)
        chars += len(row.underlying) + len(row.tick_size) + len(row.instrument_type) + index_chars * len(row.channels)
    if 4 * chars <= TABLE_BYTES_MAX:  # four bytes a character is UTF-8's worst; gzip's own overhead is far below
        return True
    try:
        encode_table(table)
    except AssignmentError:
        return False
    return True
