"""What an API server may do to a watcher that the real one rarely does: a strict small fake, over real HTTP.

Ordinary behaviour (watch, Lease, status, RBAC) is proven on a real API server in tests/api/test_shard_sources.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ticker_crds.constants import LABEL_CREDENTIALS, MANAGER_SHARD, Reason
from ticker_shard.assignment import CredentialsRead, CredentialsUnusable, TableMalformed
from ticker_shard.assignment import api as api_module
from ticker_shard.assignment.api import Answer, ApiServer, ApiUnreachableError
from ticker_shard.assignment.follower import (
    BACKOFF_MAX_S,
    Absent,
    Followed,
    Forbidden,
    Found,
    ObjectFollower,
    backoff_s,
)
from ticker_shard.assignment.kubernetes import conflicting_managers, secret_credentials, table_from

COLLECTION = "/api/v1/namespaces/pool/configmaps"
NAME = "ticker-acc1-assignment"


def an_object(version: str, text: str = "") -> dict[str, Any]:
    return {"metadata": {"name": NAME, "resourceVersion": version}, "data": {"text": text}}


def event(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


@dataclass
class FakeApi:
    """Answers each GET and each watch from a script, the last entry for ever; refuses what the shard must not ask."""

    reads: list[tuple[int, dict[str, Any]]]
    watches: list[list[bytes] | int] = field(default_factory=lambda: [[]])
    seen: list[str] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer podTokenValue"
        if request.path == f"{COLLECTION}/{NAME}":
            assert not request.query_string, "reads are never from a cache"
            self.seen.append("read")
            code, body = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
            return web.json_response(body, status=code)
        assert request.path == COLLECTION
        assert request.query["fieldSelector"] == f"metadata.name={NAME}"
        self.seen.append(f"watch after {request.query.get('resourceVersion')}")
        script = self.watches.pop(0) if len(self.watches) > 1 else self.watches[0]
        if isinstance(script, int):
            return web.json_response({"message": "no"}, status=script)
        response = web.StreamResponse()
        await response.prepare(request)
        for line in script:
            await response.write(line)
        if self.watches[0] is script:  # the last one stays open
            await asyncio.sleep(30)
        return response


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Any]:
    (tmp_path / "token").write_text("podTokenValue\n")
    runners: list[web.AppRunner] = []
    apis: list[ApiServer] = []

    async def start(fake: FakeApi) -> ObjectFollower:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", fake.handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        api = ApiServer(fake.url, token_file=tmp_path / "token", ca_file=None, monotonic_ns=time.monotonic_ns)
        apis.append(api)
        return ObjectFollower(api, collection=COLLECTION, name=NAME, monotonic_ns=time.monotonic_ns, chance=lambda: 0.0)

    yield start
    for api in apis:
        await api.close()
    for runner in runners:
        await runner.cleanup()


async def take(states: AsyncIterator[Followed], number: int) -> list[Followed]:
    async with asyncio.timeout(5):
        return [await anext(states) for _ in range(number)]


async def test_a_version_that_is_too_old_is_read_anew(serve: Any) -> None:
    gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
    fake = FakeApi([(200, an_object("1")), (200, an_object("9"))], [[event("ERROR", gone)], []])
    follower = await serve(fake)
    async with aclosing(follower.follow()) as states:
        assert await take(states, 2) == [Found(an_object("1")), Found(an_object("9"))]
    assert fake.seen[:3] == ["read", "watch after 1", "read"]


async def test_a_change_missed_between_two_watches_is_found_by_the_next_read(serve: Any) -> None:
    fake = FakeApi([(200, an_object("1")), (200, an_object("5"))], [[event("BOOKMARK", an_object("2"))], []])
    follower = await serve(fake)
    async with aclosing(follower.follow()) as states:
        assert await take(states, 2) == [Found(an_object("1")), Found(an_object("5"))]


async def test_an_object_that_appears_is_told_once(serve: Any) -> None:
    appeared = [event("ADDED", an_object("4")), event("MODIFIED", an_object("5")), event("DELETED", an_object("6"))]
    follower = await serve(FakeApi([(404, {"message": "not found"})], [appeared]))
    async with aclosing(follower.follow()) as states:
        assert await take(states, 4) == [Absent(), Found(an_object("4")), Found(an_object("5")), Absent()]


async def test_a_full_assignment_in_one_line_is_read(serve: Any) -> None:
    large = an_object("2", "x" * 1_200_000)
    follower = await serve(FakeApi([(200, an_object("1"))], [[event("MODIFIED", large)]]))
    async with aclosing(follower.follow()) as states:
        assert await take(states, 2) == [Found(an_object("1")), Found(large)]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(([(200, an_object("1")), (500, {}), (200, an_object("2"))], [[], []]), id="the server fails"),
        pytest.param(([(200, an_object("1")), (200, an_object("2"))], [500, []]), id="the watch is refused"),
        pytest.param(([(200, an_object("1")), (200, an_object("2"))], [[b"junk\n"], []]), id="a line is junk"),
        pytest.param(([(200, an_object("1")), (200, an_object("2"))], [[b"[]\n"], []]), id="a line is no event"),
        pytest.param(
            ([(200, an_object("1")), (200, an_object("2"))], [[b'{"type": "ADD'], []]), id="a line is cut off"
        ),
    ],
)
async def test_whatever_breaks_is_retried_and_caught_up(serve: Any, trouble: tuple[Any, Any]) -> None:
    reads, watches = trouble
    if watches == [[], []]:  # the first watch must end for the second read to happen
        watches = [[event("ERROR", {"message": "expired"})], []]
    follower = await serve(FakeApi(list(reads), list(watches)))
    async with aclosing(follower.follow()) as states:
        assert await take(states, 2) == [Found(an_object("1")), Found(an_object("2"))]


async def test_a_refusal_is_told_retried_and_logged_once(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    refused = (403, {"message": 'configmaps "x" is forbidden'})
    follower = await serve(FakeApi([refused, refused, refused, (200, an_object("1"))]))
    with caplog.at_level(logging.INFO):
        async with aclosing(follower.follow()) as states:
            answers = await take(states, 4)

    assert answers[:3] == [Forbidden('configmaps "x" is forbidden')] * 3
    assert answers[3] == Found(an_object("1"))
    assert [record.levelno for record in caplog.records if "follow" in record.message].count(logging.WARNING) == 1
    assert follower.failures_total == 3


async def test_nobody_elses_object_fills_our_memory(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_module, "ANSWER_BYTES_MAX", 10_000)
    follower = await serve(FakeApi([(200, an_object("1", "x" * 20_000))]))
    with pytest.raises(ApiUnreachableError, match="above"):
        await follower._api.get(f"{COLLECTION}/{NAME}")


async def test_a_watch_that_is_never_accepted_backs_off(serve: Any) -> None:
    fake = FakeApi([(200, an_object("1"))], [403])
    follower = await serve(fake)
    async with aclosing(follower.follow()) as states:
        await take(states, 4)

    assert follower.failures == 3


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_backoff_doubles_to_its_ceiling_and_never_hurries(chance: float) -> None:
    waits = [backoff_s(failures, chance=chance) for failures in range(1, 60)]

    assert all(0 < wait <= BACKOFF_MAX_S for wait in waits)
    assert waits == sorted(waits)


@pytest.mark.parametrize(
    "config_map",
    [
        {},
        {"data": None, "binaryData": None},
        {"data": {"assignment.json": "{}"}},
        {"data": {"assignment.json": "{}"}, "binaryData": {"instruments.csv.gz": "%%%"}},
        {"data": {"assignment.json": "junk"}, "binaryData": {"instruments.csv.gz": "AAAA"}},
        {"data": [], "binaryData": 7},
    ],
)
def test_a_config_map_that_holds_no_table_is_malformed_not_fatal(config_map: dict[str, Any]) -> None:
    assert isinstance(table_from(config_map), TableMalformed)


LABELLED = {"metadata": {"labels": {LABEL_CREDENTIALS: "true"}}}


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        pytest.param({}, Reason.SECRET_NOT_LABELLED, id="no metadata"),
        pytest.param({"metadata": {"labels": None}}, Reason.SECRET_NOT_LABELLED, id="no labels"),
        pytest.param({"metadata": {"labels": {LABEL_CREDENTIALS: "yes"}}}, Reason.SECRET_NOT_LABELLED, id="not true"),
        pytest.param(LABELLED, Reason.SECRET_KEY_MISSING, id="no data"),
        pytest.param({**LABELLED, "data": {"api_key": "a2V5"}}, Reason.SECRET_KEY_MISSING, id="half a pair"),
        pytest.param(
            {**LABELLED, "data": {"api_key": "a2V5", "access_token": "%%"}}, Reason.SECRET_KEY_MISSING, id="no base64"
        ),
        pytest.param(
            {**LABELLED, "data": {"api_key": "a2V5", "access_token": "/////w=="}}, Reason.SECRET_KEY_MISSING,
            id="no text",
        ),
    ],
)  # fmt: skip
def test_an_unusable_secret_names_the_broken_rule(secret: dict[str, Any], reason: Reason) -> None:
    answer = secret_credentials(secret, name="acc1-token")

    assert isinstance(answer, CredentialsUnusable)
    assert answer.reason is reason
    assert "acc1-token" in answer.message


def test_a_line_feed_at_the_end_of_a_secret_is_not_part_of_it() -> None:
    secret = {**LABELLED, "data": {"api_key": "a2V5Cg==", "access_token": "dG9rZW4K"}}

    assert secret_credentials(secret, name="s") == CredentialsRead("key", "token")


def test_the_managers_of_a_conflict_are_read_from_its_causes() -> None:
    def cause(manager: str) -> dict[str, str]:
        return {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}" using x', "field": ".status"}

    body = {"details": {"causes": [cause(MANAGER_SHARD), cause("kubectl-edit")]}}

    assert conflicting_managers(Answer(409, body)) == {MANAGER_SHARD, "kubectl-edit"}
    assert conflicting_managers(Answer(409, {})) == set()


async def test_a_token_file_that_is_no_text_is_an_unreachable_server_and_no_end(tmp_path: Path):
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    async with ApiServer(
        "http://127.0.0.1:9", token_file=tmp_path / "token", ca_file=None, monotonic_ns=time.monotonic_ns
    ) as api:
        with pytest.raises(ApiUnreachableError):
            await api.get("/version")
