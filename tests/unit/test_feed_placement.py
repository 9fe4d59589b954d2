"""Where an instrument is follows from the table alone; sockets fill evenly, nothing exceeds its room, little moves."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_shard.ticks.placement import place

tokens = st.lists(st.integers(1, 2**32 - 1), max_size=40, unique=True)


@given(wanted=tokens, order=st.randoms(use_true_random=False), sockets=st.integers(1, 3))
def test_any_process_finds_the_same_places_in_whichever_order_it_reads_the_rows(
    wanted: list[int], order: Random, sockets: int
) -> None:
    shuffled = wanted.copy()
    order.shuffle(shuffled)

    here = place(wanted, sockets=sockets, capacity=40)

    assert place(shuffled, sockets=sockets, capacity=40) == here


@given(wanted=tokens, sockets=st.integers(1, 3), capacities=st.tuples(st.integers(14, 40), st.integers(14, 3_000)))
def test_how_much_more_would_fit_changes_nothing(wanted: list[int], sockets: int, capacities: tuple[int, int]) -> None:
    wanted = wanted[: sockets * 14]

    one, other = (place(wanted, sockets=sockets, capacity=capacity) for capacity in capacities)

    assert one == other


@given(wanted=tokens, sockets=st.integers(1, 3), capacity=st.integers(1, 12))
def test_every_token_has_one_place_or_is_named_and_room_is_used_up(
    wanted: list[int], sockets: int, capacity: int
) -> None:
    placed = place(wanted, sockets=sockets, capacity=capacity)

    loads = Counter(placed.socket_of.values())
    assert set(placed.socket_of) | set(placed.unplaced) == set(wanted)
    assert not set(placed.socket_of) & set(placed.unplaced)
    assert max(loads.values(), default=0) <= capacity
    assert len(placed.socket_of) == min(len(wanted), sockets * capacity)
    assert max(loads.values(), default=0) - min((loads[number] for number in range(sockets)), default=0) <= 1


@given(wanted=tokens, more=st.integers(1, 2**32 - 1), sockets=st.integers(1, 3))
def test_one_instrument_more_or_less_moves_hardly_any_other(wanted: list[int], more: int, sockets: int) -> None:
    without = place([token for token in wanted if token != more], sockets=sockets, capacity=3_000).socket_of

    beside = place([*wanted, more], sockets=sockets, capacity=3_000).socket_of

    assert sum(beside[token] != socket for token, socket in without.items()) <= 2 * (sockets - 1)


@pytest.mark.parametrize("step", [1, 256, 512, 1_024])
def test_neighbouring_tokens_do_not_flock_together(step: int) -> None:
    """Adding a day's new strikes moves about half as many others, not all of them."""
    chain = [1_000_000 + step * number for number in range(1_000)]
    before = place(chain[:800], sockets=2, capacity=3_000).socket_of

    after = place(chain, sockets=2, capacity=3_000).socket_of

    assert sum(after[token] != socket for token, socket in before.items()) <= 60


def test_a_full_account_takes_what_was_left_out_as_soon_as_there_is_room() -> None:
    first = place([1, 2, 3], sockets=1, capacity=2)
    assert first.unplaced == (3,)

    second = place([2, 3], sockets=1, capacity=2)

    assert second.unplaced == ()
    assert second.socket_of == {2: 0, 3: 0}
