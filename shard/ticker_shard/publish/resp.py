"""Redis's wire form (RESP2), written once: a command is an array of strings, each with its length before it.

The library packs a command string by string; with hundreds of arguments a call that is half of a publisher's time.
Here the fields of a call are packed before (`CallRows`), and the door only puts the parts together. What is sent is
plain RESP, over the library's own connection: login, TLS, and reading of replies stay the library's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import ormsgpack


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
class CallRows:
    """Rows of one call. They are bytes of its message: each goes over the wire once, and the script cuts them out.

    Attributes
    ----------
    message
        The call's.
    count
        How many rows.
    fields
        One packed argument a row: its field of the last values.
    at
        Where the first row begins in the message, from 0.
    between
        Bytes between two rows.
    sizes
        Of the rows, as the script reads them, in msgpack: one number for all, or one for each.
    """

    message: bytes
    count: int
    fields: bytes
    at: int
    between: int
    sizes: bytes

    @classmethod
    def within(cls, message: bytes, pairs: Sequence[tuple[bytes, bytes]]) -> Self:
        """From (field, row) pairs whose rows stand in `message` one behind the other, without anything between."""
        at = message.index(b"".join([row for _, row in pairs]))
        sizes = ormsgpack.packb([len(row) for _, row in pairs])
        return cls(message, len(pairs), b"".join([bulk(field) for field, _ in pairs]), at, 0, sizes)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """(field, row) pairs, as the script reads them."""
        sizes = ormsgpack.unpackb(self.sizes) if self.count else []
        at = self.at
        for field, size in zip(
            _unpack(self.fields), [sizes] * self.count if isinstance(sizes, int) else sizes, strict=True
        ):
            yield field, self.message[at : at + size]
            at += size + self.between


def _unpack(packed: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        size = int(packed[at + 1 : end])
        yield packed[end + 2 : end + 2 + size]
        at = end + 4 + size


NO_ROWS: Final = CallRows(b"", 0, b"", 0, 0, b"\0")
