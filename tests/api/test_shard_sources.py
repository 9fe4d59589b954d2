"""The shard's four ports on a real API server, as a ServiceAccount that may do exactly what the contracts grant.

Proved: what a shard needs is granted and nothing it does is refused; tables and tokens arrive while it watches; one
Lease has one holder; statuses of several managers live side by side; an API server that goes away ends nothing.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.controlplane import ControlPlane, User
from tests.support.controlplane_client import ApiClient
from tests.support.kinds_refused import a_shard
from ticker_common.settings import load_settings
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import (
    LABEL_ACCOUNT,
    LABEL_CREDENTIALS,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    MANAGER_OPERATOR,
    Reason,
)
from ticker_shard.app.command import kubernetes_outside
from ticker_shard.app.settings import ShardSettings
from ticker_shard.app.shard import Outside
from ticker_shard.assignment import (
    CredentialsRead,
    CredentialsUnusable,
    LeaseState,
    TableAbsent,
    TableRead,
    WriteOutcome,
)
from ticker_shard.assignment.api import ApiServer
from ticker_shard.assignment.kubernetes import KubernetesVoice

T = TypeVar("T")
WITHIN_S = 10.0
SECRET = "acc1-token"
CONTRACTS = Path(__file__).parents[2] / "docs" / "contracts.md"


def granted_rules() -> list[dict[str, Any]]:
    """The Role of docs/contracts.md, read from there: the test fails if the document is not enough."""
    names = {"`<shard>-assignment`": "ticker-acc1-assignment", "`<shard>`": "ticker-acc1"}
    section = CONTRACTS.read_text().split("What a shard's Role grants")[1].split("### ")[0]
    rules = []
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 4 or not cells[1].startswith("`"):
            continue
        group, resource, name, verbs = cells
        rules.append(
            {
                "apiGroups": ["" if group == "(core)" else group.strip("`")],
                "resources": [resource.strip("`")],
                "resourceNames": [names.get(name, SECRET)],
                "verbs": re.findall(r"`([a-z]+)`", verbs),
            }
        )
    return rules


@dataclass
class Pool:
    """A namespace with one shard's ServiceAccount in it."""

    plane: ControlPlane
    namespace: str
    admin: ApiClient
    user: User
    folder: Path

    def api(self) -> ApiServer:
        return ApiServer(
            self.plane.url,
            token_file=self.folder / "token",
            ca_file=self.plane.ca_file,
            monotonic_ns=time.monotonic_ns,
        )

    def outside(self, api: ApiServer, *, process: str = "pod-1/a") -> Outside:
        settings = load_settings(
            ShardSettings,
            {
                "account": "acc1", "namespace": self.namespace, "secret_name": SECRET, "instance": "pod-1",
                "redis_url_file": "/unused",
            },
        )  # fmt: skip
        return kubernetes_outside(settings, api, process=process)

    def write_table(self, revision: int = 1, *, table: AssignmentTable | None = None) -> None:
        header, rows = encode_table(table or a_table(revision))
        manifest = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "ticker-acc1-assignment"},
            "data": {HEADER_KEY: header},
            "binaryData": {TABLE_KEY: base64.b64encode(rows).decode()},
        }
        self.admin.apply(manifest, manager=MANAGER_OPERATOR, namespace=self.namespace).expect()

    def write_secret(self, token: str, *, labelled: bool = True, api_key: str = "kubekey1") -> None:
        manifest = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "labels": {LABEL_CREDENTIALS: "true"} if labelled else {}},
            "stringData": {"api_key": api_key, "access_token": token},
        }
        self.admin.apply(manifest, manager="user", namespace=self.namespace, force=True).expect()

    def status(self) -> dict[str, Any]:
        found = self.admin.get("TickerShard", "ticker-acc1", namespace=self.namespace)
        status: dict[str, Any] = found.get("status", {})
        return status

    def lease(self) -> dict[str, Any]:
        return self.admin.get("Lease", "ticker-acc1", namespace=self.namespace, api_version="coordination.k8s.io/v1")

    def lease_holder(self) -> str:
        return str(self.lease()["spec"]["holderIdentity"])


def a_table(revision: int) -> AssignmentTable:
    channel = Channel("ticker:equity")
    rows = tuple(
        AssignedInstrument(256 * n + 1, "NSE", f"SYMBOL{n:04}", Mode.FULL, (channel.name,)) for n in range(1, 3_000)
    )
    return AssignmentTable("acc1", revision, (channel,), rows)


def a_condition(kind: str, truth: str) -> dict[str, Any]:
    return {
        "type": kind, "status": truth, "reason": "Tested", "message": "in words", "observedGeneration": 1,
        "lastTransitionTime": "2026-11-20T03:45:00Z",
    }  # fmt: skip


