"""Bringing an account that was added, or came back, to its fair share with the fewest moves.

Nothing is moved for evenness alone: an account must carry less than nine tenths of its fair share before anything
moves to it. Then exactly what it lacks moves, from accounts above *their* share, so the number of moves is the
smallest that reaches the shares: the sum of what is lacking. What is on its way already counts as arrived, so a pass
that was allowed only a part goes on where it stopped, and a finished balance asks for nothing.

Those whose round-robin place would be the receiver go first (so a pool that grows ends near the placement it would
have had from the start), then the lowest priorities: the fewest people notice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ticker_operator.model import MoveReason
from ticker_operator.planning.capacity import fair_shares
from ticker_operator.planning.seating import Seating

SHARE_NUMERATOR: Final = 9  # an account below 9/10 of its fair share is given instruments
SHARE_DENOMINATOR: Final = 10


def balance(seating: Seating, *, resting: Sequence[bool], moves_max: int) -> int:
    """Move instruments to accounts below their share; how many more moves it would have taken.

    Parameters
    ----------
    seating
        Where everything sits.
    resting
        By position: it stands in one table only. What is on its way is not turned round.
    moves_max
        Moves allowed now.
    """
    taking = {name: seat.capacity for name, seat in seating.seats.items() if seat.takes}
    sharing = taking | {name: seat.capacity for name, seat in seating.seats.items() if seat.keeps and not seat.paused}
    shares = fair_shares(sharing, loads=seating.loads)
    receivers = [
        name for name in sorted(taking) if seating.loads[name] * SHARE_DENOMINATOR < shares[name] * SHARE_NUMERATOR
    ]
    if not receivers:
        return 0
    donors = {name: seating.loads[name] - shares[name] for name in sharing if seating.loads[name] > shares[name]}
    leaving = {name: [spot for spot in seating.leaving_order(name) if resting[spot]] for name in donors}
    left = 0
    for receiver in receivers:
        lacking = shares[receiver] - seating.loads[receiver]
        for position in _candidates(seating, receiver, donors, leaving):
            donor = seating.places[position]
            if not lacking:
                break
            if donor is None or donor == receiver or donors.get(donor, 0) <= 0:
                continue
            if not seating.has_channels(position, receiver):
                continue
            lacking -= 1
            donors[donor] -= 1
            if moves_max <= 0:
                left += 1
                continue
            moves_max -= 1
            seating.take(position, MoveReason.BALANCE)
            seating.put(position, receiver)
    return left


def _candidates(seating: Seating, receiver: str, donors: dict[str, int], leaving: dict[str, list[int]]) -> list[int]:
    """Who might move to `receiver`, the first to go in front."""

    def order(position: int) -> tuple[bool, int, int]:
        takers = seating.takers(position)
        return (takers[position % len(takers)] != receiver, seating.wanted[position].priority, -position)

    found = [
        position
        for name in sorted(donors)
        for position in leaving[name]
        if seating.places[position] == name and receiver in seating.takers(position)
    ]
    return sorted(found, key=order)
