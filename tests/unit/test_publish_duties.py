"""What a table asks of a publisher before it may be acknowledged, and which last values may be deleted."""

from __future__ import annotations

import numpy as np

from tests.support.ticks import CHANNEL, a_table
from ticker_crds import Role
from ticker_shard.publish.duties import Duties, vanished_fields
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots

OWNER, INCOMING, SETTLING, OUTGOING = Role.OWNER, Role.INCOMING, Role.SETTLING, Role.OUTGOING
OTHER = "ticker:other"


def slots(*numbers: int) -> Slots:
    return np.array(numbers, np.int32)


def all_have(wanted: Slots) -> Slots:
    return wanted


def none_has(wanted: Slots) -> Slots:
    return slots()


def test_before_any_table_nothing_is_acknowledged():
    assert Duties().done(have_value=all_have) == 0


def test_a_settling_instrument_is_done_when_a_value_was_accepted_in_each_channel():
    duties = Duties()
    duties.configure(a_table({"X0": SETTLING}, channels=(CHANNEL, OTHER), revision=7))

    duties.accepted(CHANNEL, slots(0), revision=7)
    assert duties.done(have_value=all_have) == 0
    duties.accepted(OTHER, slots(0), revision=7)

    assert duties.done(have_value=all_have) == 7


def test_a_value_accepted_under_the_table_before_does_not_count():
    duties = Duties()
    before = a_table({"X0": SETTLING}, revision=1)
    duties.configure(before)
    duties.accepted(CHANNEL, slots(0), revision=1)
    assert duties.done(have_value=all_have) == 1

    owed = duties.configure(a_table({"X0": OWNER}, revision=2, previous=before))
    duties.accepted(CHANNEL, slots(0), revision=1)  # the answer to an earlier call

    assert owed[CHANNEL].tolist() == [0]
    assert duties.done(have_value=all_have) == 1
    duties.accepted(CHANNEL, slots(0), revision=2)
    assert duties.done(have_value=all_have) == 2


def test_an_outgoing_instrument_needs_one_accepted_call_in_each_of_its_channels():
    duties = Duties()
    before = a_table({"X0": OWNER, "X1": OWNER}, channels=(CHANNEL, OTHER))
    duties.configure(before)
    for channel in (CHANNEL, OTHER):
        duties.accepted(channel, slots(0, 1), revision=1)
    assert duties.done(have_value=all_have) == 1
    duties.configure(a_table({"X0": OUTGOING, "X1": OWNER}, channels=(CHANNEL, OTHER), revision=2, previous=before))

    duties.accepted(CHANNEL, slots(1), revision=1)
    duties.accepted(OTHER, slots(), revision=2)  # a beat is a barrier
    assert duties.done(have_value=all_have) == 1
    duties.accepted(CHANNEL, slots(), revision=2)

    assert duties.done(have_value=all_have) == 2


def test_barriers_are_told_by_themselves_and_only_where_something_is_outgoing():
    duties = Duties()
    before = a_table({"X0": OWNER, "X1": OWNER})
    duties.configure(before)
    duties.accepted(CHANNEL, slots(0, 1), revision=1)
    assert (duties.done(have_value=all_have), duties.past_barriers()) == (1, 0)
    duties.configure(
        a_table({"X0": OUTGOING, "X1": SETTLING, "X2": OWNER}, channels=(CHANNEL, OTHER), revision=2, previous=before,
                in_channels={"X0": (CHANNEL,), "X1": (CHANNEL,), "X2": (OTHER,)})
    )  # fmt: skip

    assert duties.past_barriers() == 0
    duties.accepted(CHANNEL, slots(), revision=2)

    assert duties.past_barriers() == 2
    assert duties.done(have_value=all_have) == 1


def test_what_is_outgoing_in_another_lane_than_before_needs_a_barrier_there():
    def in_lane(name: str, previous: InstrumentTable | None = None) -> InstrumentTable:
        lanes = {"X0": (CHANNEL,), "X1": (name,)}
        return a_table(
            {"X0": OWNER, "X1": OUTGOING}, channels=(CHANNEL, OTHER), revision=2, previous=previous, in_channels=lanes
        )

    duties, before = Duties(), in_lane(CHANNEL)
    duties.configure(before)
    duties.accepted(CHANNEL, slots(), revision=2)
    assert duties.past_barriers() == 2

    duties.configure(in_lane(OTHER, previous=before))

    assert duties.past_barriers() == 0, "another process may publish it there by an older table"
    duties.accepted(OTHER, slots(), revision=2)
    assert duties.past_barriers() == 2


def test_an_incoming_instrument_asks_nothing_of_the_publisher():
    duties = Duties()
    duties.configure(a_table({"X0": INCOMING}, revision=3))

    assert duties.done(have_value=all_have) == 3


def test_an_instrument_without_a_value_is_not_waited_for_until_it_has_one():
    duties = Duties()
    duties.configure(a_table({"X0": SETTLING}, revision=3))

    assert duties.done(have_value=none_has) == 3
    assert duties.done(have_value=all_have) == 2


def test_duties_of_a_skipped_table_are_still_owed():
    duties = Duties()
    first = a_table({"X0": OWNER}, revision=1)
    duties.configure(first)
    duties.accepted(CHANNEL, slots(0), revision=1)
    assert duties.done(have_value=all_have) == 1
    second = a_table({"X0": OUTGOING}, revision=2, previous=first)
    duties.configure(second)
    duties.configure(a_table({"X0": OUTGOING, "X1": INCOMING}, revision=3, previous=second))

    assert duties.done(have_value=all_have) == 1
    duties.accepted(CHANNEL, slots(), revision=3)
    assert duties.done(have_value=all_have) == 3


def test_only_fields_that_this_account_published_until_now_are_deleted():
    before = a_table({"X0": OWNER, "X1": SETTLING, "X2": INCOMING, "X3": OUTGOING, "X4": OWNER})
    after = a_table({"X4": OWNER}, revision=2, previous=before)

    assert vanished_fields(before, after) == {CHANNEL: ["NFO:X0", "NFO:X1"]}
    assert vanished_fields(None, before) == {}


def test_an_instrument_that_leaves_one_channel_is_deleted_only_there():
    both = {"X0": (CHANNEL, OTHER)}
    before = a_table({"X0": OWNER}, channels=(CHANNEL, OTHER), in_channels=both)
    after = a_table({"X0": OWNER}, channels=(CHANNEL, OTHER), in_channels={"X0": (OTHER,)}, revision=2, previous=before)

    assert vanished_fields(before, after) == {CHANNEL: ["NFO:X0"]}