@pytest.fixture
def pool(api_server: ControlPlane, namespace: str, tmp_path: Path) -> Pool:
    admin = api_server.client()
    user = api_server.service_account(namespace, "ticker-acc1")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "ticker-acc1"},
        "rules": granted_rules(),
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ticker-acc1"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ticker-acc1"},
        "subjects": [{"kind": "ServiceAccount", "name": "ticker-acc1", "namespace": namespace}],
    }
    for manifest in (role, binding):
        admin.create(manifest, namespace=namespace).expect(201)
    admin.create(a_shard(), namespace=namespace).expect(201)
    (tmp_path / "token").write_text(user.token)
    return Pool(api_server, namespace, admin, user, tmp_path)


async def coming(answers: AsyncIterator[T], wanted: Callable[[T], bool] = lambda _: True) -> T:
    async with asyncio.timeout(WITHIN_S):
        while not wanted(answer := await anext(answers)):
            pass
        return answer


def test_the_contracts_grant_only_named_objects() -> None:
    rules = granted_rules()

    assert len(rules) == 5
    assert all(rule["resourceNames"] and rule["verbs"] for rule in rules)


async def test_a_table_that_appears_changes_and_goes_is_followed(pool: Pool) -> None:
    async with pool.api() as api, aclosing(pool.outside(api).assignment.follow()) as tables:
        assert isinstance(await coming(tables), TableAbsent)
        await asyncio.to_thread(pool.write_table, 1)
        assert await coming(tables) == TableRead(a_table(1))
        await asyncio.to_thread(pool.write_table, 2)
        assert await coming(tables) == TableRead(a_table(2))


async def test_a_rotated_token_arrives_within_seconds(pool: Pool) -> None:
    async with pool.api() as api, aclosing(pool.outside(api).credentials.follow()) as credentials:
        missing = await coming(credentials)
        await asyncio.to_thread(pool.write_secret, "kubeTokenOne")
        first = await coming(credentials)
        started = time.monotonic()
        await asyncio.to_thread(pool.write_secret, "kubeTokenTwo")
        second = await coming(credentials)

        assert isinstance(missing, CredentialsUnusable)
        assert missing.reason is Reason.SECRET_MISSING
        assert [first, second] == [
            CredentialsRead("kubekey1", "kubeTokenOne"),
            CredentialsRead("kubekey1", "kubeTokenTwo"),
        ]
        assert time.monotonic() - started < 5


async def test_a_secret_without_the_label_is_refused(pool: Pool) -> None:
    pool.write_secret("kubeTokenOne", labelled=False)
    async with pool.api() as api, aclosing(pool.outside(api).credentials.follow()) as credentials:
        answer = await coming(credentials)

    assert isinstance(answer, CredentialsUnusable)
    assert answer.reason is Reason.SECRET_NOT_LABELLED
    assert LABEL_CREDENTIALS in answer.message


async def test_the_lease_is_created_by_name_and_held_by_one(pool: Pool) -> None:
    async with pool.api() as api:
        one = pool.outside(api, process="pod-1/a").voice
        two = pool.outside(api, process="pod-2/b").voice

        assert await one.observe() is LeaseState.VACANT
        assert await two.observe() is LeaseState.VACANT
        assert [await one.take(), await two.take()] == [True, False]
        assert await two.observe() is LeaseState.OTHER
        assert await one.take()
        assert pool.lease_holder() == "pod-1/a"
        assert (
            pool.lease()["metadata"]["labels"].items() >= {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: "acc1"}.items()
        )

        await one.release()
        assert await two.observe() is LeaseState.VACANT
        assert await two.take()
        assert pool.lease_holder() == "pod-2/b"
        assert not await one.take()


async def test_a_successor_in_the_same_pod_takes_the_lease_at_once(pool: Pool) -> None:
    async with pool.api() as api:
        before = pool.outside(api, process="pod-1/a").voice
        await before.observe()
        assert await before.take()
        after = pool.outside(api, process="pod-1/b").voice

        assert await after.observe() is LeaseState.VACANT
        assert await after.take()
        assert not await before.take()


async def test_the_status_is_complete_and_leaves_other_managers_alone(pool: Pool) -> None:
    said_by_operator = {
        **{key: value for key, value in a_shard().items() if key != "spec"},
        "status": {"appliedRevision": 4, "conditions": [a_condition("Ready", "True")]},
    }
    pool.admin.apply(
        said_by_operator, manager=MANAGER_OPERATOR, namespace=pool.namespace, subresource="status"
    ).expect()
    async with pool.api() as api:
        sink = pool.outside(api).status
        known = await sink.read()
        first = {"confirmed": 10, "sockets": "1/1", "epoch": 1_763_700_000_123, "acknowledged": ACKNOWLEDGED,
                 "conditions": [a_condition("Connected", "True"), a_condition("Streaming", "True")]}  # fmt: skip
        second = {key: value for key, value in first.items() if key != "epoch"}

        assert known is not None
        assert known.revision_floor == 4
        assert await sink.write(first, vitals={"port": 1}) is WriteOutcome.WRITTEN
        assert await sink.write(second, vitals={"port": 1}) is WriteOutcome.WRITTEN
        assert sink.generation == 1
        again = await sink.read()

    status = pool.status()
    assert status["appliedRevision"] == 4
    assert {entry["type"] for entry in status["conditions"]} == {"Ready", "Connected", "Streaming"}
    assert status["acknowledged"] == ACKNOWLEDGED
    assert "epoch" not in status
    assert "port" not in status
    assert again is not None
    assert again.revision_floor == 10


