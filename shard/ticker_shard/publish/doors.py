"""Doors for Redis that is more than one server: found by Sentinels, or spread over a cluster.

**Sentinel.** At each connect the Sentinels are asked for the master. A fail-over closes the old master's connections
(or it answers ``READONLY``), which ends the round; the next connect asks again. What was accepted by the old master
and not replicated is repaired by the fence: the new one does not know the last call's number.

**Cluster.** A channel with all that belongs to it is one slot (its name is the hash tag), so each request has one node,
and one connection to that node carries a channel's calls in order. ``MOVED`` and ``ASK`` say for certain that nothing
was carried out; after ``MOVED`` the map is read again and the request sent once more under the same call number. What a
slot answers while it is being moved (``ASK``, ``TRYAGAIN``) is a refusal like any other: the channel is rewritten.

Which servers there are is asked by redis-py's own Sentinel and cluster clients.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from redis import exceptions
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import Sentinel
from redis.crc import key_slot

from ticker_client.keys import last_values_key
from ticker_shard.publish import fence
from ticker_shard.publish.addresses import Address, Topology, parse_address
from ticker_shard.publish.door import Door
from ticker_shard.publish.fence import Answer, Request, Trouble, TroubleKind
from ticker_shard.publish.lanes import channel_of
from ticker_shard.publish.limits import SECOND_NS
from ticker_shard.publish.trouble import RedisTroubleError, classify


class AnyDoor(Protocol):
    """What the publisher wants of a door.

    Attributes
    ----------
    tells
        Whether it calls when the answers to what was posted have come; else they are to be collected.
    """

    tells: bool

    async def connect(self) -> None:
        """Connect and log in; raises `RedisTroubleError`."""
        ...

    async def close(self) -> None:
        """Drop every connection."""
        ...

    def post(self, requests: Sequence[Request]) -> None:
        """Send all requests, those of one channel in order, without waiting; `answered` or `collect` has to follow."""
        ...

    def look(self) -> None:
        """Take in what answers have come, for whom the loop's next turn is too late."""
        ...

    def answered(self, requests: Sequence[Request]) -> list[Answer] | None:
        """The answers to all that was posted, if they have come and there is nothing odd about them."""
        ...

    async def collect(self, requests: Sequence[Request]) -> list[Answer]:
        """Await the answer to every request that was posted."""
        ...

    async def permitted(self, commands: Sequence[tuple[str, ...]]) -> list[Trouble]:
        """What Redis would forbid this user."""
        ...

    def rehearsed_commands(self, channel: str) -> list[tuple[str, ...]]:
        """What the scripts do, as an ACL sees it."""
        ...


def open_door(url: str, *, member: str, timeout_ns: int, told: Callable[[], None] = lambda: None) -> AnyDoor:
    """The door that a URL asks for; `told` is called when answers have come, by a door that tells.

    Raises
    ------
    RedisTroubleError
        When the URL cannot be used.
    """
    try:
        address = parse_address(url)
    except ValueError:  # words may quote the URL, and with it the password
        raise RedisTroubleError(_UNUSABLE) from None
    match address.topology:
        case Topology.SINGLE:
            return Door(url, member=member, timeout_ns=timeout_ns, told=told)
        case Topology.SENTINEL:
            return SentinelDoor(address, member=member, timeout_ns=timeout_ns, told=told)
        case Topology.CLUSTER:
            return ClusterDoor(address, member=member, timeout_ns=timeout_ns)


_UNUSABLE = Trouble(TroubleKind.UNREACHABLE, "the Redis URL is missing, malformed, or has unknown options")


