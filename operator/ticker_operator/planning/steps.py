"""The next step of one instrument: from its roles in the tables and what the shards acknowledged, nothing else.

*Owner* and *settling* publish; *incoming* and *outgoing* are subscribed and silent. D is the account it belongs to,
A any other that has it. "Acknowledged" means the table as it lies there now; an instrument the shard lists as
unconfirmed is not acknowledged. "Gave it up" is less: of what that table calls outgoing nothing is published any
more, whatever else of it is still to be done. The first line that applies is taken:

====  =================  =================  ====================================================  ===================
      at D               at A               guard                                                 write
====  =================  =================  ====================================================  ===================
0     (not wanted)       outgoing           A gave it up                                          A: remove
0     (not wanted)       any other          – (it cleans up its last value itself)                A: remove
1     –                  –                  no other shard could still publish it                 D: owner
1s    –                  –                  another one could: its table is not acknowledged      D: settling
2     –                  publishes          A can publish                                         D: incoming
2f    – or incoming      any                no A that publishes can: dead, lost                   D: settling
3     incoming           publishes          D acknowledged (the feed confirmed it)                D: settling
4     outgoing           any                –                                                     D: settling
5     owner              publishes          – (turned round midway: D must rewrite at the end)    D: settling
6     settling           publishes          D acknowledged (Redis took its first value)           A: outgoing
7     settling           outgoing, or none  each A gave it up (a barrier); if there is none, no   D: owner
                                            other shard could still publish it
8     owner              outgoing           D acknowledged (it rewrote the last value)            A: remove
9     settling, owner    incoming           –                                                     A: remove
====  =================  =================  ====================================================  ===================

Each write stands alone: whoever decides may die between any two, and a write that comes late or is skipped changes
no later decision. A publishing role is taken from one account only after another has acknowledged one (6), or when
nobody wants the instrument (0). An account of which no process is left counts as having acknowledged; its row goes.

A row that goes while it publishes tells the shard to delete the last value: nobody has it any more. One that goes as
``outgoing`` tells it to leave the last value alone: it is another account's now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ticker_crds import PUBLISHING_ROLES, Role
from ticker_operator.model import Step
from ticker_operator.planning.roles import Holder


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What one account's shard has shown.

    Attributes
    ----------
    acknowledged
        It has done everything its stored table says.
    past_barriers
        Nothing that its stored table calls outgoing can be published by it any more.
    unconfirmed
        Instruments it lists as not confirmed. The list is bounded, but moving instruments come first, and where not
        even they fit nothing is acknowledged.
    gone
        No process of it is left and none will come: nothing of it can be published any more.
    serves
        It can publish, as far as anybody knows.
    unseen
        It may publish what no table shows: the table that lies there (or lies there no more) is not the one it has
        acknowledged, and it may be alive.
    contradicts
        It has acknowledged the stored table's revision with another content.
    """

    acknowledged: bool = False
    past_barriers: bool = False
    unconfirmed: frozenset[str] = frozenset()
    gone: bool = False
    serves: bool = True
    unseen: bool = False
    contradicts: bool = False

    def confirmed(self, symbol: str) -> bool:
        """Whether it has done what a moving instrument's role asks: has its packet, or has published it."""
        return self.acknowledged and symbol not in self.unconfirmed

    @property
    def gave_up(self) -> bool:
        """Whether what its stored table calls outgoing is published by it no more."""
        return self.acknowledged or self.past_barriers


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """`AccountFacts` of every account that has a table, a shard or an object."""

    accounts: Mapping[str, AccountFacts]
    unseen: frozenset[str]

    @classmethod
    def of(cls, accounts: Mapping[str, AccountFacts]) -> PoolFacts:
        """Gathered once for all instruments."""
        return cls(accounts, frozenset(name for name, entry in accounts.items() if entry.unseen))

    def __getitem__(self, account: str) -> AccountFacts:
        return self.accounts[account]

    def unseen_beside(self, account: str) -> bool:
        """Whether any other shard may publish what no table shows."""
        return len(self.unseen) > (account in self.unseen)


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One row of one table write: the new role at `account`, `None` = the row goes."""

    account: str
    role: Role | None
    step: Step


def next_steps(
    symbol: str, destination: str | None, holders: Sequence[Holder], facts: PoolFacts
) -> tuple[RoleChange, ...]:
    """What is due now for one instrument; nothing while somebody is waited for.

    Parameters
    ----------
    symbol
        Its name, as shards list it.
    destination
        Where it belongs; `None`: nowhere.
    holders
        Who has it now.
    facts
        What the shards have shown.
    """
    left = [RoleChange(entry.account, None, Step.REMOVE) for entry in holders if _is_gone(entry, destination, facts)]
    here = [entry for entry in holders if not _is_gone(entry, destination, facts)]
    if destination is None:
        return (*left, *_withdraw(here, facts))
    own = next((entry.role for entry in here if entry.account == destination), None)
    others = [entry for entry in here if entry.account != destination]
    return (*left, *_walk(symbol, destination, own, others, facts))


def _is_gone(holder: Holder, destination: str | None, facts: PoolFacts) -> bool:
    return holder.account != destination and facts[holder.account].gone


def _withdraw(holders: Iterable[Holder], facts: PoolFacts) -> list[RoleChange]:
    """Lines 0: nobody wants it."""
    return [
        RoleChange(holder.account, None, Step.REMOVE)
        for holder in holders
        if holder.role is not Role.OUTGOING or facts[holder.account].gave_up
    ]


def _walk(
    symbol: str, destination: str, own: Role | None, others: Sequence[Holder], facts: PoolFacts
) -> list[RoleChange]:
    mine = facts[destination]
    publishing = [entry for entry in others if entry.role in PUBLISHING_ROLES]
    served = any(facts[entry.account].serves for entry in publishing)
    match own:
        case None if not others:
            return [
                RoleChange(destination, Role.SETTLING if facts.unseen_beside(destination) else Role.OWNER, Step.ADD)
            ]
        case None if served:
            return [RoleChange(destination, Role.INCOMING, Step.ANNOUNCE)]
        case None:
            return [RoleChange(destination, Role.SETTLING, Step.TAKE_OVER)]
        case Role.INCOMING if not served:
            return [RoleChange(destination, Role.SETTLING, Step.TAKE_OVER)]
        case Role.INCOMING:
            return [RoleChange(destination, Role.SETTLING, Step.SETTLE)] if mine.confirmed(symbol) else []
        case Role.OUTGOING:
            return [RoleChange(destination, Role.SETTLING, Step.RETURN)]
    changes = [RoleChange(entry.account, None, Step.REMOVE) for entry in others if entry.role is Role.INCOMING]
    leaving = [entry for entry in others if entry.role is Role.OUTGOING]
    if publishing:
        if own is Role.OWNER:
            changes.append(RoleChange(destination, Role.SETTLING, Step.RETURN))
        elif mine.serves and mine.confirmed(symbol):
            changes += [RoleChange(entry.account, Role.OUTGOING, Step.RETIRE) for entry in publishing]
    elif own is Role.SETTLING:
        if all(facts[entry.account].gave_up for entry in leaving) and (leaving or not facts.unseen_beside(destination)):
            changes.append(RoleChange(destination, Role.OWNER, Step.FINISH))
    elif mine.acknowledged:  # also where it has no packet: what it would rewrite is what the last value is
        changes += [RoleChange(entry.account, None, Step.REMOVE) for entry in leaving]
    return changes
