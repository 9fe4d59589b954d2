"""Who sits where while a plan is made: loads, channels and places, and the rules for taking a place.

`Seating` is the only mutable thing in planning. It lives for one call of `strategies.plan`, and every change of a
place goes through `put` and `take`, so that loads and channels cannot disagree with the places.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ticker_crds.constants import CHANNELS_PER_ACCOUNT_MAX
from ticker_operator.model import MoveReason, Resolution, UnassignedReason, Wanted


@dataclass(frozen=True, slots=True)
class Seat:
    """One account, as placing sees it.

    Attributes
    ----------
    name, capacity
        Of the account.
    keeps
        What is there may stay.
    takes
        Something new may come.
    held_down
        It came back a moment ago: something new comes only if nobody else has room.
    paused
        Nothing changes there.
    leaves
        Why everything leaves, where it does not keep.
    """

    name: str
    capacity: int
    keeps: bool = True
    takes: bool = True
    held_down: bool = False
    paused: bool = False
    leaves: MoveReason = MoveReason.CAPACITY


class Seating:
    """Places by position (an instrument's place in `Resolution.wanted`)."""

    def __init__(self, resolution: Resolution, seats: Iterable[Seat]) -> None:
        self.wanted: Sequence[Wanted] = resolution.wanted
        self.seats = {seat.name: seat for seat in sorted(seats, key=lambda seat: seat.name)}
        self.places: list[str | None] = [None] * len(self.wanted)
        self.loads = dict.fromkeys(self.seats, 0)
        self.channels: dict[str, dict[str, int]] = {name: {} for name in self.seats}
        self.reasons: dict[int, MoveReason] = {}  # why it left the account that would have kept it
        self.refusals: dict[int, UnassignedReason] = {}
        self._groups = [frozenset(group) for group in resolution.groups]
        self._takers: list[tuple[str, ...]] = [
            tuple(name for name, seat in self.seats.items() if seat.takes and name in group) for group in self._groups
        ]

        self._tiers = [
            tuple(tuple(name for name in takers if self.seats[name].held_down is held) for held in (False, True))
            for takers in self._takers
        ]

    # -- rules ---------------------------------------------------------------------------------------------------

    def allows(self, position: int, account: str) -> bool:
        """Whether the instrument's subscriptions allow this account."""
        return account in self._groups[self.wanted[position].group]

    def takers(self, position: int) -> tuple[str, ...]:
        """Accounts, by name, that may take the instrument if they have room."""
        return self._takers[self.wanted[position].group]

    def has_room(self, account: str) -> bool:
        """Whether one more instrument fits."""
        return self.loads[account] < self.seats[account].capacity

    def has_channels(self, position: int, account: str) -> bool:
        """Whether its channels fit among the account's."""
        used = self.channels[account]
        fresh = sum(name not in used for name in self.wanted[position].row.channels)
        return not fresh or len(used) + fresh <= CHANNELS_PER_ACCOUNT_MAX

    # -- changing places -----------------------------------------------------------------------------------------

    def put(self, position: int, account: str) -> None:
        """Give it this place. The caller has asked the rules."""
        assert self.places[position] is None, position
        self.places[position] = account
        self.loads[account] += 1
        used = self.channels[account]
        for name in self.wanted[position].row.channels:
            used[name] = used.get(name, 0) + 1

    def take(self, position: int, reason: MoveReason) -> None:
        """Take its place away, because of `reason`."""
        account = self.places[position]
        assert account is not None, position
        self.places[position] = None
        self.reasons[position] = reason
        self.loads[account] -= 1
        used = self.channels[account]
        for name in self.wanted[position].row.channels:
            used[name] -= 1
            if not used[name]:
                del used[name]

    # -- steps ---------------------------------------------------------------------------------------------------

    def trim(self) -> list[int]:
        """Take away what no longer fits: the account's capacity shrank, or its instruments got more channels.

        The lowest priority leaves first, among equals the last in order; of channels the least used.
        """
        evicted: list[int] = []
        for name, seat in self.seats.items():
            surplus = self.loads[name] - seat.capacity
            if seat.paused or (surplus <= 0 and len(self.channels[name]) <= CHANNELS_PER_ACCOUNT_MAX):
                continue
            most_used = sorted(self.channels[name], key=lambda channel: (-self.channels[name][channel], channel))
            dropped = set(most_used[CHANNELS_PER_ACCOUNT_MAX:])
            for position in self.leaving_order(name):
                if surplus > 0 or not dropped.isdisjoint(self.wanted[position].row.channels):
                    self.take(position, MoveReason.CAPACITY)
                    evicted.append(position)
                    surplus -= 1
        return evicted

    def leaving_order(self, account: str) -> list[int]:
        """Everything at the account, who would leave first in front: lowest priority, then last in order."""
        here = [position for position, place in enumerate(self.places) if place == account]
        return sorted(here, key=lambda position: (self.wanted[position].priority, -position))

    def place(self, positions: Iterable[int]) -> None:
        """Give each of them a place: ``accounts[position % n]``, the next with room, or one of a lower priority's."""
        waiting = [(-self.wanted[position].priority, position) for position in positions]
        heapq.heapify(waiting)
        victims: dict[str, list[int]] = {}
        full: set[int] = set()  # groups in which nobody has room; displacing does not make any
        while waiting:
            _, position = heapq.heappop(waiting)
            takers = self.takers(position)
            if not takers:
                anyone = any(seat.takes for seat in self.seats.values())
                self.refusals[position] = (
                    UnassignedReason.NO_MATCHING_ACCOUNT if anyone else UnassignedReason.NO_ACCOUNT
                )
                continue
            group = self.wanted[position].group
            refusal = UnassignedReason.CAPACITY_EXCEEDED
            if group not in full:
                account, refusal = self._first_with_room(position, self._in_turn(position))
                if account is not None:
                    self.put(position, account)
                    continue
                if refusal is UnassignedReason.CAPACITY_EXCEEDED:
                    full.add(group)
            displaced = self._displace(position, takers, victims)
            if displaced is None:
                self.refusals[position] = refusal
            else:
                heapq.heappush(waiting, (-self.wanted[displaced].priority, displaced))

    def _in_turn(self, position: int) -> list[str]:
        """Its takers, beginning with ``accounts[position % n]``; those that are held down after all others."""
        turn: list[str] = []
        for tier in self._tiers[self.wanted[position].group]:
            first = position % len(tier) if tier else 0
            turn += (*tier[first:], *tier[:first])
        return turn

    def _first_with_room(self, position: int, takers: Sequence[str]) -> tuple[str | None, UnassignedReason]:
        refusal = UnassignedReason.CAPACITY_EXCEEDED
        for account in takers:
            if self.has_room(account):
                if self.has_channels(position, account):
                    return account, refusal
                refusal = UnassignedReason.TOO_MANY_CHANNELS
        return None, refusal

    def _displace(self, position: int, takers: Sequence[str], victims: dict[str, list[int]]) -> int | None:
        """Seat `position` where something of the lowest lower priority sat; that, or `None`."""
        priority = self.wanted[position].priority
        best: tuple[int, int, str] | None = None  # lowest priority, last in order
        for account in takers:
            if account not in victims:
                victims[account] = self.leaving_order(account)[::-1]
            stack = victims[account]
            if not stack or self.has_room(account):
                continue
            lowest = (self.wanted[stack[-1]].priority, -stack[-1], account)
            if lowest[0] < priority and (best is None or lowest < best):
                best = lowest
        if best is None:
            return None
        account = best[2]
        victim = victims[account].pop()
        self.take(victim, MoveReason.DISPLACED)
        if not self.has_channels(position, account):
            self.put(victim, account)
            del self.reasons[victim]
            return None
        self.put(position, account)
        return victim
