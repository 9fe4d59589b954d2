"""Samples of what was refused, for a person to look at: the newest few, with reason, time and bytes.

A ring, so a broken feed costs no memory. Counting is done elsewhere; this is evidence only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

SAMPLES_MAX: Final = 256
SAMPLE_BYTES_MAX: Final = 256  # a full packet with its length has 186


@dataclass(frozen=True, slots=True)
class Sample:
    """One refused row or frame.

    Attributes
    ----------
    reason
        The `RejectReason` or `FrameFault`.
    received_ns
        Wall clock nanoseconds at which its frame was handed over.
    data
        Hexadecimal; a row as its words, big-endian; a frame as its first `SAMPLE_BYTES_MAX` bytes.
    size
        Bytes of the whole thing.
    """

    reason: str
    received_ns: int
    data: str
    size: int


class Quarantine:
    """A bounded ring of samples, oldest dropped first.

    Parameters
    ----------
    samples_max
        How many are kept.
    """

    def __init__(self, *, samples_max: int = SAMPLES_MAX) -> None:
        self._samples: deque[Sample] = deque(maxlen=samples_max)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, reason: str, data: bytes | bytearray | memoryview, *, received_ns: int) -> None:
        """Keep the head of `data`."""
        self._samples.append(Sample(reason, received_ns, bytes(data[:SAMPLE_BYTES_MAX]).hex(), len(data)))

    def samples(self) -> tuple[Sample, ...]:
        """What is kept, oldest first."""
        return tuple(self._samples)
