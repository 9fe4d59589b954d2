"""What was sent, instrument by instrument: the truth that tests compare Redis with.

A record is kept for the whole simulator and one for each api_key (their number is bounded by the credentials). Rows are
recorded after faults that change values (a stale time is really sent) and before faults that spoil a frame (a
truncated packet is not "the last row"); spoiled frames are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticker_sim import wire
from ticker_sim.market import Places
from ticker_sim.wire import Mode, Modes, Rows


@dataclass(slots=True)
class Traffic:
    """Counters of one socket, one key or everything."""

    frames: int = 0
    packets: int = 0
    bytes: int = 0
    heartbeats: int = 0
    texts: int = 0
    texts_dropped: int = 0
    spoiled_frames: int = 0

    def count(self, **counts: int) -> None:
        """Add to the counters of these names."""
        for name, more in counts.items():
            setattr(self, name, getattr(self, name) + more)

    def as_json(self) -> dict[str, int]:
        """The counters by name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class SentRecord:
    """Packets and bytes per place, and the newest row of each as it left."""

    tokens: NDArray[np.uint32]
    packets: NDArray[np.int64] = field(init=False)
    octets: NDArray[np.int64] = field(init=False)
    modes: Modes = field(init=False)
    rows: Rows = field(init=False)

    def __post_init__(self) -> None:
        self.packets = np.zeros(len(self.tokens), np.int64)
        self.octets = np.zeros(len(self.tokens), np.int64)
        self.modes = np.zeros(len(self.tokens), np.uint8)
        self.rows = wire.empty_rows(len(self.tokens))

    def add(self, places: Places, modes: Modes, rows: Rows) -> None:
        """One packet for each place (no place twice), with the row that it carried."""
        self.packets[places] += 1
        self.octets[places] += wire.body_bytes(self.tokens[places], modes) + 2
        self.modes[places] = modes
        self.rows[places] = rows

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Token → packets, bytes, mode, row (only those that were sent)."""
        return {str(self.tokens[place]): self._entry(int(place)) for place in np.flatnonzero(self.packets)}

    def _entry(self, place: int) -> dict[str, Any]:
        mode = Mode(int(self.modes[place]))
        return {
            "packets": int(self.packets[place]),
            "bytes": int(self.octets[place]),
            "mode": mode.name.lower(),
            "row": wire.row_fields(self.rows[place], mode=mode),
        }
