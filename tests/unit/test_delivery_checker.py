"""The delivery checker finds what it is there to find: one planted violation in an otherwise clean history."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.delivery.check import Outcome, check, judge
from tests.support.delivery.generate import CHANNEL, clean_history
from tests.support.delivery.history import (
    MARKET,
    SECOND_NS,
    Bounds,
    GapTold,
    History,
    Interval,
    Placement,
    Property,
    RecordSeen,
    Sent,
    Starved,
)
from tests.support.delivery.intervals import uncovered
from tests.support.delivery.measure import measure
from tests.support.delivery.values import Versions

BOUNDS = Bounds(
    fresh_ns=int(2.1 * SECOND_NS), hole_ns=int(2.1 * SECOND_NS), beat_ns=SECOND_NS, wrong_time_ns=10 * SECOND_NS
)
SEEDS = st.integers(0, 2**32)
Mutation = Callable[[History, random.Random], History]


@settings(max_examples=40)
@given(SEEDS)
def test_a_clean_history_has_no_violation(seed: int) -> None:
    assert check(clean_history(seed), BOUNDS) == []


# -- one planted violation each ------------------------------------------------------------------------------------


def withheld_at_the_end(history: History, chance: random.Random) -> History:
    """One instrument's last change never arrives."""
    token = chance.choice(history.instruments).token
    last = max(entry.version for entry in history.sent if entry.token == token)
    newest = max(
        (entry for entry in history.sent if entry.token == token and entry.version == last), key=lambda one: one.at_ns
    )
    return without_digest(history, token, newest.digest)


def without_digest(history: History, token: int, digest: int) -> History:
    stays = tuple(one for one in history.given if (one.token, one.digest) != (token, digest))
    return replace(history, given=stays)


def an_old_value_in_the_hash(history: History, chance: random.Random) -> History:
    place = chance.choice([
        number for number, one in enumerate(history.stored)
        if one.at_ns == history.end_ns
    ])  # fmt: skip
    stored = history.stored[place]
    first = next(one.digest for one in history.given if one.token == stored.token)
    return replace(history, stored=swapped(history.stored, place, replace(stored, digest=first)))


def too_late_after_the_fault(history: History, chance: random.Random) -> History:
    """The outage is declared, but it goes on long after the fault's end."""
    fault = history.faults[0]
    extra_ns = 4 * SECOND_NS
    shorter = replace(fault, end_ns=fault.start_ns, recover_ns=0)
    assert fault.end_ns - fault.start_ns + extra_ns > BOUNDS.fresh_ns
    return replace(history, faults=(shorter, *history.faults[1:]))


def a_told_value_that_nobody_sent(history: History, chance: random.Random) -> History:
    place = chance.choice([number for number, one in enumerate(history.told) if one.rows])
    told = history.told[place]
    (token, _), *rest = told.rows
    return replace(history, told=swapped(history.told, place, replace(told, rows=((token, 7), *rest))))


def a_given_value_that_nobody_sent(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.given))
    return replace(history, given=swapped(history.given, place, replace(history.given[place], digest=7)))


def a_stored_value_that_nobody_sent(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.stored))
    return replace(history, stored=swapped(history.stored, place, replace(history.stored[place], digest=7)))


def a_value_before_it_was_sent(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.given))
    one = history.given[place]
    first_ns = min(entry.at_ns for entry in history.sent if entry.digest == one.digest and entry.socket != MARKET)
    return replace(history, given=swapped(history.given, place, replace(one, at_ns=first_ns - 1)))


def a_number_that_comes_again(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.told))
    return replace(history, told=(*history.told[: place + 1], history.told[place], *history.told[place + 1 :]))


def an_exchange_time_that_goes_back(history: History, chance: random.Random) -> History:
    late = [number for number, one in enumerate(history.given) if one.at_ns > 3 * SECOND_NS]
    place = chance.choice(late)
    one = history.given[place]
    return replace(history, given=swapped(history.given, place, replace(one, exchange_s=999)))


