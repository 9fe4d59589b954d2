"""A shard whose wall clock a test can set: ``python -m tests.support.set_clock FILE …`` is ``tickershard shard …``.

FILE holds by how many nanoseconds its clock is wrong; the process sees a change at once. The monotonic clock, like a
real one, goes on.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path

WRONG_BY = struct.Struct("<q")


class Clock:
    """What the test holds.

    Parameters
    ----------
    file
        Where the process looks.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set_by(0)

    def set_by(self, seconds: int) -> None:
        """The clock is wrong by so much from now on."""
        if not self.file.exists():
            self.file.write_bytes(bytes(WRONG_BY.size))
        with self.file.open("r+b") as file:
            file.write(WRONG_BY.pack(seconds * 1_000_000_000))


def main() -> None:
    with Path(sys.argv.pop(1)).open("r+b") as file:
        shared = mmap.mmap(file.fileno(), WRONG_BY.size)
    right_ns = time.time_ns
    time.time_ns = lambda: right_ns() + WRONG_BY.unpack(shared)[0]
    time.time = lambda: time.time_ns() / 1e9

    from ticker_shard.app.command import command  # after the clock: a few modules take the functions by name

    command()


if __name__ == "__main__":
    main()
