"""The fence on a real Redis, for histories in virtual time: the scripts as they are, but for the clock they read.

`FenceRedis` stands where `FenceTwin` stands in a `World`. Requests are packed and answers read by the door's own code;
what the scripts ask ``TIME`` for comes from a list that the history sets. Nothing else of them is changed, unless a
broken variant says so: `breaking` replaces text in a script, and every replacement must match exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import redis

from ticker_client.keys import fence_key, last_values_key
from ticker_shard.publish.door import ASSERT, CALL, CLAIM, FIELDS, Door
from ticker_shard.publish.fence import Accepted, Answer, Call, Record, Refused, Request, parse_record
from ticker_shard.publish.lanes import channel_of, lane_member, lane_name, split_lane
from ticker_shard.publish.trouble import classify

MEMBER = "pool.acc1"
CLOCK = "test:clock"
READS_CLOCK = ("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)")
Snapshot = dict[bytes, bytes]


class FenceRedis:
    """One account's records in a Redis of the test's own.

    Parameters
    ----------
    socket
        The server's unix socket.
    breaking
        By script (``call``, ``claim``, ``assert``): pairs of old and new text.
    clock_stands
        The server's clock does not move: epochs are counted from what is known only.
    """

    def __init__(
        self,
        socket: Path,
        *,
        breaking: Mapping[str, tuple[tuple[str, str], ...]] | None = None,
        clock_stands: bool = False,
    ) -> None:
        self._client = redis.Redis(unix_socket_path=str(socket))
        self._client.flushall()
        self._connection = redis.UnixDomainSocketConnection(path=str(socket), protocol=2)
        self._connection.connect()
        self._door = Door("redis://nowhere", member=MEMBER, timeout_ns=1)
        self._clock_stands = clock_stands
        self._digests: dict[bytes, bytes] = {}
        for name, script in (("call", CALL), ("claim", CLAIM), ("assert", ASSERT)):
            text = script.text
            replacements = (breaking or {}).get(name, ())
            for old, new in (*replacements, *([READS_CLOCK] if READS_CLOCK[0] in text else [])):
                assert text.count(old) == 1, (name, old)
                text = text.replace(old, new)
            self._client.script_load(text)
            digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
            self._digests[script.digest.encode()] = digest.encode()
        self.now_ms = 1_000_000
        self.published: list[Call] = []  # accepted calls with a message, in order

    def close(self) -> None:
        self._connection.disconnect()
        self._client.close()

    @property
    def now_ms(self) -> int:
        return self._now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self._now_ms = now_ms
        seconds, rest = divmod(0 if self._clock_stands else now_ms, 1_000)
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.delete(CLOCK)
            pipeline.rpush(CLOCK, seconds, rest * 1_000)
            pipeline.execute()

    def execute(self, request: Request) -> Answer:
        command = self._door.packed(request)
        for ours, theirs in self._digests.items():
            command = command.replace(ours, theirs, 1)
        self._connection.send_packed_command([command], check_health=False)
        try:
            answer = self._door._parse(request, self._connection.read_response(disable_decoding=True))
        except redis.ResponseError as error:
            return Refused(classify(error))
        if isinstance(request, Call) and request.message and isinstance(answer, Accepted):
            self.published.append(request)
        return answer

    def record(self, name: str) -> Record | None:
        """The record of a channel, or of a lane of it."""
        channel, lane = split_lane(name)
        return parse_record(self._client.hmget(fence_key(channel, member=lane_member(MEMBER, lane)), FIELDS))

    @property
    def records(self) -> dict[str, Record]:
        between = fence_key("", member=MEMBER).removeprefix("{")  # of a channel's name and the rest of a lane's
        found = {}
        for key in self._client.scan_iter(match=f"*{between}*"):
            channel, _, lane = key.decode().removeprefix("{").partition(between)
            name = lane_name(channel, int(lane.removeprefix("/") or 1))
            if (record := self.record(name)) is not None:
                found[name] = record
        return found

    @property
    def last(self) -> dict[str, dict[bytes, bytes]]:
        channels = {channel_of(name) for name in self.records}
        return {channel: self._client.hgetall(last_values_key(channel)) for channel in channels}

    def snapshot(self) -> Snapshot:
        """What a replica has now."""
        return {key: self._client.dump(key) for key in self._keys()}

    def restore(self, snapshot: Snapshot | None) -> None:
        """The server has older data, or none."""
        for key in list(self._keys()):
            self._client.delete(key)
        for key, value in (snapshot or {}).items():
            self._client.restore(key, 0, value)

    def _keys(self) -> Iterator[bytes]:
        return (key for key in self._client.scan_iter() if key != CLOCK.encode())
