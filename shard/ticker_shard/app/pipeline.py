"""The path of a frame, from socket to batch, and what changes under it: tables, warmth, holes in time.

::

    frame ─► TickProcessor ─► rows ─► RedisPublisher ─► Redis
              ▲ table  │       ▲ first packets  ▲ options priced again
    assignment ┴─► KiteWebSocketPool ◄─ credentials

One frame is one synchronous call: nothing on it waits, logs per tick, or looks at the control plane. A table reaches
the processor first (slots), then the publisher (channels, duties), then the feed (subscriptions), between two frames.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import numpy as np

from ticker_crds import AssignmentTable
from ticker_crds.names import fence_member
from ticker_shard.app.metrics import Counts
from ticker_shard.app.outages import Gap, OutageTracker
from ticker_shard.app.report import warm_sockets
from ticker_shard.app.settings import ShardSettings
from ticker_shard.app.stall_desk import StallDesk
from ticker_shard.feed import (
    ChangeKind,
    CloseReason,
    FeedChange,
    FeedSettings,
    FeedStatus,
    KiteWebSocketPool,
    TextKind,
)
from ticker_shard.publish.backpressure import BackpressureSettings, Level
from ticker_shard.publish.breaker import BreakerSettings
from ticker_shard.publish.encode import make_encoders
from ticker_shard.publish.gaps import Hole
from ticker_shard.publish.limits import MS_NS, TIMING
from ticker_shard.publish.publisher import RedisPublisher
from ticker_shard.publish.standing import Holdings
from ticker_shard.ticks.engine import Engine, load_market, load_pricer
from ticker_shard.ticks.greeks import GreeksCalculator
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.processor import TickProcessor
from ticker_shard.ticks.state import InstrumentState
from ticker_shard.ticks.underlying import PricingRules
from ticker_shard.ticks.validate import ValidationRules

log = logging.getLogger(__name__)

CONFIRM_ATTEMPTS: Final = 3
CONFIRM_WAIT_MAX_MS: Final = 60_000
COMPLAINTS: Final = frozenset({TextKind.ERROR, TextKind.TOO_MANY_INSTRUMENTS, TextKind.JUNK})
NS_PER_S: Final = 1_000_000_000


class Pipeline:
    """Feed, ticks and publishing of one process, joined.

    Parameters
    ----------
    settings
        Frozen.
    process
        ``<instance>/<random>``.
    redis_url
        Answers the URL at each connect.
    counts
        What is counted here.
    changed
        Called when something worth a report has changed.
    """

    def __init__(
        self,
        settings: ShardSettings,
        *,
        process: str,
        redis_url: Callable[[], str],
        counts: Counts,
        changed: Callable[[], None],
    ) -> None:
        self._counts, self._changed = counts, changed
        self._outages = OutageTracker()
        self._stalls = StallDesk(settings)
        self._unseen: dict[int, int] = {}  # socket → since when (monotonic), as last told
        self._live_tokens: set[int] = set()  # confirmed on the present connection
        self._closed = False
        state = InstrumentState()
        rules = PricingRules(
            rate=settings.rate, dividend_yield=settings.dividend_yield, stale_s=settings.underlying_stale_s
        )
        pricer, market = load_pricer(settings.engine), load_market(settings.engine)
        rest_ns = settings.reprice_ms * MS_NS // 2
        self.greeks = GreeksCalculator(state=state, pricer=pricer, market=market, rules=rules, rest_ns=rest_ns)
        self.processor = TickProcessor(
            state=state,
            rules=ValidationRules(enabled=settings.validation, market_hours=settings.market_hours),
            greeks=self.greeks,
            engine=settings.engine,
        )
        self.publisher = RedisPublisher(
            redis_url,
            shard=fence_member(settings.namespace, settings.account),
            process=process,
            newest=state,
            window_ms=settings.window_ms,
            ticks_max=settings.ticks_max,
            drain_deadline_s=settings.drain_deadline_s,
            encoders=make_encoders(native=self.processor.engine is Engine.NATIVE),
            stream_max=settings.stream_max,
            breaker=breaker_settings(settings),
            backpressure=backpressure_settings(settings),
            sockets=settings.sockets,
            per_socket=settings.instruments_per_socket,
            on_change=self._on_publisher_change,
            jitter=random.random,
        )
        self.pool = KiteWebSocketPool(
            feed_settings(settings),
            on_frame=self._on_frame,
            on_expect=self.processor.expect_tokens,
            on_change=self._on_feed_change,
            on_closed=lambda socket: self.publisher.socket_closed(socket + 1),
        )
        self.pool.allow(self.publisher.sockets_allowed)

    @property
    def table(self) -> InstrumentTable:
        """The table in force; revision 0 before the first."""
        return self.processor.table

    def apply(self, table: AssignmentTable) -> None:
        """Go over to `table`, without reconnecting; `TableGate` has judged it."""
        before = self.table
        instruments = build_instruments(table, previous=before)
        self.processor.configure(instruments)
        self.publisher.configure(instruments)
        self.pool.want(instruments)
        self._stalls.configure(instruments, socket_of=self.pool.socket_of)
        gone = set(before.tokens.tolist()) - set(instruments.tokens.tolist())
        self._live_tokens -= gone
        self._outages.removed(gone)
        self._tell_holes()
        self._tell_warmth()
        log.info(
            "assignment table applied",
            extra={"revision": table.revision, "instruments": instruments.assigned, "removed": len(gone)},
        )

    def close(self) -> None:
        """Take no more frames (whoever holds the channels now has them) and close the sockets with close frames."""
        self._closed = True
        self.pool.close()

    def reprice(self) -> bool:
        """Price options again whose underlying moved, and publish them once more; whether more of them wait.

        Only what can leave is priced: never more than one turn's rows wait to be published, so live rows are not held
        up, and nothing is priced for channels that another process holds.
        """
        if self._closed or self.publisher.holdings is Holdings.NONE:
            return False
        if self.publisher.backpressure.level is Level.SHED:
            return False  # what follows an underlying waits; none of it is forgotten
        if self.publisher.is_repeating:
            return True
        now_ns = time.time_ns()
        self.publisher.refresh(self.greeks.reprice(now_ns=now_ns))
        return self.greeks.repricing_due(now_ns=now_ns) > 0

    def greeks_counts(self) -> dict[str, Any]:
        """What became of option rows, for the status file."""
        return {"by_outcome": self.greeks.counts(), "repriced": self.greeks.repriced}

    @property
    def stalled(self) -> int:
        """Instruments that are quiet on sockets that flow."""
        return self._stalls.stalled

    def look(self, *, now_ns: int) -> None:
        """What only time can tell: holes whose instruments stay away, instruments gone quiet. Twice a second or so.

        Parameters
        ----------
        now_ns
            Monotonic.
        """
        self._report(self._outages.overdue(now_ns=now_ns, wall_ns=time.time_ns()))
        unseen = unseen_sockets(self.pool.status(), now_ns=now_ns)
        if unseen != self._unseen:
            self._unseen = unseen
            self._tell_holes()
        if self._closed or not self._stalls.due(now_ns=now_ns):
            return
        before = self.stalled
        found = self._stalls.look(self.processor.state, self.pool.status(), phase=self.pool.phase, now_ns=now_ns)
        self.pool.ask_again(found.ask)
        self._report(found.gaps)
        for event, number in found.counts.items():
            self._counts.add(self._counts.stalls, event, number)
        if found.stalled:
            log.warning("instruments stalled: subscribing them again", extra={"symbols": found.stalled})
        if self.stalled != before:
            self._changed()

    # -- private: called by the feed

    def _on_frame(self, payload: bytes | memoryview, received_ns: int) -> Collection[int]:
        if self._closed or self.publisher.drained:
            return ()
        processor, publisher, counts = self.processor, self.publisher, self._counts
        frame = processor.process(payload, received_ns=received_ns)
        for reason, slots in frame.rejected.items():
            publisher.reject(reason.value, slots)
        for fault, number in frame.malformed.items():
            counts.add(counts.malformed, fault.value, number)
        for flag, number in frame.flagged.items():
            counts.add(counts.flagged, flag.value, number)
        if len(frame.rows):
            publisher.offer(frame.rows)
            publisher.flush_hint()
        if not len(frame.first_seen):
            return ()
        tokens = processor.tokens_of(frame.first_seen)
        self._live_tokens.update(tokens)
        self._report(self._outages.seen(tokens, now_ns=time.monotonic_ns(), wall_ns=received_ns))
        self._changed()
        return tokens

    def _on_publisher_change(self) -> None:
        """In a hand-over the sockets follow the lanes that they are for."""
        self.pool.allow(self.publisher.sockets_allowed)
        self.pool.close_sockets(socket - 1 for socket in self.publisher.sockets_done)
        self._changed()

    def _on_feed_change(self, change: FeedChange) -> None:
        fields = {"socket": change.socket, "detail": change.detail, "text": change.text}
        match change.kind:
            case ChangeKind.CLOSED:
                self._lost(change)
                log.log(logging.INFO if self._closed else logging.WARNING, "socket closed", extra=fields)
            case ChangeKind.OPENED:
                self._outages.opened(change.socket, now_ns=time.monotonic_ns())
                log.info("socket open", extra=fields)
            case ChangeKind.MUTE:
                self._mute(change)
                log.warning("socket mute", extra=fields)
            case ChangeKind.FLOWING:
                self._mute(change)
                log.info("socket no longer mute", extra=fields)
            case ChangeKind.FAILED:
                log.warning("no socket", extra=fields)
            case ChangeKind.TEXT:
                log.log(
                    logging.WARNING if change.detail in COMPLAINTS else logging.INFO, "the broker says", extra=fields
                )
            case ChangeKind.CONFIRMED | ChangeKind.UNCONFIRMED:
                log.info(f"instruments {change.kind.value}", extra=fields)
        self._tell_warmth()
        self._changed()

    def _lost(self, change: FeedChange) -> None:
        tokens = [token for token in self.pool.tokens_of(change.socket) if token in self._live_tokens]
        if not tokens:
            return
        self._live_tokens.difference_update(tokens)
        # An end is noticed after the fact: the hole began with the last sign of life.
        start_ns = time.monotonic_ns() - change.quiet_ns
        self._outages.closed(change.socket, tokens=tokens, start_ns=start_ns, cause=change.detail)
        self._counts.add(self._counts.outages, change.detail)
        self._tell_holes()

    def _mute(self, change: FeedChange) -> None:
        """A hole on an open socket: it ends, instrument by instrument, with the answers to the next subscription."""
        if not change.quiet_ns:
            return  # nothing is asked for now: the next step, or the flow that ends the spell, looks back to here
        now_ns = time.monotonic_ns()
        tokens = [token for token in self.pool.tokens_of(change.socket) if token in self._live_tokens]
        self._outages.closed(change.socket, tokens=tokens, start_ns=now_ns - change.quiet_ns, cause=CloseReason.MUTE)
        self._outages.opened(change.socket, now_ns=now_ns)
        self._counts.add(self._counts.outages, CloseReason.MUTE)
        self._tell_holes()

    def _report(self, gaps: Sequence[Gap]) -> None:
        for gap in gaps:
            slots = self.table.slots_of(np.array(gap.tokens, np.uint32))
            slots = slots[slots >= 0]
            if len(slots):
                seconds = (gap.end_ns - gap.start_ns) / NS_PER_S
                log.info("gap", extra={"instruments": len(slots), "seconds": seconds, "cause": gap.cause})
                self.publisher.report_gap(slots, start_ns=gap.start_ns, end_ns=gap.end_ns, cause=gap.cause)
        if gaps:
            self._tell_holes()

    def _tell_holes(self) -> None:
        """The publisher keeps them in Redis, for a successor that has to declare them."""
        now_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        missing = self._outages.holes(now_ns=now_ns, wall_ns=wall_ns)
        holes = [
            Hole(self.table.slots_of(np.array(gap.tokens, np.uint32)), gap.start_ns, gap.cause)
            for gap in [*missing, *self._unseen_gaps(now_ns=now_ns, wall_ns=wall_ns)]
        ]
        self.publisher.set_holes(holes)

    def _unseen_gaps(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        """What may turn out to have been missed. Whoever keeps the channels will know; a successor never would."""
        known = self._live_tokens - self._outages.awaited
        gaps = []
        for socket, since_ns in self._unseen.items():
            tokens = tuple(token for token in self.pool.tokens_of(socket) if token in known)
            if tokens:
                gaps.append(Gap(tokens, wall_ns - (now_ns - since_ns), wall_ns, CloseReason.MUTE))
        return gaps

    def _tell_warmth(self) -> None:
        for number, warm in enumerate(warm_sockets(self.pool.status(), self.table), 1):
            self.publisher.set_feed(warm, socket=number)


def unseen_sockets(feed: FeedStatus, *, now_ns: int) -> dict[int, int]:
    """Open sockets that are too quiet to be believed, and since when nothing has come on them (monotonic)."""
    since_ns = {number: socket.unseen_since_ns(now_ns) for number, socket in enumerate(feed.sockets)}
    return {number: at_ns for number, at_ns in since_ns.items() if at_ns is not None}


def feed_settings(settings: ShardSettings) -> FeedSettings:
    """The feed's part of the settings."""
    wait_ms = settings.confirm_after_s * 1_000
    return FeedSettings(
        url=settings.ticker_url,
        sockets=settings.sockets,
        instruments_per_socket=settings.instruments_per_socket,
        silence_ms=settings.silence_ms,
        mute_ms=settings.mute_ms,
        market_hours=settings.market_hours,
        confirm_ms=max(1, int(wait_ms / CONFIRM_ATTEMPTS)),
        confirm_max_ms=max(CONFIRM_WAIT_MAX_MS, int(wait_ms)),
        confirm_attempts=CONFIRM_ATTEMPTS,
    )


def breaker_settings(settings: ShardSettings) -> BreakerSettings:
    """The circuit breaker's part of the settings."""
    breaker = BreakerSettings(
        failures_to_open=settings.circuit_failures,
        wait_first_ns=settings.circuit_wait_first_ms * MS_NS,
        wait_max_ns=settings.circuit_wait_max_ms * MS_NS,
    )
    assert TIMING.call_timeout_ns + breaker.wait_max_ns < TIMING.silent_ns, "the setting's range sees to that"
    return breaker


def backpressure_settings(settings: ShardSettings) -> BackpressureSettings:
    """The backpressure's part of the settings."""
    return BackpressureSettings(
        fill_max=settings.backpressure_fill,
        conflate_ms=settings.backpressure_conflate_ms,
        shed_ms=settings.backpressure_shed_ms,
        calm_ms=settings.backpressure_calm_ms,
    )
