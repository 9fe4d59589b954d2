"""The loop around one `KiteSession`: a picows connection, a clock and a timer; no rule about the broker lives here.

A connection exists while the session says CONNECTING or OPEN; when it says otherwise the shell closes what is there.
Frames are handed over inside the socket's read callback, as a view of the read buffer that is valid for that call.
Whatever the receiver of frames raises is counted and logged and costs no connection; a bad frame must not become a
reconnect loop. A receiver that fails for `FRAMES_FAILED_MAX` frames in a row is broken itself: it would go on being
counted while nothing is published, so the shell ends with an error, and the process with it.

The upgrade's URL carries the token. It is built here, used once, and appears in no exception and no log line: every
failure leaves as a `CloseReason` with words of our own, and picows logs from WARNING up only (its debug level would
print the request).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from http import HTTPStatus
from typing import Final

import picows

from ticker_shard.feed.connection import FRAME_BYTES_MAX, Connection, upgrade_url
from ticker_shard.feed.events import BinaryKind, CloseReason, FeedChange, SessionState
from ticker_shard.feed.session import HEARTBEAT_BYTES_MAX, KiteSession
from ticker_shard.feed.settings import Credentials, FeedSettings
from ticker_shard.feed.slots import SocketSlots
from ticker_shard.feed.subscriptions import MILLISECOND_NS

FRAMES_FAILED_MAX: Final = 100  # in a row; seconds of a busy feed
SECOND_NS: Final = 1_000 * MILLISECOND_NS
_BROKERS_ENDS: Final = (CloseReason.CLOSE_FRAME, CloseReason.LOST)
HEADERS: Final = (("X-Kite-Version", "3"), ("User-Agent", "tickershard"))

# Members of enums are looked up by name at each use; these are asked for at every frame.
_OPEN: Final = SessionState.OPEN
_HEARTBEAT, _TICKS_AGAIN = BinaryKind.HEARTBEAT, BinaryKind.TICKS_AGAIN

logger = logging.getLogger(__name__)
_picows_logger = logging.getLogger(f"{__name__}.picows")
_picows_logger.setLevel(logging.WARNING)

OnFrame = Callable[[bytes | memoryview, int], Collection[int]]
OnExpect = Callable[[Iterable[int]], None]
OnChange = Callable[[FeedChange], None]


class ReceiverBrokenError(RuntimeError):
    """The receiver of frames fails for every frame: a fault of ours that only a new process may heal."""


class SocketShell:
    """Drives one session over real sockets until the session is stopped.

    Parameters
    ----------
    number
        The socket's number within the account.
    session
        Decides.
    settings
        URL and time limits.
    on_frame, on_expect, on_change
        See `ticker_shard.feed.pool.KiteWebSocketPool`.
    gate
        Awaited before each attempt: spaces the attempts of one account.
    slots, on_place
        The account's places; called with the sockets that need not make way any more.
    tls
        For ``wss`` URLs.
    """

    def __init__(
        self,
        number: int,
        *,
        session: KiteSession,
        settings: FeedSettings,
        on_frame: OnFrame,
        on_expect: OnExpect,
        on_change: OnChange,
        gate: Callable[[], Awaitable[None]],
        slots: SocketSlots,
        on_place: Callable[[list[int]], None],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.number = number
        self.session = session
        self.callback_errors = 0
        self._failed_in_a_row = 0
        self._settings = settings
        self._on_frame = on_frame
        self._on_expect = on_expect
        self._on_change = on_change
        self._gate = gate
        self._slots = slots
        self._on_place = on_place
        self._tls = tls
        self._wake = asyncio.Event()
        self._connection: Connection | None = None
        self._attempt: asyncio.Timeout | None = None

    def poke(self) -> None:
        """The session was told something: send what is to be sent now, and look again at what to do."""
        self._send()
        self._wake.set()
        if self.session.state is SessionState.STOPPED and self._attempt is not None:
            self._attempt.reschedule(asyncio.get_running_loop().time())  # nobody waits for it any more

    async def run(self) -> None:
        """Connect, serve, wait, until the session is stopped."""
        try:
            while self.session.state is not SessionState.STOPPED:
                if self.session.state is SessionState.CONNECTING:
                    await self._connect_and_serve()
                else:
                    await self._pause()
        finally:
            if self._connection is not None:  # cancelled, or a fault of ours: at least say goodbye
                self._connection.say_goodbye()
                self._connection.abort()

    # -- one connection ----------------------------------------------------------------------------------------------

    async def _connect_and_serve(self) -> None:
        connection = await self._connect()
        if connection is None:
            self._send()
            return
        while self.session.state is SessionState.OPEN and not connection.ended:
            await self._pause()
        self._connection = None  # late frames of it reach nobody
        by_broker = connection.ended and self.session.state is SessionState.OPEN
        reason, text = await connection.why_ended() if by_broker else (CloseReason.STOPPED, "")
        now_ns = time.monotonic_ns()
        wait_ns, released = self._slots.ended(self.number, by_broker=reason in _BROKERS_ENDS, now_ns=now_ns)
        if by_broker and self.session.state is SessionState.OPEN:
            if wait_ns is None:
                self.session.lost(reason, now_ns=now_ns, text=text)
            else:
                self.session.displaced(wait_ns=wait_ns, now_ns=now_ns)
            self._send()
        self._on_place(released)
        await connection.close(timeout_ms=self._settings.close_timeout_ms)

    async def _connect(self) -> Connection | None:
        """One attempt; afterwards the session has been told how it ended."""
        await self._gate()
        if self.session.state is not SessionState.CONNECTING:
            return None
        connection = self._connection = Connection(self)
        self._slots.attempts(self.number)
        reason, text, status = await self._upgrade(connection, self.session.begin())
        if connection.transport is not None:
            return connection  # accepted, and perhaps lost again: `opened` has told the session
        self._on_place(self._slots.failed(self.number, limited=status == HTTPStatus.TOO_MANY_REQUESTS))
        connection.abandoned = True  # should the upgrade come through after all, it is closed at once
        self._connection = None
        if self.session.state is SessionState.CONNECTING:  # else stopped meanwhile
            now_ns = time.monotonic_ns()
            if status:
                self.session.refused(status, now_ns=now_ns, text=text)
            else:
                self.session.failed(reason, now_ns=now_ns, text=text)
        return None

    async def _upgrade(self, connection: Connection, credentials: Credentials) -> tuple[CloseReason, str, int]:
        """Connect. The answer says why there is no connection, if `connection` has none afterwards."""
        limit_s = self._settings.connect_timeout_ms / 1_000
        try:
            async with asyncio.timeout(limit_s) as self._attempt:
                await picows.ws_connect(
                    lambda: connection,
                    upgrade_url(self._settings.url, credentials),
                    ssl_context=self._tls,
                    websocket_handshake_timeout=limit_s,
                    logger_name=_picows_logger,
                    enable_auto_pong=False,  # answered in on_ws_frame, where it also counts as a sign of life
                    max_frame_size=FRAME_BYTES_MAX,
                    max_redirects=0,  # the token goes to the address that was configured and to no other
                    extra_headers=HEADERS,
                )
            return CloseReason.LOST, "connection ended before the answer to the upgrade", 0
        except picows.WSHandshakeError as error:
            if error.response is None:
                return CloseReason.PROTOCOL_ERROR, "the answer to the upgrade is not HTTP", 0
            status = int(error.response.status)
            return CloseReason.REFUSED, _phrase(status), status
        except TimeoutError:
            return CloseReason.UPGRADE_TIMEOUT, f"no upgrade within {limit_s:g} s", 0
        except OSError as error:  # DNS, TCP and TLS
            return CloseReason.UNREACHABLE, f"{type(error).__name__}: {error.strerror or 'no details'}", 0
        except (picows.WSError, ValueError) as error:  # their own texts quote the URL
            return CloseReason.UNREACHABLE, f"{type(error).__name__}: the address is not a WebSocket's", 0
        finally:
            self._attempt = None

    async def _pause(self) -> None:
        """Until something happens or the session's deadline."""
        if self._failed_in_a_row >= FRAMES_FAILED_MAX:
            raise ReceiverBrokenError(f"the receiver of frames has failed for {self._failed_in_a_row} frames in a row")
        deadline_ns = self.session.next_deadline_ns()
        if deadline_ns is None:
            await self._wake.wait()
        else:
            delay_s = max(0.0, (deadline_ns - time.monotonic_ns()) / SECOND_NS)
            try:
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()
        self.session.on_deadline(now_ns=time.monotonic_ns())
        self._send()

    def _send(self) -> None:
        """Send what the session wants sent, then tell what has changed."""
        connection = self._connection
        if connection is not None and connection.transport is not None:
            outgoing = self.session.outgoing(now_ns=time.monotonic_ns())
            if outgoing.expect:
                self._on_expect(outgoing.expect)
            for message in outgoing.messages:
                connection.transport.send(picows.WSMsgType.TEXT, message)
        self._tell()

    def _tell(self) -> None:
        for change in self.session.drain_changes():
            try:
                self._on_change(FeedChange(self.number, change.kind, change.detail, change.text, change.quiet_ns))
            except Exception as error:  # whatever it is, the socket must not pay for it
                self._callback_failed("changes", error)

    def _callback_failed(self, receiver_of: str, error: Exception) -> None:
        self.callback_errors += 1
        count = self.callback_errors
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th…: a receiver that always fails must not flood the log
            logger.error(
                "receiver of %s raised", receiver_of, exc_info=error, extra={"socket": self.number, "count": count}
            )

    # -- from the socket's read callback -----------------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """The upgrade was accepted."""
        if connection is self._connection and self.session.state is SessionState.CONNECTING:
            now_ns = time.monotonic_ns()
            self.session.upgraded(now_ns=now_ns)
            self._slots.opened(self.number, now_ns=now_ns)
            self._send()
            self._wake.set()
        else:
            connection.abort()

    def binary(self, connection: Connection, payload: bytes | memoryview) -> None:
        """A whole binary message."""
        session = self.session
        if connection is not self._connection or session.state is not _OPEN:
            return
        size = len(payload)
        packets = payload[0] << 8 | payload[1] if size > HEARTBEAT_BYTES_MAX else 0
        kind = session.receive_binary(size, packets=packets, now_ns=time.monotonic_ns())
        if kind is _HEARTBEAT:
            return
        if kind is _TICKS_AGAIN:
            self._send()
        try:
            confirmed = self._on_frame(payload, time.time_ns())
        except Exception as error:
            self._frame_failed(error)
            return
        self._failed_in_a_row = 0
        if confirmed:
            session.confirm(confirmed)
            self._tell()

    def _frame_failed(self, error: Exception) -> None:
        self._callback_failed("frames", error)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FRAMES_FAILED_MAX:
            self._wake.set()

    def text(self, connection: Connection, payload: bytes) -> None:
        """A whole text message."""
        if connection is self._connection and self.session.state is SessionState.OPEN:
            self.session.receive_text(payload, now_ns=time.monotonic_ns())
            self._tell()

    def control(self, connection: Connection) -> None:
        """A ping or pong."""
        if connection is self._connection and self.session.state is SessionState.OPEN:
            self.session.receive_control(now_ns=time.monotonic_ns())

    def ended(self) -> None:
        """A connection is gone; which one is looked up by the loop."""
        self._wake.set()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
