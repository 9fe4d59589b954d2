"""What one socket counts, from the start of the process. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ticker_shard.feed.events import CloseReason, TextKind
from ticker_shard.feed.watchdogs import Action

RARE: Final = (
    "connects", "resubscribed",
    *(f"closed_{reason}" for reason in CloseReason),
    *(f"text_{kind}" for kind in TextKind),
    *(f"mute_{action}" for action in Action),
)  # fmt: skip


@dataclass(slots=True)
class SocketCounts:
    """Totals of one socket.

    Attributes
    ----------
    frames, bytes, heartbeats
        Fields of their own, because every frame adds to them.
    rare
        All others, by name (`RARE`).
    """

    frames: int = 0
    bytes: int = 0
    heartbeats: int = 0
    rare: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(RARE, 0)))

    def by_name(self) -> dict[str, int]:
        """All of them, as `SocketStatus.counts` lists them."""
        return {"frames": self.frames, "bytes": self.bytes, "heartbeats": self.heartbeats, **self.rare}
