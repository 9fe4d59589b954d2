"""Redis's wire form (RESP2), written once: a command is an array of strings, each with its length before it.

The library packs a command string by string; with four hundred arguments a call that is half of a publisher's time.
Here an encoder writes the rows of a call straight into the form in which they go over the wire (`RowArguments`), and
the door only puts the parts together. What is sent is plain RESP, over the library's own connection: login, TLS, and
reading of replies stay the library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self


def bulk(value: bytes) -> bytes:
    """One argument."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


_FEW: Final = tuple(bulk(b"%d" % number) for number in range(1_001))  # counts of a call, mostly


def bulk_number(number: int) -> bytes:
    """One argument that is a number, not negative."""
    return _FEW[number] if number < len(_FEW) else bulk(b"%d" % number)


def bulks(*values: bytes | str | int) -> bytes:
    """Several arguments."""
    return b"".join(
        [bulk(value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")) for value in values]
    )


def command(count: int, *parts: bytes) -> bytes:
    """A command of `count` arguments that are packed already."""
    return b"*%d\r\n%b" % (count, b"".join(parts))


def pack(*values: bytes | str | int) -> bytes:
    """A whole command."""
    return command(len(values), bulks(*values))


@dataclass(frozen=True, slots=True)
class RowArguments:
    """Fields and rows of one call, ready for the wire: field, row, field, row and so on.

    Attributes
    ----------
    count
        How many rows.
    packed
        Two packed arguments a row.
    """

    count: int
    packed: bytes

    @classmethod
    def of(cls, pairs: Sequence[tuple[bytes, bytes]]) -> Self:
        """From (field, row) pairs."""
        return cls(len(pairs), b"".join([bulk(part) for pair in pairs for part in pair]))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """The (field, row) pairs again."""
        parts = _unpack(self.packed)
        return iter(list(zip(parts, parts, strict=True)))


def _unpack(packed: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        size = int(packed[at + 1 : end])
        yield packed[end + 2 : end + 2 + size]
        at = end + 4 + size


NO_ROWS: Final = RowArguments(0, b"")