def a_row_that_is_nowhere(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.books))
    books = history.books[place]
    return replace(history, books=swapped(history.books, place, replace(books, received=books.received + 1)))


def a_row_too_many_received(history: History, chance: random.Random) -> History:
    """Balanced in itself, but more than was sent."""
    last = [number for number, one in enumerate(history.books) if one.final]
    books = history.books
    for place in last:
        one = books[place]
        books = swapped(books, place, replace(one, received=one.received + 50, withheld=one.withheld + 50))
    return replace(history, books=books)


def a_published_row_that_nobody_got(history: History, chance: random.Random) -> History:
    """Balanced in itself, but the subscriber was told less; it also holds for rewrites."""
    place = chance.choice([number for number, one in enumerate(history.books) if one.final])
    one = history.books[place]
    changed = (
        replace(one, repeated=one.repeated + 1) if chance.random() < 0.5
        else replace(one, published=one.published - 1, conflated=one.conflated + 1)
    )  # fmt: skip
    return replace(history, books=swapped(history.books, place, changed))


def a_message_that_nobody_got(history: History, chance: random.Random) -> History:
    place = chance.choice([number for number, one in enumerate(history.books) if one.final])
    one = history.books[place]
    return replace(history, books=swapped(history.books, place, replace(one, messages=one.messages + 1)))


def two_processes_in_one_epoch(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.told))
    told = history.told[place]
    return replace(history, told=swapped(history.told, place, replace(told, process="intruder/1")))


def two_holders_of_one_record(history: History, chance: random.Random) -> History:
    place = chance.randrange(len(history.records))
    seen = history.records[place]
    return replace(history, records=swapped(history.records, place, replace(seen, holder="intruder/1")))


def a_fenced_process_that_goes_on(history: History, chance: random.Random) -> History:
    later = [number for number, one in enumerate(history.told) if one.epoch == 2]
    place = chance.choice(later)
    told = history.told[place]
    old = replace(told, process="b/1", epoch=1, seq=10_000)
    return replace(history, told=(*history.told[: place + 1], old, *history.told[place + 1 :]))


def a_record_that_nobody_keeps(history: History, chance: random.Random) -> History:
    """Three seconds without a call in one account's record."""
    shard = chance.choice(("default.acc1", "default.acc2"))
    start_ns = chance.randrange(2 * SECOND_NS, history.end_ns - 9 * SECOND_NS)
    within = [
        one for one in history.records if one.shard == shard and start_ns <= one.at_ns <= start_ns + 4 * SECOND_NS
    ]
    still = within[0]
    frozen: dict[int, RecordSeen] = {id(one): replace(still, at_ns=one.at_ns) for one in within}
    covers = history.gaps if shard != "default.acc1" else ()
    return replace(history, records=tuple(frozen.get(id(one), one) for one in history.records), gaps=covers)


def an_outage_without_a_record(history: History, chance: random.Random) -> History:
    return replace(history, gaps=())


def a_record_that_begins_too_late(history: History, chance: random.Random) -> History:
    gap = history.gaps[0]
    return replace(history, gaps=(replace(gap, start_ns=gap.start_ns + int(2.5 * SECOND_NS)),))


def a_record_that_forgets_an_instrument(history: History, chance: random.Random) -> History:
    gap = history.gaps[0]
    forgotten = chance.choice(sorted(gap.symbols))
    symbols = gap.symbols - {forgotten}
    return replace(history, gaps=(replace(gap, symbols=symbols, instruments=len(symbols)),))


def a_record_while_data_flowed(history: History, chance: random.Random) -> History:
    one = next(each for each in history.instruments if f"{each.symbol}" not in history.gaps[0].symbols)
    false = GapTold(CHANNEL, "default.acc2", frozenset((one.symbol,)), 1, SECOND_NS, 9 * SECOND_NS, "silent")
    return replace(history, gaps=(*history.gaps, false))


