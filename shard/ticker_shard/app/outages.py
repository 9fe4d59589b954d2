"""Holes in time: from when an instrument's socket stopped delivering until its first packet afterwards. Pure.

The broker replays nothing, so whatever changed in between is known only by its result. A hole therefore gets a record
(instruments, start, end, cause), and consumers can tell a quiet instrument from an unseen one. Instruments of one
outage come back one by one; those that came within `GROUP_S` share a record that ends with the last of them, so no
record reaches further than that into time in which its instruments flowed, and an outage makes at most
``PATIENCE_S / GROUP_S`` records. Instruments that have not come back `PATIENCE_S` after the reconnect get a record of
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
GROUP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Gap:
    """One record; times are wall clock nanoseconds, `start_ns` ≤ `end_ns`."""

    tokens: tuple[int, ...]
    start_ns: int
    end_ns: int
    cause: str


@dataclass(slots=True)
class _Outage:
    socket: int
    start_ns: int  # monotonic, as all that is kept
    cause: str
    missing: set[int]
    back: set[int] = field(default_factory=set)  # without a record yet
    back_since_ns: int = 0  # when the first and the last of them came
    back_until_ns: int = 0
    reopened_ns: int | None = None

    def gap(self, tokens: Iterable[int], *, end_ns: int, now_ns: int, wall_ns: int, more: str = "") -> Gap:
        end_wall_ns = wall_ns - (now_ns - end_ns)
        start_wall_ns = end_wall_ns - max(0, end_ns - self.start_ns)
        return Gap(tuple(sorted(tokens)), start_wall_ns, end_wall_ns, self.cause + more)

    def came_back(self, tokens: set[int], *, now_ns: int) -> None:
        if not self.back:
            self.back_since_ns = now_ns
        self.missing -= tokens
        self.back |= tokens
        self.back_until_ns = now_ns

    def group_is_over(self, now_ns: int) -> bool:
        return bool(self.back) and (not self.missing or now_ns - self.back_since_ns >= GROUP_S * NS_PER_S)

    def close_group(self, *, now_ns: int, wall_ns: int) -> Gap:
        tokens, self.back = self.back, set()
        return self.gap(tokens, end_ns=self.back_until_ns, now_ns=now_ns, wall_ns=wall_ns)


class OutageTracker:
    """Collects what is missing and what came back; an instrument is missing in at most one outage.

    Times named `start_ns` and `now_ns` are monotonic, `wall_ns` is the same moment on the wall clock.
    """

    def __init__(self) -> None:
        self._open: list[_Outage] = []  # never more than instruments

    @property
    def awaited(self) -> set[int]:
        """Instruments in outages without a record."""
        return {token for outage in self._open for token in outage.missing | outage.back}

    def closed(self, socket: int, *, tokens: Iterable[int], start_ns: int, cause: str) -> None:
        """A socket that delivered these confirmed instruments delivers no more since `start_ns`."""
        fresh = set(tokens)
        for outage in self._open:
            if outage.socket == socket:
                if not outage.group_is_over(start_ns):  # lost again within a moment: one hole, the first start
                    outage.missing |= fresh & outage.back
                    outage.back -= fresh
                fresh -= outage.missing
                outage.reopened_ns = None
        if fresh:
            self._open.append(_Outage(socket, start_ns, cause, fresh))

    def opened(self, socket: int, *, now_ns: int) -> None:
        """The socket is open again."""
        for outage in self._open:
            if outage.socket == socket:
                outage.reopened_ns = now_ns

    def seen(self, tokens: Iterable[int], *, now_ns: int, wall_ns: int) -> list[Gap]:
        """First packets came: the holes that are over by them."""
        if not self._open:
            return []
        arrived = set(tokens)
        done = self._close_groups(now_ns=now_ns, wall_ns=wall_ns)
        for outage in self._open:
            if back := outage.missing & arrived:
                outage.came_back(back, now_ns=now_ns)
        return done + self._close_groups(now_ns=now_ns, wall_ns=wall_ns)

    def removed(self, tokens: Iterable[int]) -> None:
        """These instruments are not assigned any more."""
        gone = set(tokens)
        for outage in self._open:
            outage.missing -= gone
            outage.back -= gone
        self._forget_empty()

    def holes(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        """What is missing at the moment: outages without a record yet, each up to now."""
        return [
            outage.gap(outage.missing | outage.back, end_ns=now_ns, now_ns=now_ns, wall_ns=wall_ns)
            for outage in self._open
        ]

    def overdue(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        """Groups that are over by time alone, and what stayed away for `PATIENCE_S` although its socket was open."""
        done = self._close_groups(now_ns=now_ns, wall_ns=wall_ns)
        for outage in self._open:
            reopened_ns = outage.reopened_ns
            if reopened_ns is not None and now_ns - reopened_ns >= PATIENCE_S * NS_PER_S:
                if outage.back:
                    done.append(outage.close_group(now_ns=now_ns, wall_ns=wall_ns))
                more = ", no packet since"
                done.append(outage.gap(outage.missing, end_ns=now_ns, now_ns=now_ns, wall_ns=wall_ns, more=more))
                outage.missing = set()
        self._forget_empty()
        return done

    def _close_groups(self, *, now_ns: int, wall_ns: int) -> list[Gap]:
        done = [
            outage.close_group(now_ns=now_ns, wall_ns=wall_ns) for outage in self._open if outage.group_is_over(now_ns)
        ]
        self._forget_empty()
        return done

    def _forget_empty(self) -> None:
        self._open = [outage for outage in self._open if outage.missing or outage.back]
