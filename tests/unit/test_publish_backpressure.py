"""How much gives way: at once as far as needed, back slowly, without flapping; never a newest value, always counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.handover_world import CHANNELS, World
from tests.support.ticks import CHANNEL, a_table, some_rows
from ticker_shard.publish.backpressure import (
    LOOK_NS,
    BackpressureMonitor,
    BackpressureSettings,
    Level,
    Load,
    Relief,
)
from ticker_shard.publish.batcher import Conflated, TickBatcher
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.limits import MS_NS, SECOND_NS

SETTINGS = BackpressureSettings(fill_max=0.8, conflate_ms=1_000, shed_ms=2_500, calm_ms=1_000)
CALM_NS = SETTINGS.calm_ms * MS_NS
STEP_NS = 100 * MS_NS
NORMAL, CONFLATE, SHED = Level

loads = st.builds(
    Load,
    fill=st.floats(0, 1.2),
    delay_ns=st.integers(0, 4_000).map(lambda ms: ms * MS_NS),
    away=st.sampled_from([False, False, False, True]),
)


def levels(monitor: BackpressureMonitor, seen: list[Load], *, start_ns: int = 0) -> list[Level]:
    return [monitor.observe(load, now_ns=start_ns + place * STEP_NS) for place, load in enumerate(seen)]


@pytest.mark.parametrize(
    ("load", "level"),
    [
        (Load(), NORMAL),
        (Load(fill=0.79, delay_ns=999 * MS_NS), NORMAL),
        (Load(fill=0.8), CONFLATE),
        (Load(delay_ns=SECOND_NS), CONFLATE),
        (Load(fill=1.5, delay_ns=2_499 * MS_NS), CONFLATE),
        (Load(delay_ns=2_500 * MS_NS), SHED),
        (Load(away=True), SHED),
    ],
)
def test_each_load_leads_at_once_to_its_level(load: Load, level: Level) -> None:
    assert BackpressureMonitor(SETTINGS).observe(load, now_ns=0) is level


def test_a_level_is_left_one_at_a_time_each_after_a_calm_of_its_own() -> None:
    monitor = BackpressureMonitor(SETTINGS)
    monitor.observe(Load(away=True), now_ns=0)

    found = levels(monitor, [Load()] * 22, start_ns=STEP_NS)

    assert found == [SHED] * 10 + [CONFLATE] * 11 + [NORMAL]
    assert monitor.transitions == {(NORMAL, SHED): 1, (SHED, CONFLATE): 1, (CONFLATE, NORMAL): 1}


def test_half_of_a_threshold_is_no_calm() -> None:
    monitor = BackpressureMonitor(SETTINGS)
    monitor.observe(Load(fill=1), now_ns=0)

    assert set(levels(monitor, [Load(fill=0.4)] * 50)) == {CONFLATE}
    assert levels(monitor, [Load(fill=0.39)] * 12, start_ns=10 * SECOND_NS)[-1] is NORMAL


@given(st.lists(st.floats(0.41, 0.79), max_size=60), st.booleans())
def test_between_a_half_and_the_whole_nothing_changes(fills: list[float], raised: bool) -> None:
    monitor = BackpressureMonitor(SETTINGS)
    before = monitor.observe(Load(fill=0.9 if raised else 0.0), now_ns=0)

    found = levels(monitor, [Load(fill=fill) for fill in fills])

    assert set(found) <= {before}


@given(st.lists(loads, max_size=80))
def test_it_rises_at_most_once_in_a_calm_and_falls_only_step_by_step(seen: list[Load]) -> None:
    monitor = BackpressureMonitor(SETTINGS)
    found = levels(monitor, seen)

    falls = [place for place in range(1, len(found)) if found[place] < found[place - 1]]
    assert all(found[place - 1] - found[place] == 1 for place in falls)
    # A fall ends a whole calm, so two changes of direction are at least that far apart.
    for fall in falls:
        earlier = found[max(0, fall - CALM_NS // STEP_NS) : fall]
        assert set(earlier) == {found[fall - 1]}


@given(st.lists(st.tuples(loads, loads), max_size=80))
def test_more_load_never_leads_to_less(pairs: list[tuple[Load, Load]]) -> None:
    heavier = [Load(max(a.fill, b.fill), max(a.delay_ns, b.delay_ns), a.away or b.away) for a, b in pairs]

    light = levels(BackpressureMonitor(SETTINGS), [a for a, _ in pairs])
    heavy = levels(BackpressureMonitor(SETTINGS), heavier)

    assert all(upper >= lower for upper, lower in zip(heavy, light, strict=True))


# -- what it does to the queues


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["offer", "take", "accepted", "away", "back", "wait"]),
            st.lists(st.integers(0, 3), min_size=1, max_size=6),
            st.integers(1, 1_500),
        ),
        max_size=60,
    )
)
def test_memory_is_bounded_every_row_has_a_place_and_the_newest_is_never_given_up(steps) -> None:
    table = a_table(4)
    batcher, ledger = TickBatcher(window_ms=100, ticks_max=3), Ledger()
    batcher.configure({CHANNEL: 4})
    ledger.holders.append(batcher.in_flight)
    relief = Relief(batcher=batcher, ledger=ledger, settings=SETTINGS)
    newest: dict[int, int] = {}
    taken: dict[int, int] = {}
    now_ns = offered = left = 0
    for price, (step, slots, wait_ms) in enumerate(steps, start=1):
        now_ns += wait_ms * MS_NS
        match step:
            case "offer":
                answer = batcher.offer(CHANNEL, some_rows(table, slots, price=price), now_ns=now_ns)
                offered += len(slots)
                ledger.conflated += answer.rows if isinstance(answer, Conflated) else 0
                newest.update(dict.fromkeys(slots, price))
            case "take":
                out = batcher.take(CHANNEL, rows_max=slots[0])
                left += len(out)
                taken.update(zip(out.slot.tolist(), out.words[:, 1].tolist(), strict=True))
            case "accepted":
                relief.progressed(now_ns=now_ns)
            case "away" | "back":
                relief.redis_away(step == "away", now_ns=now_ns)
            case _:
                pass
        relief.look(now_ns=now_ns)
        held = 4 + 4 // 2 if relief.level is not NORMAL else 2 * 4 + 3
        assert batcher.in_flight() <= held
        assert offered == left + ledger.conflated + batcher.in_flight()
    rest = batcher.take_out(CHANNEL, np.ones(4, np.bool_))
    taken.update(zip(rest.slot.tolist(), rest.words[:, 1].tolist(), strict=True))
    assert taken == newest


def test_an_overflow_between_two_looks_is_seen() -> None:
    table = a_table(4)
    batcher, ledger = TickBatcher(window_ms=100, ticks_max=3), Ledger()
    batcher.configure({CHANNEL: 4})
    relief = Relief(batcher=batcher, ledger=ledger, settings=SETTINGS)
    for price in range(4):
        batcher.offer(CHANNEL, some_rows(table, [0, 1, 2], price=price), now_ns=0)

    relief.look(now_ns=LOOK_NS)

    assert relief.level is CONFLATE


def test_a_redis_that_takes_nothing_raises_the_level_and_one_that_takes_again_brings_it_back() -> None:
    world = World(channels=CHANNELS[:1])
    pod = world.start()
    for _ in range(24):
        world.everybody()
    core = pod.core
    seen = []

    core.offer(pod.newest.update(some_rows(pod.table, [0], price=7)), now_ns=world.now_ns)
    for wait_ms in (0, 980, 1_000, 2_480, 2_500):
        core.offer(pod.newest.update(some_rows(pod.table, [0], price=8)), now_ns=world.now_ns + wait_ms * MS_NS)
        seen.append(core.relief.level)
    world.now_ns += 2_500 * MS_NS
    for _ in range(200):
        world.everybody()
    balance = core.ledger.balance()

    assert seen == [NORMAL, NORMAL, CONFLATE, CONFLATE, SHED]
    assert core.relief.level is NORMAL
    assert balance.conflated >= 3
    assert balance.balanced, balance
