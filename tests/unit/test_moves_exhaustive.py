"""One instrument, two accounts, every order of events: the rules of moving (`next_steps`) checked exhaustively.

Each state says what both tables, both processes, Redis and the market hold. From every reachable state everything that
can happen is tried: the operator writes one of its changes (and may die after it), a table is applied late or skipped,
the feed brings a value, a call lands late, in any order among those on their way, a table is acknowledged with or
without a first packet, its barrier alone before all the rest or never, the plan turns round, an account is judged
lost while it publishes, a process crashes.

Checked: there is a publisher at every moment, unless a process crashed. Where nothing is left to do the instrument
has exactly one owner, stands in one table, and the last value is the newest. And from every state such a rest can be
reached.

A checker that cannot fail proves nothing: each rule is broken once, and each time it must find that out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest

from ticker_crds import PUBLISHING_ROLES, AssignedInstrument, Mode, Role
from ticker_operator.model import Step
from ticker_operator.planning.roles import Holder
from ticker_operator.planning.steps import AccountFacts, PoolFacts, RoleChange, next_steps

SYMBOL = "NFO:X"
ROWS = {role: AssignedInstrument(1, "NFO", "X", Mode.FULL, ("c",), role) for role in Role}
NAMES = ("A", "B")
NOTHING = -1  # no value
STATES_MAX = 150_000
Rules = Callable[[str, str | None, Sequence[Holder], PoolFacts], tuple[RoleChange, ...]]


class Side(NamedTuple):
    """One account."""

    role: Role | None  # in the table as it lies there
    applied: Role | None  # in the table that the process has applied
    current: bool = True  # they are the same table
    acknowledged: bool = True
    passed: bool = False  # nothing outgoing is published any more, so much was said
    listed: bool = False  # acknowledged, but the instrument as unconfirmed
    newest: int = NOTHING
    owes_value: bool = False
    owes_barrier: bool = False
    flight: tuple[tuple[int, bool], ...] = ()  # calls in their order: value, made since the duty began
    serves: bool = True  # as the operator judges it

    @property
    def publishes(self) -> bool:
        return self.applied in PUBLISHING_ROLES and self.newest != NOTHING


class World(NamedTuple):
    """Everything; the rest are budgets of what may still happen."""

    sides: tuple[Side, Side]
    destination: int
    last: int
    market: int
    ticks: int
    turns: int
    losses: int
    crashes: int
    crashed: bool = False

    def with_side(self, index: int, side: Side, **more: object) -> World:
        sides = (side, self.sides[1]) if index == 0 else (self.sides[0], side)
        return self._replace(sides=sides, **more)


def progress(world: World, rules: Rules) -> Iterator[World]:
    """What will happen sooner or later if nothing else does."""
    yield from operator_writes(world, rules)
    for index, side in enumerate(world.sides):
        if not side.current:
            yield world.with_side(index, applied(side))
        if side.applied is not None and side.newest != world.market:
            flight = (*side.flight, (world.market, True)) if side.applied in PUBLISHING_ROLES else side.flight
            yield world.with_side(index, side._replace(newest=world.market, flight=flight))
        if side.owes_value and side.newest != NOTHING and not any(fresh for _, fresh in side.flight):
            yield world.with_side(index, side._replace(flight=(*side.flight, (side.newest, True))))
        if side.owes_barrier and not any(fresh for _, fresh in side.flight):
            yield world.with_side(index, side._replace(flight=(*side.flight, (NOTHING, True))))
        for position in range(len(side.flight)):
            yield landed(world, index, side, position)
        if may_acknowledge(side):
            listed = side.applied is not None and side.newest == NOTHING
            yield world.with_side(index, side._replace(acknowledged=True, listed=listed))
        if may_say_so(side):
            yield world.with_side(index, side._replace(passed=True))
        if not side.serves:
            yield world.with_side(index, side._replace(serves=True))


def operator_writes(world: World, rules: Rules) -> Iterator[World]:
    holders = [
        Holder(name, ROWS[side.role]) for name, side in zip(NAMES, world.sides, strict=True) if side.role is not None
    ]
    facts = PoolFacts.of({
        name: AccountFacts(
            acknowledged=side.acknowledged,
            past_barriers=side.passed,
            unconfirmed=frozenset({SYMBOL}) if side.listed else frozenset(),
            serves=side.serves,
            unseen=not side.acknowledged,
        )
        for name, side in zip(NAMES, world.sides, strict=True)
    })  # fmt: skip
    for change in rules(SYMBOL, NAMES[world.destination], holders, facts):
        index = NAMES.index(change.account)
        side = world.sides[index]
        written = side._replace(role=change.role, current=False, acknowledged=False, passed=False, listed=False)
        yield world.with_side(index, written)


def applied(side: Side) -> Side:
    """The process takes the table as it lies there; those in between it never saw."""
    new, publishes = side.role, side.role in PUBLISHING_ROLES
    owes_value = publishes and (side.owes_value or new is not side.applied)
    begins_barrier = new is Role.OUTGOING and side.applied is not Role.OUTGOING
    flight = side.flight
    if begins_barrier or (publishes and new is not side.applied):
        flight = tuple((value, False) for value, _ in flight)
    return side._replace(
        applied=new,
        current=True,
        newest=side.newest if new is not None else NOTHING,
        owes_value=owes_value,
        owes_barrier=side.owes_barrier or begins_barrier,
        flight=flight,
    )


def landed(world: World, index: int, side: Side, position: int) -> World:
    """One call arrives; those before it are stale from now on."""
    value, fresh = side.flight[position]
    after = side._replace(
        flight=side.flight[position + 1 :],
        owes_barrier=side.owes_barrier and not fresh,
        owes_value=side.owes_value and not (fresh and value != NOTHING),
    )
    return world.with_side(index, after, last=world.last if value == NOTHING else value)


def may_acknowledge(side: Side) -> bool:
    owes = side.owes_barrier or (side.owes_value and side.newest != NOTHING)
    done = side.acknowledged and not (side.listed and side.newest != NOTHING)
    return side.current and not owes and not done


def may_say_so(side: Side) -> bool:
    """Only a table that is not acknowledged yet needs its barrier told."""
    fresh = not side.passed and not side.acknowledged
    return side.current and fresh and side.applied is Role.OUTGOING and not side.owes_barrier


def surprises(world: World) -> Iterator[World]:
    """What may happen, as long as its budget lasts."""
    if world.ticks:
        yield world._replace(market=world.market + 1, ticks=world.ticks - 1)
    if world.turns:
        yield world._replace(destination=1 - world.destination, turns=world.turns - 1)
    for index, side in enumerate(world.sides):
        if world.losses and side.serves:
            yield world.with_side(index, side._replace(serves=False), losses=world.losses - 1)
        if world.crashes:
            # A new process: new epoch (old calls are fenced: a barrier), reads the table as it is; its
            # predecessor's acknowledgement still stands in the status.
            reborn = side._replace(
                applied=side.role,
                current=True,
                newest=NOTHING,
                owes_value=side.role in PUBLISHING_ROLES,
                owes_barrier=False,
                flight=(),
            )
            yield world.with_side(index, reborn, crashes=world.crashes - 1, crashed=True)


def explore(start: World, rules: Rules = next_steps) -> int:
    """Every reachable state, checked; how many there are."""
    before: dict[World, list[World]] = {start: []}
    rests: list[World] = []
    queue = deque([start])
    while queue:
        world = queue.popleft()
        assert len(before) <= STATES_MAX, "the budget of states is used up"
        check_moment(world)
        following = list(progress(world, rules))
        if not following:
            check_rest(world)
            rests.append(world)
        for kind, worlds in ((True, following), (False, surprises(world))):
            for after in worlds:
                if after not in before:
                    before[after] = []
                    queue.append(after)
                if kind:
                    before[after].append(world)
    reached = set(rests)
    queue = deque(rests)
    while queue:
        for earlier in before[queue.popleft()]:
            if earlier not in reached:
                reached.add(earlier)
                queue.append(earlier)
    stuck = next((world for world in before if world not in reached), None)
    assert stuck is None, f"no way to rest from {stuck}"
    return len(before)


def check_moment(world: World) -> None:
    assert world.crashed or any(side.publishes for side in world.sides), f"nobody publishes in {world}"


def check_rest(world: World) -> None:
    here, there = world.sides[world.destination], world.sides[1 - world.destination]
    assert (here.role, there.role) == (Role.OWNER, None), f"not one owner at rest: {world}"
    assert here.publishes, f"the owner does not publish: {world}"
    assert not there.publishes, f"a second publisher at rest: {world}"
    assert world.last == world.market, f"an old value is the last one: {world}"


def a_world(*, ticks: int = 1, turns: int = 0, losses: int = 0, crashes: int = 0) -> World:
    """The instrument streams at A, and the plan wants it at B."""
    sides = (Side(Role.OWNER, Role.OWNER, newest=0), Side(None, None))
    return World(sides, 1, 0, 0, ticks, turns, losses, crashes)


@pytest.mark.parametrize(
    "budgets",
    [
        pytest.param({"ticks": 3}, id="ticks"),
        pytest.param({"turns": 3, "ticks": 2}, id="there and back and there again"),
        pytest.param({"losses": 2, "ticks": 2}, id="accounts judged lost while they publish"),
        pytest.param({"turns": 2, "losses": 1, "ticks": 2}, id="turned round while somebody is judged lost"),
        pytest.param({"crashes": 2, "ticks": 2}, id="crashes"),
        pytest.param({"turns": 1, "crashes": 1, "ticks": 2}, id="a crash while it is turned round"),
        pytest.param({"turns": 1, "crashes": 1, "losses": 1, "ticks": 1}, id="everything at once"),
    ],
)
def test_moving_is_safe_in_every_order_of_events(budgets: dict[str, int]) -> None:
    assert explore(a_world(**budgets)) > 100


# -- the checker can fail -----------------------------------------------------------------------------------------


def with_facts(change: Callable[[str, AccountFacts, str | None], AccountFacts]) -> Rules:
    """The real rules, told something else than what is so."""

    def rules(
        symbol: str, destination: str | None, holders: Sequence[Holder], facts: PoolFacts
    ) -> tuple[RoleChange, ...]:
        told = {name: change(name, entry, destination) for name, entry in facts.accounts.items()}
        return next_steps(symbol, destination, holders, PoolFacts.of(told))

    return rules


def with_changes(change: Callable[[RoleChange], RoleChange]) -> Rules:
    """The real rules, writing something else."""

    def rules(
        symbol: str, destination: str | None, holders: Sequence[Holder], facts: PoolFacts
    ) -> tuple[RoleChange, ...]:
        return tuple(map(change, next_steps(symbol, destination, holders, facts)))

    return rules


def without_waiting_for_the_new_owner(name: str, facts: AccountFacts, destination: str | None) -> AccountFacts:
    return replace(facts, acknowledged=True, unconfirmed=frozenset()) if name == destination else facts


def without_waiting_for_the_barrier(name: str, facts: AccountFacts, destination: str | None) -> AccountFacts:
    return facts if name == destination else replace(facts, acknowledged=True)


def with_a_barrier_that_nobody_passed(name: str, facts: AccountFacts, destination: str | None) -> AccountFacts:
    return facts if name == destination else replace(facts, past_barriers=True)


def with_listed_instruments_taken_for_confirmed(
    name: str, facts: AccountFacts, destination: str | None
) -> AccountFacts:
    return replace(facts, unconfirmed=frozenset())


def removed_without_outgoing(change: RoleChange) -> RoleChange:
    return replace(change, role=None) if change.step is Step.RETIRE else change


def owner_at_once(change: RoleChange) -> RoleChange:
    return replace(change, role=Role.OWNER) if change.role is Role.SETTLING else change


def returned_as_owner(change: RoleChange) -> RoleChange:
    return replace(change, role=Role.OWNER) if change.step is Step.RETURN else change


@pytest.mark.parametrize(
    ("rules", "budgets", "found"),
    [
        (with_facts(without_waiting_for_the_new_owner), {}, "nobody publishes"),
        (with_facts(without_waiting_for_the_barrier), {}, "an old value is the last one"),
        (with_facts(with_a_barrier_that_nobody_passed), {}, "an old value is the last one"),
        (with_facts(with_listed_instruments_taken_for_confirmed), {}, "nobody publishes"),
        (with_changes(removed_without_outgoing), {}, "an old value is the last one"),
        (with_changes(owner_at_once), {}, "no way to rest|not one owner|an old value"),
        (with_changes(returned_as_owner), {"turns": 1}, "no way to rest|an old value is the last one"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_broken_rule_is_found_out(rules: Rules, budgets: dict[str, int], found: str) -> None:
    with pytest.raises(AssertionError, match=found):
        explore(a_world(**{"ticks": 2} | budgets), rules)
