"""Replies off a connection: told once, when all have come; none mistaken for another; an end that all hear of."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from redis import exceptions
from redis._parsers.base import BaseParser

from ticker_shard.publish.replies import Replies


class Wire(asyncio.WriteTransport):
    """The library's connection, logged in: a transport that keeps what is written."""

    def __init__(self, extra: dict[str, object]) -> None:
        super().__init__(extra)
        self.written = b""

    def write(self, data) -> None:
        self.written += data

    def set_protocol(self, protocol) -> None:
        self.protocol = protocol


class Line:
    """Replies on a wire, and how often somebody was told."""

    def __init__(self, **extra: object) -> None:
        self.told = 0
        self.wire = Wire(extra)
        self.replies = Replies(self._tell)
        parser = SimpleNamespace(parse_error=BaseParser.parse_error)
        self.replies.begin(SimpleNamespace(_parser=parser, _writer=SimpleNamespace(transport=self.wire)))
        assert self.wire.protocol is self.replies

    def _tell(self) -> None:
        self.told += 1

    def receive(self, data: bytes) -> None:
        self.replies.data_received(data)


@pytest.fixture
def line() -> Line:
    return Line()


async def test_whoever_posted_is_told_once_when_the_last_reply_has_come_whole(line):
    line.replies.send(b"two commands", replies=2)

    line.receive(b"*1\r\n$8\r\nASSERTED\r\n*3\r\n$2\r\nOK\r\n$1\r\n4")
    assert (line.told, line.replies.all_come()) == (0, None)
    line.receive(b"\r\n$1\r\n1\r\n")

    assert line.wire.written == b"two commands"
    assert line.told == 1
    assert line.replies.all_come() == [[b"ASSERTED"], [b"OK", b"4", b"1"]]
    assert line.replies.all_come() == []


async def test_an_error_among_the_replies_is_left_for_whoever_goes_through_them(line):
    line.replies.send(b"", replies=2)

    line.receive(b"-NOSCRIPT No matching script.\r\n+OK\r\n")

    assert (line.told, line.replies.all_come()) == (1, None)
    assert isinstance(await line.replies.next(), exceptions.NoScriptError)
    assert await line.replies.next() == b"OK"


async def test_whoever_awaits_a_reply_gets_it_and_nobody_is_told_besides(line):
    line.replies.send(b"", replies=1)
    awaited = asyncio.create_task(line.replies.next())
    await asyncio.sleep(0)

    line.receive(b":7\r\n")

    assert (await awaited, line.told) == (7, 0)


async def test_what_came_before_the_connection_ended_is_still_there(line):
    line.replies.send(b"", replies=2)
    line.receive(b":1\r\n")

    line.replies.connection_lost(ConnectionResetError("reset"))

    assert (line.told, line.replies.all_come()) == (1, None)
    assert await line.replies.next() == 1
    with pytest.raises(ConnectionResetError):
        await line.replies.next()


async def test_a_connection_that_ends_wakes_whoever_awaits(line):
    line.replies.send(b"", replies=1)
    awaited = asyncio.create_task(line.replies.next())
    await asyncio.sleep(0)

    line.replies.connection_lost(None)

    with pytest.raises(exceptions.ConnectionError):
        await awaited


async def test_a_reply_that_nobody_awaits_ends_the_connection(line):
    line.replies.send(b"", replies=1)

    line.receive(b":1\r\n:2\r\n")
    line.replies.send(b"more", replies=1)

    assert line.wire.written == b""
    assert await line.replies.next() == 1
    with pytest.raises(exceptions.InvalidResponse, match="nobody awaits: 2"):
        await line.replies.next()


async def test_bytes_that_are_no_reply_end_the_connection(line):
    line.replies.send(b"", replies=1)

    line.receive(b"HTTP/1.1 400 Bad Request\r\n")

    assert line.told == 1
    with pytest.raises(exceptions.InvalidResponse):
        await line.replies.next()


async def test_redis_saying_that_it_ends_the_connection_ends_it(line):
    line.replies.send(b"", replies=1)

    line.receive(b"-LOADING Redis is loading the dataset in memory\r\n")

    with pytest.raises(exceptions.BusyLoadingError):
        await line.replies.next()


async def test_what_is_sent_after_the_end_is_answered_by_the_end_in_the_next_turn(line):
    line.replies.connection_lost(None)
    told = line.told

    line.replies.send(b"too late", replies=1)
    assert line.told == told
    await asyncio.sleep(0)

    assert (line.told, line.wire.written) == (told + 1, b"")
    assert line.replies.all_come() is None


async def test_after_the_end_by_ourselves_nobody_is_told(line):
    line.replies.send(b"", replies=1)

    line.replies.end()
    line.replies.connection_lost(None)

    assert line.told == 0
    with pytest.raises(exceptions.ConnectionError):
        await line.replies.next()


@pytest.fixture
def redis_and_socket() -> Iterator[tuple[socket.socket, socket.socket]]:
    redis, ours = socket.socketpair()
    ours.setblocking(False)
    with redis, ours:
        yield redis, ours


async def test_a_reply_that_has_come_is_seen_before_the_loop_turns(redis_and_socket):
    redis, ours = redis_and_socket
    line = Line(socket=ours)
    line.replies.send(b"", replies=1)

    line.replies.look()
    assert line.told == 0
    redis.sendall(b":7\r\n")
    line.replies.look()

    assert line.told == 1
    assert line.replies.all_come() == [7]


async def test_an_end_is_left_for_the_transport_to_find(redis_and_socket):
    redis, ours = redis_and_socket
    line = Line(socket=ours)
    line.replies.send(b"", replies=1)

    redis.close()
    line.replies.look()

    assert (line.told, line.replies.outstanding) == (0, 1)


@pytest.mark.parametrize("when", ["under TLS", "after the end", "when nothing is awaited"])
async def test_bytes_that_are_not_replies_of_this_connection_stay_where_they_are(redis_and_socket, when):
    redis, ours = redis_and_socket
    line = Line(socket=ours, sslcontext="a context") if when == "under TLS" else Line(socket=ours)
    line.replies.send(b"", replies=0 if when == "when nothing is awaited" else 1)
    if when == "after the end":
        line.replies.end()

    redis.sendall(b":7\r\n")
    line.replies.look()

    assert ours.recv(99) == b":7\r\n"
