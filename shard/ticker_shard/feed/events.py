"""What the feed tells the rest of the shard: changes, reasons, and status as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto

from ticker_shard.feed.settings import FeedSettings


class SessionState(StrEnum):
    """Where one socket stands; the table of transitions is in `ticker_shard.feed.transitions`."""

    IDLE = "idle"  # no credentials yet
    CONNECTING = "connecting"
    OPEN = "open"
    BACKING_OFF = "backing_off"  # waits for its deadline
    RATE_LIMITED = "rate_limited"  # 429: a longer wait
    REJECTED = "rejected"  # 403: waits for other credentials
    STOPPED = "stopped"  # for good


class CloseReason(StrEnum):
    """Why a connection ended or was not made."""

    SILENT = "silent"  # no frame within the silence limit
    MUTE = "mute"  # frames, but no ticks, while the market is open
    DISPLACED = "displaced"  # by a socket of our own: the broker lets fewer stand than we have
    CLOSE_FRAME = "close_frame"  # the broker closed in words
    LOST = "lost"  # TCP ended without a close frame
    PROTOCOL_ERROR = "protocol_error"  # bytes that are no WebSocket frame, or a frame too large
    UNREACHABLE = "unreachable"  # DNS, TCP or TLS failed
    UPGRADE_TIMEOUT = "upgrade_timeout"
    REJECTED = "rejected"  # 403
    RATE_LIMITED = "rate_limited"  # 429
    REFUSED = "refused"  # any other answer to the upgrade
    CREDENTIALS = "credentials"  # recycled for other credentials
    STOPPED = "stopped"  # our own close


class TextKind(StrEnum):
    """What a text frame was."""

    ORDER = "order"
    ERROR = "error"
    TOO_MANY_INSTRUMENTS = "too_many_instruments"  # an error text about the socket's limit
    MESSAGE = "message"
    INSTRUMENTS_META = "instruments_meta"
    UNKNOWN = "unknown"  # an object of another type, e.g. app_code
    JUNK = "junk"  # no JSON object


class ChangeKind(StrEnum):
    """What changed."""

    OPENED = "opened"  # upgrade accepted; everything is being subscribed
    CLOSED = "closed"  # an open connection ended; detail: `CloseReason`
    FAILED = "failed"  # a connection attempt failed; detail: `CloseReason`
    CONFIRMED = "confirmed"  # every wanted instrument of the socket has sent its first packet
    UNCONFIRMED = "unconfirmed"  # instruments joined or left the list of the unconfirmed
    MUTE = "mute"  # the market is open and nothing flows; detail: what is done about it (`watchdogs.Action`)
    FLOWING = "flowing"  # a mute socket flows again, or need not
    TEXT = "text"  # a text frame; detail: `TextKind`, text: what it said (not for orders)


class BinaryKind(Enum):
    """What a binary frame is good for."""

    HEARTBEAT = auto()
    TICKS = auto()
    TICKS_AGAIN = auto()  # the first after a mute spell: there is something to tell, and perhaps to ask for


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of what `KiteSession.drain_changes` gives; the fields of `FeedChange`."""

    kind: ChangeKind
    detail: str = ""
    text: str = ""
    quiet_ns: int = 0


@dataclass(frozen=True, slots=True)
class FeedChange:
    """One change of one socket.

    Attributes
    ----------
    socket
        Its number, from 0.
    kind
        What changed.
    detail
        See `ChangeKind`.
    text
        For people; bounded, redacted.
    quiet_ns
        How long before the change a hole began: CLOSED, and MUTE and FLOWING where everything is asked for anew.
        Otherwise 0.
    """

    socket: int
    kind: ChangeKind
    detail: str = ""
    text: str = ""
    quiet_ns: int = 0