def an_instrument_that_moves_for_nothing(history: History, chance: random.Random) -> History:
    before, after = history.placements
    stayed = chance.choice([symbol for symbol in after.owners if after.owners[symbol] == before.owners[symbol]])
    return replace(history, placements=(before, Placement(after.at_ns, {**after.owners, stayed: "x"}, after.accounts)))


def instruments_that_change_places_for_nothing(history: History, chance: random.Random) -> History:
    before, after = history.placements
    stayed = {owner: symbol for symbol, owner in after.owners.items() if before.owners[symbol] == owner}
    one, two = (stayed[account] for account in ("default.acc1", "default.acc2"))
    crossed = {**after.owners, one: after.owners[two], two: after.owners[one]}
    return replace(history, placements=(before, Placement(after.at_ns, crossed, after.accounts)))


def everything_of_an_account_that_was_never_away(history: History, chance: random.Random) -> History:
    before, after = history.placements
    emptied = dict.fromkeys(after.owners, "default.acc1")
    return replace(history, placements=(before, Placement(after.at_ns, emptied, before.accounts)))


def swapped(items: tuple, place: int, item: object) -> tuple:  # type: ignore[type-arg]
    return (*items[:place], item, *items[place + 1 :])


PLANTED: dict[Property, tuple[Mutation, ...]] = {
    Property.LAST_VALUE: (withheld_at_the_end, an_old_value_in_the_hash, too_late_after_the_fault),
    Property.NO_INVENTION: (
        a_told_value_that_nobody_sent, a_given_value_that_nobody_sent, a_stored_value_that_nobody_sent,
        a_value_before_it_was_sent,
    ),
    Property.MONOTONIC: (a_number_that_comes_again, an_exchange_time_that_goes_back),
    Property.CONSERVATION: (
        a_row_that_is_nowhere, a_row_too_many_received, a_published_row_that_nobody_got, a_message_that_nobody_got,
    ),
    Property.OWNERSHIP: (
        two_processes_in_one_epoch, two_holders_of_one_record, a_fenced_process_that_goes_on,
        a_record_that_nobody_keeps,
    ),
    Property.GAP_HONESTY: (
        an_outage_without_a_record, a_record_that_begins_too_late, a_record_that_forgets_an_instrument,
        a_record_while_data_flowed,
    ),
    Property.MOVEMENT: (
        an_instrument_that_moves_for_nothing, instruments_that_change_places_for_nothing,
        everything_of_an_account_that_was_never_away,
    ),
}  # fmt: skip


def test_every_property_has_a_planted_violation() -> None:
    assert set(PLANTED) == set(Property)


@pytest.mark.parametrize(
    ("promise", "mutation"),
    [pytest.param(promise, one, id=one.__name__) for promise, several in PLANTED.items() for one in several],
)
@settings(max_examples=25)
@given(seed=SEEDS, where=SEEDS)
def test_a_planted_violation_is_caught(promise: Property, mutation: Mutation, seed: int, where: int) -> None:
    spoiled = mutation(clean_history(seed), random.Random(where))

    assert promise in {violation.promise for violation in check(spoiled, BOUNDS)}


# -- what is no violation --------------------------------------------------------------------------------------------


def test_what_the_blind_subscriber_missed_is_not_held_against_the_shard() -> None:
    history = clean_history(1)

    assert check(replace(history, gaps=(), blind=(Interval(0, history.end_ns),)), BOUNDS) == []


def test_a_record_need_not_move_while_its_account_owns_nothing() -> None:
    standing = a_record_that_nobody_keeps(clean_history(1), random.Random(1))
    nobody = [violation for violation in check(standing, BOUNDS) if violation.promise is Property.OWNERSHIP]
    unowned = tuple(replace(one, owns=False) for one in standing.records)

    assert nobody
    assert check(replace(standing, gaps=clean_history(1).gaps, records=unowned), BOUNDS) == []


def starving(kept_ns: int) -> History:
    """An outage without a record, in which the processes had a CPU for so long."""
    history = clean_history(2)
    outage = history.faults[0]
    waited_ns = outage.end_ns - outage.start_ns - kept_ns
    return replace(history, gaps=(), starved=(Starved(outage.start_ns, outage.end_ns, waited_ns),))


