"""How many sockets the broker lets stand, learnt from how it ends them: ours must not fight for too few places. Pure.

A key has three places, but an old pod, another program or a dead connection may sit on one. The broker either refuses
the socket too many (429), or, as one user reports, lets it in and throws the oldest out. Without care the second makes
a wheel: the displaced socket comes back, displaces the next one, and no instrument streams for long.

So when the *broker* ends the oldest of our open sockets while another one of ours is on its way in, or within `JUST_S`
of its opening, it is taken for displaced by that one. It waits: a few seconds the first time, because it may have been
chance, then as long as after a 429, and twice as long each further time. One socket that comes in and displaces nobody
ends the count. If the one that came in ends or does not get in after all, there is a place (or it was no displacement),
and those that made way for it come back as after any loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from ticker_shard.feed.settings import FeedSettings

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000 * MILLISECOND_NS
JUST_S: Final = 2.0
FIRST_WAIT_MS: Final = (3_000, 6_000)
DOUBLINGS_MAX: Final = 5  # 16 to 21 minutes


@dataclass(slots=True)
class _Socket:
    attempting: bool = False
    opened_ns: int | None = None  # while it is open
    displaces: bool = False  # somebody had to go when it came
    made_way_for: int | None = None


class SocketSlots:
    """The places of one account's sockets.

    Parameters
    ----------
    settings
        Number of sockets; how long a 429 waits.
    chance
        Source of jitter.

    Attributes
    ----------
    accepted
        How many of our sockets stood when one was last refused or displaced; nothing if none was, or more stand since.
    """

    def __init__(self, settings: FeedSettings, *, chance: Random) -> None:
        self._sockets = [_Socket() for _ in range(settings.sockets)]
        self._rate_limited_ms = settings.rate_limited_ms
        self._chance = chance
        self._displaced = 0  # in a row
        self._displaced_ns = 0
        self.accepted: int | None = None

    def attempts(self, socket: int) -> None:
        """A socket asks to be let in."""
        self._sockets[socket] = _Socket(attempting=True)

    def opened(self, socket: int, *, now_ns: int) -> None:
        """It was let in."""
        self._sockets[socket].attempting, self._sockets[socket].opened_ns = False, now_ns

    def failed(self, socket: int, *, limited: bool) -> list[int]:
        """It was not; `limited`: with 429. Who made way for it."""
        self._sockets[socket].attempting = False
        if limited:
            self.accepted = self._standing()
        return self._come_back(socket)

    def ended(self, socket: int, *, by_broker: bool, now_ns: int) -> tuple[int | None, list[int]]:
        """An open socket has ended: nanoseconds that it has to wait if it was displaced, and who made way for it."""
        one = self._sockets[socket]
        newcomer = self._newcomer(socket, now_ns) if by_broker and self._is_oldest(one) else None
        one.opened_ns = None
        if newcomer is None:
            return None, self._come_back(socket)
        for other in self._sockets:
            if other.made_way_for == socket:
                other.made_way_for = newcomer  # its place is taken as well
        one.made_way_for = newcomer
        self._sockets[newcomer].displaces = True
        self.accepted = self._standing() + self._sockets[newcomer].attempting
        return self._wait_ns(now_ns), []

    def settle(self, *, now_ns: int) -> None:
        """To be called now and then: what was learnt is forgotten when more sockets stand, and have for a while."""
        settled_ns = now_ns - 2 * int(JUST_S * SECOND_NS)
        standing = [one for one in self._sockets if one.opened_ns is not None]
        if any(not one.displaces and self._displaced_ns < (one.opened_ns or 0) < settled_ns for one in standing):
            self._displaced = 0
        calm = all((one.opened_ns or 0) < settled_ns for one in standing)
        if self.accepted is not None and calm and len(standing) > self.accepted:
            self.accepted = None

    def _is_oldest(self, one: _Socket) -> bool:
        return one.opened_ns == min(other.opened_ns for other in self._sockets if other.opened_ns is not None)

    def _standing(self) -> int:
        return sum(one.opened_ns is not None for one in self._sockets)

    def _newcomer(self, socket: int, now_ns: int) -> int | None:
        others = [(number, one) for number, one in enumerate(self._sockets) if number != socket]
        for number, one in others:
            if one.opened_ns is not None and now_ns - one.opened_ns <= JUST_S * SECOND_NS:
                return number
        return next((number for number, one in others if one.attempting), None)

    def _come_back(self, socket: int) -> list[int]:
        back = [number for number, one in enumerate(self._sockets) if one.made_way_for == socket]
        for number in back:
            self._sockets[number].made_way_for = None
        return back

    def _wait_ns(self, now_ns: int) -> int:
        self._displaced += 1
        self._displaced_ns = now_ns
        if self._displaced == 1:
            return int(self._chance.uniform(*FIRST_WAIT_MS) * MILLISECOND_NS)
        doublings = min(self._displaced - 2, DOUBLINGS_MAX)
        return int(self._chance.uniform(*self._rate_limited_ms) * MILLISECOND_NS) << doublings