@dataclass(frozen=True, slots=True)
class SocketStatus:
    """One socket as it is now.

    Attributes
    ----------
    state
        Where it stands.
    wanted, confirmed
        Number of instruments.
    unconfirmed
        Tokens that were subscribed `FeedSettings.confirm_attempts` times without a packet of the wanted mode.
    last_close
        Why the last connection or attempt ended; nothing before the first.
    close_text
        The same in words.
    rejected_since_ns
        Monotonic nanoseconds of the first 403 since the last accepted upgrade or change of credentials.
    opened_ns
        Monotonic nanoseconds of the last accepted upgrade.
    flowed_ns
        Monotonic nanoseconds of the last packet that was not an answer, on the present connection.
    packet_ns
        Monotonic nanoseconds of the last packet of any sort, or of the connection.
    unseen_ns
        Quiet for longer, an open socket may be mute, though that is not known yet; nothing where that cannot be said.
    mute_since_ns
        Since when nothing has flowed although the market is open (monotonic), once that was noticed.
    mute_reported
        Neither a subscription nor a new connection helped.
    counts
        Totals since start, all names always present: ``connects``, ``frames``, ``heartbeats``, ``bytes``,
        ``resubscribed`` (tokens), ``closed_<CloseReason>``, ``text_<TextKind>``, ``mute_<Action>``.
    """

    state: SessionState
    wanted: int
    confirmed: int
    unconfirmed: tuple[int, ...] = ()
    last_close: CloseReason | None = None
    close_text: str = ""
    rejected_since_ns: int | None = None
    opened_ns: int | None = None
    flowed_ns: int | None = None
    packet_ns: int = 0
    unseen_ns: int | None = None
    mute_since_ns: int | None = None
    mute_reported: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)

    def unseen_since_ns(self, now_ns: int) -> int | None:
        """Since when nothing has come, on an open socket that is too quiet; nothing on any other."""
        if self.state is not SessionState.OPEN or self.unseen_ns is None or now_ns - self.packet_ns <= self.unseen_ns:
            return None
        return self.packet_ns

    @property
    def warm(self) -> bool:
        """Open, and every wanted instrument is confirmed or listed as unconfirmed."""
        return self.state is SessionState.OPEN and self.confirmed + len(self.unconfirmed) >= self.wanted


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """All sockets of the account.

    Attributes
    ----------
    settings
        What they were made with.
    sockets
        By number.
    unplaced
        Tokens that fit on no socket.
    sockets_accepted
        How many sockets the broker let stand when it last refused or displaced one of ours; nothing before, and
        nothing any more once it let stand more.
    callback_errors
        How often a receiver of frames or changes raised; each one is a fault of ours.
    """

    settings: FeedSettings
    sockets: tuple[SocketStatus, ...]
    unplaced: tuple[int, ...] = ()
    sockets_accepted: int | None = None
    callback_errors: int = 0

    @property
    def open(self) -> int:
        """Sockets that are open."""
        return sum(socket.state is SessionState.OPEN for socket in self.sockets)

    @property
    def wanted(self) -> int:
        """Instruments in the table, those without a place included."""
        return sum(socket.wanted for socket in self.sockets) + len(self.unplaced)

    @property
    def confirmed(self) -> int:
        """Instruments whose first packet of the wanted mode came on the present connection."""
        return sum(socket.confirmed for socket in self.sockets)

    @property
    def unconfirmed(self) -> tuple[int, ...]:
        """Tokens listed as unconfirmed, those without a place included, ascending."""
        listed = [token for socket in self.sockets for token in socket.unconfirmed]
        return tuple(sorted([*listed, *self.unplaced]))

    @property
    def warm(self) -> bool:
        """All sockets open, everything confirmed or listed as unconfirmed."""
        return all(socket.warm for socket in self.sockets)

    @property
    def rejected_since_ns(self) -> int | None:
        """Since when the broker refuses the credentials (monotonic), nothing while it does not."""
        return min((s.rejected_since_ns for s in self.sockets if s.rejected_since_ns is not None), default=None)

    @property
    def last_close(self) -> CloseReason | None:
        """Why a socket that is not open ended; if all are open, why one ended last known."""
        closed = [s for s in self.sockets if s.state is not SessionState.OPEN] or list(self.sockets)
        return next((s.last_close for s in closed if s.last_close is not None), None)
