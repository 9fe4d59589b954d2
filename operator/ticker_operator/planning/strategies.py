"""Where each instrument belongs.

The trader's words: "spread my instruments over my accounts, never more on one than it carries, and once something
streams leave it where it is unless it must move."

Two orders everything relies on: instruments by (exchange, tradingsymbol, expiry), which is `Resolution.wanted`;
accounts by name. An instrument's *position* is its place in the first.

Round robin
    1. *Stay*: whatever has a home that may keep it stays there.
    2. *Place*: the rest, highest priority first, goes to ``accounts[position % n]`` among the accounts that may take
       it; full ones are skipped cyclically. In an empty pool with room this is exactly the original rule.
    3. *Displace*: where nobody has room, something of a lower priority gives way.
    4. *Balance*: only when an account carries less than nine tenths of its fair share (`balance`).
Full
    Step 2 for everything in every pass: the original rule, for comparison.

What nobody can take is named with its reason, never an exception. If the account it stands at cannot keep it (dead
token, draining) but exists, it stays there, *stranded*: it streams on if that account still can, and is first to be
placed when there is room.

What always holds: everything placed has exactly one account; no account is given more than its capacity or more than
64 channels; only what must move moves; the order in which anything is handed in makes no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ticker_crds.account import AccountState
from ticker_crds.constants import CHANNELS_PER_ACCOUNT_MAX
from ticker_operator.model import (
    AccountView,
    Health,
    Move,
    MoveReason,
    Plan,
    PoolSnapshot,
    Resolution,
    Strategy,
    Unassigned,
    UnassignedReason,
    Verdict,
)
from ticker_operator.planning.balance import balance
from ticker_operator.planning.roles import Holder, read_roles
from ticker_operator.planning.seating import Seat, Seating

TAKING: Final = frozenset({Health.ALIVE, Health.STARTING})
_UNKNOWN: Final = Verdict(Health.STARTING, "not judged yet")
_LEAVES: Final[dict[Health, MoveReason]] = {
    Health.DEAD: MoveReason.ACCOUNT_DEAD,
    Health.LOST: MoveReason.ACCOUNT_LOST,
    Health.UNUSABLE: MoveReason.ACCOUNT_UNUSABLE,
    Health.STOPPED: MoveReason.ACCOUNT_SUSPENDED,
}


def plan(
    snapshot: PoolSnapshot,
    *,
    resolution: Resolution,
    verdicts: Mapping[str, Verdict],
    strategy: Strategy = Strategy.ROUND_ROBIN,
    moves_max: int,
) -> Plan:
    """Place everything that is wanted; the current placement is read from the tables' roles.

    Parameters
    ----------
    snapshot
        The pool.
    resolution, verdicts
        What is wanted; who can stream.
    strategy
        See `Strategy`.
    moves_max
        How many moves for balance alone may be decided now (`budget.MoveBudget`); moves that must be are not bounded.
    """
    assert moves_max >= 0, moves_max
    seating = Seating(resolution, [seat_of(account, verdicts, snapshot.now_ns) for account in snapshot.accounts])
    roles = read_roles(snapshot.tables)
    homes = [roles.of(wanted.row.identity) for wanted in resolution.wanted]
    _seat_what_stays(seating, homes, snapshot, strategy)
    evicted = seating.trim()
    unseated = [position for position, place in enumerate(seating.places) if place is None]
    assert set(evicted) <= set(unseated), "what was evicted is placed again with the rest"
    seating.place(unseated)
    left = 0
    if strategy is Strategy.ROUND_ROBIN and all(entry.health is not Health.HELD for entry in verdicts.values()):
        left = balance(seating, resting=[len(holders) == 1 for holders in homes], moves_max=moves_max)
    unassigned = _unassigned(seating, _strand(seating, homes), snapshot, verdicts)
    return Plan(
        placement={
            wanted.row.identity: place
            for wanted, place in zip(resolution.wanted, seating.places, strict=True)
            if place is not None
        },
        moves=_moves(seating, homes, strategy),
        unassigned=unassigned,
        balance_left=left,
    )


def seat_of(account: AccountView, verdicts: Mapping[str, Verdict], now_ns: int) -> Seat:
    """What may happen at one account, and why everything leaves it, if it does."""
    verdict = verdicts.get(account.name, _UNKNOWN)
    if account.deleting:
        leaves = MoveReason.ACCOUNT_DELETED
    elif account.state is AccountState.SUSPENDED:
        leaves = MoveReason.ACCOUNT_SUSPENDED
    elif account.state is AccountState.DRAINING:
        leaves = MoveReason.ACCOUNT_DRAINING
    else:
        leaves = _LEAVES.get(verdict.health, MoveReason.CAPACITY)
    return Seat(
        account.name,
        account.capacity,
        keeps=account.paused or (verdict.health.streams and not account.leaving),
        takes=verdict.health in TAKING and not account.leaving and not account.paused and account.refusal is None,
        held_down=now_ns < verdict.hold_until_ns,
        paused=account.paused,
        leaves=leaves,
    )


def _seat_what_stays(
    seating: Seating, homes: Sequence[tuple[Holder, ...]], snapshot: PoolSnapshot, strategy: Strategy
) -> None:
    sticky = strategy is Strategy.ROUND_ROBIN
    seats, remembered = seating.seats, snapshot.remembered
    for position, holders in enumerate(homes):
        for holder in holders:
            seat = seats.get(holder.account)
            if seat is None or not seat.keeps:
                continue
            if seat.paused or (sticky and seating.allows(position, holder.account)):
                seating.put(position, holder.account)
                break
        else:
            if holders or not sticky or not remembered:
                continue
            # It stands in no table: a new instrument, or one whose table was lost. In the latter case the shard
            # still streams it, and this process may remember where.
            account = remembered.get(seating.wanted[position].row.identity)
            seat = seats.get(account) if account is not None else None
            if seat is not None and seat.keeps and not seat.paused and seating.allows(position, seat.name):
                seating.put(position, seat.name)


def _strand(seating: Seating, homes: Sequence[tuple[Holder, ...]]) -> dict[int, str]:
    """Leave what nobody can take where it stands, if that account exists and cannot keep it for good."""
    stranded: dict[int, str] = {}
    for position, place in enumerate(seating.places):
        if place is not None:
            continue
        for holder in homes[position]:
            seat = seating.seats.get(holder.account)
            if (
                seat is not None
                and not seat.keeps
                and seating.allows(position, seat.name)
                and seating.has_room(seat.name)
                and seating.has_channels(position, seat.name)
            ):
                seating.put(position, seat.name)
                stranded[position] = seat.name
                break
    return stranded


def _moves(seating: Seating, homes: Sequence[tuple[Holder, ...]], strategy: Strategy) -> tuple[Move, ...]:
    moves = []
    for position, (holders, place) in enumerate(zip(homes, seating.places, strict=True)):
        if not holders or place is None or place == holders[0].account:
            continue
        origin = holders[0].account
        seat = seating.seats.get(origin)
        if seat is None:
            reason = MoveReason.ACCOUNT_DELETED
        elif not seat.keeps:
            reason = seat.leaves
        elif not seating.allows(position, origin):
            reason = MoveReason.SELECTOR
        else:
            fallback = MoveReason.RECOMPUTED if strategy is Strategy.FULL else MoveReason.CAPACITY
            reason = seating.reasons.get(position, fallback)
        moves.append(Move(seating.wanted[position].row.symbol, origin, place, reason))
    return tuple(moves)


def _unassigned(
    seating: Seating, stranded: Mapping[int, str], snapshot: PoolSnapshot, verdicts: Mapping[str, Verdict]
) -> tuple[Unassigned, ...]:
    """Everything that nobody streams, by symbol; one sentence per cause, shared."""
    missing = [position for position, place in enumerate(seating.places) if place is None or position in stranded]
    if not missing:
        return ()
    capacity = sum(seat.capacity for seat in seating.seats.values() if seat.takes)
    short = Counter(seating.refusals[position] for position in missing)
    accounts = {account.name: account for account in snapshot.accounts}
    sentences = {
        UnassignedReason.NO_ACCOUNT: _no_account(snapshot.accounts, verdicts),
        UnassignedReason.NO_MATCHING_ACCOUNT: (
            "no account that its accountSelector allows can take it: label an account, or change the selector"
        ),
        UnassignedReason.CAPACITY_EXCEEDED: (
            f"{len(seating.wanted):,} instruments are wanted, {capacity:,} fit on the accounts that can take some, "
            f"{short[UnassignedReason.CAPACITY_EXCEEDED]:,} are left over: add an account or raise sockets"
        ),
        UnassignedReason.TOO_MANY_CHANNELS: (
            f"an account publishes to at most {CHANNELS_PER_ACCOUNT_MAX} channels, and those with room have no more "
            "left: use fewer channels, or add an account"
        ),
    }
    found = []
    for position in missing:
        refusal, symbol = seating.refusals[position], seating.wanted[position].row.symbol
        home = stranded.get(position, "")
        if home and not _still_serves(accounts[home], verdicts):
            why = verdicts.get(home, _UNKNOWN).message or "it cannot stream"
            message = f"stays at {home}, which does not stream ({why}): {sentences[refusal]}"
            found.append(Unassigned(symbol, UnassignedReason.STRANDED, message, account=home))
        elif not home:
            found.append(Unassigned(symbol, refusal, sentences[refusal]))
    return tuple(sorted(found, key=lambda entry: entry.symbol))


def _still_serves(account: AccountView, verdicts: Mapping[str, Verdict]) -> bool:
    """A draining account streams on what nobody takes."""
    return account.state is not AccountState.SUSPENDED and verdicts.get(account.name, _UNKNOWN).health.streams


def _no_account(accounts: Sequence[AccountView], verdicts: Mapping[str, Verdict]) -> str:
    if not accounts:
        return "there is no account: create a KiteAccount"
    causes = []
    for account in sorted(accounts, key=lambda account: account.name)[:3]:
        verdict = verdicts.get(account.name, _UNKNOWN)
        cause = account.refusal.message if account.refusal else verdict.message
        if account.leaving:
            cause = "being deleted" if account.deleting else account.state.value.lower()
        causes.append(f"{account.name}: {'paused' if account.paused else cause or verdict.health}")
    more = f" and {len(accounts) - 3:,} more" if len(accounts) > 3 else ""
    return f"no account can take it ({'; '.join(causes)}{more})"
