"""How long rows took from the frame's arrival to Redis's acknowledgement, in buckets that never grow.

Buckets widen by a fixed ratio, so a quantile is off by at most `RATIO`, whatever its size; 120 counters hold
everything between a microsecond and eight minutes. Rewrites are not measured: they repeat old values.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

RATIO: Final = 2 ** (1 / 4)
BUCKETS: Final = 116
FLOOR_NS: Final = 1_000
_LOG_RATIO: Final = math.log(RATIO)

assert FLOOR_NS * RATIO**BUCKETS > 8 * 60 * 1_000_000_000, "slower than eight minutes is all the same"


class Latency:
    """A histogram with logarithmic buckets."""

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.total_ns = 0

    @property
    def count(self) -> int:
        """Rows measured."""
        return sum(self.counts)

    def record(self, received_ns: NDArray[np.int64], *, acknowledged_ns: int) -> None:
        """Add rows that were received at `received_ns` (wall clock) and acknowledged now."""
        rows = len(received_ns)
        if not rows:
            return
        # As bytes, for a paced process: array operations that come once a frame find their code cold, 10 µs each.
        column = received_ns.tobytes()
        if column[8:] == column[:-8]:  # the rows of one frame, as nearly always: one logarithm for all
            elapsed_ns = max(acknowledged_ns - int(received_ns[0]), FLOOR_NS)
            self.total_ns += elapsed_ns * rows
            self.counts[min(int(math.log(elapsed_ns / FLOOR_NS) / _LOG_RATIO), BUCKETS - 1)] += rows
            return
        elapsed = np.maximum(acknowledged_ns - received_ns, FLOOR_NS)  # a wall clock may step back
        self.total_ns += int(elapsed.sum())
        place = np.minimum((np.log(elapsed / FLOOR_NS) / _LOG_RATIO).astype(np.int64), BUCKETS - 1)
        more = np.bincount(place, minlength=BUCKETS).tolist()
        self.counts = [count + number for count, number in zip(self.counts, more, strict=True)]

    def quantile_ms(self, share: float) -> float | None:
        """Upper edge of the bucket that holds quantile `share` (0…1); `None` before the first row."""
        total = self.count
        if total == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self.counts), math.ceil(share * total)))
        return self.edges_ms()[min(place, BUCKETS - 1)]

    def edges_ms(self) -> list[float]:
        """Upper edge of each bucket, for export."""
        return [FLOOR_NS * RATIO ** (i + 1) / 1e6 for i in range(BUCKETS)]

    def buckets_ms(self) -> dict[str, int]:
        """Upper edge → rows, of the buckets that have any: what adds up over several shards."""
        edges = self.edges_ms()
        return {f"{edge:.6g}": count for edge, count in zip(edges, self.counts, strict=True) if count}
