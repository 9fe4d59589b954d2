"""The assignment table: what one account streams, where to, and in which role. CSV in, CSV out.

The operator writes it, the shard reads it, and the operator reads it back after a restart: the tables are the
only memory of who streams what. Two parts travel together, as one ConfigMap or as two files:

``assignment.json``
    the header: revision, digest, channels (each with its encoding), account.
``instruments.csv.gz``
    one row an instrument; ``channels`` holds indices into the header's list, joined by ``|``.

The digest is taken over the canonical text (header without the digest, and the CSV), never over gzip's bytes:
they differ between versions of zlib. Rows are sorted by (exchange, tradingsymbol), so equal tables have equal
digests. A row without channels is a *reference*: subscribed so that options can be priced on it, and published nowhere.
Reading is tolerant: unknown columns and header members are ignored, so an older shard can read a newer
operator's table. Identity of an instrument is (exchange, tradingsymbol, expiry): the broker recycles tokens.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, cast

HEADER_KEY: Final = "assignment.json"
TABLE_KEY: Final = "instruments.csv.gz"
TABLE_BYTES_MAX: Final = 900_000  # a ConfigMap holds 1,048,576 bytes; the rest is metadata and growth
TEXT_BYTES_MAX: Final = 8 << 20  # unpacked; 9,000 rows take about one: what unpacks to more is not a table of ours
COLUMNS: Final = (
    "token", "exchange", "tradingsymbol", "mode", "channels", "expiry", "strike",
    "instrument_type", "underlying", "underlying_token", "lot_size", "tick_size", "greeks", "role",
)  # fmt: skip


class Mode(StrEnum):
    """The broker's packet modes, poorest first."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"


class Encoding(StrEnum):
    """How a channel's messages and last values are written."""

    JSON = "json"
    MSGPACK = "msgpack"


class Role(StrEnum):
    """An instrument's role at one account while it moves between two (docs/handover.md)."""

    OWNER = "owner"  # subscribed, publishes
    INCOMING = "incoming"  # subscribed, silent
    SETTLING = "settling"  # publishes; the old owner may still write
    OUTGOING = "outgoing"  # subscribed, publishes no more


PUBLISHING_ROLES: Final = frozenset({Role.OWNER, Role.SETTLING})


_MALFORMED: Final = (  # what reading bytes of others can end in
    AssertionError,
    IndexError,
    KeyError,
    RecursionError,
    TypeError,
    ValueError,
    csv.Error,
    zlib.error,
)


class AssignmentError(ValueError):
    """A table that cannot be used: what is wrong, where."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One Redis channel, prefix included, e.g. ``ticker:nifty:options``."""

    name: str
    encoding: Encoding = Encoding.JSON