def test_time_without_a_cpu_is_taken_off_as_measured_and_no_more() -> None:
    enough, too_little = (starving(BOUNDS.fresh_ns + more_ns) for more_ns in (-SECOND_NS // 2, SECOND_NS // 2))

    assert check(replace(enough, credit=1.0), BOUNDS) == []
    assert Property.GAP_HONESTY in {violation.promise for violation in check(too_little, BOUNDS)}


def test_no_starving_excuses_what_is_longer_than_twice_its_bound() -> None:
    outage = clean_history(2).faults[0]
    tight = replace(BOUNDS, fresh_ns=(outage.end_ns - outage.start_ns) * 2 // 5)
    assert check(clean_history(2), tight) == []

    judged = judge(starving(0), tight)

    assert Property.GAP_HONESTY in {violation.promise for violation in judged.violations}
    assert judged.outcome is Outcome.STARVED, "that is no pass, and it says why"


def test_what_the_allowance_took_away_is_told() -> None:
    history = clean_history(2)
    quiet = judge(history, BOUNDS)
    broken = judge(replace(history, gaps=()), BOUNDS)
    tight = replace(BOUNDS, fresh_ns=(history.faults[0].end_ns - history.faults[0].start_ns) * 2 // 3)
    allowed = judge(starving(0), tight)

    assert (quiet.outcome, quiet.violations, quiet.excused) == (Outcome.CLEAN, [], [])
    assert broken.outcome is Outcome.BROKEN
    assert (allowed.outcome, allowed.violations) == (Outcome.CLEAN_ALLOWING, [])
    assert Property.GAP_HONESTY in {violation.promise for violation in allowed.excused}


@given(SEEDS)
@settings(max_examples=20)
def test_a_doubtful_packet_is_neither_owed_nor_invented(seed: int) -> None:
    history = clean_history(seed)
    lost = history.sent[-1]
    assert lost.socket != MARKET
    doubtful = tuple(
        replace(one, doubtful=True) if (one.token, one.version) == (lost.token, lost.version) else one
        for one in history.sent
    )

    for each in (
        replace(history, sent=doubtful),
        without_digest(replace(history, sent=doubtful), lost.token, lost.digest),
    ):
        assert check(each, BOUNDS) == []


def test_a_version_that_was_overtaken_by_the_one_before_it_is_not_owed_but_its_successor_is() -> None:
    instrument = clean_history(3).instruments[0]

    def owed(*, doubtful: bool) -> list[int]:
        way = [
            *(Sent(version, MARKET, instrument.token, version, version) for version in (1, 2)),
            Sent(3, 7, instrument.token, 2, 2),
            Sent(4, 7, instrument.token, 1, 1, doubtful=doubtful),
            Sent(5, MARKET, instrument.token, 3, 3),
            Sent(6, 7, instrument.token, 3, 3),
        ]
        return Versions(instrument, way).known

    assert owed(doubtful=True) == [3]
    assert owed(doubtful=False) == [1, 2, 3], "only a fault of the wire excuses it"


INTERVALS = st.builds(
    lambda start, length: Interval(start, start + length), st.integers(0, 50), st.integers(0, 20)
)  # fmt: skip


@given(INTERVALS, st.lists(INTERVALS, max_size=6))
def test_what_is_left_of_an_interval_is_what_no_cover_has(whole: Interval, covers: list[Interval]) -> None:
    left = uncovered(whole, covers)

    moments = {at for one in left for at in range(one.start_ns, one.end_ns)}
    taken = {at for one in covers for at in range(one.start_ns, one.end_ns)}
    assert moments == set(range(whole.start_ns, whole.end_ns)) - taken


def test_an_outage_is_measured_from_the_history_alone() -> None:
    history = clean_history(3)

    outage = next(one for one in measure(history, BOUNDS) if one.fault.kind == "reset")

    assert outage.behind_s > BOUNDS.fresh_ns / SECOND_NS
    assert outage.recovered_s < 0.5
