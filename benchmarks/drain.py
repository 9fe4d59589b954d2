"""A subscriber that takes everything and says what it really got: the only place where delivery is counted.

Run as a process with Redis's port, a channel and the channel's encoding; it is asked by lines on standard input:

``counts``  what has arrived since the start
``frames``  with ``--frames``: [step, rows, arrival of the first row, arrival of the last row] of every frame seen since
            the last such question; times are nanoseconds of the machine's monotonic clock

A *row* is one tick of one instrument; a row that was only priced again (its ``priced_at`` is later) is counted apart,
because nobody sent it. Rows carry the step of the frame that they came in as total buy quantity (`benchmarks.frames`).
Messages are numbered without holes; numbers that never came are counted.
"""

from __future__ import annotations

import argparse
import json
import re
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import hiredis

READ_BYTES: Final = 4 << 20
_SEQ: Final = re.compile(rb'"epoch":(\d+),"seq":(\d+)')
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
    last_ns: int = 0


class Reader(Protocol):
    """Reads the messages of one encoding."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """Count what `payload` holds."""
        ...

    def steps(self, payload: bytes) -> list[int]:
        """The step of each row in it."""
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

    def steps(self, payload: bytes) -> list[int]:
        """In order of the rows."""
        return [int(step) for step in _STEP.findall(payload)]


class StampReader:
    """Twenty digits: the step. What the forward-only floor publishes, once a frame."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """One."""
        counts.rows += 1

    def steps(self, payload: bytes) -> list[int]:
        """Of the frame."""
        return [int(payload)]


class TickReader:
    """One tick a message, as orjson writes the official client's dict."""

    def count(self, payload: bytes, counts: Counts) -> None:
        """One, priced or not."""
        counts.rows += 1
        counts.priced += b'"iv":0.' in payload

    def steps(self, payload: bytes) -> list[int]:
        """Of the tick."""
        step = _STEP.search(payload)
        assert step is not None, payload
        return [int(step[1])]


READERS: Final[dict[str, type[Reader]]] = {"json": JsonReader, "stamp": StampReader, "tick": TickReader}


class Drain:
    """The subscriber."""

    def __init__(self, *, port: int, channel: str, encoding: str, frames: bool) -> None:
        self._reader = READERS[encoding]()
        self._follow_frames = frames
        self.counts = Counts()
        self._frames: dict[int, list[int]] = {}
        self._parser = hiredis.Reader()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"*2\r\n$9\r\nSUBSCRIBE\r\n$%d\r\n%b\r\n" % (len(channel), channel.encode()))
        self._buffer = bytearray(READ_BYTES)

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def receive(self) -> None:
        """Take what is there."""
        size = self._socket.recv_into(self._buffer)
        if not size:
            raise ConnectionError("Redis closed the subscription")
        self._parser.feed(self._buffer, 0, size)
        while (message := self._parser.gets()) is not False:
            if message[0] == b"message":
                self._take(message[2])

    def _take(self, payload: bytes) -> None:
        counts = self.counts
        counts.last_ns = time.monotonic_ns()
        counts.messages += 1
        counts.payload_bytes += len(payload)
        self._reader.count(payload, counts)
        if self._follow_frames:
            for step, rows in Counter(self._reader.steps(payload)).items():
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
    with selectors.DefaultSelector() as selector:
        selector.register(drain, selectors.EVENT_READ, drain.receive)
        selector.register(sys.stdin, selectors.EVENT_READ, None)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    key.data()
                elif question := sys.stdin.readline().strip():
                    print(json.dumps(drain.answer(question)), flush=True)
                else:
                    return


if __name__ == "__main__":
    main()