@dataclass(frozen=True, slots=True)
class AssignedInstrument:
    """One row of the table.

    ``expiry`` is an ISO date or empty; ``strike`` and ``tick_size`` are decimal text exactly as in the broker's
    dump (no float in between); ``underlying`` is the underlying's name as in channel names (``nifty``), empty for
    equities; ``underlying_token`` is 0 where there is none.
    """

    token: int
    exchange: str
    tradingsymbol: str
    mode: Mode
    channels: tuple[str, ...]
    role: Role = Role.OWNER
    expiry: str = ""
    strike: str = ""
    instrument_type: str = ""
    underlying: str = ""
    underlying_token: int = 0
    lot_size: int = 0
    tick_size: str = ""
    greeks: bool = False

    @property
    def symbol(self) -> str:
        """``EXCHANGE:TRADINGSYMBOL``, the field name in the last-value hash."""
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def is_reference(self) -> bool:
        """Whether it is streamed for its price alone (options are priced on it): in no channel, published nowhere."""
        return not self.channels

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same contract tomorrow; the token does not."""
        return (self.exchange, self.tradingsymbol, self.expiry)

    def in_role(self, role: Role) -> AssignedInstrument:
        """The same row in another role."""
        return replace(self, role=role)


@dataclass(frozen=True, slots=True)
class AssignmentTable:
    """All rows of one account under one revision (0 = never written)."""

    account: str
    revision: int
    channels: tuple[Channel, ...] = ()
    instruments: tuple[AssignedInstrument, ...] = field(default=())
    # Computed once: an operator compares it in every pass. A table that was read keeps the digest it came with, also
    # when it had columns that this version does not know.
    _digest: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = {channel.name for channel in self.channels}
        assert len(names) == len(self.channels), "a channel is listed once"
        tokens = {row.token for row in self.instruments}
        assert len(tokens) == len(self.instruments), "an instrument token is listed once"
        assert all(name in names for row in self.instruments for name in row.channels), "every channel used is listed"

    @property
    def digest(self) -> str:
        """``sha256:…`` over header and rows in canonical order; the revision is part of it."""
        if not self._digest:
            text = _header_text(self, digest=None) + "\n" + _csv_text(self)
            self._digest.append("sha256:" + hashlib.sha256(text.encode()).hexdigest())
        return self._digest[0]

    def same_content(self, other: AssignmentTable) -> bool:
        """Whether both say the same but for the revision."""
        return replace(self, revision=other.revision).digest == other.digest


def encode_table(table: AssignmentTable) -> tuple[str, bytes]:
    """The header (JSON text) and the rows (gzipped CSV).

    Raises
    ------
    AssignmentError
        When the rows do not fit into a ConfigMap; the planner keeps tables below that.
    """
    text = _csv_text(table).encode()
    if len(text) > TEXT_BYTES_MAX:
        raise AssignmentError(f"{table.account}: table has {len(text):,} bytes of text, {TEXT_BYTES_MAX:,} are read")
    packed = gzip.compress(text, compresslevel=6, mtime=0)
    if len(packed) > TABLE_BYTES_MAX:
        raise AssignmentError(f"{table.account}: table has {len(packed):,} bytes gzipped, {TABLE_BYTES_MAX:,} fit")
    return _header_text(table, digest=table.digest), packed


def decode_table(header: str, packed: bytes) -> AssignmentTable:
    """The table from its two parts; the digest must match.

    Raises
    ------
    AssignmentError
        When a part is malformed or the parts do not belong together.
    """
    try:
        head = json.loads(header)
        channels = tuple(Channel(entry["name"], Encoding(entry.get("encoding", "json"))) for entry in head["channels"])
        text = _unpack(packed).decode()
        names = [channel.name for channel in channels]
        rows = tuple(_row(cells, names) for cells in csv.DictReader(io.StringIO(text)))
        claimed = head["digest"]
        canonical = json.dumps(
            {key: value for key, value in head.items() if key != "digest"}, sort_keys=True, separators=(",", ":")
        )
        table = AssignmentTable(str(head["account"]), int(head["revision"]), channels, rows)
    except _MALFORMED as error:
        raise AssignmentError(f"assignment table is malformed: {type(error).__name__}: {error}") from error
    actual = "sha256:" + hashlib.sha256((canonical + "\n" + text).encode()).hexdigest()
    if actual != claimed:
        raise AssignmentError(f"{table.account}: header and rows of revision {table.revision} do not belong together")
    table._digest.append(actual)
    return table


def _header_text(table: AssignmentTable, *, digest: str | None) -> str:
    head: dict[str, Any] = {
        "account": table.account,
        "revision": table.revision,
        "channels": [{"name": channel.name, "encoding": channel.encoding.value} for channel in table.channels],
    }
    if digest is not None:
        head["digest"] = digest
    return json.dumps(head, sort_keys=True, separators=(",", ":"))


def _csv_text(table: AssignmentTable) -> str:
    index = {channel.name: str(position) for position, channel in enumerate(table.channels)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(table.instruments, key=lambda row: (row.exchange, row.tradingsymbol, row.token)):
        writer.writerow((
            row.token, row.exchange, row.tradingsymbol, row.mode.value, "|".join(index[name] for name in row.channels),
            row.expiry, row.strike, row.instrument_type, row.underlying, row.underlying_token, row.lot_size,
            row.tick_size, int(row.greeks), row.role.value,
        ))  # fmt: skip
    return out.getvalue()


def _unpack(packed: bytes) -> bytes:
    """One gzip member, whole, of a bounded size."""
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    text = unpacker.decompress(packed, TEXT_BYTES_MAX)
    if unpacker.unconsumed_tail:
        raise ValueError(f"more than {TEXT_BYTES_MAX:,} bytes of text")
    if not unpacker.eof:
        raise ValueError("packed rows are cut off")
    return text


def _row(cells: dict[str, str | None], names: list[str]) -> AssignedInstrument:
    if None in cells.values():
        raise ValueError("a row is too short")
    return _whole_row(cast("dict[str, str]", cells), names)


def _whole_row(cells: dict[str, str], names: list[str]) -> AssignedInstrument:
    positions = [int(position) for position in cells["channels"].split("|") if position]
    if any(position < 0 for position in positions):
        raise ValueError(f"a channel's index is below zero: {cells['channels']}")
    return AssignedInstrument(
        token=int(cells["token"]),
        exchange=cells["exchange"],
        tradingsymbol=cells["tradingsymbol"],
        mode=Mode(cells["mode"]),
        channels=tuple(names[position] for position in positions),
        role=Role(cells["role"]),
        expiry=cells["expiry"],
        strike=cells["strike"],
        instrument_type=cells["instrument_type"],
        underlying=cells["underlying"],
        underlying_token=int(cells["underlying_token"]),
        lot_size=int(cells["lot_size"]),
        tick_size=cells["tick_size"],
        greeks=cells["greeks"] == "1",
    )
