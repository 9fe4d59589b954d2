"""Who has which instrument in which role, read from the tables: the only memory of who streams what.

An instrument's *home* is where it is on its way to. While it moves it stands in two tables (in three, if the new
owner failed midway); the role that was given last says where it is going:

    incoming, settling: going there      owner: there      outgoing: leaving

so among its holders the home is the first in that order. Two holders in the same role (a move that was turned round
midway, or an edit by hand) are decided by account name: any rule will do, as long as every pass decides alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ticker_crds import AssignedInstrument, Role
from ticker_operator.model import Identity, TableView

_HOME_ORDER: Final[dict[Role, int]] = {Role.INCOMING: 0, Role.SETTLING: 1, Role.OWNER: 2, Role.OUTGOING: 3}


@dataclass(frozen=True, slots=True)
class Holder:
    """One account that has the instrument in its table."""

    account: str
    row: AssignedInstrument

    @property
    def role(self) -> Role:
        """Its role there."""
        return self.row.role

    @property
    def home_order(self) -> tuple[int, str]:
        """The home is the holder with the lowest."""
        return (_HOME_ORDER[self.row.role], self.account)


@dataclass(frozen=True, slots=True)
class Roles:
    """Every table's rows by instrument; holders of one instrument are in home order."""

    holders: Mapping[Identity, tuple[Holder, ...]]

    def of(self, identity: Identity) -> tuple[Holder, ...]:
        """Its holders, the home first; none for an instrument that stands in no table."""
        return self.holders.get(identity, ())


def read_roles(tables: Mapping[str, TableView]) -> Roles:
    """The roles as all tables have them."""
    holders: dict[Identity, tuple[Holder, ...]] = {}
    several: list[Identity] = []
    for account, view in sorted(tables.items()):
        for row in view.table.instruments if view.table is not None else ():
            if row.is_reference:  # nobody's: it is there for its price
                continue
            identity = row.identity
            before = holders.get(identity)
            if before is None:
                holders[identity] = (Holder(account, row),)
            else:
                holders[identity] = (*before, Holder(account, row))
                several.append(identity)
    for identity in several:
        holders[identity] = tuple(sorted(holders[identity], key=lambda holder: holder.home_order))
    return Roles(holders)
