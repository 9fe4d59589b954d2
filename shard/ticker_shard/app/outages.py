"""Holes in time: from when an instrument's socket stopped delivering until its first packet afterwards. Pure.

The broker replays nothing, so whatever changed in between is known only by its result. A hole therefore gets a record
(instruments, start, end, cause), and consumers can tell a quiet instrument from an unseen one. An outage is closed
once, when all of its instruments have come back; those that have not `PATIENCE_S` after the reconnect get a record of
their own, because a record that never comes helps nobody.

How long a hole is, the monotonic clock says; where it lies in time, the wall clock at the moment of the record. So a
wall clock that is set during an outage makes no hole longer, and none negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
PATIENCE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Gap:
    """One record; times are wall clock nanoseconds, `start_ns` ≤ `end_ns`."""

    tokens: tuple[int, ...]
    start_ns: int
    end_ns: int
    cause: str


@dataclass(slots=True)
class _Outage:
    start_ns: int  # monotonic, as all that is kept
    cause: str
    missing: set[int]
    back: set[int] = field(default_factory=set)
    reopened_ns: int | None = None

    def gap(self, tokens: Iterable[int], *, cause: str, now_ns: int, wall_ns: int) -> Gap:
        return Gap(tuple(sorted(tokens)), wall_ns - max(0, now_ns - self.start_ns), wall_ns, cause)


class OutageTracker:
    """Collects what is missing and what came back, socket by socket; at most one outage a socket is open.

    Times named `start_ns` and `now_ns` are monotonic, `wall_ns` is the same moment on the wall clock.
    """

    def __init__(self) -> None:
        self._open: dict[int, _Outage] = {}
        self.total = 0

    def closed(self, socket: int, *, tokens: Iterable[int], start_ns: int, cause: str) -> None:
        """A socket that delivered these confirmed instruments delivers no more since `start_ns`."""
        missing = set(tokens)
        outage = self._open.get(socket)
        if outage is not None:  # closed again before all had come back: one hole, the first start
            outage.missing |= (missing & outage.back) | (missing - outage.back)
            outage.back -= missing
            outage.reopened_ns = None
        elif missing:
            self._open[socket] = _Outage(start_ns, cause, missing)
            self.total += 1

    def opened(self, socket: int, *, now_ns: int) -> None:
        """The socket is open again."""
        outage = self._open.get(socket)
        if outage is not None:
            outage.reopened_ns = now_ns

    def seen(self, tokens: Iterable[int], *, now_ns: int, wall_ns: int) -> list[Gap]:
        """First packets came: the outages that are over by them."""
        if not self._open:
            return []
        arrived = set(tokens)
        done = []
        for socket, outage in list(self._open.items()):
            back = outage.missing & arrived
            outage.missing -= back
            outage.back |= back
            if not outage.missing:
                del self._open[socket]
                done.append(outage.gap(outage.back, cause=outage.cause, now_ns=now_ns, wall_ns=wall_ns))
        return done

    def removed(self, tokens: Iterable[int]) -> None:
        """These instruments are not assigned any more."""
        gone = set(tokens)
        for socket, outage in list(self._open.items()):
            outage.missing -= gone
            outage.back -= gone
            if not outage.missing and not outage.back:
                del self._open[socket]

    def holes(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        """What is missing at the moment: outages without a record yet, each up to now."""
        return [
            outage.gap(outage.missing | outage.back, cause=outage.cause, now_ns=now_ns, wall_ns=wall_ns)
            for outage in self._open.values()
        ]

    def overdue(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        """Outages whose socket has been open for `PATIENCE_S` while some instruments stayed away."""
        done = []
        for socket, outage in list(self._open.items()):
            reopened_ns = outage.reopened_ns
            if reopened_ns is None or (outage.missing and now_ns - reopened_ns < PATIENCE_S * NS_PER_S):
                continue
            del self._open[socket]
            if outage.back:
                done.append(outage.gap(outage.back, cause=outage.cause, now_ns=now_ns, wall_ns=wall_ns))
            if outage.missing:
                cause = f"{outage.cause}, no packet since"
                done.append(outage.gap(outage.missing, cause=cause, now_ns=now_ns, wall_ns=wall_ns))
        return done
