"""A broker that only sends: just enough of Kite for a client to connect and subscribe, and far faster than any of them.

Run as a process; it prints its address as one JSON line and then obeys JSON commands, one a line on standard input, and
answers each with one line:

``pace``    open loop: frames at scheduled times, whether or not the client keeps up. A frame that is late because the
            socket was full stays late by its schedule: latency counts from there, so a stall hides nothing
``flood``   frames as fast as the socket takes them, for so many seconds
``burst``   every subscribed instrument at once in one frame, as after a resubscribe
``newest``  the step last sent of every instrument
``cut``     closes the sockets without a word

Clients are told apart by their API key; all sockets of a key share one numbering of frames (*steps*), which is what the
subscriber at the other end finds again in the rows. Times are nanoseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import datetime as dt
import hashlib
import json
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.frames import VOLUME_BEFORE, Tape, packets_of, single_frame
from benchmarks.market import FIRST_EXCHANGE_TOKEN, VARIATIONS, Market, make_market

GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HEARTBEAT: Final = b"\x82\x01\x00"
HEARTBEAT_S: Final = 1.0
LEAD_NS: Final = 20_000_000  # from the command to the first scheduled frame
PR_SET_TIMERSLACK: Final = 29
NS_PER_S: Final = 1_000_000_000


class Client:
    """One socket: what it subscribed to, and a lock so that messages do not mix."""

    def __init__(self, connection: socket.socket, key: Key) -> None:
        self.connection, self.key = connection, key
        self.positions: NDArray[np.int64] = np.empty(0, np.int64)
        self.lock = threading.Lock()

    def send(self, data: bytes | memoryview) -> None:
        """Hand over all of it; waits while the socket is full."""
        with self.lock:
            self.connection.sendall(data)

    def cut(self) -> None:
        """As a dying network does."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class Key:
    """One account: its sockets and the numbering they share.

    ``version`` moves whenever a socket comes, goes or subscribes, so that whoever plays a tape looks again.
    """

    def __init__(self, instruments: int) -> None:
        self.clients: list[Client] = []
        self.version = 0
        self.step = 0
        self.now_s = int(time.time())  # exchange time of what was last sent
        self.newest = np.zeros(instruments, np.int64)

    def tapes(self, sweeps: NDArray[np.void], *, frame_packets: int) -> list[tuple[Client, Tape]]:
        """Tapes for the sockets as they are subscribed now; instruments that do not fill a frame are left out."""
        found = []
        for client in list(self.clients):
            whole = client.positions[: len(client.positions) // frame_packets * frame_packets]
            if len(whole):
                found.append((client, Tape(sweeps[:, whole], frame_packets=frame_packets)))
        return found

    def sent(self, client: Client, within: int, *, packets: int) -> None:
        """Frame `within` of the sweep has left with the current step."""
        self.newest[client.positions[within * packets : (within + 1) * packets]] = self.step


class Broker:
    """The server."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.keys: dict[str, Key] = {}
        everything = np.arange(market.size)
        self._sweeps = np.array([packets_of(market, everything, variation=number) for number in range(VARIATIONS)])
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept for ever, in threads."""
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    # -- commands

    def pace(
        self, to: str, *, phases: list[tuple[float, float]], packets: int, cuts_s: Sequence[float] = ()
    ) -> dict[str, Any]:
        """Send frames of `packets` on schedule, at (ticks/s, seconds) of each phase; sockets take turns.

        At `cuts_s` (seconds from the first frame) all sockets of the key are cut. A frame that nobody is there for is
        counted as unsent, and keeps its number.
        """
        key = self.keys[to]
        player = self._play(key, frame_packets=packets)
        first, unsent, late_ns = key.step + 1, 0, []
        schedule, started_ns = [], time.monotonic_ns() + LEAD_NS
        for rate, seconds in phases:
            frames, interval_ns = round(rate * seconds / packets), packets / rate * NS_PER_S
            schedule.append({"frames": frames, "started_ns": started_ns, "interval_ns": interval_ns})
            started_ns += round(frames * interval_ns)
        cuts_ns = [schedule[0]["started_ns"] + int(cut_s * NS_PER_S) for cut_s in cuts_s]
        for due_ns in _due(schedule):
            left_ns = due_ns - time.monotonic_ns()
            if left_ns > 0:
                time.sleep(left_ns / NS_PER_S)
            if cuts_ns and due_ns >= cuts_ns[0]:
                cuts_ns.pop(0)
                self.cut(to)
            unsent += not next(player)
            late_ns.append(time.monotonic_ns() - due_ns)
        return {
            "first": first,
            "frames": len(late_ns),
            "packets": packets,
            "unsent": unsent,
            "phases": schedule,
            "ended_ns": time.monotonic_ns(),
            "late_p99_ns": int(np.percentile(late_ns, 99)),
            "late_max_ns": max(late_ns),
        }

    def _play(self, key: Key, *, frame_packets: int) -> Iterator[bool]:
        """Send one frame a turn, for ever; whether it left."""
        version, sweep = -1, 0
        while True:
            if version != key.version:
                version = key.version
                tapes = key.tapes(self._sweeps, frame_packets=frame_packets)
                longest = max((tape.frames for _, tape in tapes), default=0)
                # Sockets take turns, frame by frame; one with fewer instruments is through sooner.
                turns = [(of, at) for at in range(longest) for of, (_, tape) in enumerate(tapes) if at < tape.frames]
                offsets = [np.array([turn for turn, (of, _) in enumerate(turns) if of == n]) for n in range(len(tapes))]
            if not tapes:
                key.step += 1
                yield False
                continue
            key.now_s = int(time.time())
            stamped = [
                tape.stamped(sweep, steps=key.step + 1 + offset, now_s=key.now_s)
                for (_, tape), offset in zip(tapes, offsets, strict=True)
            ]
            for of, within in turns:
                client = tapes[of][0]
                key.step += 1
                try:
                    client.send(stamped[of][within])
                except OSError:
                    yield False
                else:
                    key.sent(client, within, packets=frame_packets)
                    yield True
            sweep += 1

    def flood(self, to: str, *, seconds: float, packets: int) -> dict[str, Any]:
        """Send frames of `packets` as fast as they are taken, whole sweeps at a time."""
        key = self.keys[to]
        [(client, tape)] = key.tapes(self._sweeps, frame_packets=packets)
        first, sweep = key.step + 1, 0
        started_ns = time.monotonic_ns()
        while time.monotonic_ns() - started_ns < seconds * NS_PER_S:
            steps = key.step + 1 + np.arange(tape.frames)
            key.now_s = int(time.time())
            tape.stamped(sweep, steps=steps, now_s=key.now_s)
            client.send(tape.whole(sweep))
            key.step += tape.frames
            key.newest[client.positions] = np.repeat(steps, packets)
            sweep += 1
        return {
            "first": first,
            "frames": key.step + 1 - first,
            "packets": packets,
            "started_ns": started_ns,
            "ended_ns": time.monotonic_ns(),
        }

    def burst(self, to: str) -> dict[str, Any]:
        """Send every instrument once, in one frame a socket."""
        key = self.keys[to]
        key.step += 1
        key.now_s = int(time.time())
        messages = [(client, self._all_of(client)) for client in key.clients]
        started_ns = time.monotonic_ns()
        for client, message in messages:
            client.send(message)
        return {"first": key.step, "frames": 1, "started_ns": started_ns, "ended_ns": time.monotonic_ns()}

    def newest(self, to: str) -> dict[str, Any]:
        """The step last sent, by token."""
        newest = self.keys[to].newest
        return {"steps": dict(zip(self.market.tokens.tolist(), newest.tolist(), strict=True))}

    def cut(self, to: str) -> dict[str, Any]:
        """Close the sockets of a key as a dying network does."""
        clients = list(self.keys[to].clients)
        for client in clients:
            client.cut()
        return {"cut": len(clients), "at_ns": time.monotonic_ns()}

    # -- sockets

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve_one, args=(connection,), daemon=True).start()

    def _serve_one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError, OSError):
            reader = connection.makefile("rb")
            client = Client(connection, self._upgrade(connection, reader))
            client.key.clients.append(client)
            try:
                while (text := _read_text(reader, client)) is not None:
                    self._obey(client, json.loads(text))
            finally:
                client.key.clients.remove(client)
                client.key.version += 1

    def _upgrade(self, connection: socket.socket, reader: Any) -> Key:
        request = b"".join(iter(reader.readline, b"\r\n"))
        name = re.search(rb"[?&]api_key=([^& ]+)", request)
        nonce = re.search(rb"(?i)sec-websocket-key: *(\S+)", request)
        assert name is not None, request
        assert nonce is not None, request
        accept = base64.b64encode(hashlib.sha1(nonce[1] + GUID).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        return self.keys.setdefault(name[1].decode(), Key(self.market.size))

    def _obey(self, client: Client, message: dict[str, Any]) -> None:
        match message:
            case {"a": "mode", "v": ["full", list(tokens)]}:
                wanted = (np.array(tokens, np.int64) >> 8) - FIRST_EXCHANGE_TOKEN
                client.positions = np.union1d(client.positions, wanted)
                client.key.version += 1
                with client.lock:  # made and sent in one go: nothing newer may leave before it
                    client.connection.sendall(self._all_of(client))
            case {"a": "unsubscribe", "v": list(tokens)}:
                gone = (np.array(tokens, np.int64) >> 8) - FIRST_EXCHANGE_TOKEN
                client.positions = np.setdiff1d(client.positions, gone)
                client.key.version += 1

    def _all_of(self, client: Client) -> bytes:
        """The newest of everything subscribed, in one message."""
        step = client.key.step
        packets = packets_of(self.market, client.positions, variation=step % VARIATIONS)
        packets["step"], packets["volume"] = step, VOLUME_BEFORE + step
        packets["traded_s"] = packets["exchange_s"] = client.key.now_s
        client.key.newest[client.positions] = step
        return single_frame(packets)

    def _beat(self) -> None:
        while True:
            time.sleep(HEARTBEAT_S)
            for client in [client for key in list(self.keys.values()) for client in list(key.clients)]:
                with contextlib.suppress(OSError):
                    client.send(HEARTBEAT)


def _due(schedule: list[dict[str, Any]]) -> Iterator[int]:
    for phase in schedule:
        for number in range(phase["frames"]):
            yield phase["started_ns"] + round(number * phase["interval_ns"])


def _read_text(reader: Any, client: Client) -> bytes | None:
    """The next text message; answers pings and the closing handshake on the way. `None` at the end."""
    while True:
        lead = reader.read(2)
        if len(lead) < 2:
            return None
        opcode, size = lead[0] & 0x0F, lead[1] & 0x7F
        if size >= 126:
            size = struct.unpack(*((">H", reader.read(2)) if size == 126 else (">Q", reader.read(8))))[0]
        mask = np.frombuffer(reader.read(4), np.uint8)
        body = np.frombuffer(reader.read(size), np.uint8)
        text = (body ^ np.resize(mask, size)).tobytes() if size else b""
        if opcode == 8:
            client.send(b"\x88\x02" + text[:2])
            return None
        if opcode == 9:
            client.send(bytes([0x8A, len(text)]) + text)
        elif opcode == 1:
            return text


def main() -> None:
    """Command line of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instruments", type=int, required=True)
    instruments = parser.parse_args().instruments
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # sleeps end when asked, not 50 µs later
    broker = Broker(make_market(instruments, today=dt.datetime.now(dt.UTC).date()))
    broker.serve()
    print(json.dumps({"ws": broker.address}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(getattr(broker, command.pop("do"))(**command)), flush=True)


if __name__ == "__main__":
    main()
