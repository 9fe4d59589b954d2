"""A subscriber that takes everything and says what it really got: the only place where delivery is counted.

Run as a process with Redis's port, a channel and the channel's encoding; it is asked by lines on standard input:

``counts``  what has arrived since the start
``frames``  with ``--frames``: [step, rows, arrival of the first row, arrival of the last row] of every frame seen since
            the last such question; times are nanoseconds of the machine's monotonic clock
``newest``  with ``--frames``: the highest step seen, by token

A *row* is one tick of one instrument; a row that was only priced again (its ``priced_at`` is later) is counted apart,
because nobody sent it. Rows carry the step of the frame that they came in as total buy quantity (`benchmarks.frames`).
Messages are numbered without holes, and numbers that never came are counted. With ``--frames`` a row is *fresh* when
its step is above its instrument's newest, and *backwards* when it is below; only fresh rows belong to a frame.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, TypeAlias

import hiredis
import numpy as np
from numpy.typing import NDArray

from ticker_client.columns import Columns, decode_columns

Rows: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]

READ_BYTES: Final = 4 << 20
AWAY_S: Final = 0.01
_SEQ: Final = re.compile(rb'"epoch":(\d+),"seq":(\d+)')
PRICED: Final = 1  # `outcome` of a packed row; above it is why not
_TOKEN: Final = re.compile(rb'"instrument_token":(\d+)')
_STEP: Final = re.compile(rb'"total_buy_quantity":(\d+)')


@dataclass(slots=True)
class Counts:
    """What has arrived."""

    messages: int = 0
    payload_bytes: int = 0
    rows: int = 0
    repriced: int = 0
    priced: int = 0
    unpriced: int = 0
    missing: int = 0
    fresh: int = 0
    backwards: int = 0
    resubscribed: int = 0
    last_ns: int = 0


class Reader(Protocol):
    """Reads the messages of one encoding."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """Count what `payload` holds."""
        ...

    def rows(self, payload: bytes) -> Rows:
        """Tokens and steps of what is in it, in its order."""
        ...


class JsonReader:
    """By searching the text: a subscriber that parsed it all would be slower than the shard."""

    def __init__(self) -> None:
        self._epoch, self._seq = 0, 0

    def count(self, payload: bytes, counts: Counts) -> None:
        """Rows, priced or not, and the numbers that never came."""
        head = _SEQ.search(payload, 0, 400)
        assert head is not None, payload[:400]
        epoch, seq = int(head[1]), int(head[2])
        if epoch == self._epoch:
            counts.missing += seq - self._seq - 1
        self._epoch, self._seq = epoch, seq
        counts.rows += payload.count(b'"instrument_token"')
        counts.repriced += payload.count(b'"priced_at"')
        counts.priced += payload.count(b'"iv"')
        counts.unpriced += payload.count(b'"no_greeks"')

    def rows(self, payload: bytes) -> Rows:
        """From the text."""
        return _numbers(_TOKEN.findall(payload)), _numbers(_STEP.findall(payload))


class MsgpackReader:
    """As columns, with the client's own reader."""

    def __init__(self) -> None:
        self._epoch, self._seq = 0, 0

    def count(self, payload: bytes, counts: Counts) -> None:
        """Rows, priced or not, and the numbers that never came."""
        message = _columns(payload)
        epoch, rows = message.source.epoch, message.rows
        if epoch == self._epoch:
            counts.missing += message.seq - self._seq - 1
        self._epoch, self._seq = epoch, message.seq
        counts.rows += len(rows)
        outcome = rows["outcome"]
        counts.priced += int(np.count_nonzero(outcome == PRICED))
        counts.unpriced += int(np.count_nonzero(outcome > PRICED))
        if "priced_ns" in (rows.dtype.names or ()):
            counts.repriced += int(np.count_nonzero(rows["priced_ns"] > rows["received_ns"]))

    def rows(self, payload: bytes) -> Rows:
        """Two columns."""
        rows = _columns(payload).rows
        return rows["instrument_token"].astype(np.int64), rows["total_buy_quantity"].astype(np.int64)


class StampReader:
    """Twenty digits: the step. What the forward-only floor publishes, once a frame."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """One."""
        counts.rows += 1

    def rows(self, payload: bytes) -> Rows:
        """The frame, as if of one instrument."""
        return np.zeros(1, np.int64), np.array([int(payload)])


class TickReader:
    """One tick a message, as orjson writes the official client's dict."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """One, priced or not."""
        counts.rows += 1
        counts.priced += b'"iv":0.' in payload

    def rows(self, payload: bytes) -> Rows:
        """The tick."""
        return _numbers(_TOKEN.findall(payload)), _numbers(_STEP.findall(payload))


