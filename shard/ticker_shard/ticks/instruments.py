"""The shard's instruments as columns: one slot per instrument, stable for as long as it is assigned.

Decoding turns tokens into slots once; everything behind it indexes arrays by slot. A table is built on the one
before it: an instrument that stays keeps its slot (also when its token, mode, channels or role change), so rows
that are still queued keep their meaning. A slot that becomes free is handed out again by the *next* table at the
earliest; whoever queues rows drops those of vanished slots when it is given a new table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ticker_crds import PUBLISHING_ROLES, AssignedInstrument, AssignmentTable, Channel
from ticker_shard.ticks.rows import UNKNOWN_SLOT, Slots

DIVISORS: Final[dict[int, int]] = {3: 10_000_000, 6: 10_000, 12: 10_000}  # by segment; every other one: 100
DIVISOR_DEFAULT: Final = 100
SEGMENT_INDICES: Final = 9


def segment_of(token: int) -> int:
    """The segment is the token's last byte."""
    return token & 0xFF


def divisor_of(token: int) -> int:
    """What a scaled price of this instrument is divided by."""
    return DIVISORS.get(segment_of(token), DIVISOR_DEFAULT)


@dataclass(frozen=True, slots=True)
class InstrumentTable:
    """The assignment, indexed for the hot path.

    Attributes
    ----------
    revision, digest
        Which assignment this is.
    channels
        Every channel of the account.
    instruments
        By slot; `None` where a slot is free.
    tokens, token_slots
        Sorted tokens and the slot of each, for `slots_of`.
    publishes
        (capacity,) bool: the role publishes (owner, settling).
    divisor
        (capacity,) int64.
    members
        Channel name → slots that belong to it, ascending.
    """

    revision: int
    digest: str
    channels: tuple[Channel, ...]
    instruments: tuple[AssignedInstrument | None, ...]
    tokens: NDArray[np.uint32]
    token_slots: Slots
    publishes: NDArray[np.bool_]
    divisor: NDArray[np.int64]
    members: dict[str, Slots] = field(repr=False)

    @property
    def capacity(self) -> int:
        """Number of slots, free ones included."""
        return len(self.instruments)

    @property
    def assigned(self) -> int:
        """Number of instruments."""
        return len(self.tokens)

    def slots_of(self, tokens: NDArray[np.uint32]) -> Slots:
        """The slot of each token, `UNKNOWN_SLOT` where there is none."""
        if not len(self.tokens):
            return np.full(len(tokens), UNKNOWN_SLOT, np.int32)
        place = np.minimum(self.tokens.searchsorted(tokens), len(self.tokens) - 1)
        slots = self.token_slots[place]
        slots[self.tokens[place] != tokens] = UNKNOWN_SLOT
        return slots


def build_instruments(table: AssignmentTable, *, previous: InstrumentTable | None = None) -> InstrumentTable:
    """Index `table`, keeping the slots that `previous` gave.

    Parameters
    ----------
    table
        The assignment.
    previous
        The table in force until now.
    """
    old = {} if previous is None else {row.identity: slot for slot, row in enumerate(previous.instruments) if row}
    taken = set(old.values())
    capacity = 0 if previous is None else previous.capacity
    free = iter([slot for slot in range(capacity) if slot not in taken])
    placed: dict[int, AssignedInstrument] = {}
    for row in table.instruments:
        slot = old.get(row.identity)
        if slot is None:
            slot = next(free, None)
        if slot is None:
            slot, capacity = capacity, capacity + 1
        placed[slot] = row
    instruments = tuple(placed.get(slot) for slot in range(capacity))
    by_token = sorted((row.token, slot) for slot, row in placed.items())
    return InstrumentTable(
        revision=table.revision,
        digest=table.digest,
        channels=table.channels,
        instruments=instruments,
        tokens=np.array([token for token, _ in by_token], np.uint32),
        token_slots=np.array([slot for _, slot in by_token], np.int32),
        publishes=np.array([row is not None and row.role in PUBLISHING_ROLES for row in instruments], np.bool_),
        divisor=np.array([divisor_of(row.token) if row else DIVISOR_DEFAULT for row in instruments], np.int64),
        members={
            channel.name: np.array(
                [slot for slot, row in enumerate(instruments) if row and channel.name in row.channels], np.int32
            )
            for channel in table.channels
        },
    )
