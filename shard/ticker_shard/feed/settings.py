"""Everything the feed's behaviour depends on, as one frozen value. Times are in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass

from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX, SOCKETS_MAX
from ticker_shard.ticks.sessions import MarketHours


@dataclass(frozen=True, slots=True)
class FeedSettings:
    """How the account's sockets behave.

    Attributes
    ----------
    url
        The broker's socket, without credentials: ``wss://ws.kite.trade``.
    sockets, instruments_per_socket
        The account's capacity; the broker allows 3 and 3,000.
    silence_ms
        No frame of any sort for so long: the connection is dead. The broker sends something every second or two;
        other clients give up after 5 s.
    mute_ms
        Frames, but no packet that was not asked for, for so long while the market is open: subscribe again, then a new
        connection, then a report (`ticker_shard.feed.watchdogs`). A socket with a slower rhythm is given longer.
    market_hours
        Who says whether the market is open.
    confirm_ms
        An instrument without its first packet for so long is subscribed again; the wait doubles with each
        repetition up to `confirm_max_ms`.
    confirm_attempts
        After so many subscriptions without a packet the instrument is listed as unconfirmed; asking goes on.
    chunk
        Tokens per message.
    connect_timeout_ms
        TCP, TLS and upgrade together.
    spacing_ms
        Between the starts of two connection attempts of this account: the broker answers 429 to haste.
    stable_ms
        A connection that carried data for so long resets the back-off.
    backoff_ms, backoff_max_ms
        Full jitter: the wait is anything up to ``backoff_ms * 2 ** failures``, at most `backoff_max_ms`.
    rate_limited_ms
        After 429: anything between these two. The broker counts a dead socket until it notices.
    recycle_quiet_ms
        New credentials replace an open connection only if it has brought no tick for so long.
    close_timeout_ms
        How long a close frame may wait for its answer.
    """

    url: str
    sockets: int = 1
    instruments_per_socket: int = INSTRUMENTS_PER_SOCKET_MAX
    silence_ms: int = 7_000
    mute_ms: int = 12_000
    market_hours: MarketHours = MarketHours.SCHEDULE
    confirm_ms: int = 3_000
    confirm_max_ms: int = 60_000
    confirm_attempts: int = 3
    chunk: int = 500
    connect_timeout_ms: int = 10_000
    spacing_ms: int = 350
    stable_ms: int = 10_000
    backoff_ms: int = 1_000
    backoff_max_ms: int = 30_000
    rate_limited_ms: tuple[int, int] = (30_000, 40_000)
    recycle_quiet_ms: int = 60_000
    close_timeout_ms: int = 2_000

    def __post_init__(self) -> None:
        assert 1 <= self.sockets <= SOCKETS_MAX, self.sockets
        assert 1 <= self.instruments_per_socket <= INSTRUMENTS_PER_SOCKET_MAX, self.instruments_per_socket
        assert 0 < self.confirm_ms <= self.confirm_max_ms, self
        assert 0 < self.backoff_ms <= self.backoff_max_ms, self
        assert 0 < self.rate_limited_ms[0] <= self.rate_limited_ms[1], self
        assert min(self.silence_ms, self.mute_ms, self.chunk, self.confirm_attempts, self.connect_timeout_ms) > 0, self


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an upgrade needs; never printed."""

    api_key: str
    access_token: str

    def __repr__(self) -> str:
        return "Credentials([redacted])"

    __str__ = __repr__
