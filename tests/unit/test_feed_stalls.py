"""One quiet instrument among lively ones: found by its own rhythm, asked for within a budget, never by mistake."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

import numpy as np
import pytest

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_shard.feed.stalls import (
    ASKED_PER_MINUTE_MAX,
    LONGEST_MULTIPLE,
    PAUSES_KNOWN,
    RETRY_S,
    StallReport,
    StallWatch,
)
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_sim.instruments import build_dump
from ticker_sim.market import Market

S = 1_000_000_000
WALL_NS = 1_763_700_000 * S
FLOOR_S, MULTIPLE = 60.0, 25.0
DAY = dt.date(2026, 11, 20)
CROWD, CROWD_FROM = 200, 10_000


def a_table(tokens: list[int], *, revision: int = 1, previous: InstrumentTable | None = None) -> InstrumentTable:
    rows = tuple(AssignedInstrument(token, "NSE", f"S{token}", Mode.FULL, ("t:x",)) for token in tokens)
    return build_instruments(AssignmentTable("acc1", revision, (Channel("t:x"),), rows), previous=previous)


@dataclass
class Room:
    """Instruments that send as they are told, and a crowd that always does; a look every second of virtual time."""

    size: int
    crowd: int = CROWD
    now_s: int = 0
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watch = StallWatch(floor_s=FLOOR_S, multiple=MULTIPLE)
        self.table = a_table([*range(self.size), *range(CROWD_FROM, CROWD_FROM + self.crowd)])
        self.watch.configure(self.table)
        self.received = np.zeros(self.size + self.crowd, np.int64)
        self.judged = np.ones(self.size + self.crowd, np.bool_)

    def second(self, *sending: int) -> StallReport:
        self.now_s += 1
        self.received[[*sending, *range(self.size, self.size + self.crowd)]] = WALL_NS + self.now_s * S
        report = self.watch.look(self.received.copy(), self.judged.copy(), now_ns=self.now_s * S)
        self.asked += report.ask.tolist()
        return report

    def run(self, seconds: int, every_s: dict[int, int]) -> list[int]:
        """Each instrument sends every so many seconds; who was found stalled."""
        found: list[int] = []
        for _ in range(seconds):
            sending = [slot for slot, period in every_s.items() if (self.now_s + 1) % period == 0]
            found += self.second(*sending).stalled.tolist()
        return found


def test_who_goes_quiet_is_found_at_the_floor_and_asked_for_alone() -> None:
    room = Room(3)
    assert room.run(200, {0: 1, 1: 1, 2: 2}) == []

    found = room.run(int(FLOOR_S) + 2, {0: 1, 2: 2})

    assert found == [1]
    assert room.asked == [1]
    assert room.watch.stalled == 1


def test_a_slow_instrument_is_given_its_own_time() -> None:
    room = Room(2)
    assert room.run((PAUSES_KNOWN + 2) * 10, {0: 1, 1: 10}) == []

    assert room.run(int(MULTIPLE * 10) - 5, {0: 1}) == []
    assert room.run(10, {0: 1}) == [1]


def test_the_answer_ends_the_stall_tells_since_when_and_is_learnt() -> None:
    room = Room(2)
    room.run(200, {0: 1, 1: 1})
    silent_since = room.received[1]
    room.run(int(FLOOR_S) + 5, {0: 1})

    report = room.second(0, 1)

    assert report.recovered.tolist() == [1]
    assert report.silent_since_ns.tolist() == [silent_since]
    assert room.watch.stalled == 0
    assert room.run(int(LONGEST_MULTIPLE * FLOOR_S), {0: 1}) == [], (
        "it was merely quiet: the same pause raises no alarm twice"
    )


def test_who_does_not_answer_is_asked_again_after_waits_that_double() -> None:
    room = Room(2)
    room.run(200, {0: 1, 1: 1})

    assert room.run(int(FLOOR_S + 7.5 * RETRY_S), {0: 1}) == [1]

    assert room.asked == [1, 1, 1, 1], "at once, after 1, 3 and 7 minutes"


def test_never_more_than_the_budget_is_asked_for_the_longest_waiting_first() -> None:
    size = 5 * ASKED_PER_MINUTE_MAX
    room = Room(size, crowd=10 * size)
    room.run(200, dict.fromkeys(range(size), 1))
    room.run(int(FLOOR_S), {})
    assert room.asked == []

    per_minute = []
    for _ in range(8):
        before = len(room.asked)
        room.run(60, {})
        per_minute.append(len(room.asked) - before)

    assert max(per_minute) <= 2 * ASKED_PER_MINUTE_MAX, "what was saved up and what comes in a minute"
    assert sum(per_minute) <= ASKED_PER_MINUTE_MAX * 9
    assert set(room.asked) == set(range(size)), "everybody's turn comes"


@pytest.mark.parametrize("seconds", [int(FLOOR_S), 3_600])
def test_while_its_socket_is_gone_or_its_market_shut_nobody_is_stalled_and_nothing_is_learnt(seconds: int) -> None:
    room = Room(2)
    room.run(200, {0: 1, 1: 1})

    room.judged[:] = False
    assert room.run(seconds, {}) == []
    room.judged[:] = True
    assert room.run(int(FLOOR_S) - 5, {0: 1}) == [], "its time starts again"
    assert room.run(10, {0: 1}) == [1], "and the long pause of all is not taken for its own"


def test_who_is_not_known_is_not_judged() -> None:
    room = Room(1)
    room.run(PAUSES_KNOWN, {0: 1})

    assert room.run(3_600, {}) == [], "one pause too few: the first packet ends none"


def test_a_new_table_keeps_who_stays_and_forgets_whose_slot_changed_hands() -> None:
    room = Room(3)
    room.run(200, {0: 1, 1: 1, 2: 1})

    crowd = list(range(CROWD_FROM, CROWD_FROM + CROWD))
    second = a_table([0, 2, *crowd], revision=2, previous=room.table)
    third = a_table([0, 2, 7, *crowd], revision=3, previous=second)
    assert third.instruments[1] is not None
    assert third.instruments[1].token == 7
    room.watch.configure(second)
    room.watch.configure(third)
    room.received[1] = 0

    assert room.run(int(FLOOR_S) + 10, {0: 1}) == [2], "7 has no rhythm yet, 2 has kept its own"


def test_when_nearly_all_go_quiet_at_once_it_is_the_market() -> None:
    room = Room(300, crowd=3)
    room.run(200, dict.fromkeys(range(300), 1))

    assert room.run(1_200, {}) == []


def test_the_wall_clock_may_jump() -> None:
    room = Room(2)
    room.run(200, {0: 1, 1: 1})

    for jump_s in (3_600, -7_200):
        room.received += jump_s * S
        assert room.run(int(FLOOR_S) - 5, {0: 1}) == []
        room.run(30, {0: 1, 1: 1})
        assert room.watch.stalled == 0


def test_a_quiet_day_raises_no_alarm_and_a_lost_subscription_does() -> None:
    """The simulator's market over a whole compressed day: an opening burst, a lull, a lively close."""
    instruments = build_dump(DAY)
    chosen = np.random.default_rng(3).choice(len(instruments), 1_500, replace=False)
    market = Market(instruments, day=DAY, open_at=dt.time(9, 15), seed=3)
    watch = StallWatch(floor_s=FLOOR_S, multiple=MULTIPLE)
    table = a_table([instruments[place].token for place in chosen.tolist()])
    watch.configure(table)
    slots = dict(zip(table.tokens.tolist(), table.token_slots.tolist(), strict=True))
    slot_of = np.zeros(len(instruments), np.int64)
    slot_of[chosen] = [slots[instruments[place].token] for place in chosen.tolist()]
    received, judged = np.zeros(len(chosen), np.int64), np.ones(len(chosen), np.bool_)
    lost, seconds = slot_of[chosen[0]], 22_500
    false, found_after_s = [], None

    for second in range(seconds):
        # A quiet day: 1,500 instruments send 200 changes a second at its ends and 20 at noon.
        count = int(20 + 180 * abs(second / seconds - 0.5) ** 2 * 4)
        changed = slot_of[market.step(np.sort(chosen), count=count, now_ns=market.opened_ns + second * S)]
        if second >= seconds * 0.7:
            changed = changed[changed != lost]
        received[changed] = WALL_NS + second * S
        report = watch.look(received.copy(), judged, now_ns=second * S)
        found = report.stalled.tolist()
        false += [slot for slot in found if slot != lost or second < seconds * 0.7]
        if lost in found and found_after_s is None:
            found_after_s = second - seconds * 0.7

    assert false == []
    assert found_after_s is not None
