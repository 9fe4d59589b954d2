"""Names of everything in Redis, made in one place.

The braces make a channel and all that belongs to it one hash slot, so that the script which publishes works on
Redis Cluster. A channel's name carries the prefix already (``ticker:nifty:options``).
"""

from __future__ import annotations


def last_values_key(channel: str) -> str:
    """Hash: field ``EXCHANGE:TRADINGSYMBOL`` → newest row."""
    return f"{{{channel}}}:last"


def fence_key(channel: str, *, member: str) -> str:
    """Hash: the record of who may publish for one account; `member` is ``<namespace>.<account>``."""
    return f"{{{channel}}}:fence:{member}"


def numbers_key(channel: str) -> str:
    """Hash: field ``<namespace>.<account>`` → process, epoch and number of its last message, as JSON.

    Read together with the last values it says which messages they hold already.
    """
    return f"{{{channel}}}:seq"


def owners_key(channel: str) -> str:
    """Hash: field of the last values → ``<namespace>.<account>`` that took it last; that account deletes it."""
    return f"{{{channel}}}:owners"


def gaps_key(channel: str) -> str:
    """Stream of gap records, capped."""
    return f"{{{channel}}}:gaps"


def stream_key(channel: str) -> str:
    """Stream of the channel's batches, capped; optional."""
    return f"{{{channel}}}:stream"
