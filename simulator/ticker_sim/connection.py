"""One open socket: reads requests into its session, sends what is due, beats when nothing was sent.

Two tasks per socket, reader and sender; every byte leaves through the sender, so packets, texts and heartbeats never
interleave wrongly and the record is written in the order of sending. Faults are asked for here, where they strike.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import struct
import time
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import aiohttp
import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ticker_sim import faults, spoil, wire
from ticker_sim.fault_book import F
from ticker_sim.market import Places
from ticker_sim.record import Traffic
from ticker_sim.session import SocketSession
from ticker_sim.tape import Versions

if TYPE_CHECKING:
    from ticker_sim.simulator import Simulator

TEXTS_MAX: Final = 1_000  # texts waiting for a reader that does not read; the oldest go first
FAULT_POLL_S: Final = 0.02  # how soon a socket notices that a fault which held it back is over
CLOSE_S: Final = 1.0
_LINGER_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A binary message and what it carries."""

    octets: bytes
    places: Places
    modes: wire.Modes
    rows: wire.Rows
    versions: Versions
    doubtful: bool


class Connection:
    """A socket after its upgrade.

    Parameters
    ----------
    number, api_key, user_id
        Who it is.
    sim
        What it shows.
    ws, transport
        The socket itself.
    """

    def __init__(
        self,
        *,
        number: int,
        api_key: str,
        user_id: str,
        sim: Simulator,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
    ) -> None:
        self.number = number
        self.api_key = api_key
        self.user_id = user_id
        self.traffic = Traffic()
        self.opened_ns = time.monotonic_ns()
        self.session = SocketSession(sim.market.place_of, instruments_max=sim.settings.instruments_per_socket)
        self._sim = sim
        self._ws = ws
        self._transport = transport
        self._wake = asyncio.Event()
        self._texts: deque[str] = deque(maxlen=TEXTS_MAX)
        self._sending = False
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._late: _Frame | None = None
        self._last_sent = time.monotonic()

    # Asked by others.

    def notice(self, places: Places) -> None:
        """The market changed there."""
        if self.session.notice(places):
            self._wake.set()

    def wake(self) -> None:
        """Faults came or went: look again."""
        self._wake.set()

    def say(self, text: str) -> None:
        """Send a text when its turn comes."""
        if len(self._texts) == TEXTS_MAX:
            self._count(texts_dropped=1)
        self._texts.append(text)
        self._wake.set()

    def unsent(self) -> int:
        """Instruments, texts and frames that still wait; muted instruments do not count."""
        waiting = self.session.pending(muted=self._muted()) + len(self._texts)
        return waiting + self._sending + (self._late is not None)

    async def close(self, *, code: int, reason: str) -> None:
        """Close with a close frame."""
        self._sim.history.add("closing", socket=self.number, code=code)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_S):
                await self._ws.close(code=code, message=reason.encode())

    def reset(self) -> None:
        """Answer with a TCP reset: no close frame, unread bytes are lost."""
        self._sim.history.add("resetting", socket=self.number)
        raw = self._transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, _LINGER_RESET)
        self._transport.abort()

    # The life of the socket.

    async def serve(self) -> str:
        """Read and send until the socket ends; answers why it did."""
        sender = asyncio.create_task(self._send_forever())
        reader = asyncio.create_task(self._read_forever())
        try:
            done, _ = await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
            reasons = [task.result() for task in done]  # of both, so that an error of either is raised
            return reasons[0]
        finally:
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)

    async def _read_forever(self) -> str:
        while True:
            message = await self._ws.receive()
            await self._may_read.wait()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._carry_out(message.data)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                return f"closed with {self._ws.close_code}"
            elif message.type is aiohttp.WSMsgType.ERROR:
                return f"error: {type(message.data).__name__}"

    def _carry_out(self, text: str) -> None:
        partial = self._strike(faults.PartialSubscribe) if '"subscribe"' in text else None
        self.session.quote_first = bool(self._in_force(faults.QuoteFirst))
        answer = self.session.receive_text(text, keep=None if partial is None else partial.keep)
        self._sim.history.add(
            "request",
            socket=self.number,
            action=answer.action,
            mode=answer.mode,
            accepted=answer.accepted,
            refused=answer.refused,
            subscribed=self.session.subscribed,
        )
        for reply in answer.texts:
            self.say(reply)
        self._wake.set()

    async def _send_forever(self) -> str:
        beat_s = self._sim.settings.heartbeat_ms / 1_000
        while True:
            half_open = bool(self._in_force(faults.HalfOpen))
            if half_open is self._may_read.is_set():
                self._hold_reading(hold=half_open)
            if half_open or self._in_force(faults.Silence):
                await asyncio.sleep(FAULT_POLL_S)
                continue
            self._sending = True
            try:
                await self._send_due()
                self._sending = False
                if await self._nothing_for(self._last_sent + beat_s - time.monotonic()) and not self._is_held():
                    await self._beat()
            except (ConnectionError, aiohttp.ClientError):
                return "lost while sending"
            finally:
                self._sending = False

    async def _beat(self) -> None:
        """A second of silence: a frame that was held back for its successor has none; else a heartbeat."""
        if self._late is not None:
            late, self._late = self._late, None
            await self._send_frame(late)
            return
        await self._ws.send_bytes(wire.HEARTBEAT)
        self._last_sent = time.monotonic()
        self._count(heartbeats=1)

    async def _nothing_for(self, seconds: float) -> bool:
        """Wait until there is something to send (False) or the time is over (True)."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._wake.wait()
        except TimeoutError:
            return True
        self._wake.clear()
        return False

    async def _send_due(self) -> None:
        while self._texts:
            await self._ws.send_str(self._texts.popleft())
            self._last_sent = time.monotonic()
            self._count(texts=1)
        if self._in_force(faults.Mute):
            return
        if self.session.pending(muted=self._muted()) and (slow := self._strike(faults.SlowFrames)):
            await asyncio.sleep(slow.delay_ms / 1_000)
        taken = self.session.take(self._sim.market.rows, muted=self._muted())
        step = self._sim.settings.frame_packets
        # The rows are copied before the first wait: what changes meanwhile belongs to the next take.
        rows = self._sim.market.rows[taken.places]
        versions = self._sim.tape.versions(taken.places)
        for start in range(0, len(taken.places), step):
            part = slice(start, start + step)
            await self._send_part(taken.places[part], taken.modes[part], rows[part], versions[part])

    async def _send_part(self, places: Places, modes: wire.Modes, rows: wire.Rows, versions: Versions) -> None:
        if times := self._strike(faults.Timestamps):
            rows = spoil.shift_times(rows, times)
        if distorted := self._strike(faults.Distort):
            rows = spoil.distort(rows, distorted)
        doubtful = times is not None or distorted is not None
        frame = _Frame(wire.encode_frame(rows, modes), places, modes, rows, versions, doubtful)
        if malformed := self._strike(faults.Malformed):
            self._count(spoiled_frames=1)
            self._sim.tape.sent(self.number, places, modes, rows, versions=versions, doubtful=True)
            await self._send_bytes(spoil.spoil_frame(frame.octets, malformed))
            return
        if self._late is None and self._strike(faults.OutOfOrder):
            self._late = replace(frame, doubtful=True)  # a careful reader refuses what its successor has overtaken
            return
        await self._send_frame(frame)
        if self._strike(faults.DuplicateFrames):
            await self._send_frame(frame)
        if self._late is not None:
            late, self._late = self._late, None
            await self._send_frame(late)

    async def _send_frame(self, frame: _Frame) -> None:
        # Recorded before it leaves: what a client has received is always part of the record.
        for record in self._sim.records_of(self.api_key):
            record.add(frame.places, frame.modes, frame.rows)
        self._sim.tape.sent(
            self.number, frame.places, frame.modes, frame.rows, versions=frame.versions, doubtful=frame.doubtful
        )
        self._count(packets=len(frame.places))
        await self._send_bytes(frame.octets)

    async def _send_bytes(self, octets: bytes) -> None:
        self._count(frames=1, bytes=len(octets))
        await self._ws.send_bytes(octets)
        self._last_sent = time.monotonic()

    def _count(self, **counts: int) -> None:
        self.traffic.count(**counts)
        self._sim.traffic.count(**counts)

    # Faults.

    def _in_force(self, kind: type[F]) -> list[F]:
        return self._sim.faults.in_force(kind, now_ns=time.monotonic_ns(), api_key=self.api_key, socket=self.number)

    def _strike(self, kind: type[F]) -> F | None:
        fault = self._sim.faults.strike(kind, now_ns=time.monotonic_ns(), api_key=self.api_key, socket=self.number)
        if fault is not None:
            self._sim.history.add("fault", socket=self.number, fault=fault.kind)
        return fault

    def _is_held(self) -> bool:
        return bool(self._in_force(faults.HalfOpen) or self._in_force(faults.Silence))

    def _muted(self) -> NDArray[np.bool_] | None:
        muted = self._in_force(faults.MuteTokens)
        if not muted:
            return None
        mask = np.zeros(len(self._sim.market), np.bool_)
        places = [self._sim.market.place_of.get(token) for fault in muted for token in fault.tokens]
        mask[[place for place in places if place is not None]] = True
        return mask

    def _hold_reading(self, *, hold: bool) -> None:
        """Stop the transport from reading at all, pings included, or let it go on."""
        if hold:
            self._may_read.clear()
        else:
            self._may_read.set()
        if not self._transport.is_closing() and hold is self._transport.is_reading():
            if hold:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
