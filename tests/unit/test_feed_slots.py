"""Too few places for our own sockets: no fight, waits that grow, and what was learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import pytest

from ticker_shard.feed import FeedSettings
from ticker_shard.feed.slots import DOUBLINGS_MAX, FIRST_WAIT_MS, JUST_S, SocketSlots

S = 1_000_000_000
SETTINGS = FeedSettings(url="ws://broker", sockets=3, rate_limited_ms=(30_000, 40_000))


@dataclass
class Wheel:
    """A broker that lets `places` stand and throws out the oldest for one more; sockets come as they are due."""

    places: int
    seed: int = 1
    now_ns: int = 0
    standing: list[int] = field(default_factory=list)
    kicks_ns: list[int] = field(default_factory=list)
    due_ns: dict[int, int] = field(default_factory=lambda: {0: 0, 1: S // 2, 2: S})

    def __post_init__(self) -> None:
        self.slots = SocketSlots(SETTINGS, chance=Random(self.seed))

    def run(self, seconds: int) -> None:
        end_ns = self.now_ns + seconds * S
        while self.due_ns and min(self.due_ns.values()) <= end_ns:
            socket = min(self.due_ns, key=lambda number: (self.due_ns[number], number))
            self.now_ns = max(self.now_ns, self.due_ns.pop(socket))
            self.slots.settle(now_ns=self.now_ns)
            self.slots.attempts(socket)
            if len(self.standing) >= self.places:
                self.kick()
            self.standing.append(socket)
            self.slots.opened(socket, now_ns=self.now_ns)
            self.slots.settle(now_ns=self.now_ns + S)
        self.now_ns = end_ns
        self.slots.settle(now_ns=end_ns)

    def kick(self) -> None:
        oldest = self.standing.pop(0)
        wait_ns, released = self.slots.ended(oldest, by_broker=True, now_ns=self.now_ns)
        self.kicks_ns.append(self.now_ns)
        self.due_ns[oldest] = self.now_ns + (S if wait_ns is None else wait_ns)
        self.come_back(released)

    def come_back(self, sockets: Iterable[int]) -> None:
        for socket in sockets:
            self.due_ns[socket] = self.now_ns + S


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("places", [1, 2])
def test_our_own_sockets_do_not_fight(places: int, seed: int) -> None:
    wheel = Wheel(places, seed=seed)

    wheel.run(6 * 3_600)

    first_minutes = [kick for kick in wheel.kicks_ns if kick <= 120 * S]
    last_hours = [kick for kick in wheel.kicks_ns if kick > 2 * 3_600 * S]
    assert len(first_minutes) <= 4 * (3 - places)
    longest_s = 30 * 2**DOUBLINGS_MAX
    assert len(last_hours) <= (3 - places) * (4 * 3_600 / longest_s + 1)
    assert wheel.slots.accepted == places


def test_three_that_fit_learn_nothing() -> None:
    wheel = Wheel(3)

    wheel.run(3_600)

    assert wheel.kicks_ns == []
    assert wheel.slots.accepted is None


def test_when_there_is_room_again_it_is_taken_and_what_was_learnt_is_forgotten() -> None:
    wheel = Wheel(2)
    wheel.run(60)
    wheel.places = 3

    wheel.run(3_600)

    assert sorted(wheel.standing) == [0, 1, 2]
    assert wheel.slots.accepted is None


@pytest.fixture
def slots() -> SocketSlots:
    """Three sockets that have stood for a minute."""
    made = SocketSlots(SETTINGS, chance=Random(2))
    for socket in range(3):
        made.attempts(socket)
        made.opened(socket, now_ns=socket * S)
    made.settle(now_ns=60 * S)
    return made


def test_a_socket_lost_while_nobody_came_in_is_no_displacement(slots: SocketSlots) -> None:
    assert slots.ended(0, by_broker=True, now_ns=60 * S) == (None, [])
    assert slots.accepted is None


def test_what_we_end_ourselves_was_not_displaced(slots: SocketSlots) -> None:
    slots.ended(2, by_broker=False, now_ns=60 * S)
    slots.attempts(2)
    slots.opened(2, now_ns=61 * S)

    assert slots.ended(0, by_broker=False, now_ns=61 * S) == (None, [])


def test_only_the_oldest_is_displaced(slots: SocketSlots) -> None:
    slots.ended(2, by_broker=True, now_ns=60 * S)
    slots.attempts(2)
    slots.opened(2, now_ns=61 * S)

    assert slots.ended(1, by_broker=True, now_ns=61 * S) == (None, [])


def test_the_first_time_may_be_chance_and_waits_for_seconds(slots: SocketSlots) -> None:
    slots.ended(2, by_broker=True, now_ns=60 * S)
    slots.attempts(2)

    wait_ns, _ = slots.ended(0, by_broker=True, now_ns=60 * S)

    assert wait_ns is not None
    assert FIRST_WAIT_MS[0] <= wait_ns // 1_000_000 <= FIRST_WAIT_MS[1]


@pytest.mark.parametrize("how", ["ended", "failed"])
def test_who_made_way_comes_back_when_the_other_is_gone(slots: SocketSlots, how: str) -> None:
    slots.ended(2, by_broker=True, now_ns=60 * S)
    slots.attempts(2)
    assert slots.ended(0, by_broker=True, now_ns=60 * S)[0] is not None

    if how == "failed":
        assert slots.failed(2, limited=False) == [0]
    else:
        slots.opened(2, now_ns=61 * S)
        assert slots.ended(2, by_broker=True, now_ns=61 * S) == (None, [0])


def test_one_that_comes_in_and_displaces_nobody_ends_the_count(slots: SocketSlots) -> None:
    waits_ns = []
    now_ns = 60 * S
    for _ in range(4):  # a flaky line: two sockets are lost at once, and both come back
        slots.ended(2, by_broker=True, now_ns=now_ns)
        slots.attempts(2)
        oldest = min((0, 1), key=lambda number: slots._sockets[number].opened_ns or 0)
        wait_ns, _ = slots.ended(oldest, by_broker=True, now_ns=now_ns)
        waits_ns.append(wait_ns or 0)
        slots.opened(2, now_ns=now_ns + S)
        slots.attempts(oldest)
        slots.opened(oldest, now_ns=now_ns + 10 * S)
        now_ns += 60 * S
        slots.settle(now_ns=now_ns - int(JUST_S * S))

    assert max(waits_ns) <= FIRST_WAIT_MS[1] * 1_000_000, "each time it may have been chance"


def test_429_tells_how_many_stand(slots: SocketSlots) -> None:
    slots.ended(2, by_broker=True, now_ns=60 * S)
    slots.attempts(2)
    slots.failed(2, limited=True)

    assert slots.accepted == 2

    slots.attempts(2)
    slots.opened(2, now_ns=100 * S)
    slots.settle(now_ns=101 * S)
    assert slots.accepted == 2, "it may be thrown out in a moment"
    slots.settle(now_ns=110 * S)
    assert slots.accepted is None
