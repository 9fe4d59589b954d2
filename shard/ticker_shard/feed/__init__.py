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
from ticker_shard.feed.stalls import StallReport, StallWatch
from ticker_shard.feed.watchdogs import WATCHDOGS, Action, Signal, Watchdog

__all__ = [
    "WATCHDOGS",
    "Action",
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
    "Signal",
    "SocketStatus",
    "StallReport",
    "StallWatch",
    "TextKind",
    "Watchdog",
]
