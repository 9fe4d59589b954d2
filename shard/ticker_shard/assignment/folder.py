"""The four ports on files: one account's folder, as the local operator keeps it (docs/contracts.md).

Files are replaced by atomic renames, so a file is complete whenever it can be opened; looking at inode, size and
modification time twice a second tells whether there is anything to read. Rows are written before the header:
between the two renames they do not belong together, which is why a table counts as malformed only when it stays so
for `SETTLE_S`. The Lease is a lock that the kernel frees with the process.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final

from ticker_common.logs import redact, register_secret
from ticker_crds import AssignmentError, decode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_BYTES_MAX, TABLE_KEY
from ticker_crds.constants import Reason
from ticker_shard.assignment.credentials import credentials_from
from ticker_shard.assignment.ports import (
    CredentialsAnswer,
    CredentialsRead,
    CredentialsUnusable,
    KnownStatus,
    LeaseState,
    TableAbsent,
    TableAnswer,
    TableMalformed,
    TableRead,
    WriteOutcome,
)
from ticker_shard.assignment.status import known_status

POLL_S: Final = 0.5
SETTLE_S: Final = 1.0
VITALS_S: Final = 1.0
FILE_BYTES_MAX: Final = 4 * TABLE_BYTES_MAX  # header and token are far smaller; nobody's mistake fills our memory
INSTANCE_FILE: Final = "instance-id"
TOKEN_FILE: Final = "token"  # noqa: S105 - a file's name
STATUS_FILE: Final = "status.json"
LOCK_FILE: Final = "lock"

Seen = tuple[int, int, int] | None


class FolderAssignment:
    """`AssignmentSource` on ``assignment.json`` and ``instruments.csv.gz``."""

    def __init__(self, folder: Path, *, poll_s: float = POLL_S) -> None:
        self._header, self._rows, self._poll_s = folder / HEADER_KEY, folder / TABLE_KEY, poll_s

    async def follow(self) -> AsyncIterator[TableAnswer]:
        """The table now, then again whenever a file was replaced; endless."""
        told: tuple[Seen, Seen] | None = None
        waited_s = 0.0
        while True:
            seen = (_look(self._header), _look(self._rows))
            if seen != told:
                answer = await asyncio.to_thread(self._read)
                # Perhaps caught between the two renames: look again before calling it malformed.
                if isinstance(answer, TableRead) or waited_s >= SETTLE_S:
                    told, waited_s = seen, 0.0
                    yield answer
                else:
                    waited_s += self._poll_s
            await asyncio.sleep(self._poll_s)

    def _read(self) -> TableAnswer:
        try:
            table = decode_table(_read_bytes(self._header).decode(), _read_bytes(self._rows))
        except FileNotFoundError as error:
            return TableAbsent(f"no assignment table yet: {Path(error.filename).name} is missing in the folder")
        except (AssignmentError, OSError, ValueError) as error:
            return TableMalformed(redact(str(error)))
        return TableRead(table)


class FolderCredentials:
    """`CredentialsSource` on ``token``."""

    def __init__(self, folder: Path, *, poll_s: float = POLL_S) -> None:
        self._path, self._poll_s = folder / TOKEN_FILE, poll_s

    async def follow(self) -> AsyncIterator[CredentialsAnswer]:
        """The pair now, then again whenever the file was replaced; endless."""
        told: tuple[Seen] | None = None
        while True:
            seen = _look(self._path)
            if (seen,) != told:
                told = (seen,)
                yield self._read()
            await asyncio.sleep(self._poll_s)

    def _read(self) -> CredentialsAnswer:
        try:
            values = json.loads(_read_bytes(self._path))
        except FileNotFoundError:
            return CredentialsUnusable(Reason.SECRET_MISSING, "the account's folder has no file token; write it there")
        except (OSError, ValueError) as error:
            # Never the error's text: a JSON error may quote what it could not read.
            kind = type(error).__name__
            return CredentialsUnusable(
                Reason.SECRET_KEY_MISSING, f"the file token is not a JSON object with api_key and access_token ({kind})"
            )
        answer = credentials_from(values if isinstance(values, dict) else {}, where="the file token")
        if isinstance(answer, CredentialsRead):
            register_secret(answer.api_key, answer.access_token)
        return answer


class FolderStatus:
    """`StatusSink` on ``status.json``: the status, and beside it what only a machine's own files carry."""

    generation: Final = 0

    def __init__(self, folder: Path) -> None:
        self._path = folder / STATUS_FILE
        self.vitals_s: float | None = VITALS_S

    async def read(self) -> KnownStatus | None:
        """The last process's status; an unreadable one counts as none."""
        try:
            document = json.loads(_read_bytes(self._path))
        except FileNotFoundError:
            return KnownStatus()
        except (OSError, ValueError):
            return KnownStatus()
        return known_status(document if isinstance(document, dict) else {}, generation=0)

    async def write(self, status: Mapping[str, Any], *, vitals: Mapping[str, Any]) -> WriteOutcome:
        """Replace the file."""
        try:
            replace_file(self._path, json.dumps({**status, **vitals}).encode())
        except OSError:
            return WriteOutcome.UNKNOWN
        return WriteOutcome.WRITTEN


class FolderVoice:
    """`Voice` by a lock: the kernel answers at once whether its holder lives, so there is no window to wait for."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        self._descriptor: int | None = None

    async def observe(self) -> LeaseState:
        """Try the lock and give it back."""
        if self._descriptor is not None:
            return LeaseState.MINE
        descriptor = _try_lock(self._path)
        if descriptor is None:
            return LeaseState.OTHER
        os.close(descriptor)
        return LeaseState.VACANT

    async def take(self) -> bool:
        """Lock it."""
        if self._descriptor is None:
            self._descriptor = _try_lock(self._path)
        return self._descriptor is not None

    async def release(self) -> None:
        """Unlock it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class InstanceLock:
    """One living process an instance.

    A process takes over at once from "an earlier process of this instance", because that one must be dead. In a pod
    the kubelet sees to that; in a folder this lock does.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INSTANCE_FILE
        self._descriptor: int | None = None

    def try_take(self) -> bool:
        """Whether no other process of this instance lives (then none can start while we do)."""
        if self._descriptor is None:
            self._descriptor = _try_lock(self._path)
        return self._descriptor is not None


def read_instance(folder: Path) -> str | None:
    """The instance's name, if the folder has a usable one."""
    try:
        text = _read_bytes(folder / INSTANCE_FILE).decode().strip()
    except (OSError, ValueError):
        return None
    return text if text and "/" not in text and text.isprintable() and len(text) <= 128 else None


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _look(path: Path) -> Seen:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _read_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{path.name} has more than {FILE_BYTES_MAX:,} bytes")
    return content


def _try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock, or `None`: somebody else does, or the folder cannot be written to."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
