"""Whose field of the last values is it, and which fields are nobody's any more. Pure.

Two accounts share a channel's hash, so a field has an owner beside it (``{channel}:owners``): the account that took it
last. An account takes a field with each rewrite of the channel, and with the first row of an instrument that it newly
publishes, but only as the instrument's *owner*: what is settling belongs to the other account still. A field is
deleted (by the `call` script) only while its owner is the account that asks.

A field whose instrument leaves the table of a running holder is deleted at once (`duties.vanished_fields`). If it left
while no process of the account held the channel, the next holder finds it: after a claim it goes through the owners, a
page a round, and deletes the account's fields that its table does not have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ticker_crds import Role
from ticker_shard.publish.fence import Answer, Owned, OwnedPage, Refused
from ticker_shard.publish.lanes import same_channel
from ticker_shard.publish.outbox import Outbox
from ticker_shard.ticks.instruments import InstrumentTable
from ticker_shard.ticks.rows import Slots


def fields_to_take(slots: Slots, *, table: InstrumentTable, taken: NDArray[np.bool_]) -> tuple[str, ...]:
    """Fields to take with rows of these slots; `taken` (by slot) is brought up to date."""
    if b"\0" not in taken.take(slots).tobytes():  # as nearly always; as bytes: see `intake`
        return ()
    symbols: dict[str, None] = {}
    for slot in slots[~taken[slots]].tolist():
        row = table.instruments[slot]
        if row is not None and row.role is Role.OWNER:
            taken[slot] = True
            symbols[row.symbol] = None
    return tuple(symbols)


def page_due(name: str, outbox: Outbox, *, now_ns: int) -> list[Owned]:
    """The next page to ask for in a held channel, if there is one."""
    cursor = outbox.sweep
    return [] if cursor is None or outbox.blocked(now_ns=now_ns) else [Owned(name, cursor)]


def settle_page(name: str, outbox: Outbox, answer: Answer, *, table: InstrumentTable, now_ns: int) -> None:
    """Note what is to be deleted, and where the list goes on."""
    match answer:
        case OwnedPage(cursor, fields):
            wanted = {row.symbol for row in table.instruments if row is not None and same_channel(name, row.channels)}
            outbox.deletes.update((field, None) for field in fields if field not in wanted)
            outbox.sweep = cursor or None
        case Refused(trouble):
            outbox.refused(trouble, now_ns=now_ns)
