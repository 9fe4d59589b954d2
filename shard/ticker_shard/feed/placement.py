"""Which instrument is on which socket. Pure.

An instrument stays where it is for as long as it is wanted, so a new table costs only its differences. A new one
goes to the socket with the fewest instruments that still has room, the lowest number among equals: sockets fill
evenly, which halves what is lost for a moment when one of two breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """Where every wanted instrument is.

    Attributes
    ----------
    socket_of
        Token → socket number.
    unplaced
        Tokens for which there was no room.
    """

    socket_of: Mapping[int, int]
    unplaced: tuple[int, ...] = ()


def place(tokens: Iterable[int], *, before: Mapping[int, int], sockets: int, capacity: int) -> Placement:
    """Place `tokens`.

    Parameters
    ----------
    tokens
        What is wanted, in the order in which room is given.
    before
        Token → socket of the placement in force.
    sockets, capacity
        Number of sockets and instruments on each.
    """
    wanted = list(dict.fromkeys(tokens))
    socket_of = {token: before[token] for token in wanted if token in before}
    loads = [0] * sockets
    for socket in socket_of.values():
        loads[socket] += 1
    unplaced = []
    for token in wanted:
        if token in socket_of:
            continue
        socket = min(range(sockets), key=lambda number: (loads[number], number))
        if loads[socket] >= capacity:
            unplaced.append(token)
            continue
        socket_of[token] = socket
        loads[socket] += 1
    assert all(load <= capacity for load in loads), loads
    return Placement(socket_of, tuple(unplaced))
