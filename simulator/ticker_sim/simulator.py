"""The simulator's state and its clockwork: one market, the accounts, the open sockets, the faults, the record.

Standard it is held to: the vendor's own clients cannot tell it from the real one. This file knows when things happen;
what happens is left to the pure parts (`market`, `session`, `accounts`, `faults`, `spoil`, `wire`). The market moves in
short steps, each sized so that no instrument has to change twice in one; sockets send what is due on their own, so
a slow one delays nobody and gets newer snapshots instead of a backlog.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import time
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from ticker_sim import faults, rates
from ticker_sim.accounts import Account, Accounts, default_accounts
from ticker_sim.connection import Connection
from ticker_sim.credentials import read_credentials
from ticker_sim.fault_book import FaultBook
from ticker_sim.history import History
from ticker_sim.instruments import build_dump, dump_csv
from ticker_sim.market import Market, Places
from ticker_sim.record import SentRecord, Traffic
from ticker_sim.settings import SimulatorSettings
from ticker_sim.tape import Tape
from ticker_sim.trading_days import IST

log = logging.getLogger(__name__)

STEP_S: Final = 0.02
STEP_S_MIN: Final = 0.002
CREDIT_S_MAX: Final = 0.5  # a stalled machine does not make up for more than this
REFRESH_S: Final = 0.5  # so often a part of the instruments that nobody watches is repriced,
REFRESH_PARTS: Final = 10  # in turns, because all at once would hold up every socket for some 30 ms
RECORDS_MAX: Final = 64  # keys with a record of their own


class Clock:
    """Simulated time: starts at the market's opening and runs `speed` times as fast as the machine's.

    It never stands still: a market that is paused has no changes, not no time.
    """

    def __init__(self, *, opened_ns: int, speed: float) -> None:
        self._opened_ns = opened_ns
        self._speed = speed
        self._started_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Simulated Unix time."""
        return self._opened_ns + int((time.monotonic_ns() - self._started_ns) * self._speed)


@dataclass(slots=True)
class Finish:
    """How a pause ended: everything sent, or what still waited at the deadline."""

    finished: bool
    pending: dict[int, int] = field(default_factory=dict)


class Simulator:
    """Everything behind the port.

    Parameters
    ----------
    settings
        As given.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        self.settings = settings
        self.day = settings.day or dt.datetime.now(IST).date()
        self.instruments = build_dump(self.day)
        self.dump = dump_csv(self.instruments)
        self.market = Market(self.instruments, day=self.day, open_at=settings.open_at, seed=settings.seed)
        self.clock = Clock(opened_ns=self.market.opened_ns, speed=settings.speed)
        self.accounts = Accounts(
            accept_any=settings.accept_any,
            expire_at=settings.token_expires_at,
            login_replaces=settings.login_replaces,
            sockets_per_key=settings.sockets_per_key,
            seed=settings.seed,
        )
        self._register_accounts()
        self.faults = FaultBook(seed=settings.seed)
        self.history = History(time.monotonic_ns)
        self.limits = rates.RateLimits(enabled=settings.rate_limits)
        self.record = SentRecord(self.market.tokens)
        self.tape = Tape(self.market.tokens, time.monotonic_ns)
        self.records: dict[str, SentRecord] = {}
        self.traffic = Traffic()
        self.connections: dict[int, Connection] = {}
        self.opened = 0
        self.refused: dict[int, int] = {}
        self.changes = 0
        self.paused = False
        self._part = 0

    def next_socket(self) -> int:
        """Number of the next socket; they count from 1."""
        self.opened += 1
        return self.opened

    def records_of(self, api_key: str) -> list[SentRecord]:
        """The records that a packet to this key belongs to."""
        own = self.records.get(api_key)
        if own is None and len(self.records) < RECORDS_MAX:
            own = self.records[api_key] = SentRecord(self.market.tokens)
        return [self.record] if own is None else [self.record, own]

    def watched(self) -> Places:
        """Places that at least one socket subscribed to."""
        mask = np.zeros(len(self.market), np.bool_)
        for connection in self.connections.values():
            mask |= connection.session.modes != 0
        return np.flatnonzero(mask)

    async def run(self) -> None:
        """Move the market until cancelled."""
        credit = 0.0
        last = time.monotonic()
        refreshed = last
        while True:
            watched = self.watched()
            rate = self.settings.ticks_per_second * self._burst()
            await asyncio.sleep(min(max(len(watched) / rate, STEP_S_MIN), STEP_S) if rate else STEP_S)
            now = time.monotonic()
            credit = min(credit + rate * (now - last), rate * CREDIT_S_MAX)
            last = now
            if self.paused:
                credit = 0.0
                continue
            watched = self.watched()
            count = int(credit)
            if count and len(watched):
                self._step(watched, count)
            credit -= count
            if now - refreshed >= REFRESH_S:
                refreshed = now
                self._refresh(watched)

    async def pause(self, *, finish: bool, timeout_s: float) -> Finish:
        """Let the market stand still; with `finish`, wait until every socket got what changed before.

        A socket that a fault keeps from sending is not waited for longer than `timeout_s`.
        """
        self.paused = True
        self.history.add("paused", finish=finish)
        if not finish:
            return Finish(finished=True)
        deadline = time.monotonic() + timeout_s
        while True:
            pending = {number: left for number, c in self.connections.items() if (left := c.unsent())}
            if not pending or time.monotonic() >= deadline:
                self.history.add("finished", pending=sum(pending.values()))
                return Finish(finished=not pending, pending=pending)
            await asyncio.sleep(STEP_S_MIN)

    def resume(self) -> None:
        """Let the market go on."""
        self.paused = False
        self.history.add("resumed")

    async def close(self) -> None:
        """Close every socket as a server that goes away does."""
        await asyncio.gather(*(c.close(code=1001, reason="going away") for c in list(self.connections.values())))

    def _refresh(self, watched: Places) -> None:
        part = np.arange(self._part, len(self.market), REFRESH_PARTS)
        self._part = (self._part + 1) % REFRESH_PARTS
        others = np.setdiff1d(part, watched, assume_unique=True)
        self.market.refresh(others, now_ns=self.clock.now_ns())
        self.tape.changed(others, self.market.rows[others])

    def _step(self, watched: Places, count: int) -> None:
        changed = self.market.step(watched, count=count, now_ns=self.clock.now_ns())
        self.changes += len(changed)
        self.tape.changed(changed, self.market.rows[changed])
        for connection in self.connections.values():
            connection.notice(changed)

    def _burst(self) -> int:
        factors = self.faults.in_force(faults.Burst, now_ns=time.monotonic_ns(), api_key=None)
        return max((fault.factor for fault in factors), default=1)

    def _register_accounts(self) -> None:
        path = self.settings.credentials_file
        now_ns = self.clock.now_ns()
        for api_key, api_secret, access_token, user_id in (
            default_accounts() if path is None else read_credentials(path)
        ):
            self.accounts.register(Account(api_key, api_secret, user_id), access_token=access_token, now_ns=now_ns)
