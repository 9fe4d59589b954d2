"""Rows come in: to every channel of their instrument, in order, counted once a channel, however channels overlap."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tests.support.ticks import a_table, some_rows
from ticker_crds import Role
from ticker_shard.publish.batcher import TickBatcher
from ticker_shard.publish.intake import Intake
from ticker_shard.publish.ledger import DropCause, Ledger
from ticker_shard.publish.roster import Roster
from ticker_shard.ticks.rows import Word

CHANNELS = tuple(f"ticker:c{number}" for number in range(4))
SILENT = Role.INCOMING


@dataclass
class Holder:
    """Holds some channels, and says so."""

    held: frozenset[str] = frozenset(CHANNELS)

    def holds(self, channel: str) -> bool:
        return channel in self.held


def an_intake(held: frozenset[str] = frozenset(CHANNELS)):
    batcher, ledger = TickBatcher(window_ms=100, ticks_max=1_000), Ledger()
    batcher.configure(dict.fromkeys(CHANNELS, 1_000))
    ledger.holders.append(batcher.in_flight)
    return Intake(handover=Holder(held), batcher=batcher, ledger=ledger), batcher, ledger


def queued(batcher: TickBatcher, channel: str) -> list[tuple[int, int]]:
    rows = batcher.take(channel, rows_max=1_000)
    return list(zip(rows.slot.tolist(), rows.words[:, Word.LAST_PRICE].tolist(), strict=True))


@given(
    st.lists(st.sets(st.sampled_from(CHANNELS)), min_size=1, max_size=6),
    st.lists(st.integers(-1, 7), max_size=12),
    st.sets(st.sampled_from(CHANNELS)),
    st.sets(st.integers(0, 5)),
)
def test_rows_reach_exactly_the_held_channels_of_their_instrument_in_order(memberships, slots, held, silent):
    roles = {f"X{number}": SILENT if number in silent else Role.OWNER for number in range(len(memberships))}
    table = a_table(
        roles,
        channels=CHANNELS,
        in_channels={f"X{number}": tuple(sorted(names)) for number, names in enumerate(memberships)},
    )
    intake, batcher, ledger = an_intake(frozenset(held))
    roster = Roster(table)
    intake.configure(roster)
    rows = some_rows(table, [max(0, min(slot, len(memberships) - 1)) for slot in slots])
    rows.slot[:] = slots
    rows.words[:, Word.LAST_PRICE] = range(len(slots))

    intake.offer(rows, now_ns=1)

    known = [(slot, at) for at, slot in enumerate(slots) if 0 <= slot < len(memberships)]
    units = sum(len(memberships[slot]) for slot, _ in known)
    assert (ledger.received, ledger.unrouted) == (units, len(slots) - len(known))
    assert roster.units(rows.slot[[at for _, at in known]]) == units
    assert ledger.balance().balanced
    for channel in CHANNELS:
        expected = [(s, at) for s, at in known if channel in memberships[s] & held and s not in silent]
        found = queued(batcher, channel)
        assert sorted(found) == sorted(expected)
        for slot in range(len(memberships)):  # each instrument's rows in the order in which they came
            assert [at for s, at in found if s == slot] == [at for s, at in expected if s == slot]


def test_a_process_that_goes_takes_no_more():
    intake, batcher, ledger = an_intake()
    table = a_table(2, channels=CHANNELS)
    intake.configure(Roster(table))
    intake.open = False

    intake.offer(some_rows(table, [0, 1]), now_ns=1)

    assert ledger.dropped[DropCause.SHUTDOWN] == ledger.received == 2 * len(CHANNELS)
    assert batcher.in_flight() == 0


def test_before_any_table_rows_are_unrouted():
    intake, _, ledger = an_intake()

    intake.offer(some_rows(a_table(2), [0, 1]), now_ns=1)
    intake.reject("late", some_rows(a_table(2), [0]).slot)

    assert (ledger.unrouted, ledger.received) == (3, 0)