class SentinelDoor:
    """The door to the master that Sentinels name.

    Parameters
    ----------
    address
        Of the Sentinels.
    member, timeout_ns, told
        As for `Door`.
    """

    tells = True

    def __init__(self, address: Address, *, member: str, timeout_ns: int, told: Callable[[], None]) -> None:
        self._address, self._member, self._timeout_ns, self._told = address, member, timeout_ns, told
        self._door = Door(address.server(*address.hosts[0]), member=member, timeout_ns=timeout_ns)  # checks the URL

    async def connect(self) -> None:
        """Ask for the master, connect and log in; raises `RedisTroubleError`."""
        timeout_s = self._timeout_ns / SECOND_NS
        options: dict[str, Any] = {"password": self._address.sentinel_password, "socket_connect_timeout": timeout_s}
        parts = urlsplit(self._address.url)
        if parts.scheme.startswith("rediss"):
            options |= {name: value for name, value in parse_qsl(parts.query) if name.startswith("ssl_")}
            options["ssl"] = True
        sentinel = Sentinel(list(self._address.hosts), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(timeout_s):
                master = await sentinel.discover_master(self._address.service)
        except (exceptions.RedisError, OSError) as error:
            raise RedisTroubleError(classify(error)) from error
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        url = self._address.server(*master)
        self._door = Door(url, member=self._member, timeout_ns=self._timeout_ns, told=self._told)
        await self._door.connect()

    async def close(self) -> None:
        """Drop the connection."""
        await self._door.close()

    def post(self, requests: Sequence[Request]) -> None:
        """Send all requests to the master."""
        self._door.post(requests)

    def look(self) -> None:
        """See what the master has answered."""
        self._door.look()

    def answered(self, requests: Sequence[Request]) -> list[Answer] | None:
        """The master's answers, if they have come."""
        return self._door.answered(requests)

    async def collect(self, requests: Sequence[Request]) -> list[Answer]:
        """Await the master's answers."""
        return await self._door.collect(requests)

    async def permitted(self, commands: Sequence[tuple[str, ...]]) -> list[Trouble]:
        """What the master would forbid this user."""
        return await self._door.permitted(commands)

    def rehearsed_commands(self, channel: str) -> list[tuple[str, ...]]:
        """What the scripts do, as an ACL sees it."""
        return self._door.rehearsed_commands(channel)


class ClusterDoor:
    """Doors to the nodes of a cluster; a broken one breaks them all, as one event.

    Parameters
    ----------
    address
        Of some nodes.
    member, timeout_ns
        As for `Door`.
    """

    tells = False

    def __init__(self, address: Address, *, member: str, timeout_ns: int) -> None:
        self._address, self._member, self._timeout_ns = address, member, timeout_ns
        self._any = Door(address.server(*address.hosts[0]), member=member, timeout_ns=timeout_ns)  # checks the URL
        self._doors: dict[str, Door] = {}
        self._nodes: dict[int, str] = {}  # slot -> "host:port"

    async def connect(self) -> None:
        """Learn which node serves what, and log in at one; raises `RedisTroubleError`."""
        await self._read_map()
        names = sorted(set(self._nodes.values()))
        if not names:
            raise RedisTroubleError(Trouble(TroubleKind.CLUSTER, "the cluster serves no slot"))
        self._any = await self._door(names[0])

    async def close(self) -> None:
        """Drop every connection."""
        doors, self._doors = self._doors, {}
        for door in doors.values():
            await door.close()

    def post(self, requests: Sequence[Request]) -> None:
        """Nothing leaves before `collect`: a node may have to be connected to first."""

    def look(self) -> None:
        """Nothing: `collect` has the answers."""

    def answered(self, requests: Sequence[Request]) -> list[Answer] | None:
        """Nothing: `collect` has the answers."""
        return None

    async def collect(self, requests: Sequence[Request]) -> list[Answer]:
        """Send each request to its channel's node, and await the answers; those that moved are sent once more."""
        answers: list[Answer] = list(await self._attempt(requests))
        moved = [place for place, answer in enumerate(answers) if _moved(answer)]
        if moved:
            try:
                await self._read_map()
            except RedisTroubleError:
                return answers
            for place, answer in zip(moved, await self._attempt([requests[place] for place in moved]), strict=True):
                answers[place] = answer
        if any(isinstance(answer, fence.Unanswered) for answer in answers):
            await self.close()
        return answers

    async def permitted(self, commands: Sequence[tuple[str, ...]]) -> list[Trouble]:
        """What a node would forbid this user."""
        return await self._any.permitted(commands)

    def rehearsed_commands(self, channel: str) -> list[tuple[str, ...]]:
        """What the scripts do, as an ACL sees it."""
        return self._any.rehearsed_commands(channel)

    async def _attempt(self, requests: Sequence[Request]) -> list[Answer]:
        places: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(self._node(request.channel), []).append(place)
        answers: dict[int, Answer] = {}
        for found in await asyncio.gather(
            *(self._at(name, [requests[place] for place in wanted]) for name, wanted in places.items())
        ):
            name, given = found
            answers.update(zip(places[name], given, strict=True))
        return [answers[place] for place in range(len(requests))]

    async def _at(self, name: str, requests: Sequence[Request]) -> tuple[str, list[Answer]]:
        try:
            door = await self._door(name)
        except RedisTroubleError as error:
            return name, [fence.Unanswered(error.trouble)] * len(requests)  # certainly not sent; the round ends here
        return name, await door.exchange(requests)

    def _node(self, channel: str) -> str:
        return self._nodes.get(key_slot(last_values_key(channel_of(channel)).encode()), "")

    async def _door(self, name: str) -> Door:
        if not name:
            raise RedisTroubleError(Trouble(TroubleKind.CLUSTER, "no node serves the channel's slot"))
        if name not in self._doors:
            host, _, port = name.rpartition(":")
            door = Door(self._address.server(host, int(port)), member=self._member, timeout_ns=self._timeout_ns)
            await door.connect()
            self._doors[name] = door
        return self._doors[name]

    async def _read_map(self) -> None:
        """Which node serves which slot now; any node answers.

        Raises
        ------
        RedisTroubleError
            When none does.
        """
        timeout_s = self._timeout_ns / SECOND_NS
        trouble = Trouble(TroubleKind.UNREACHABLE, "no node of the cluster answers")
        known = [_split(name) for name in sorted(set(self._nodes.values()))]
        for host, port in dict.fromkeys([*known, *self._address.hosts]):
            try:
                async with asyncio.timeout(timeout_s):
                    cluster = RedisCluster.from_url(self._address.server(host, port), socket_connect_timeout=timeout_s)
                    try:
                        await cluster.initialize()
                        slots = cluster.nodes_manager.slots_cache
                        self._nodes = {slot: f"{nodes[0].host}:{nodes[0].port}" for slot, nodes in slots.items()}
                    finally:
                        await cluster.aclose()
                return
            except (
                exceptions.RedisClusterException
            ) as error:  # no RedisError; what was wrong with the node is behind it
                if isinstance(cause := error.__cause__, exceptions.RedisError | OSError):
                    trouble = classify(cause)
            except (exceptions.RedisError, OSError) as error:
                trouble = classify(error)
        raise RedisTroubleError(trouble)


def _split(name: str) -> tuple[str, int]:
    host, _, port = name.rpartition(":")
    return host, int(port)


def _moved(answer: Answer) -> bool:
    return isinstance(answer, fence.Refused) and answer.trouble.kind is TroubleKind.CLUSTER
