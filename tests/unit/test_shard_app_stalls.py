"""Stalled instruments from slots to tokens and gap records, by virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.support.ticks import a_table, some_rows
from ticker_shard.app.settings import ShardSettings
from ticker_shard.app.stall_desk import FLOWS_S, StallDesk, StallFindings
from ticker_shard.feed import FeedSettings, FeedStatus, SessionState, SocketStatus
from ticker_shard.feed.stalls import PAUSES_KNOWN
from ticker_shard.ticks.sessions import MarketHours, phase_at
from ticker_shard.ticks.state import InstrumentState

S = 1_000_000_000
WALL_NS = 1_763_700_000 * S
SIZE, QUIET = 60, 7
SETTINGS = ShardSettings(
    account="acc1", source="folder", folder="/f", redis_url_file="/r", stall_floor_s=30, stall_multiple=5
)  # type: ignore[arg-type]


@dataclass
class Desk:
    """Sixty instruments on two sockets; each second all send but those told to be quiet."""

    now_s: int = 0
    hours: MarketHours = MarketHours.ALWAYS
    sockets: dict[int, bool] = field(default_factory=lambda: {0: True, 1: True})
    found: list[StallFindings] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.table = a_table(SIZE)
        self.state = InstrumentState()
        self.state.configure(self.table)
        self.desk = StallDesk(SETTINGS)
        tokens = self.table.tokens.tolist()
        self.desk.configure(self.table, socket_of=lambda token: tokens.index(token) % 2)

    @property
    def wall_ns(self) -> int:
        return WALL_NS + self.now_s * S

    def send(self, *slots: int, price: int) -> None:
        self.state.update(some_rows(self.table, slots, price=price, received_ns=self.wall_ns))

    def run(self, seconds: int, *, quiet: tuple[int, ...] = ()) -> StallFindings:
        """The last findings."""
        for _ in range(seconds):
            self.now_s += 1
            self.send(*(slot for slot in range(SIZE) if slot not in quiet), price=1_000 + self.now_s)
            self.look()
        return self.found[-1]

    def look(self) -> StallFindings:
        flowed = {number: self.now_s * S if flows else None for number, flows in self.sockets.items()}
        sockets = tuple(SocketStatus(SessionState.OPEN, 30, 30, flowed_ns=flowed[number]) for number in (0, 1))
        status = FeedStatus(FeedSettings("ws://b", sockets=2), sockets)
        phase = phase_at(self.wall_ns, hours=self.hours)
        self.found.append(self.desk.look(self.state, status, phase=phase, now_ns=self.now_s * S))
        return self.found[-1]

    @property
    def token(self) -> int:
        row = self.table.instruments[QUIET]
        assert row is not None
        return row.token

    def asked(self) -> list[int]:
        return [token for found in self.found for token in found.ask]


@pytest.fixture
def desk() -> Desk:
    made = Desk()
    made.run(PAUSES_KNOWN + 10)
    assert made.asked() == []
    return made


def test_only_the_quiet_instrument_is_asked_for_and_named(desk: Desk) -> None:
    desk.run(35, quiet=(QUIET,))

    assert desk.asked() == [desk.token]
    assert [symbol for found in desk.found for symbol in found.stalled] == [f"NFO:X{QUIET}"]
    assert desk.desk.stalled == 1


def test_an_answer_with_another_value_is_a_hole_from_the_last_packet_on(desk: Desk) -> None:
    last_ns = desk.wall_ns
    desk.run(35, quiet=(QUIET,))

    found = desk.run(1)

    (gap,) = found.gaps
    assert (gap.tokens, gap.start_ns, gap.end_ns, gap.cause) == ((desk.token,), last_ns, desk.wall_ns, "stalled")
    assert found.counts == {"recovered": 1, "missed": 1}
    assert desk.desk.stalled == 0


def test_an_answer_that_says_the_same_is_none(desk: Desk) -> None:
    price = 1_000 + desk.now_s
    desk.run(35, quiet=(QUIET,))
    desk.now_s += 1
    desk.send(QUIET, price=price)

    found = desk.look()

    assert found.gaps == []
    assert found.counts == {"recovered": 1}


def test_a_hole_has_no_negative_length_though_the_clock_was_set_back(desk: Desk) -> None:
    desk.run(35, quiet=(QUIET,))
    desk.state.update(some_rows(desk.table, [QUIET], price=5, received_ns=WALL_NS - 3_600 * S))

    (gap,) = desk.look().gaps

    assert gap.start_ns <= gap.end_ns


def test_nobody_is_judged_on_a_socket_that_does_not_flow(desk: Desk) -> None:
    desk.sockets[QUIET % 2] = False

    desk.run(300, quiet=(QUIET,))

    assert desk.asked() == []


def test_nobody_is_judged_while_the_market_is_shut(desk: Desk) -> None:
    desk.hours = MarketHours.NEVER

    desk.run(300, quiet=(QUIET,))

    assert desk.asked() == []


def test_an_instrument_that_leaves_takes_its_stall_along(desk: Desk) -> None:
    desk.run(35, quiet=(QUIET,))
    smaller = a_table(QUIET, revision=2, previous=desk.table)

    desk.desk.configure(smaller, socket_of=lambda token: 0)

    assert desk.desk.stalled == 0


def test_it_looks_once_a_second() -> None:
    made = Desk()

    assert made.desk.due(now_ns=0)
    made.run(1)
    assert not made.desk.due(now_ns=made.now_s * S + S // 2)
    assert made.desk.due(now_ns=(made.now_s + 1) * S)
    assert FLOWS_S > 1
