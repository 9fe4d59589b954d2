"""The one typed door to the fence scripts: requests go out as one pipeline, answers come back in order.

Promises:

* Nothing is repeated behind the caller's back: the library's retries are off, because a repeat after a fail-over
  would carry a decision made about another Redis. The one exception is a script that Redis does not have
  (``NOSCRIPT``: certainly not carried out): it is loaded and the request sent once more, under the same call
  number, so that it cannot overtake what was accepted meanwhile.
* After a time-out or a broken connection the connection is closed and never used again: what was outstanding on
  it is `Unanswered`.
* Every error answer has a name (`TroubleKind`).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any, Final

import redis.asyncio as aioredis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ticker_client.keys import fence_key, gaps_key, last_values_key, numbers_key, owners_key, stream_key
from ticker_shard.publish import fence
from ticker_shard.publish.fence import Answer, Record, Request, Trouble, TroubleKind, parse_record
from ticker_shard.publish.lanes import lane_member, split_lane
from ticker_shard.publish.limits import GAPS_STREAM_MAX, SECOND_NS
from ticker_shard.publish.replies import Replies
from ticker_shard.publish.resp import bulk, bulk_number, bulks, pack
from ticker_shard.publish.trouble import RedisTroubleError, classify

FIELDS: Final = ("epoch", "holder", "n", "state", "revision")
OWNED_PAGE: Final = 500  # fields looked at in one request


class _Script:
    def __init__(self, name: str) -> None:
        self.text = resources.files("ticker_shard.publish").joinpath("scripts", f"{name}.lua").read_text()
        self.digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()  # what EVALSHA wants


CALL: Final = _Script("call")
CLAIM: Final = _Script("claim")
ASSERT: Final = _Script("assert")


class Door:
    """One connection, for one account's records.

    Parameters
    ----------
    url
        The Redis URL.
    member
        The account's name in fence keys.
    timeout_ns
        For connecting, and for one exchange.
    told
        Called (synchronously, must not raise) when `answered` may have the answers to what was posted.

    Raises
    ------
    RedisTroubleError
        When the URL cannot be used.
    """

    tells = True

    def __init__(self, url: str, *, member: str, timeout_ns: int, told: Callable[[], None] = lambda: None) -> None:
        try:
            pool = aioredis.ConnectionPool.from_url(
                url,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
                protocol=2,
                health_check_interval=0,
                socket_timeout=None,
            )
            self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]
        # The library takes the URL's options as arguments, so one that it does not know is a TypeError.
        except (ValueError, TypeError, exceptions.RedisError):  # words may quote the URL, and with it the password
            trouble = Trouble(TroubleKind.UNREACHABLE, "the Redis URL is missing, malformed, or has unknown options")
            raise RedisTroubleError(trouble) from None
        self._member = member
        self._timeout_s = timeout_ns / SECOND_NS
        self._posted_s = 0.0  # by the loop's clock
        self._replies = Replies(told)
        self._forms: dict[str, _Form] = {}  # by channel

    async def connect(self) -> None:
        """Connect and log in.

        Raises
        ------
        RedisTroubleError
            With the reason.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.connect()
                self._replies.begin(self._connection)
                await self._roundtrip([("PING",)])
        except (exceptions.RedisError, OSError) as error:
            await self.close()
            raise RedisTroubleError(classify(error)) from error

    async def close(self) -> None:
        """Drop the connection, politely or not."""
        self._replies.end()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.disconnect(nowait=True)
        except (exceptions.RedisError, OSError):
            pass  # it is gone either way

    def post(self, requests: Sequence[Request]) -> None:
        """Write all requests in order, at once and without waiting; `answered` or `collect` has to follow.

        For whoever has a frame in hand and nothing outstanding: the bytes are on their way before the loop turns. If
        the connection is gone, `collect` finds it so.
        """
        self._posted_s = asyncio.get_running_loop().time()
        self._replies.send(b"".join([self.packed(request) for request in requests]), replies=len(requests))

    def look(self) -> None:
        """Have what was posted told of as soon as it is answered, also while the loop is busy with something else."""
        self._replies.look()

    def answered(self, requests: Sequence[Request]) -> list[Answer] | None:
        """The answers to all that was posted, in order, if they have come and none of them is an error.

        Else nothing, and only `collect` can say more.
        """
        replies = self._replies.all_come()
        if replies is None:
            return None
        return [self._parse(request, reply) for request, reply in zip(requests, replies, strict=True)]

    async def exchange(self, requests: Sequence[Request]) -> list[Answer]:
        """`post` and `collect`."""
        self.post(requests)
        return await self.collect(requests)

    async def collect(self, requests: Sequence[Request]) -> list[Answer]:
        """Await the answer to every request that was posted, in order.

        Never raises for what Redis or the network do: a request whose fate is unknown is `Unanswered`, and then
        the connection is closed.
        """
        answers: list[Answer | None] = [None] * len(requests)
        try:
            async with asyncio.timeout_at(self._posted_s + self._timeout_s):
                missing = await self._read(requests, range(len(requests)), answers)
                if missing:
                    await self._roundtrip([("SCRIPT", "LOAD", script.text) for script in (CALL, CLAIM, ASSERT)])
                    self.post([requests[place] for place in missing])
                    again = await self._read(requests, missing, answers)
                    for place in again:
                        answers[place] = fence.Refused(
                            Trouble(TroubleKind.REFUSED, "NOSCRIPT after loading the script")
                        )
        except (exceptions.RedisError, OSError) as error:
            trouble = classify(error)
            await self.close()
            return [fence.Unanswered(trouble) if answer is None else answer for answer in answers]
        except asyncio.CancelledError:
            await self.close()
            raise
        assert all(answer is not None for answer in answers), answers
        return [answer for answer in answers if answer is not None]

    async def permitted(self, commands: Sequence[tuple[str, ...]]) -> list[Trouble]:
        """Ask Redis whether this user may run `commands`, without running them; empty where it may or will not say."""
        try:
            async with asyncio.timeout(self._timeout_s):
                user = (await self._roundtrip([("ACL", "WHOAMI")]))[0]
                if not isinstance(user, bytes):
                    return []
                verdicts = await self._roundtrip([("ACL", "DRYRUN", user.decode(), *command) for command in commands])
        except (exceptions.RedisError, OSError) as error:
            await self.close()
            raise RedisTroubleError(classify(error)) from error
        return [
            Trouble(TroubleKind.NO_PERMISSION, verdict.decode("utf-8", "replace"))
            for verdict in verdicts
            if isinstance(verdict, bytes) and verdict != b"OK"
        ]

    def rehearsed_commands(self, channel: str) -> list[tuple[str, ...]]:
        """What the scripts do, as an ACL sees it."""
        fence_name = fence_key(channel, member=self._member)
        return [
            ("SCRIPT", "LOAD", CALL.text),
            ("EVALSHA", CALL.digest, "1", fence_name),
            ("HMGET", fence_name, "epoch"),
            ("HSET", fence_name, "n", "0"),
            ("HSET", last_values_key(channel), "field", "row"),
            ("HDEL", last_values_key(channel), "field"),
            ("HSET", numbers_key(channel), self._member, "{}"),
            ("XADD", gaps_key(channel), "*", "gap", "{}"),
            ("HSET", owners_key(channel), "field", self._member),
            ("HGET", owners_key(channel), "field"),
            ("HSCAN", owners_key(channel), "0"),
            ("XADD", stream_key(channel), "*", "message", "{}"),
            ("PUBLISH", channel, "message"),
            ("TIME",),
        ]

    async def _read(
        self, requests: Sequence[Request], places: Sequence[int] | range, answers: list[Answer | None]
    ) -> list[int]:
        """Fill in the answers to the requests at `places`; those whose script is missing come back."""
        missing: list[int] = []
        for place in places:
            reply = await self._replies.next()
            if isinstance(reply, exceptions.NoScriptError):
                missing.append(place)
            elif isinstance(reply, exceptions.ResponseError):
                answers[place] = fence.Refused(classify(reply))
            else:
                answers[place] = self._parse(requests[place], reply)
        return missing

    async def _roundtrip(self, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        """Replies to plain commands; an error reply stands in its place as the exception."""
        self._replies.send(b"".join([pack(*parts) for parts in commands]), replies=len(commands))
        return [await self._replies.next() for _ in commands]

    def packed(self, request: Request) -> bytes:
        """The request as it goes over the wire."""
        if isinstance(request, fence.Call):
            return self._packed_call(request)
        base, lane = split_lane(request.channel)
        fence_name = fence_key(base, member=lane_member(self._member, lane))
        match request:
            case fence.Read():
                return pack("HMGET", fence_name, *FIELDS)
            case fence.Claim(_, holder, reason, expected, seen, revision):
                record = ("", "", "") if expected is None else (expected.epoch, expected.holder, expected.n)
                return pack("EVALSHA", CLAIM.digest, 1, fence_name, holder, reason.value, *record, seen, revision)
            case fence.Assert(_, epoch, holder, n, state, revision):
                return pack("EVALSHA", ASSERT.digest, 1, fence_name, epoch, holder, n, state.value, revision)
            case fence.Owned(_, cursor):
                return pack("HSCAN", owners_key(base), cursor, "COUNT", OWNED_PAGE)

    def _packed_call(self, call: fence.Call) -> bytes:
        """The hot path: what does not change from call to call was packed before."""
        form = self._forms.get(call.channel)
        term = (call.epoch, call.holder, call.state, call.revision)
        if form is None or form.term != term:
            form = self._forms[call.channel] = _Form(call.channel, term, member=self._member)
        after: tuple[bytes | str, ...] = (*call.deletes, *call.gaps, *call.takes)
        rows = call.rows
        count = _CALL_ARGUMENTS + rows.count + len(after)
        return b"".join(
            (
                *(b"*%d\r\n" % count, form.to_holder, bulk_number(call.n), form.to_channel),
                *(b"$%d\r\n" % len(call.message), call.message, b"\r\n"),
                *(bulk_number(rows.count), bulk_number(len(call.deletes)), bulk_number(len(call.gaps))),
                *(form.to_account, bulk(call.numbers), bulk(call.holes)),
                *(bulk_number(len(call.takes)), bulk_number(call.stream_max)),
                *(bulk_number(rows.at + 1), bulk_number(rows.between), bulk(rows.sizes)),
                *(rows.fields, bulks(*after)),
            )
        )

    def _parse(self, request: Request, reply: Any) -> Answer:
        if isinstance(request, fence.Owned) and isinstance(reply, list) and len(reply) == 2:
            cursor, listed = reply
            owners = dict(zip(listed[::2], listed[1::2], strict=True))
            member = lane_member(self._member, split_lane(request.channel)[1]).encode()
            mine = [field.decode() for field, owner in owners.items() if owner == member]
            return fence.OwnedPage(int(cursor), tuple(mine))
        return _parse(request, reply)


_CALL_ARGUMENTS: Final = 28  # of the command, without rows, deletes, gaps and takes


class _Form:
    """Parts of the packed calls in one channel that stay as they are while term, state and table do.

    Attributes
    ----------
    term
        (epoch, holder, state, revision).
    to_holder
        Command, keys, epoch and holder.
    to_channel
        State, revision and channel.
    to_account
        Entries that the gaps keep, and the account.
    """

    def __init__(self, name: str, term: tuple[int, str, fence.ChannelState, int], *, member: str) -> None:
        epoch, holder, state, revision = self.term = term
        channel, lane = split_lane(name)
        member = lane_member(member, lane)
        keys = (
            *(fence_key(channel, member=member), last_values_key(channel), gaps_key(channel)),
            *(numbers_key(channel), owners_key(channel), stream_key(channel)),
        )
        self.to_holder = bulks("EVALSHA", CALL.digest, len(keys), *keys, epoch, holder)
        self.to_channel = bulks(state.value, revision, channel)
        self.to_account = bulks(GAPS_STREAM_MAX, member)


def _parse(request: Request, reply: Any) -> Answer:
    """The answer in a script's reply; anything else is somebody else's bytes and named so."""
    if isinstance(request, fence.Read) and isinstance(reply, list):
        return fence.Seen(parse_record(reply))
    match reply:
        case [b"OK", previous, run]:
            return fence.Accepted(int(previous), int(run))
        case [b"CLAIMED", epoch, pause, holes, since, till]:
            stalled_ms = (int(since), int(till)) if since else None
            return fence.Claimed(int(epoch), int(pause) if pause else None, holes, stalled_ms)
        case [b"ASSERTED"]:
            return fence.Asserted()
        case [b"REWOUND", *fields]:
            return fence.Rewound(parse_record(fields))
        case [b"CONFLICT", *fields]:
            return fence.Conflict(parse_record(fields))
        case [b"STALE" | b"FENCED" | b"BEHIND" | b"KEPT" as code, *fields]:
            record = parse_record(fields)
            if record is not None:
                return _WITH_RECORD[code](record)
    return fence.Refused(Trouble(TroubleKind.REFUSED, f"unexpected reply {reply!r:.100}"))


_WITH_RECORD: Final[dict[bytes, Callable[[Record], Answer]]] = {
    b"STALE": fence.Stale,
    b"FENCED": fence.Fenced,
    b"BEHIND": fence.Behind,
    b"KEPT": fence.Kept,
}
