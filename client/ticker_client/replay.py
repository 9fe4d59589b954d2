"""Reading a channel's durable stream: from a position up to now, and on from there as messages come.

Where the shards keep a stream (setting ``stream_max``), each message is appended to it by the very script call that
publishes it. A reader of the stream therefore needs no subscription: it reads entries in their order, waits for the
next one at the end, and knows at each moment where it stands. So there is no seam between replay and live, no hole
and nothing twice; after a broken connection it goes on behind the last entry.

What is not there is told, never skipped in silence:

`StreamAbsentError`
    there is no stream to read.
`Trimmed`
    the stream does not reach back to the position (or Redis has lost it): something in between is gone.
`Lost`
    numbers are missing between two messages of one source: this reader was slower than the stream is long, or Redis
    lost some of it.

::

    with Replay(redis.Redis.from_url(url), ["ticker:nifty:options"], since=this_morning) as ticks:
        for event in ticks.events():
            match event:
                case Update(channel, row, source): ...
                case Trimmed() | Lost(): ...
            save(ticks.position)  # given as `since`, the next run goes on from here

A replay begins without a `Snapshot`: nobody knows what the values were then. Each row is complete in itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

import redis
import redis.asyncio as aioredis

from ticker_client.keys import stream_key
from ticker_client.messages import Payload
from ticker_client.shell import BROKEN, AsyncShell, Shell, SyncShell
from ticker_client.stream import SETTLE_S, Event, Trimmed

OLDEST: Final = "0"  # as far back as the stream goes
PAGE: Final = 100  # entries of each channel in one answer
BLOCK_MS: Final = 1_000  # how long one read waits at the end; only bounds how soon `close` is noticed
_LAST_OF_A_MS: Final = (1 << 64) - 1  # the highest second half of an entry's name

Since: TypeAlias = datetime | str | Mapping[str, str]


class StreamAbsentError(LookupError):
    """A channel has no durable stream."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        super().__init__(
            f"{channel}: there is no stream {stream_key(channel)}: no shard that publishes it has stream_max above 0 "
            "(chart: shards.streamMax; one process: TICKERSHARD_SHARD_STREAM_MAX), or nothing was published yet"
        )


@dataclass(frozen=True, slots=True)
class _Extent:
    """What a stream holds: its oldest entry, its newest ever, and whether nothing was ever taken from it."""

    first: str | None
    last: str
    complete: bool


class _Reader(Shell):
    """What both readers share: positions, and what answers mean.

    A position with a dash is an entry, which was given out; one without is a moment, in milliseconds since 1970.
    """

    def __init__(self, client: object, channels: Sequence[str], since: Since, settle_s: float) -> None:
        super().__init__(channels, settle_s)
        if len(self.channels) > 1 and isinstance(client, redis.RedisCluster | aioredis.RedisCluster):
            raise ValueError(
                "on a Redis Cluster read each channel with a replay of its own: they lie on different nodes"
            )
        self._by_key = {stream_key(channel): channel for channel in self.channels}
        self._at = {channel: _begin(since, channel) for channel in self.channels}

    @property
    def position(self) -> dict[str, str]:
        """Where each channel stands: the last entry whose events were all given out. The next run's `since`."""
        return dict(self._at)

    def _wanted(self) -> dict[Any, Any]:
        return {key: _behind(self._at[channel]) for key, channel in self._by_key.items()}

    def _judge(self, channel: str, extent: _Extent, *, still_there: bool) -> list[Event]:
        """Whether the stream reaches back to where this reader stands."""
        self._works()
        at = self._at[channel]
        if at == OLDEST or still_there:
            return []
        if "-" not in at:
            reaches_back = extent.complete or (extent.first is not None and _ms(extent.first) <= _ms(at))
            if reaches_back or _ms(at) > _ms(extent.last):
                return []
        kept_from = None if extent.first is None else _moment(extent.first)
        return [Trimmed(channel, since=_moment(at), kept_from=kept_from)]

    def _entries(self, reply: Any) -> Iterator[tuple[str, str, list[Event]]]:
        """(channel, entry, its events), in order."""
        for key, entries in _by_stream(reply):
            channel = self._by_key[_text(key)]
            for entry, fields in entries:
                payload = fields.get(b"message", fields.get("message", b""))
                yield channel, _text(entry), self.stream.message(channel, payload)


