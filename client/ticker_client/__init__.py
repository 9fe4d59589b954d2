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
from ticker_client.replay import OLDEST, AsyncReplay, Replay, StreamAbsentError
from ticker_client.rows import Depth, DepthLevel, Ohlc, Row
from ticker_client.stream import Event, GapSeen, Ignored, Lost, Snapshot, TickStream, Trimmed, Update, latest
from ticker_client.subscriber import AsyncSubscriber, Subscriber

__all__ = [
    "OLDEST",
    "SCHEMA_VERSION",
    "AsyncReplay",
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
    "Replay",
    "Row",
    "Snapshot",
    "Source",
    "StreamAbsentError",
    "Subscriber",
    "TickStream",
    "Trimmed",
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
