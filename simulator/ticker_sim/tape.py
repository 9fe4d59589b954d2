"""The tape: changes of the market and packets that left, in order, for a checker that judges a run afterwards.

`record` keeps the newest row of each instrument; the tape keeps the way there. An entry is either a change of the
market (socket 0) or a packet (the socket's number), with the time, the instrument's *version* (how often its full row
had changed), and a *digest* of what the packet's body said: 48 bits of BLAKE2b, so that a reader who makes the body
anew from what it received finds the entry, and JSON's numbers hold it. A change is entered only for instruments that
left at least once. Packets that a fault may have made unreadable or unbelievable are entered as *doubtful*: they may
arrive or not.

Off until asked for, bounded then: the oldest entries go first, and the answer says where it begins. Pure but for the
clock that is passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ticker_sim import wire
from ticker_sim.market import Places
from ticker_sim.wire import Mode, Modes, Rows

ENTRIES_MAX: Final = 4_000_000  # 200 MB
DIGEST_BYTES: Final = 6  # below 2**53
MARKET: Final = 0  # the socket number of a change of the market
Versions: TypeAlias = NDArray[np.int64]
ENTRY: Final = np.dtype(
    [
        ("at_ns", np.int64),
        ("socket", np.int64),
        ("token", np.int64),
        ("version", np.int64),
        ("digest", np.int64),
        ("exchange_s", np.int64),
        ("doubtful", np.int8),
    ]
)


class Tape:
    """Entries of one market.

    Parameters
    ----------
    tokens
        Of the market's places.
    now_ns
        Monotonic nanoseconds.
    """

    def __init__(self, tokens: NDArray[np.uint32], now_ns: Callable[[], int]) -> None:
        self._tokens, self._now_ns = tokens, now_ns
        self._entries = np.zeros(0, ENTRY)
        self.last = 0  # number of the newest entry; they count from 1

    @property
    def running(self) -> bool:
        """Whether entries are made."""
        return len(self._entries) > 0

    @property
    def first(self) -> int:
        """Number of the oldest entry that is still held."""
        return max(1, self.last - len(self._entries) + 1)

    def start(self, entries_max: int) -> None:
        """Begin anew, with room for `entries_max` entries."""
        self.stop()
        self._entries = np.zeros(entries_max, ENTRY)
        self._versions = np.zeros(len(self._tokens), np.int64)
        self._digests = np.zeros(len(self._tokens), np.int64)
        self._heard = np.zeros(len(self._tokens), np.bool_)

    def stop(self) -> None:
        """Forget everything and make no more entries."""
        self._entries = np.zeros(0, ENTRY)
        self.last = 0

    def versions(self, places: Places) -> Versions:
        """The versions of the market's rows at these places now."""
        return self._versions[places] if self.running else np.zeros(len(places), np.int64)

    def changed(self, places: Places, rows: Rows) -> None:
        """The market's rows at these places are `rows` now."""
        if not self.running or not len(places):
            return
        digests = digests_of(rows, np.full(len(places), Mode.FULL, np.uint8))
        new = digests != self._digests[places]
        places, rows, digests = places[new], rows[new], digests[new]
        self._versions[places] += 1
        self._digests[places] = digests
        heard = self._heard[places]
        self._add(MARKET, places[heard], rows[heard], self._versions[places[heard]], digests[heard], doubtful=False)

    def sent(
        self, socket: int, places: Places, modes: Modes, rows: Rows, *, versions: Versions, doubtful: bool = False
    ) -> None:
        """A packet for each place goes out on `socket`, with rows that were of these versions."""
        if not self.running:
            return
        self._heard[places] = True
        self._add(socket, places, rows, versions, digests_of(rows, modes), doubtful=doubtful)

    def as_json(self, *, since: int, limit: int) -> dict[str, Any]:
        """Columns of at most `limit` entries with a number above `since`, oldest first."""
        start = max(since + 1, self.first)
        numbers = np.arange(start, min(self.last, start + limit - 1) + 1)
        chosen = self._entries[(numbers - 1) % max(len(self._entries), 1)] if len(numbers) else self._entries[:0]
        assert ENTRY.names is not None
        columns = {name: chosen[name].tolist() for name in ENTRY.names}
        return {"first": self.first, "last": self.last, "from": start, **columns}

    def _add(
        self,
        socket: int,
        places: Places,
        rows: Rows,
        versions: Versions,
        digests: NDArray[np.int64],
        *,
        doubtful: bool,
    ) -> None:
        added = np.zeros(len(places), ENTRY)
        added["at_ns"], added["socket"], added["doubtful"] = self._now_ns(), socket, doubtful
        added["token"], added["version"], added["digest"] = self._tokens[places], versions, digests
        added["exchange_s"] = rows["exchange_timestamp"]
        added = added[-len(self._entries) :]
        self._entries[(self.last + np.arange(len(added))) % len(self._entries)] = added
        self.last += len(added)


def digests_of(rows: Rows, modes: Modes) -> NDArray[np.int64]:
    """48 bits of each packet's body, as a packet of its mode shows the row."""
    visible = wire.visible_octets(rows, modes)
    lengths = wire.body_bytes(rows["instrument_token"], modes)
    found = (
        int.from_bytes(hashlib.blake2b(octets[:length].tobytes(), digest_size=DIGEST_BYTES).digest(), "big")
        for octets, length in zip(visible, lengths.tolist(), strict=True)
    )
    return np.fromiter(found, np.int64, len(rows))
