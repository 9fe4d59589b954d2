"""Redis's replies, taken off the connection in the socket's own callback.

The library's stream costs a task switch and a turn of the loop for each read, and to a process that sleeps between two
frames a turn is dear. So once the library has connected and logged in, `Replies` takes its stream's place: replies are
parsed the moment they come (by the same parser, hiredis), and when the last one that is awaited is there, whoever
asked to be told is called, in that same callback.

A reply that nobody awaits ends the connection: every later answer would be taken for the one before it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import hiredis
from redis import exceptions

_NOTHING: Final = object()  # the parser's word for "not enough data"
_LOOK_BYTES: Final = 64 << 10


class Replies(asyncio.Protocol):
    """The receiving side of one connection.

    Parameters
    ----------
    told
        Called (synchronously, must not raise) when all that was expected has come, or the connection has ended, unless
        somebody awaits `next`.

    Attributes
    ----------
    outstanding
        Replies that are expected and have not come.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self.outstanding = 0
        self._told = told
        self._come: deque[Any] = deque()
        self._end: Exception | None = exceptions.ConnectionError("not connected")
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._file: int | None = None  # of a connection whose bytes are the replies themselves, while it lasts
        self._parser: Any = None

    def begin(self, connection: Any) -> None:
        """Read what comes on the library's `connection` from now on; nothing is awaited on it."""
        self._parser = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._transport = connection._writer.transport  # the library's own, with its TLS
        self._transport.set_protocol(self)
        plain = self._transport.get_extra_info("sslcontext") is None
        socket = self._transport.get_extra_info("socket")
        self._file = socket.fileno() if plain and socket is not None else None
        self._end = None

    def end(self) -> None:
        """Nothing is read or written any more, and nobody told."""
        self._transport, self._told = None, _to_nobody
        self._broken(exceptions.ConnectionError("not connected"))

    # -- for whoever asks

    def send(self, packed: bytes, *, replies: int) -> None:
        """Write commands that have so many replies, without waiting; on a connection that has ended they go nowhere."""
        self.outstanding += replies
        if self._end is None and self._transport is not None:
            self._transport.write(packed)
        else:
            asyncio.get_running_loop().call_soon(self._notify)

    def all_come(self) -> list[Any] | None:
        """All replies, if every one has come and none is an error; else nothing, and `next` has them."""
        if self.outstanding:
            return None
        for reply in self._come:
            if isinstance(reply, exceptions.RedisError):
                return None
        replies = list(self._come)
        self._come.clear()
        return replies

    def look(self) -> None:
        """Take in what has come by now, ahead of the loop: its turn may be long, when the broker sends a flood."""
        if self._file is None or not self.outstanding:
            return
        try:
            data = os.read(self._file, _LOOK_BYTES)
        except OSError:  # nothing is there, or an end that the transport finds, too
            return
        if data:
            self.data_received(data)

    async def next(self) -> Any:
        """The next reply; Redis's error to one command is an exception that is answered, not raised.

        Raises
        ------
        redis.exceptions.RedisError, OSError
            The connection has ended, or Redis says that it will.
        """
        while not self._come:
            if self._end is not None:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        reply = self._come.popleft()
        if isinstance(reply, exceptions.ConnectionError):
            raise reply
        return reply

    # -- from the transport

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        try:
            self._parser.feed(data)
            while (reply := self._parser.gets()) is not _NOTHING:
                if not self.outstanding:
                    raise exceptions.InvalidResponse(f"a reply that nobody awaits: {reply!r:.100}")
                self.outstanding -= 1
                self._come.append(reply)
        except exceptions.RedisError as error:
            self._broken(error)
            return
        if self._waiter is not None or not self.outstanding:
            self._notify()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._broken(exc or exceptions.ConnectionError("Connection closed by server."))

    # -- private

    def _broken(self, error: Exception) -> None:
        self._end, self._file = self._end or error, None
        self._notify()

    def _notify(self) -> None:
        if self._waiter is None:
            self._told()
        elif not self._waiter.done():
            self._waiter.set_result(None)


def _to_nobody() -> None:
    pass