class Replay(_Reader, SyncShell):
    """Events of some channels from a position on, synchronously.

    On a Redis Cluster read each channel with a `Replay` of its own: they lie on different nodes.

    Parameters
    ----------
    client
        A client of redis-py.
    channels
        Names with their prefix, e.g. ``ticker:nifty:options``.
    since
        Where to begin: a moment, `OLDEST`, the name of an entry (what follows it is read), or the `position` of an
        earlier run.
    settle_s
        See `TickStream`.
    """

    def __init__(
        self, client: redis.Redis, channels: Sequence[str], *, since: Since = OLDEST, settle_s: float = SETTLE_S
    ) -> None:
        super().__init__(client, channels, since, settle_s)
        self._client = client

    def events(self, *, live: bool = True, reconnect: bool = True) -> Iterator[Event]:
        """What was said since the position, then what is being said, for as long as nobody calls `close`.

        Parameters
        ----------
        live
            Whether to go on at the end of the stream; otherwise that is the end.
        reconnect
            Whether a broken connection is made again; otherwise its error is raised. A wrong password always is.

        Raises
        ------
        StreamAbsentError
            When a channel has no stream at the first look; one that vanishes later is told as `Trimmed`.
        """
        first = True
        while not self._closed:
            try:
                for channel in self.channels:
                    yield from self._look(channel, first=first)
                first = False
                while not self._closed:
                    block = BLOCK_MS if live else None
                    reply = self._client.xread(self._wanted(), count=PAGE, block=block)
                    if not reply and not live:
                        return
                    for channel, entry, events in self._entries(reply):
                        yield from events
                        self._at[channel] = entry
            except BROKEN as error:
                time.sleep(self._wait_after(error, reconnect=reconnect))

    def _look(self, channel: str, *, first: bool) -> list[Event]:
        key, at = stream_key(channel), self._at[channel]
        try:
            extent = _extent(self._client.xinfo_stream(key))
        except redis.ResponseError as error:
            return self._judge(channel, _gone(channel, error, first=first), still_there=False)
        return self._judge(channel, extent, still_there="-" in at and bool(self._client.xrange(key, at, at)))


class AsyncReplay(_Reader, AsyncShell):
    """Events of some channels from a position on, in asyncio; otherwise as `Replay`.

    Parameters
    ----------
    client
        An asyncio client of redis-py.
    channels, since, settle_s
        As for `Replay`.
    """

    def __init__(
        self, client: aioredis.Redis, channels: Sequence[str], *, since: Since = OLDEST, settle_s: float = SETTLE_S
    ) -> None:
        super().__init__(client, channels, since, settle_s)
        self._client = client

    async def events(self, *, live: bool = True, reconnect: bool = True) -> AsyncIterator[Event]:
        """As `Replay.events`, which says what the arguments and errors are."""
        first = True
        while not self._closed:
            try:
                for channel in self.channels:
                    for event in await self._look(channel, first=first):
                        yield event
                first = False
                while not self._closed:
                    block = BLOCK_MS if live else None
                    reply = await self._client.xread(self._wanted(), count=PAGE, block=block)
                    if not reply and not live:
                        return
                    for channel, entry, events in self._entries(reply):
                        for event in events:
                            yield event
                        self._at[channel] = entry
            except BROKEN as error:
                await asyncio.sleep(self._wait_after(error, reconnect=reconnect))

    async def _look(self, channel: str, *, first: bool) -> list[Event]:
        key, at = stream_key(channel), self._at[channel]
        try:
            extent = _extent(await self._client.xinfo_stream(key))
        except redis.ResponseError as error:
            return self._judge(channel, _gone(channel, error, first=first), still_there=False)
        return self._judge(channel, extent, still_there="-" in at and bool(await self._client.xrange(key, at, at)))


def _begin(since: Since, channel: str) -> str:
    match since:
        case datetime():
            return str(max(1, int(since.timestamp() * 1_000)))
        case str():
            return since
        case _:
            return since.get(channel, OLDEST)


def _behind(at: str) -> str:
    """The entry behind which reading begins: a moment's own entries are to be read."""
    return at if "-" in at or at == OLDEST else f"{int(at) - 1}-{_LAST_OF_A_MS}"


def _ms(at: str) -> int:
    return int(at.partition("-")[0])


def _moment(at: str) -> datetime:
    return datetime.fromtimestamp(_ms(at) / 1_000, tz=UTC)


def _extent(info: Mapping[str, Any]) -> _Extent:
    first, length = info["first-entry"], int(info["length"])
    # `entries-added` is there from Redis 7 on; without it nobody can say that nothing was ever trimmed.
    return _Extent(
        first=None if first is None else _text(first[0]),
        last=_text(info["last-generated-id"]),
        complete=info.get("entries-added") == length,
    )


def _gone(channel: str, error: redis.ResponseError, *, first: bool) -> _Extent:
    """No such stream: at the first look an error, later a loss of everything that stood in it."""
    if "no such key" not in str(error):
        raise error
    if first:
        raise StreamAbsentError(channel) from None
    return _Extent(first=None, last="0-0", complete=False)


def _by_stream(reply: Any) -> Iterable[tuple[Payload, Sequence[tuple[Payload, Mapping[Any, Payload]]]]]:
    """XREAD's answer: pairs in the older protocol, in the newer a map (of lists in one more list)."""
    if not isinstance(reply, Mapping):
        return reply or ()
    return [(key, [entry for entries in lists for entry in entries]) for key, lists in reply.items()]


def _text(value: Payload) -> str:
    return value.decode() if isinstance(value, bytes) else value
