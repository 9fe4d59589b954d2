"""One WebSocket connection to the broker, as picows shows it: fragments put together, its end classified.

No rule about the broker and no state beyond the connection's own: what comes is passed on to a `Receiver`. Binary
frames are passed on inside the socket's read callback, as a view of the read buffer that is valid for that call.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

import picows

from ticker_common.logs import register_secret
from ticker_shard.feed.events import CloseReason
from ticker_shard.feed.settings import Credentials

FRAME_BYTES_MAX: Final = 4 << 20  # 3,000 full packets have 558,002; a larger frame ends the connection
# What one turn of the loop may take in: the read buffer grows to whatever the kernel holds, megabytes under flood, and
# until all of it is worked through nothing is published. Of this much, three times the most that 3,000 instruments can
# send (2.2 MB/s) still passes a line of 40 ms.
RECEIVE_BYTES: Final = 256 << 10

# An enum's member is looked up by name at each use, a fifth of a microsecond; a frame asks more than once.
_CONTINUATION, _TEXT, _BINARY = picows.WSMsgType.CONTINUATION, picows.WSMsgType.TEXT, picows.WSMsgType.BINARY
_PING, _PONG, _CLOSE = picows.WSMsgType.PING, picows.WSMsgType.PONG, picows.WSMsgType.CLOSE


class Receiver(Protocol):
    """Whom a connection tells; each call says which connection it is."""

    def opened(self, connection: Connection) -> None:
        """The upgrade was accepted."""

    def binary(self, connection: Connection, payload: bytes | memoryview) -> None:
        """A whole binary message."""

    def text(self, connection: Connection, payload: bytes) -> None:
        """A whole text message."""

    def control(self, connection: Connection) -> None:
        """A sign of life."""

    def ended(self) -> None:
        """A connection is gone."""


class Connection(picows.WSListener):
    """One connection: puts fragments together and passes everything on.

    Parameters
    ----------
    receiver
        Is told.

    Attributes
    ----------
    transport
        What can be sent through, once the upgrade was accepted.
    abandoned
        Nobody waits for it any more: should the upgrade come through after all, it is closed at once.
    ended
        It is gone.
    """

    def __init__(self, receiver: Receiver) -> None:
        super().__init__()
        self.transport: picows.WSTransport | None = None
        self.abandoned = False
        self.ended = False
        self._receiver = receiver
        self._fragments = bytearray()
        self._fragments_type: picows.WSMsgType | None = None
        self._too_large = False

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """The upgrade was accepted."""
        self.transport = transport
        transport.underlying_transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES
        )
        if self.abandoned:
            self.say_goodbye()
            transport.disconnect()
        else:
            self._receiver.opened(self)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Whatever the broker sends."""
        kind = frame.msg_type
        if kind == _BINARY and frame.fin:
            self._receiver.binary(self, frame.get_payload_as_memoryview())
        elif kind == _TEXT and frame.fin:
            self._receiver.text(self, frame.get_payload_as_bytes())
        elif kind == _PING:
            transport.send_pong(frame.get_payload_as_bytes())
            self._receiver.control(self)
        elif kind == _PONG:
            self._receiver.control(self)
        elif kind == _CLOSE:
            transport.send_close(picows.WSCloseCode.OK)
            transport.disconnect()
        else:
            self._fragment(transport, frame)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        """It is gone, whoever ended it."""
        self.ended = True
        self._receiver.ended()

    def _fragment(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Never seen from the broker; allowed by the protocol."""
        if frame.msg_type != _CONTINUATION:
            self._fragments.clear()
            self._fragments_type = frame.msg_type
        self._receiver.control(self)
        if len(self._fragments) + frame.payload_size > FRAME_BYTES_MAX:
            self._too_large = True
            transport.send_close(picows.WSCloseCode.MESSAGE_TOO_BIG)
            transport.disconnect()
            return
        self._fragments += frame.get_payload_as_bytes()
        if frame.fin:
            payload, self._fragments = bytes(self._fragments), bytearray()
            if self._fragments_type == _BINARY:
                self._receiver.binary(self, payload)
            elif self._fragments_type == _TEXT:
                self._receiver.text(self, payload)

    def say_goodbye(self) -> None:
        """Send a close frame: the broker counts a socket that left without one until it notices."""
        if self.transport is not None and not self.transport.is_disconnected:
            self.transport.send_close(picows.WSCloseCode.OK)

    def abort(self) -> None:
        """Cut the connection after what is already written."""
        if self.transport is not None:
            self.transport.disconnect()

    async def close(self, *, timeout_ms: int) -> None:
        """Close frame, wait for the other side, then cut; returns when the connection is gone."""
        assert self.transport is not None
        self.say_goodbye()
        try:
            async with asyncio.timeout(timeout_ms / 1_000):
                await self.why_ended()
        except TimeoutError:
            self.transport.disconnect(graceful=False)

    async def why_ended(self) -> tuple[CloseReason, str]:
        """Wait for the end of the connection and classify it."""
        assert self.transport is not None
        try:
            await self.transport.wait_disconnected()
        except picows.WSProtocolError as error:
            return CloseReason.PROTOCOL_ERROR, str(error)
        except OSError as error:
            return CloseReason.LOST, f"{type(error).__name__}: {error.strerror or ''}"
        if self._too_large:
            return CloseReason.PROTOCOL_ERROR, f"fragments of more than {FRAME_BYTES_MAX} bytes"
        received = getattr(self.transport.close_handshake, "recv", None)
        if received is not None:
            return CloseReason.CLOSE_FRAME, f"{int(received.code)} {received.reason}".strip()
        return CloseReason.LOST, "connection ended without a close frame"


def upgrade_url(base: str, credentials: Credentials) -> str:
    """The URL of the upgrade, values percent-encoded; registered as secret before it exists.

    Parameters
    ----------
    base
        The broker's address; its own query, if any, is kept.
    credentials
        Key and token.
    """
    key, token = quote(credentials.api_key, safe=""), quote(credentials.access_token, safe="")
    register_secret(credentials.api_key, credentials.access_token, key, token)
    parts = urlsplit(base)
    query = f"api_key={key}&access_token={token}"
    return urlunsplit(parts._replace(path=parts.path or "/", query="&".join(filter(None, (parts.query, query)))))
