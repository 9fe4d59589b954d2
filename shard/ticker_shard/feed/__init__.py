"""The broker's sockets: a state machine without IO, the shell around it, and the pool of an account's sockets."""

from ticker_shard.feed.events import (
    ChangeKind,
    CloseReason,
    FeedChange,
    FeedStatus,
    SessionState,
    SocketStatus,
    TextKind,
)
from ticker_shard.feed.pool import KiteWebSocketPool, OnChange, OnExpect, OnFrame
from ticker_shard.feed.settings import Credentials, FeedSettings

__all__ = [
    "ChangeKind",
    "CloseReason",
    "Credentials",
    "FeedChange",
    "FeedSettings",
    "FeedStatus",
    "KiteWebSocketPool",
    "OnChange",
    "OnExpect",
    "OnFrame",
    "SessionState",
    "SocketStatus",
    "TextKind",
]
