"""Who belongs to which channel under the table in force: arrays by slot, made once a table and read for every frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_crds import Role
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots

NOWHERE: Final = -1


def mask_of(slots: Slots, capacity: int) -> NDArray[np.bool_]:
    """True at `slots`."""
    mask = np.zeros(capacity, np.bool_)
    mask[slots] = True
    return mask


def _mask_of_role(table: InstrumentTable, role: Role) -> NDArray[np.bool_]:
    return np.array([row is not None and row.role is role for row in table.instruments], np.bool_)


class Roster:
    """A table's channels, seen from the publisher.

    Parameters
    ----------
    table
        The table in force.

    Attributes
    ----------
    names
        Of the channels; a channel's number is its place here.
    home
        (capacity,) number of the instrument's first channel; `NOWHERE` where it has none.
    shared
        (capacity,) bool: the instrument has further channels.
    further
        By channel's number, where there are some: mask by slot of the members whose home is another channel.
    members, publishing
        By channel's name, masks by slot.
    """

    def __init__(self, table: InstrumentTable) -> None:
        self.table = table
        self.members = {name: mask_of(slots, table.capacity) for name, slots in table.members.items()}
        self.publishing = {name: members & table.publishes for name, members in self.members.items()}
        self.names: Final = tuple(self.members)
        self.home: Final = np.full(table.capacity, NOWHERE, np.int32)
        self._channels: Final = np.zeros(table.capacity, np.int32)
        self.further: Final[dict[int, NDArray[np.bool_]]] = {}
        for number, mask in enumerate(self.members.values()):
            again = mask & (self.home != NOWHERE)
            self.home[mask & ~again] = number
            self._channels[mask] += 1
            if again.any():
                self.further[number] = again
        self.shared: Final = self._channels > 1
        self.settling = _mask_of_role(table, Role.SETTLING)
        self.outgoing = _mask_of_role(table, Role.OUTGOING)

    def __contains__(self, channel: str) -> bool:
        return channel in self.members

    def units(self, slots: Slots) -> int:
        """How many (row, channel) pairs rows of these slots make."""
        return int(self._channels[slots].sum())

    def symbols_of(self, channel: str) -> Iterator[str]:
        """Symbols of a channel's members."""
        return (row.symbol for row in self.table.instruments if row is not None and channel in row.channels)

    def published_symbols(self, channel: str, slots: Slots, *, outgoing: bool = False) -> list[str]:
        """Symbols among `slots` that are published in `channel`; with `outgoing`, also what was until lately."""
        wanted = self.publishing[channel] | (self.members[channel] & self.outgoing if outgoing else False)
        rows = [self.table.instruments[slot] for slot in slots[wanted[slots]].tolist()]
        return [row.symbol for row in rows if row is not None]


def displaced(before: InstrumentTable, table: InstrumentTable) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Slots of `before` that hold another contract (or none) now, and slots whose contract is silent now."""
    gone = np.zeros(max(before.capacity, table.capacity), np.bool_)
    silent = np.zeros_like(gone)
    for slot, row in enumerate(before.instruments):
        heir = table.instruments[slot] if slot < table.capacity else None
        gone[slot] = row is not None and (heir is None or heir.identity != row.identity)
        silent[slot] = heir is not None and not table.publishes[slot]
    return gone, silent
