"""Thin shells around `TickStream`: one for ``redis.Redis``, one for ``redis.asyncio.Redis``.

Any client of redis-py will do (TLS, Sentinel, Cluster, ACL user): it is passed in and stays the caller's. After a
broken connection the shell subscribes again. Where the channel has a durable stream (`replay`) that still holds what
was missed, the events go on with exactly that; else with a new `Snapshot`, and what changed in between is in it.
Give the client ``retry=None``: redis-py's own retries wait for up to seconds inside one read, and `reconnects` would
not count them. A server that vanished without a word is noticed after `POLL_S` × (1 + `ANSWER_READS`) seconds.

::

    with Subscriber(redis.Redis.from_url(url, retry=None), ["ticker:nifty:options"]) as ticks:
        for event in ticks.events():
            match event:
                case Snapshot(channel, rows): ...
                case Update(channel, row, source): ...
                case Lost(): ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Final

import redis
import redis.asyncio as aioredis

from ticker_client.keys import last_values_key, numbers_key, stream_key
from ticker_client.messages import Payload
from ticker_client.shell import BROKEN, AsyncShell, Shell, SyncShell
from ticker_client.stream import SETTLE_S, Event, TickStream

PAGE: Final = 100  # entries of the stream in one answer
MISSED_MAX: Final = 1_000  # messages that are fetched after a disconnect, up to 80 MB; beyond, a snapshot is cheaper
POLL_S: Final = 1.0  # how long one read waits: how soon `close` is noticed, and a silence is questioned
ANSWER_READS: Final = 4  # so many reads more may stay empty before an answer is missed


class _Missed:
    """Goes back through a channel's stream until it meets a message that was given out.

    Subscribers are given messages in the stream's order, so everything behind that one was missed, and nothing else.
    """

    def __init__(self, stream: TickStream, channel: str) -> None:
        self._stream, self._channel = stream, channel
        self._found: list[Payload] = []  # newest first
        self._complete = False
        self.below = "+"
        self.wants_more = True

    def take(self, entries: Any) -> None:
        """The next page of XREVRANGE, newest first."""
        for entry, fields in entries:
            payload = fields.get(b"message", fields.get("message", b""))
            if self._stream.knows(self._channel, payload):
                self._complete, self.wants_more = True, False
                return
            self._found.append(payload)
            self.below = f"({entry.decode() if isinstance(entry, bytes) else entry}"
        self.wants_more = len(entries) == PAGE and len(self._found) < MISSED_MAX

    def events(self) -> list[Event] | None:
        """What was missed and what came since; `None` if the stream does not reach back so far."""
        return self._stream.resume(self._channel, reversed(self._found)) if self._complete else None


class Silence:
    """Of one connection: whether anybody is still there.

    A server that vanished (a pulled cable, a dead node) closes nothing, and so looks like a market in which nothing
    happens. The first read that stays empty asks; any answer will do, be it that this user may not ask. The first
    question of a connection is SUBSCRIBE itself.
    """

    def __init__(self) -> None:
        self._heard = False
        self._empty = 0

    def asks(self, reply: object | None) -> bool:
        """After each read: whether to send a PING now.

        Raises
        ------
        redis.TimeoutError
            No answer for `ANSWER_READS` reads.
        """
        if reply is not None:
            self._heard, self._empty = True, 0
            return False
        self._empty += 1
        if self._empty > ANSWER_READS:
            raise redis.TimeoutError(f"silent for {self._empty * POLL_S:g} s, and no answer to a question")
        return self._heard and self._empty == 1

    def answered_by(self, refusal: redis.exceptions.NoPermissionError) -> dict[str, Any]:
        """A user without ``+ping`` is told so: the server lives. Raises `refusal` if it answers something else."""
        if not self._heard or not self._empty:
            raise refusal
        return {"type": "refusal", "channel": ""}


class _Subscribed(Shell):
    """What both subscribers share: what a reply means."""

    def _take(self, reply: Mapping[str, Any] | None) -> tuple[str, list[Event] | None]:
        """(channel, events); `None` for events: the subscription is in force, read the snapshot."""
        if reply is None:
            return "", []
        channel = reply["channel"]
        name = channel.decode() if isinstance(channel, bytes) else str(channel)
        match reply["type"]:
            case "subscribe":
                self.stream.subscribed(name)
                return name, None
            case "message":
                return name, self.stream.message(name, reply["data"])
        return name, []


class Subscriber(_Subscribed, SyncShell):
    """Events of some channels, synchronously.

    Parameters
    ----------
    client
        A client of redis-py.
    channels
        Names with their prefix, e.g. ``ticker:nifty:options``.
    settle_s
        See `TickStream`.
    """

    def __init__(self, client: redis.Redis, channels: Sequence[str], *, settle_s: float = SETTLE_S) -> None:
        super().__init__(channels, settle_s)
        self._client = client

    def events(self, *, reconnect: bool = True) -> Iterator[Event]:
        """Snapshots, then updates, for as long as nobody calls `close`.

        Parameters
        ----------
        reconnect
            Whether a broken connection is made again; otherwise its error is raised. A wrong password always is.
        """
        while not self._closed:
            pubsub = self._client.pubsub()  # type: ignore[no-untyped-call]
            silence = Silence()
            try:
                pubsub.subscribe(*self.channels)
                while not self._closed:
                    reply = self._read(pubsub, silence)
                    if silence.asks(reply):
                        pubsub.ping()
                    name, events = self._take(reply)
                    if events is None:
                        events = self._resume(name) if self.stream.heard(name) else None
                        events = self._snapshot(name) if events is None else events
                        self._works()
                    yield from events
            except BROKEN as error:
                time.sleep(self._wait_after(error, reconnect=reconnect))
            finally:
                pubsub.close()

    def _read(self, pubsub: redis.client.PubSub, silence: Silence) -> Mapping[str, Any] | None:
        try:
            return pubsub.get_message(timeout=POLL_S)  # type: ignore[no-any-return]
        except redis.exceptions.NoPermissionError as refusal:
            return silence.answered_by(refusal)

    def _snapshot(self, name: str) -> list[Event]:
        with self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(last_values_key(name))
            pipe.hgetall(numbers_key(name))
            values, numbers = pipe.execute()
        return self.stream.snapshot(name, values, numbers)

    def _resume(self, name: str) -> list[Event] | None:
        """What was missed, from the stream; `None` where that does not hold all of it."""
        missed = _Missed(self.stream, name)
        try:
            while missed.wants_more:
                missed.take(self._client.xrevrange(stream_key(name), max=missed.below, count=PAGE))
        except redis.exceptions.NoPermissionError:
            return None
        return missed.events()


class AsyncSubscriber(_Subscribed, AsyncShell):
    """Events of some channels, in asyncio.

    Parameters
    ----------
    client
        An asyncio client of redis-py.
    channels
        Names with their prefix.
    settle_s
        See `TickStream`.
    """

    def __init__(self, client: aioredis.Redis, channels: Sequence[str], *, settle_s: float = SETTLE_S) -> None:
        super().__init__(channels, settle_s)
        self._client = client

    async def events(self, *, reconnect: bool = True) -> AsyncIterator[Event]:
        """Snapshots, then updates, for as long as nobody calls `close`.

        Parameters
        ----------
        reconnect
            Whether a broken connection is made again; otherwise its error is raised. A wrong password always is.
        """
        while not self._closed:
            pubsub = self._client.pubsub()
            silence = Silence()
            try:
                await self._client.initialize()  # a Cluster's pub/sub does not look for its nodes by itself
                await pubsub.subscribe(*self.channels)
                while not self._closed:
                    reply = await self._read(pubsub, silence)
                    if silence.asks(reply):
                        await pubsub.ping()
                    name, events = self._take(reply)
                    if events is None:
                        events = await self._resume(name) if self.stream.heard(name) else None
                        events = await self._snapshot(name) if events is None else events
                        self._works()
                    for event in events:
                        yield event
            except BROKEN as error:
                await asyncio.sleep(self._wait_after(error, reconnect=reconnect))
            finally:
                await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _read(self, pubsub: aioredis.client.PubSub, silence: Silence) -> Mapping[str, Any] | None:
        try:
            return await pubsub.get_message(timeout=POLL_S)  # type: ignore[no-any-return]
        except redis.exceptions.NoPermissionError as refusal:
            return silence.answered_by(refusal)

    async def _snapshot(self, name: str) -> list[Event]:
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.hgetall(last_values_key(name))
            pipe.hgetall(numbers_key(name))
            values, numbers = await pipe.execute()
        return self.stream.snapshot(name, values, numbers)

    async def _resume(self, name: str) -> list[Event] | None:
        """What was missed, from the stream; `None` where that does not hold all of it."""
        missed = _Missed(self.stream, name)
        try:
            while missed.wants_more:
                missed.take(await self._client.xrevrange(stream_key(name), max=missed.below, count=PAGE))
        except redis.exceptions.NoPermissionError:
            return None
        return missed.events()
