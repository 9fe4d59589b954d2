"""Which instrument is on which socket. Pure, and a function of what is wanted alone.

Two processes of one account agree on it without talking: neither history nor the order of rows matters, nor how much
room a socket has while everything fits. Each token ranks the sockets, each socket ranks the tokens (both by a hash of
the pair), and every socket gets its even share: a token goes to the first socket of its ranking that does not prefer
others. That outcome is the same whichever token is asked first (a stable matching), and one token more or less moves
at most one other to each further socket.

Sockets fill evenly, which halves what is lost for a moment when one of two breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import Final

_64_BITS: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Placement:
    """Where every wanted instrument is.

    Attributes
    ----------
    socket_of
        Token → socket number.
    unplaced
        Tokens for which there was no room: the highest.
    """

    socket_of: Mapping[int, int]
    unplaced: tuple[int, ...] = ()


def place(tokens: Iterable[int], *, sockets: int, capacity: int) -> Placement:
    """Place `tokens`.

    Parameters
    ----------
    tokens
        What is wanted.
    sockets, capacity
        Number of sockets and instruments on each.
    """
    wanted = sorted(set(tokens))
    placed, unplaced = wanted[: sockets * capacity], wanted[sockets * capacity :]
    if sockets == 1:
        return Placement(dict.fromkeys(placed, 0), tuple(unplaced))
    shares = [len(placed) // sockets + (number < len(placed) % sockets) for number in range(sockets)]
    on: list[list[tuple[int, int]]] = [[] for _ in range(sockets)]  # heaps of (score, token): the least wanted first
    for token in placed:
        asking: int | None = token
        while asking is not None:
            asking = _settle(asking, on, shares)
    socket_of = {token: number for number, heap in enumerate(on) for _, token in heap}
    assert sorted(socket_of) == placed, "the shares add up to everything that is placed"
    return Placement({token: socket_of[token] for token in placed}, tuple(unplaced))


def _settle(token: int, on: list[list[tuple[int, int]]], shares: list[int]) -> int | None:
    """Give `token` its place; whom it displaces, if it took somebody's."""
    for number in sorted(range(len(on)), key=lambda number: _score(token, number), reverse=True):
        entry = (_score(token, number), token)
        if len(on[number]) < shares[number]:
            heappush(on[number], entry)
            return None
        if on[number] and on[number][0] < entry:
            return heappushpop(on[number], entry)[1]
    raise AssertionError(f"no socket takes {token}, and there is room")


def _score(token: int, socket: int) -> int:
    """How much the two want each other: the same in every process, and nothing to do with neighbouring tokens."""
    bits = (token * 4 + socket + 1) * 0x9E3779B97F4A7C15 & _64_BITS  # splitmix64
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _64_BITS
    return bits ^ bits >> 31
