"""Instruments stay on their socket, sockets fill evenly, and nothing exceeds its room."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ticker_shard.feed.placement import place

tokens = st.lists(st.integers(1, 40), max_size=40)


@given(first=tokens, second=tokens, sockets=st.integers(1, 3), capacity=st.integers(1, 12))
def test_what_stays_wanted_stays_where_it_is(first: list[int], second: list[int], sockets: int, capacity: int) -> None:
    before = place(first, before={}, sockets=sockets, capacity=capacity).socket_of
    after = place(second, before=before, sockets=sockets, capacity=capacity)

    assert all(after.socket_of[token] == before[token] for token in set(second) & set(before))


@given(wanted=tokens, sockets=st.integers(1, 3), capacity=st.integers(1, 12))
def test_every_token_has_one_place_or_is_named_and_room_is_used_up(
    wanted: list[int], sockets: int, capacity: int
) -> None:
    placed = place(wanted, before={}, sockets=sockets, capacity=capacity)

    loads = Counter(placed.socket_of.values())
    assert set(placed.socket_of) | set(placed.unplaced) == set(wanted)
    assert not set(placed.socket_of) & set(placed.unplaced)
    assert max(loads.values(), default=0) <= capacity
    assert len(placed.socket_of) == min(len(set(wanted)), sockets * capacity)
    assert max(loads.values(), default=0) - min((loads[number] for number in range(sockets)), default=0) <= 1


def test_a_full_account_takes_what_was_left_out_as_soon_as_there_is_room() -> None:
    first = place([1, 2, 3], before={}, sockets=1, capacity=2)
    assert first.unplaced == (3,)

    second = place([2, 3], before=first.socket_of, sockets=1, capacity=2)

    assert second.unplaced == ()
    assert second.socket_of == {2: 0, 3: 0}
