"""Keeps the voice, and speaks while it has it.

Every `RENEW_S`, and at once when this process gains or loses channels, the Lease is looked at and `decide_voice` says
whether to take (or renew), release or wait. A status is written only within `SPEAK_S` of the *start* of the last
successful renewal, and only while the rule still lets us have the voice: a process that has just been fenced is
silent before its successor speaks. A process that has won the voice first reads what its predecessor wrote, because the
complete set that it must send includes what it only carries on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from ticker_shard.app.metrics import Counts
from ticker_shard.app.report import Parts, status_of, vitals_of
from ticker_shard.assignment import KnownStatus, LeaseState, NotYet, StatusSink, Voice, WriteOutcome, revision_of
from ticker_shard.assignment.status import COUNTS_S, StatusPacer
from ticker_shard.assignment.voice import RENEW_S, SPEAK_S, Held, VoiceMove, decide_voice
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.standing import OtherHolder

log = logging.getLogger(__name__)

COALESCE_S: Final = 0.05  # a burst of changes is one report
IDLE_S: Final = 1.0
RETRY_S: Final = 5.0  # after a status that was refused
NS_PER_S: Final = 1_000_000_000


class Reporter:
    """The shard's voice and status.

    Parameters
    ----------
    parts
        Everything a report is made of, at this moment.
    ledger, latency
        The publisher's books.
    sink, voice
        Where to write and who may.
    counts
        Outcomes of writes are counted here.
    held
        What this process holds.
    leaving
        Whether this process was asked to end.
    other_holds, phase
        What the publisher knows of others, and where this process is.
    changed
        Set by whoever changed something worth a report.
    greeks
        What became of option rows, for the vitals.
    beat
        Called at each turn.
    monotonic_ns, wall_clock
        Clocks.
    """

    def __init__(
        self,
        *,
        parts: Callable[[], Parts],
        ledger: Ledger,
        latency: Latency,
        sink: StatusSink,
        voice: Voice,
        counts: Counts,
        held: Callable[[], Held],
        leaving: Callable[[], bool],
        other_holds: Callable[[], OtherHolder],
        phase: Callable[[], Phase],
        changed: asyncio.Event,
        greeks: Callable[[], dict[str, Any]],
        beat: Callable[[], None],
        monotonic_ns: Callable[[], int],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._parts, self._ledger, self._latency = parts, ledger, latency
        self._sink, self._voice, self._counts = sink, voice, counts
        self._held, self._leaving, self._other_holds, self._phase = held, leaving, other_holds, phase
        self._changed, self._greeks, self._beat = changed, greeks, beat
        self._monotonic_ns, self._wall_clock = monotonic_ns, wall_clock
        self.port = 0
        self.lease = LeaseState.UNKNOWN
        self.acknowledged_revision = 0
        self._known: KnownStatus | None = None
        self._known_ns = 0
        self._renewed_ns: int | None = None
        self._pacer = StatusPacer()
        self._not_before_ns = 0
        self._vitals_ns = 0
        self._last_status: dict[str, Any] | None = None
        self._told = ""
        self._hushed = False

    @property
    def speaks(self) -> bool:
        """Whether a status may be written at this moment."""
        if self._renewed_ns is None or self._monotonic_ns() - self._renewed_ns >= SPEAK_S * NS_PER_S:
            return False
        return self._decide(LeaseState.MINE) is VoiceMove.TAKE

    async def run(self) -> None:
        """Turn for ever."""
        voice_due_ns = 0
        held: Held | None = None
        while True:
            self._beat()
            self._changed.clear()
            now_ns = self._monotonic_ns()
            now_held = self._held()
            if now_ns >= voice_due_ns or now_held is not held:
                held, voice_due_ns = now_held, now_ns + int(RENEW_S * NS_PER_S)
                await self.keep_voice()
            await self.speak()
            idle_s = min(IDLE_S, max(0.0, (voice_due_ns - self._monotonic_ns()) / NS_PER_S))
            try:
                async with asyncio.timeout(idle_s):
                    await self._changed.wait()
                    await asyncio.sleep(COALESCE_S)
            except TimeoutError:
                pass  # nothing happened: the next turn is due

    def hush(self) -> None:
        """Write no more: what happens from now on is our own leaving, not how the shard does."""
        self._hushed = True

    async def finish(self, *, orderly: bool) -> None:
        """The last word: final numbers where they are wanted, and the voice for whoever comes next."""
        if self._renewed_ns is None:
            return
        if self._sink.vitals_s is not None and self._last_status is not None:
            self._counts.add(self._counts.statuses, await self._sink.write(self._last_status, vitals=self._vitals()))
        if orderly:
            await self._voice.release()

    async def keep_voice(self) -> None:
        """Look at the Lease, and take, renew, release or wait as the rule says."""
        started_ns = self._monotonic_ns()
        had = self.lease is LeaseState.MINE
        if not had:
            self.lease = await self._voice.observe()
        match self._decide(self.lease):
            case VoiceMove.TAKE:
                if await self._voice.take():
                    self._renewed_ns = started_ns
                    self.lease = LeaseState.MINE
                    if not had:
                        log.info("this process speaks for the shard")
                        self._known = None
                        self._pacer.forget()
                else:
                    self.lease = LeaseState.UNKNOWN  # the next turn reads it
            case VoiceMove.RELEASE:
                log.info("another process holds the channels: it shall speak")
                self._renewed_ns = None
                self.lease = LeaseState.UNKNOWN
                await self._voice.release()
            case VoiceMove.WAIT:
                self._renewed_ns = None

    async def speak(self) -> None:
        """Write the status if it is due and this process may."""
        parts = self._parts()
        now_ns = self._monotonic_ns()
        if self._hushed or not self.speaks or now_ns < self._not_before_ns:
            return
        if not await self._know(now_ns) or self._known is None:
            return
        now = self._wall_clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        status, answer = status_of(parts, known=self._known, generation=self._sink.generation, now=now)
        self._tell(answer.message if isinstance(answer, NotYet) else f"acknowledged revision {answer.revision}")
        vitals_s = self._sink.vitals_s
        vitals_due = vitals_s is not None and now_ns - self._vitals_ns >= vitals_s * NS_PER_S
        if not (self._pacer.due(status, now_ns=now_ns) or vitals_due) or not self.speaks:
            return
        outcome = await self._sink.write(status, vitals=self._vitals())
        self._counts.add(self._counts.statuses, outcome.value)
        match outcome:
            case WriteOutcome.WRITTEN:
                self._pacer.written(status, now_ns=now_ns)
                self._vitals_ns = now_ns
                self._last_status = status
                self._known = replace(
                    self._known,
                    acknowledged=status.get("acknowledged"),
                    conditions=tuple(status["conditions"]),
                )
                self.acknowledged_revision = revision_of(status.get("acknowledged"))
            case WriteOutcome.REFUSED:
                self._not_before_ns = now_ns + int(RETRY_S * NS_PER_S)
            case WriteOutcome.UNKNOWN:
                self._pacer.forget()
                self._not_before_ns = now_ns + int(IDLE_S * NS_PER_S)

    async def _know(self, now_ns: int) -> bool:
        """Read the status when we have just won the voice, and now and then: somebody may have deleted it."""
        fresh = self._sink.vitals_s is not None or now_ns - self._known_ns < COUNTS_S * NS_PER_S
        if self._known is not None and fresh:
            return True
        read = await self._sink.read()
        if read is None:
            return self._known is not None
        if self._known is not None and read.acknowledged != self._known.acknowledged:
            self._pacer.forget()
        self._known_ns = now_ns
        # What we have said ourselves we remember better than a status that somebody emptied.
        self._known = read if self._known is None else replace(self._known, generation=read.generation)
        return True

    def _vitals(self) -> dict[str, Any]:
        parts = self._parts()
        rest = {
            "process": parts.process,
            "phase": self._phase().value,
            "revision": parts.table.revision,
            "greeks": self._greeks(),
        }
        return vitals_of(self._ledger, self._latency, port=self.port, now_ns=self._monotonic_ns(), rest=rest)

    def _decide(self, lease: LeaseState) -> VoiceMove:
        other = self._other_holds() is OtherHolder.ALIVE
        return decide_voice(lease, self._held(), other_holds=other, leaving=self._leaving())

    def _tell(self, message: str) -> None:
        if message != self._told:
            self._told = message
            log.info("acknowledgement", extra={"state": message})
