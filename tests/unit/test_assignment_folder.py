"""The folder's four ports on real files: replaced, half replaced, missing, broken, locked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.shard import ShardFolder, replace_file
from ticker_common.logs import redact
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import Reason
from ticker_shard.assignment import (
    CredentialsRead,
    CredentialsUnusable,
    LeaseState,
    TableAbsent,
    TableMalformed,
    TableRead,
    WriteOutcome,
)
from ticker_shard.assignment.folder import (
    FolderAssignment,
    FolderCredentials,
    FolderStatus,
    FolderVoice,
    InstanceLock,
    read_instance,
)

POLL_S = 0.01
T = TypeVar("T")


def a_table(revision: int) -> AssignmentTable:
    channel = Channel("ticker:equity")
    row = AssignedInstrument(408065, "NSE", "INFY", Mode.FULL, (channel.name,))
    return AssignmentTable("acc1", revision, (channel,), (row,))


@pytest.fixture
def folder(tmp_path: Path) -> ShardFolder:
    made = ShardFolder(tmp_path / "acc1")
    made.create(instance="machine-1")
    return made


async def coming(answers: AsyncIterator[T]) -> T:
    async with asyncio.timeout(5):
        return await anext(answers)


async def test_each_new_table_is_read_once(folder: ShardFolder) -> None:
    folder.assign(a_table(1))
    answers = FolderAssignment(folder.path, poll_s=POLL_S).follow()

    assert await coming(answers) == TableRead(a_table(1))
    folder.assign(a_table(2))
    assert await coming(answers) == TableRead(a_table(2))


async def test_rows_without_their_header_yet_are_waited_for(folder: ShardFolder) -> None:
    folder.assign(a_table(1))
    answers = FolderAssignment(folder.path, poll_s=POLL_S).follow()
    await coming(answers)
    header, rows = encode_table(AssignmentTable("acc1", 2))
    replace_file(folder.path / TABLE_KEY, rows)
    waiting = asyncio.create_task(coming(answers))
    await asyncio.sleep(POLL_S * 3)  # the source looks in between: that is what this test is about
    replace_file(folder.path / HEADER_KEY, header.encode())

    assert await waiting == TableRead(AssignmentTable("acc1", 2))


async def test_a_table_that_stays_malformed_is_told_and_healed_by_the_next(folder: ShardFolder) -> None:
    folder.assign(a_table(1))
    replace_file(folder.path / HEADER_KEY, b"{not json")
    answers = FolderAssignment(folder.path, poll_s=0.3).follow()

    assert isinstance(await coming(answers), TableMalformed)
    folder.assign(a_table(2))
    assert await coming(answers) == TableRead(a_table(2))


async def test_a_missing_table_is_absent_by_name(folder: ShardFolder) -> None:
    answer = await coming(FolderAssignment(folder.path, poll_s=0.3).follow())

    assert isinstance(answer, TableAbsent)
    assert "assignment.json" in answer.message


async def test_a_rotated_token_is_read_and_becomes_a_secret(folder: ShardFolder) -> None:
    folder.give_token("folderkey1", "folderTokenOne")
    answers = FolderCredentials(folder.path, poll_s=POLL_S).follow()
    first = await coming(answers)
    folder.give_token("folderkey1", "folderTokenTwo\n")
    second = await coming(answers)

    assert (first, second) == (
        CredentialsRead("folderkey1", "folderTokenOne"),
        CredentialsRead("folderkey1", "folderTokenTwo"),
    )
    assert "folderTokenTwo" not in redact("about folderTokenTwo")
    assert "folderTokenTwo" not in repr(second)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, Reason.SECRET_MISSING, id="no file"),
        pytest.param(b"sekretValue", Reason.SECRET_KEY_MISSING, id="no JSON"),
        pytest.param(b'["sekretValue"]', Reason.SECRET_KEY_MISSING, id="no object"),
        pytest.param(b'{"api_key": "k"}', Reason.SECRET_KEY_MISSING, id="half a pair"),
        pytest.param(b'{"api_key": "k", "access_token": "sekret Value"}', Reason.SECRET_KEY_MISSING, id="a space"),
        pytest.param(b'{"api_key": "k", "access_token": 7}', Reason.SECRET_KEY_MISSING, id="a number"),
        pytest.param(b"\xff\xfe", Reason.SECRET_KEY_MISSING, id="no text"),
    ],
)
async def test_an_unusable_token_has_a_reason_and_is_not_repeated(
    folder: ShardFolder, content: bytes | None, reason: Reason
) -> None:
    if content is not None:
        replace_file(folder.path / "token", content, mode=0o600)

    answer = await coming(FolderCredentials(folder.path, poll_s=POLL_S).follow())

    assert isinstance(answer, CredentialsUnusable)
    assert answer.reason is reason
    assert "ekret" not in answer.message


async def test_a_written_status_comes_back_as_floor_and_history(folder: ShardFolder) -> None:
    status = {
        "acknowledged": {"revision": 9, "digest": "sha256:x", "process": "p", "unconfirmed": []},
        "conditions": [{"type": "Connected", "status": "True"}],
    }
    sink = FolderStatus(folder.path)

    assert await sink.write(status, vitals={"heartbeat_ns": 5}) is WriteOutcome.WRITTEN
    known = await sink.read()

    assert known is not None
    assert (known.revision_floor, known.acknowledged) == (9, status["acknowledged"])
    assert folder.status()["heartbeat_ns"] == 5


@pytest.mark.parametrize("content", [b"", b"[]", b'{"acknowledged": 7, "conditions": {}}', b"\xff"])
async def test_somebody_elses_status_file_is_no_floor(folder: ShardFolder, content: bytes) -> None:
    replace_file(folder.path / "status.json", content)

    known = await FolderStatus(folder.path).read()

    assert known is not None
    assert (known.revision_floor, known.acknowledged, known.conditions) == (0, None, ())


async def test_a_status_that_cannot_be_written_is_unknown_not_a_crash(folder: ShardFolder) -> None:
    gone = FolderStatus(folder.path / "missing")

    assert await gone.write({}, vitals={}) is WriteOutcome.UNKNOWN


async def test_one_voice_a_folder(folder: ShardFolder) -> None:
    one, two = FolderVoice(folder.path), FolderVoice(folder.path)

    assert await one.observe() is LeaseState.VACANT
    assert await one.take()
    assert await two.observe() is LeaseState.OTHER
    assert not await two.take()
    await one.release()
    assert await two.take()
    assert await two.observe() is LeaseState.MINE
    await two.release()


def test_one_process_an_instance(folder: ShardFolder) -> None:
    one, two = InstanceLock(folder.path), InstanceLock(folder.path)

    assert one.try_take()
    assert not two.try_take()


@pytest.mark.parametrize(("content", "expected"), [("abc-1\n", "abc-1"), ("", None), ("a/b", None), ("x" * 129, None)])
def test_an_instance_has_a_usable_name(folder: ShardFolder, content: str, expected: str | None) -> None:
    replace_file(folder.path / "instance-id", content.encode())

    assert read_instance(folder.path) == expected


def test_a_written_token_file_is_private(folder: ShardFolder) -> None:
    folder.give_token("k", "folderTokenOne")

    assert (folder.path / "token").stat().st_mode & 0o077 == 0
    assert set(json.loads((folder.path / "token").read_bytes())) == {"api_key", "access_token"}
