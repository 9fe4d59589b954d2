"""The account's sockets: placement of instruments on them, credentials, and one status.

One event loop, no thread. Frames are handed to one callback inside the socket's read; its answer, the tokens whose
first packet of the wanted mode was among them, confirms subscriptions. So the room that decodes decides what a
confirmation is, and the room that connects never looks into a packet.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Final

from ticker_shard.feed.events import FeedStatus
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.settings import Credentials, FeedSettings
from ticker_shard.feed.shell import SECOND_NS, OnChange, OnExpect, OnFrame, SocketShell
from ticker_shard.feed.slots import SocketSlots
from ticker_shard.feed.subscriptions import MILLISECOND_NS
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.placement import Placement, place
from ticker_shard.ticks.sessions import MarketHours, MarketPhase, phase_at

__all__ = ["KiteWebSocketPool", "OnChange", "OnExpect", "OnFrame"]

MARKET_LOOK_S: Final = 1.0


class KiteWebSocketPool:
    """1 to 3 sockets of one account.

    Parameters
    ----------
    settings
        How they behave.
    on_frame
        (payload, wall clock ns) → tokens confirmed by it. Called synchronously with every binary frame that may hold
        packets; the payload is valid during the call only. What it raises is counted and logged and costs no
        connection.
    on_expect
        Called with the tokens that are about to be subscribed, before the messages leave: the next packet of the
        wanted mode of each is to be reported by `on_frame`. Give it ``processor.expect_tokens``.
    on_change
        Called after every change, synchronously.
    on_closed
        Called with a socket's number when it is closed for good.
    chance
        Source of jitter.
    """

    def __init__(
        self,
        settings: FeedSettings,
        *,
        on_frame: OnFrame,
        on_expect: OnExpect,
        on_change: OnChange,
        on_closed: Callable[[int], None] = lambda number: None,
        chance: random.Random | None = None,
    ) -> None:
        chance = chance or random.SystemRandom()
        self._settings = settings
        self._on_closed = on_closed
        self._credentials: Credentials | None = None
        self._allowed = settings.sockets
        self._placement = Placement({})
        self._contracts: dict[int, tuple[str, str, str]] = {}  # by token, of the table in force
        self._next_attempt_ns = 0
        self._phase = phase_at(0, hours=MarketHours.NEVER)
        self._market_known = False
        tls = ssl.create_default_context() if settings.url.startswith("wss:") else None
        self._slots = SocketSlots(settings, chance=chance)
        self._shells = [
            SocketShell(
                number,
                session=KiteSession(settings, chance=chance),
                settings=settings,
                on_frame=on_frame,
                on_expect=on_expect,
                on_change=on_change,
                gate=self._spaced,
                slots=self._slots,
                on_place=self._give_places,
                tls=tls,
            )
            for number in range(settings.sockets)
        ]

    async def run(self) -> None:
        """Keep the sockets connected until `close`; raises only for a fault of ours."""
        async with asyncio.TaskGroup() as group:
            sockets = [
                group.create_task(self._drive(shell), name=f"feed-socket-{shell.number}") for shell in self._shells
            ]
            market = group.create_task(self._follow_market(), name="feed-market-hours")
            await asyncio.wait(sockets)
            market.cancel()

    def close(self) -> None:
        """Close every socket with a close frame; `run` returns when they are gone. Idempotent."""
        self.close_sockets(range(len(self._shells)))

    def close_sockets(self, numbers: Iterable[int]) -> None:
        """Close these with a close frame, for good. Idempotent."""
        for number in numbers:
            self._shells[number].session.stop()
            self._shells[number].poke()

    def allow(self, sockets: int) -> None:
        """Let no more than the first so many connect; one that is open stays."""
        before, self._allowed = self._allowed, sockets
        if self._credentials is not None and sockets > before:
            self.set_credentials(self._credentials)

    def set_credentials(self, credentials: Credentials) -> None:
        """Use these from the next upgrade on; the same ones again change nothing.

        A rejected socket connects at once. An open one stays open (it streams on although its token has expired)
        unless the key is another one or it has brought no tick for a while.

        Parameters
        ----------
        credentials
            As read from the account's Secret.
        """
        self._credentials, now_ns = credentials, time.monotonic_ns()
        for shell in self._shells[: self._allowed]:  # without any, a session does not connect
            shell.session.set_credentials(credentials, now_ns=now_ns)
            shell.poke()

    def want(self, table: InstrumentTable) -> None:
        """Stream what `table` assigns, by differences, without reconnecting. Configure the processor first.

        Parameters
        ----------
        table
            The assignment in force from now on.
        """
        modes = {row.token: row.mode for row in table.instruments if row is not None}
        # The broker gives tokens of expired contracts to new ones: what the old one sent confirms nothing.
        contracts = {row.token: row.identity for row in table.instruments if row is not None}
        before, self._contracts = self._contracts, contracts
        recycled = [token for token in contracts if before.get(token, contracts[token]) != contracts[token]]
        settings, now_ns = self._settings, time.monotonic_ns()
        self._placement = place(
            modes,
            sockets=settings.sockets,
            capacity=settings.instruments_per_socket,
        )
        for shell in self._shells:
            shell.session.want(
                {token: modes[token] for token, socket in self._placement.socket_of.items() if socket == shell.number},
                recycled=recycled,
                now_ns=now_ns,
            )
            shell.poke()

    def ask_again(self, tokens: Iterable[int]) -> None:
        """Subscribe these once more: they are quiet while their socket flows.

        Parameters
        ----------
        tokens
            Those that are not wanted any more are ignored.
        """
        by_socket: dict[int, list[int]] = {}
        for token in tokens:
            if (socket := self._placement.socket_of.get(token)) is not None:
                by_socket.setdefault(socket, []).append(token)
        for socket, chosen in by_socket.items():
            self._shells[socket].session.ask_again(chosen)
            self._shells[socket].poke()

    def status(self) -> FeedStatus:
        """All sockets as they are now."""
        return FeedStatus(
            settings=self._settings,
            sockets=tuple(shell.session.status() for shell in self._shells),
            unplaced=self._placement.unplaced,
            sockets_accepted=self._slots.accepted,
            callback_errors=sum(shell.callback_errors for shell in self._shells),
        )

    @property
    def phase(self) -> MarketPhase:
        """Which segments trade; before `run` has looked, none."""
        return self._phase

    def socket_of(self, token: int) -> int | None:
        """The socket on which an instrument is placed; nothing for others."""
        return self._placement.socket_of.get(token)

    def tokens_of(self, socket: int) -> list[int]:
        """The instruments placed on one socket.

        Parameters
        ----------
        socket
            Its number.
        """
        return [token for token, number in self._placement.socket_of.items() if number == socket]

    async def _drive(self, shell: SocketShell) -> None:
        await shell.run()
        self._on_closed(shell.number)

    def _give_places(self, sockets: list[int]) -> None:
        now_ns = time.monotonic_ns()
        for socket in sockets:
            self._shells[socket].session.make_way_no_more(now_ns=now_ns)
            self._shells[socket].poke()

    async def _follow_market(self) -> None:
        """Tell the sessions which segments trade. Asked every second: the wall clock may be set at any time."""
        while True:
            self._slots.settle(now_ns=time.monotonic_ns())
            wall_ns = time.time_ns()
            if not self._market_known or not self._phase.holds(wall_ns):
                self._market_known = True
                self._phase = phase_at(wall_ns, hours=self._settings.market_hours)
                for shell in self._shells:
                    shell.session.set_market(self._phase.open.tolist(), now_ns=time.monotonic_ns())
                    shell.poke()
            await asyncio.sleep(MARKET_LOOK_S)

    async def _spaced(self) -> None:
        now_ns = time.monotonic_ns()
        start_ns = max(now_ns, self._next_attempt_ns)
        self._next_attempt_ns = start_ns + self._settings.spacing_ms * MILLISECOND_NS
        await asyncio.sleep((start_ns - now_ns) / SECOND_NS)
