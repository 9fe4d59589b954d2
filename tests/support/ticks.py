"""Small builders of tables and rows, and the newest state that rewrites read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, Role
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments
from ticker_shard.ticks.rows import WORDS, PacketKind, Slots, TickRows, Word, empty_rows, join_rows, unpriced_rows

CHANNEL = "ticker:nifty:options"


def a_table(
    roles: Mapping[str, Role] | int = 3,
    *,
    channels: Sequence[str] = (CHANNEL,),
    revision: int = 1,
    previous: InstrumentTable | None = None,
    in_channels: Mapping[str, tuple[str, ...]] | None = None,
) -> InstrumentTable:
    """Instruments by name and role (or so many owners), in every channel unless told otherwise."""
    if isinstance(roles, int):
        roles = {f"X{number}": Role.OWNER for number in range(roles)}
    rows = tuple(
        AssignedInstrument(
            token=(int(name.lstrip("X")) + 1) * 256 + 2,
            exchange="NFO",
            tradingsymbol=name,
            mode=Mode.FULL,
            channels=tuple((in_channels or {}).get(name, tuple(channels))),
            role=role,
        )
        for name, role in roles.items()
    )
    table = AssignmentTable("acc1", revision, tuple(Channel(name) for name in channels), rows)
    return build_instruments(table, previous=previous)


def some_rows(
    table: InstrumentTable,
    slots: Sequence[int],
    *,
    price: int = 10_000,
    kind: PacketKind = PacketKind.FULL,
    received_ns: int = 1_763_696_730_000_000_000,
) -> TickRows:
    """A row for each slot, all at one scaled price."""
    words = np.zeros((len(slots), WORDS), np.uint32)
    for position, slot in enumerate(slots):
        row = table.instruments[slot]
        assert row is not None
        words[position, Word.TOKEN] = row.token
    words[:, Word.LAST_PRICE] = price
    return unpriced_rows(
        words,
        np.full(len(slots), kind, np.uint8),
        np.array(slots, np.int32),
        np.full(len(slots), received_ns, np.int64),
    )


class NewestRows:
    """The newest row by slot, as `InstrumentState` keeps it."""

    def __init__(self) -> None:
        self._rows: dict[int, TickRows] = {}

    def update(self, rows: TickRows) -> TickRows:
        for position, slot in enumerate(rows.slot.tolist()):
            self._rows[slot] = rows.take(slice(position, position + 1))
        return rows

    def newest(self, slots: Slots) -> TickRows:
        blocks = [self._rows[slot] for slot in slots.tolist() if slot in self._rows]
        if not blocks:
            return empty_rows()
        return join_rows(blocks)