ACKNOWLEDGED = {
    "revision": 9, "digest": "sha256:ab", "process": "pod-1/a", "unconfirmed": [],
    "barrier": {"revision": 10, "digest": "sha256:cd"},
}  # fmt: skip


async def test_an_unchanged_status_makes_no_new_version(pool: Pool) -> None:
    status = {"confirmed": 10, "sockets": "1/1", "conditions": [a_condition("Connected", "True")]}
    async with pool.api() as api:
        sink = pool.outside(api).status
        versions = []
        for _ in range(2):
            await sink.write(status, vitals={})
            shard = pool.admin.get("TickerShard", "ticker-acc1", namespace=pool.namespace)
            versions.append(shard["metadata"]["resourceVersion"])

    assert versions[0] == versions[1]


async def test_somebody_elses_claim_on_our_fields_is_told_not_fought_over(pool: Pool) -> None:
    claim = {**{k: v for k, v in a_shard().items() if k != "spec"}, "status": {"sockets": "9/9"}}
    pool.admin.apply(claim, manager="a-person", namespace=pool.namespace, subresource="status").expect()
    async with pool.api() as api:
        outcome = await pool.outside(api).status.write({"sockets": "1/1", "conditions": []}, vitals={})

    assert outcome is WriteOutcome.REFUSED
    assert pool.status()["sockets"] == "9/9"


async def test_no_other_object_may_be_touched(pool: Pool) -> None:
    pool.admin.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "another"}}, namespace=pool.namespace
    ).expect(201)
    core = f"/api/v1/namespaces/{pool.namespace}"
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{pool.namespace}/leases"
    async with pool.api() as api:
        codes = {
            "another Secret": (await api.get(f"{core}/secrets/another")).code,
            "all Secrets": (await api.get(f"{core}/secrets")).code,
            "another ConfigMap": (await api.get(f"{core}/configmaps/kube-root-ca.crt")).code,
            "another Lease": (await api.put(f"{leases}/another", lease("another"))).code,
        }

    assert set(codes.values()) == {403}, codes


def lease(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": "x"},
    }  # fmt: skip


async def test_a_replaced_service_account_token_is_picked_up(pool: Pool) -> None:
    (pool.folder / "token").write_text("expired.token.value")
    async with pool.api() as api:
        refused = await api.get(f"/api/v1/namespaces/{pool.namespace}/secrets/{SECRET}")
        (pool.folder / "token").write_text(pool.user.token)
        served = await api.get(f"/api/v1/namespaces/{pool.namespace}/secrets/{SECRET}")

    assert (refused.code, served.code) == (401, 404)


async def test_a_lease_without_renewals_becomes_vacant_by_the_observers_clock(pool: Pool) -> None:
    """Virtual time: the observer's clock is ours, the Lease is real."""
    seconds = itertools.count(0, 2)
    async with pool.api() as api:
        dead = pool.outside(api, process="pod-1/a").voice
        await dead.observe()
        assert await dead.take()
        observer = KubernetesVoice(
            api, namespace=pool.namespace, account="acc1", process="pod-2/b",
            monotonic_ns=lambda: next(seconds) * 1_000_000_000, wall_clock=lambda: datetime.now(tz=UTC),
        )  # fmt: skip
        states = [await observer.observe() for _ in range(4)]

        assert states == [LeaseState.OTHER] * 3 + [LeaseState.VACANT]
        assert await observer.take()
    assert pool.lease_holder() == "pod-2/b"


async def test_an_outage_of_the_api_ends_nothing_and_is_caught_up(pool: Pool) -> None:
    """Last in the file: the server of this run stops and comes back on its port."""
    pool.write_table(1)
    async with pool.api() as api:
        outside = pool.outside(api)
        async with aclosing(outside.assignment.follow()) as tables:
            await coming(tables)
            assert await outside.voice.observe() is LeaseState.VACANT
            pool.plane.stop_apiserver()
            try:
                assert await outside.voice.observe() is LeaseState.UNKNOWN
                assert not await outside.voice.take()
                assert await outside.status.read() is None
                assert await outside.status.write({"conditions": []}, vitals={}) is WriteOutcome.UNKNOWN
            finally:
                await asyncio.to_thread(pool.plane.start_apiserver)
            await asyncio.to_thread(pool.write_table, 2)
            caught_up = await coming(tables, lambda answer: answer == TableRead(a_table(2)))

    assert caught_up == TableRead(a_table(2))
