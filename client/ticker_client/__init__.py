"""What a consumer of the ticks imports: message schema, snapshot-then-stream, loss detection (docs/consumers.md)."""

from ticker_client.keys import fence_key, gaps_key, last_values_key, numbers_key, stream_key
from ticker_client.messages import (
    SCHEMA_VERSION,
    Gap,
    Message,
    Source,
    Undecodable,
    decode_gap,
    decode_message,
    decode_row,
)
from ticker_client.rows import Depth, DepthLevel, Ohlc, Row
from ticker_client.stream import Event, GapSeen, Ignored, Lost, Snapshot, TickStream, Update, latest
from ticker_client.subscriber import AsyncSubscriber, Subscriber

__all__ = [
    "SCHEMA_VERSION",
    "AsyncSubscriber",
    "Depth",
    "DepthLevel",
    "Event",
    "Gap",
    "GapSeen",
    "Ignored",
    "Lost",
    "Message",
    "Ohlc",
    "Row",
    "Snapshot",
    "Source",
    "Subscriber",
    "TickStream",
    "Undecodable",
    "Update",
    "decode_gap",
    "decode_message",
    "decode_row",
    "fence_key",
    "gaps_key",
    "last_values_key",
    "latest",
    "numbers_key",
    "stream_key",
]
