"""When a pass runs: bursts settle, a steady stream cannot starve the plan, urgent triggers are not held back."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from ticker_operator.reconcile.reloader import REASONS_LISTED_MAX, SubscriptionReloader, Timing, Urgency

QUIET_S, INTERVAL_S, GAP_S, RESYNC_S = 1.0, 5.0, 0.2, 60.0


def timing() -> Timing:
    return Timing(quiet_s=QUIET_S, interval_s=INTERVAL_S, urgent_gap_s=GAP_S, resync_s=RESYNC_S)


def test_first_pass_is_due_at_once() -> None:
    assert timing().due_at() <= 0.0


def test_change_waits_until_it_has_been_quiet() -> None:
    clock = timing()
    clock.start(now=90.0)

    clock.trigger("a", now=100.0)
    clock.trigger("b", now=100.6)

    assert clock.due_at() == 101.6


def test_stream_of_changes_runs_after_the_interval_at_the_latest() -> None:
    clock = timing()
    clock.start(now=90.0)

    for tenth in range(100):
        clock.trigger("again", now=100.0 + tenth / 10)

    assert clock.due_at() == 100.0 + INTERVAL_S


def test_full_plans_keep_their_distance_under_load() -> None:
    clock = timing()
    clock.start(now=100.0)

    clock.trigger("soon after", now=100.1)

    assert clock.due_at() == 100.0 + INTERVAL_S


def test_dead_account_is_not_held_back() -> None:
    clock = timing()
    clock.start(now=100.0)
    clock.trigger("settling", now=100.5)

    clock.trigger("token refused", now=100.6, urgency=Urgency.URGENT)

    assert clock.due_at() == 100.6


def test_urgent_passes_keep_a_small_distance() -> None:
    clock = timing()
    clock.start(now=100.0)

    clock.trigger("acknowledged", now=100.05, urgency=Urgency.URGENT)

    assert clock.due_at() == 100.0 + GAP_S


def test_any_number_of_triggers_during_a_run_is_exactly_one_more() -> None:
    clock = timing()
    clock.trigger("before", now=0.0)
    clock.start(now=1.0)

    for _ in range(1_000):
        clock.trigger("during", now=2.0)
    first = clock.start(now=clock.due_at())

    assert first.count == 1_000
    assert clock.due_at() == 6.0 + RESYNC_S  # nothing is left but the resync


def test_without_triggers_the_resync_is_due() -> None:
    clock = timing()
    clock.start(now=10.0)

    assert clock.due_at() == 10.0 + RESYNC_S


def test_wake_is_answered_by_the_next_start() -> None:
    clock = timing()
    clock.start(now=0.0)
    clock.wake_at(7.0)
    clock.wake_at(3.0)

    assert clock.due_at() == 3.0
    clock.start(now=3.0)
    assert clock.due_at() == 3.0 + RESYNC_S


def test_trigger_names_its_causes_and_counts_the_rest() -> None:
    clock = timing()
    for number in range(20):
        clock.trigger(f"cause {number}", now=0.0)

    trigger = clock.start(now=1.0)

    assert len(trigger.causes) == REASONS_LISTED_MAX
    assert str(trigger).endswith("and 12 more")


@given(st.lists(st.tuples(st.floats(0, 30), st.sampled_from(Urgency)), min_size=1, max_size=40))
def test_every_trigger_is_answered_in_bounded_time(events: list[tuple[float, Urgency]]) -> None:
    """Whatever comes when: a settling change is answered within two intervals, an urgent one within the small gap."""
    clock = timing()
    pending: list[tuple[float, Urgency]] = []
    arrivals = sorted(events)
    clock.start(now=0.0)
    now = 0.0
    while arrivals or pending:
        due = clock.due_at()
        if arrivals and arrivals[0][0] <= due:
            now, urgency = arrivals.pop(0)
            clock.trigger("x", now=now, urgency=urgency)
            pending.append((now, urgency))
            continue
        now = max(now, due)
        clock.start(now=now)
        for at, urgency in pending:
            assert now - at <= (2 * INTERVAL_S if urgency is Urgency.SETTLE else GAP_S) + 1e-9
        pending.clear()


async def test_shell_returns_for_an_urgent_trigger_that_comes_while_it_waits() -> None:
    reloader = SubscriptionReloader(timing())
    await reloader.wait()
    waiting = asyncio.create_task(reloader.wait())
    await asyncio.sleep(0)

    reloader.trigger("token refused", urgency=Urgency.URGENT)
    async with asyncio.timeout(5):
        trigger = await waiting

    assert trigger.urgent
    assert trigger.causes == ("token refused",)
