"""`TablePort` on files: the rows first, the header last, each by an atomic rename.

Between the two renames the parts do not belong together, which a reader sees by the digest and reads again. Only one
operator works on a state folder (a lock), so the stored revision is guard enough.
"""

from __future__ import annotations

from collections.abc import Mapping

from ticker_crds import AssignmentError, AssignmentTable, decode_table, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_operator.local.files import replace_bytes
from ticker_operator.local.layout import Layout
from ticker_operator.reconcile.ports import Conflict, Refused, StoredTable, WriteOutcome, Written


class LocalTables:
    """See `ticker_operator.reconcile.ports.TablePort`."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def read_all(self) -> Mapping[str, StoredTable]:
        """Every stored table by account."""
        if not self._layout.accounts.is_dir():
            return {}
        folders = sorted(path.name for path in self._layout.accounts.iterdir() if (path / HEADER_KEY).exists())
        return {account: self._read(account) for account in folders}

    def _read(self, account: str) -> StoredTable:
        folder = self._layout.account(account)
        header = folder / HEADER_KEY
        version = str(header.stat().st_mtime_ns)
        try:
            return StoredTable(account, version, decode_table(header.read_text(), (folder / TABLE_KEY).read_bytes()))
        except (OSError, UnicodeDecodeError, AssignmentError) as error:
            return StoredTable(account, version, None, f"{type(error).__name__}: {error}")

    async def write_table(self, table: AssignmentTable, *, expected: str | None) -> WriteOutcome:
        """Store `table` if the stored version is still the one the decision was read from."""
        folder = self._layout.account(table.account)
        header = folder / HEADER_KEY
        stored = str(header.stat().st_mtime_ns) if header.exists() else None
        if stored != expected:
            return Conflict(f"{table.account}: the stored table is another than the one that was read")
        try:
            text, packed = encode_table(table)
        except AssignmentError as error:
            return Refused(str(error))
        folder.mkdir(parents=True, exist_ok=True)
        replace_bytes(folder / TABLE_KEY, packed)
        replace_bytes(header, text.encode())
        return Written(str(header.stat().st_mtime_ns))