def _numbers(found: list[bytes]) -> NDArray[np.int64]:
    return np.array([int(number) for number in found], np.int64)


def _columns(payload: bytes) -> Columns:
    message = decode_columns(payload)
    assert isinstance(message, Columns), message
    return message


READERS: Final[dict[str, type[Reader]]] = {
    "json": JsonReader,
    "msgpack": MsgpackReader,
    "stamp": StampReader,
    "tick": TickReader,
}


class Newest:
    """The highest step of every instrument, and how many rows came after a newer one."""

    def __init__(self) -> None:
        self._tokens: dict[int, int] = {}
        self._steps = np.zeros(0, np.int64)

    def take(self, tokens: NDArray[np.int64], steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Take rows in their order; the steps of the fresh ones, and how many were older than what was there."""
        place = np.array([self._tokens.setdefault(token, len(self._tokens)) for token in tokens.tolist()], np.int64)
        self._steps = np.append(self._steps, np.full(len(self._tokens) - len(self._steps), -1, np.int64))
        order = np.argsort(place, kind="stable")  # an instrument's rows side by side, in their order
        place, steps = place[order], steps[order]
        before = self._steps[place]
        again = np.flatnonzero(place[1:] == place[:-1]) + 1
        before[again] = np.maximum(before[again], steps[again - 1])
        np.maximum.at(self._steps, place, steps)
        return steps[steps > before], int(np.count_nonzero(steps < before))

    def by_token(self) -> dict[int, int]:
        """Token → step."""
        return dict(zip(self._tokens, self._steps.tolist(), strict=True))


class Drain:
    """The subscriber."""

    def __init__(self, *, port: int, channel: str, encoding: str, frames: bool) -> None:
        self._reader = READERS[encoding]()
        self._follow_frames = frames
        self.counts = Counts()
        self._frames: dict[int, list[int]] = {}
        self._newest = Newest()
        self._port, self._channel = port, channel.encode()
        self._buffer = bytearray(READ_BYTES)
        self._subscribe()

    def fileno(self) -> int:
        """For `select`."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Take what is there."""
        try:
            size = self._socket.recv_into(self._buffer)
        except ConnectionError:
            size = 0
        if not size:
            self.counts.resubscribed += 1
            self._subscribe()
            return
        self._parser.feed(self._buffer, 0, size)
        while (message := self._parser.gets()) is not False:
            if message[0] == b"message":
                self._take(message[2])

    def _subscribe(self) -> None:
        """Until Redis answers: it may be away for a while."""
        self._parser = hiredis.Reader()
        while True:
            with contextlib.suppress(ConnectionError):
                self._socket = socket.create_connection(("127.0.0.1", self._port))
                break
            time.sleep(AWAY_S)
        self._socket.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(self._channel), self._channel))

    def _take(self, payload: bytes) -> None:
        counts = self.counts
        counts.last_ns = time.monotonic_ns()
        counts.messages += 1
        counts.payload_bytes += len(payload)
        self._reader.count(payload, counts)
        if self._follow_frames:
            fresh, backwards = self._newest.take(*self._reader.rows(payload))
            counts.fresh += len(fresh)
            counts.backwards += backwards
            for step, rows in zip(*(found.tolist() for found in np.unique(fresh, return_counts=True)), strict=True):
                seen = self._frames.setdefault(step, [0, counts.last_ns, 0])
                seen[0] += rows
                seen[2] = counts.last_ns

    def answer(self, question: str) -> Any:
        """What the module's opening says."""
        match question:
            case "counts":
                return asdict(self.counts)
            case "frames":
                frames, self._frames = self._frames, {}
                return [[step, *seen] for step, seen in frames.items()]
            case "newest":
                return self._newest.by_token()
            case _:
                raise ValueError(question)


def main() -> None:
    """Command line of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--channel", required=True)
    parser.add_argument("--encoding", choices=sorted(READERS), required=True)
    parser.add_argument("--frames", action="store_true")
    arguments = parser.parse_args()
    drain = Drain(port=arguments.port, channel=arguments.channel, encoding=arguments.encoding, frames=arguments.frames)
    print(json.dumps({"subscribed": arguments.channel}), flush=True)
    while True:
        ready, _, _ = select.select([drain, sys.stdin], [], [])
        if drain in ready:
            drain.receive()
        if sys.stdin in ready:
            question = sys.stdin.readline().strip()
            if not question:
                return
            print(json.dumps(drain.answer(question)), flush=True)


if __name__ == "__main__":
    main()
