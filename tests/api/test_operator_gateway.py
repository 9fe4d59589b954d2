"""The operator's Kubernetes side on a real API server: guarded writes, Secrets, events, the Lease, its own rights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.controlplane_client import kind_manifest
from tests.support.kinds_refused import a_shard
from tests.support.operator import Broker, Pool, operator_identity, role_rules
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode
from ticker_crds.assignment import TABLE_KEY
from ticker_crds.constants import FINALIZER_DRAIN, LABEL_ACCOUNT, LABEL_MANAGED_BY, MANAGED_BY, Kind, Reason
from ticker_crds.names import assignment_name, shard_name
from ticker_operator.app.lease import DURATION_S, RENEW_DEADLINE_S, LeaseLostError, OwnLease
from ticker_operator.app.preflight import preflight
from ticker_operator.kube.connection import open_client
from ticker_operator.kube.gateway import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    LEASES,
    ROLE_BINDINGS,
    ROLES,
    SERVICE_ACCOUNTS,
    AbsentError,
    ConflictError,
    Gateway,
    RefusedError,
    Resource,
    UnclearError,
)
from ticker_operator.kube.reader import KubeReader
from ticker_operator.kube.statuses import KubeStatuses
from ticker_operator.kube.tables import KubeTables
from ticker_operator.kube.workloads import KubeWorkloads
from ticker_operator.model import Event
from ticker_operator.reconcile.ports import Conflict, Refused, Removal, Unchanged, Written


class Clock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def gateway(api_server: ControlPlane, namespace: str) -> AsyncIterator[Gateway]:
    """As the operator's own ServiceAccount, under its exact Role."""
    user = operator_identity(api_server, namespace)
    client = await open_client(api_server.kubeconfig(user, namespace=namespace))
    yield Gateway(client, namespace=namespace)
    await client.close()


@pytest.fixture
def pool(api_server: ControlPlane, namespace: str) -> Pool:
    return Pool(api_server.client(), namespace, Broker("http://127.0.0.1:9", b""))


def a_table(revision: int, *names: str) -> AssignmentTable:
    rows = tuple(
        AssignedInstrument(number, "NSE", name, Mode.QUOTE, ("ticker:equity",)) for number, name in enumerate(names, 1)
    )
    return AssignmentTable("acc1", revision, (Channel("ticker:equity"),), rows)


# -- tables ------------------------------------------------------------------------------------------------------


async def test_table_is_read_back_as_it_was_written(gateway: Gateway) -> None:
    tables = KubeTables(gateway, owner_uid=lambda _account: "")

    outcome = await tables.write_table(a_table(1, "INFY", "TCS"), expected=None)
    read = await KubeTables(gateway, owner_uid=lambda _account: "").read_tables()

    assert isinstance(outcome, Written)
    assert read["acc1"].table == a_table(1, "INFY", "TCS")
    assert read["acc1"].version == outcome.version


async def test_first_table_never_overwrites_one_that_somebody_else_made(gateway: Gateway) -> None:
    tables = KubeTables(gateway, owner_uid=lambda _account: "")
    await tables.write_table(a_table(7, "INFY"), expected=None)

    outcome = await tables.write_table(a_table(1, "TCS"), expected=None)

    assert isinstance(outcome, Conflict)
    assert (await tables.read_tables())["acc1"].table == a_table(7, "INFY")


async def test_table_written_on_an_outdated_version_is_a_conflict_and_changes_nothing(gateway: Gateway) -> None:
    tables = KubeTables(gateway, owner_uid=lambda _account: "")
    first = await tables.write_table(a_table(1, "INFY"), expected=None)
    assert isinstance(first, Written)
    second = await tables.write_table(a_table(2, "TCS"), expected=first.version)

    stale = await tables.write_table(a_table(3, "WIPRO"), expected=first.version)

    assert isinstance(second, Written)
    assert isinstance(stale, Conflict)
    assert (await tables.read_tables())["acc1"].table == a_table(2, "TCS")


async def test_damaged_table_is_told_and_the_others_are_read(gateway: Gateway, pool: Pool) -> None:
    tables = KubeTables(gateway, owner_uid=lambda _account: "")
    await tables.write_table(a_table(1, "INFY"), expected=None)
    manifest = pool.get("ConfigMap", assignment_name("acc1"), "v1")
    pool.client.merge(manifest, {"binaryData": {TABLE_KEY: "bm9uc2Vuc2U="}}, namespace=pool.namespace).expect(200)

    read = await tables.read_tables()

    assert read["acc1"].table is None
    assert read["acc1"].fault


# -- Secrets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({}, Reason.ACCEPTED),
        ({"labelled": False}, Reason.SECRET_NOT_LABELLED),
        ({"keys": ("api_key",)}, Reason.SECRET_KEY_MISSING),
        (None, Reason.SECRET_MISSING),
    ],
    ids=["labelled and complete", "not labelled", "a key is missing", "no Secret"],
)
async def test_secret_is_judged_by_label_and_keys(
    gateway: Gateway, pool: Pool, made: dict[str, Any] | None, reason: Reason
) -> None:
    if made is not None:
        pool.secret("kite", **made)
    reader = _reader(gateway)

    fact = await reader.read_credentials("kite")

    assert fact.reason is reason
    assert fact.usable == (reason is Reason.ACCEPTED)
    assert "api_key of kite" not in fact.message, "no value of a Secret is repeated"


async def test_rotation_of_a_token_is_seen_without_keeping_it(gateway: Gateway, pool: Pool) -> None:
    pool.secret("kite")
    reader = _reader(gateway)
    before = await reader.read_credentials("kite")
    secret = pool.get("Secret", "kite", "v1")

    pool.client.merge(secret, {"stringData": {"access_token": "new"}}, namespace=pool.namespace).expect(200)
    after = await reader.read_credentials("kite")

    assert before.version != after.version
    assert after.issued_at.endswith("Z")


def _reader(gateway: Gateway) -> KubeReader:
    workloads = KubeWorkloads(gateway, seen=lambda _kind, _obj: None, uid_of=lambda _account: "", clock=Clock())
    return KubeReader(gateway, tables=KubeTables(gateway, owner_uid=lambda _account: ""), workloads=workloads)


# -- removal -----------------------------------------------------------------------------------------------------


def _deployment(name: str, labels: dict[str, str]) -> dict[str, Any]:
    pod = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "none"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels}, "spec": spec}


OWN_AND_STRANGERS = pytest.mark.parametrize(
    ("labels", "left"),
    [
        ({LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: "acc1"}, False),
        ({}, True),
        ({LABEL_MANAGED_BY: "Helm", LABEL_ACCOUNT: "acc1"}, True),
        ({LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: "acc2"}, True),
    ],
    ids=["the shard's own", "without labels", "somebody else's", "another account's"],
)


@OWN_AND_STRANGERS
async def test_removal_of_a_shard_deletes_its_own_deployment_and_no_strangers_of_that_name(
    gateway: Gateway, pool: Pool, labels: dict[str, str], left: bool
) -> None:
    pool.create(_deployment(shard_name("acc1"), labels))
    workloads = KubeWorkloads(gateway, seen=lambda _kind, _obj: None, uid_of=lambda _account: "", clock=Clock())

    removal = await workloads.remove_shard("acc1")

    assert removal is Removal.GONE
    found = await gateway.list_all(DEPLOYMENTS)
    assert [live["metadata"]["name"] for live in found["items"]] == ([shard_name("acc1")] if left else [])


RBAC = "rbac.authorization.k8s.io"
LEFTOVERS: dict[Resource, dict[str, Any]] = {
    ROLE_BINDINGS: {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "any"}, "subjects": []},
    ROLES: {"rules": []},
    SERVICE_ACCOUNTS: {},
    LEASES: {"spec": {"holderIdentity": ""}},
    CONFIG_MAPS: {"data": {}},
}


@OWN_AND_STRANGERS
async def test_removal_of_a_shard_deletes_what_was_made_for_it_and_nothing_else_of_those_names(
    gateway: Gateway, pool: Pool, labels: dict[str, str], left: bool
) -> None:
    for resource, content in LEFTOVERS.items():
        name = assignment_name("acc1") if resource is CONFIG_MAPS else shard_name("acc1")
        head = {"apiVersion": resource.api_version, "kind": resource.kind}
        pool.create({**head, "metadata": {"name": name, "labels": labels}, **content})
    pool.create(a_shard())
    workloads = KubeWorkloads(gateway, seen=lambda _kind, _obj: None, uid_of=lambda _account: "", clock=Clock())

    removal = await workloads.remove_shard("acc1")

    assert removal is Removal.GONE
    names = {shard_name("acc1"), assignment_name("acc1")}
    found = {each.kind: not names.isdisjoint(pool.names(each.kind, each.api_version)) for each in LEFTOVERS}
    assert found == {each.kind: left for each in LEFTOVERS}
    assert not pool.names(Kind.SHARD)


async def test_what_took_the_place_of_the_object_that_was_seen_is_not_deleted(gateway: Gateway, pool: Pool) -> None:
    pool.create(_deployment(shard_name("acc1"), {}))

    with pytest.raises(ConflictError):
        await gateway.delete(DEPLOYMENTS, shard_name("acc1"), uid="00000000-0000-0000-0000-000000000000")

    assert (await gateway.list_all(DEPLOYMENTS))["items"]


# -- finalizer, status, events -----------------------------------------------------------------------------------


def _statuses(gateway: Gateway, pool: Pool, clock: Clock) -> KubeStatuses:
    def find(kind: Kind, name: str) -> dict[str, Any]:
        return pool.get(kind.value, name)

    return KubeStatuses(gateway, find=find, seen=lambda _kind, _obj: None, clock=clock, wall=lambda: datetime.now(UTC))


async def test_finalizer_is_put_once_beside_others_and_taken_alone(gateway: Gateway, pool: Pool) -> None:
    manifest = kind_manifest(Kind.ACCOUNT, "acc1", {"credentialsRef": {"name": "kite"}})
    manifest["metadata"]["finalizers"] = ["example.com/other"]
    pool.create(manifest)
    statuses = _statuses(gateway, pool, Clock())

    put = await statuses.hold_deletion("acc1", held=True)
    again = await statuses.hold_deletion("acc1", held=True)
    held = pool.get(Kind.ACCOUNT, "acc1")["metadata"]["finalizers"]
    await statuses.hold_deletion("acc1", held=False)

    assert isinstance(put, Written)
    assert isinstance(again, Unchanged)
    assert held == ["example.com/other", FINALIZER_DRAIN]
    assert pool.get(Kind.ACCOUNT, "acc1")["metadata"]["finalizers"] == ["example.com/other"]


async def test_status_of_a_vanished_object_is_a_conflict_and_does_not_make_it(gateway: Gateway, pool: Pool) -> None:
    statuses = _statuses(gateway, pool, Clock())

    outcome = await statuses.write_status(Kind.ACCOUNT, "ghost", {"assigned": 1}, uid="x")

    assert isinstance(outcome, Conflict)
    assert pool.names(Kind.ACCOUNT) == []


async def test_malformed_status_is_refused_with_the_servers_words(gateway: Gateway, pool: Pool) -> None:
    pool.create(kind_manifest(Kind.ACCOUNT, "acc1", {"credentialsRef": {"name": "kite"}}))
    statuses = _statuses(gateway, pool, Clock())

    outcome = await statuses.write_status(Kind.ACCOUNT, "acc1", {"assigned": -1}, uid="x")

    assert isinstance(outcome, Refused)
    assert "assigned" in outcome.detail


async def test_same_event_again_is_counted_and_not_told_twice(gateway: Gateway, pool: Pool) -> None:
    pool.create(kind_manifest(Kind.ACCOUNT, "acc1", {"credentialsRef": {"name": "kite"}}))
    statuses = _statuses(gateway, pool, Clock())
    event = Event(Kind.ACCOUNT, "acc1", Reason.SECRET_MISSING, "There is no Secret kite.", warning=True)

    for _ in range(3):
        await statuses.record_event(event)

    path = f"/apis/events.k8s.io/v1/namespaces/{pool.namespace}/events"
    (told,) = pool.client.request("GET", path).expect(200)["items"]
    assert told["series"]["count"] == 3
    assert told["regarding"]["uid"] == pool.get(Kind.ACCOUNT, "acc1")["metadata"]["uid"]
    assert (told["type"], told["reason"]) == ("Warning", "SecretMissing")


# -- answers -----------------------------------------------------------------------------------------------------


async def test_every_refusal_has_its_own_kind(gateway: Gateway, pool: Pool) -> None:
    with pytest.raises(AbsentError):
        await gateway.get(CONFIG_MAPS, "nothing")
    with pytest.raises(RefusedError, match="Deployment"):
        await gateway.apply(
            CONFIG_MAPS, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}, manager="t"
        )
    await gateway.create(CONFIG_MAPS, _config_map(), manager="t")
    with pytest.raises(ConflictError):
        await gateway.json_patch(
            CONFIG_MAPS, "x", [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}], manager="t"
        )
    assert pool.get("ConfigMap", "x", "v1")["data"] == {"a": "1"}


async def test_without_the_lease_reads_go_on_and_writes_are_not_sent(
    api_server: ControlPlane, namespace: str, pool: Pool
) -> None:
    client = await open_client(api_server.kubeconfig(namespace=namespace))
    try:
        fenced = Gateway(client, namespace=namespace, may_write=lambda: False)

        assert await fenced.list_all(CONFIG_MAPS)
        with pytest.raises(UnclearError, match="Lease"):
            await fenced.create(CONFIG_MAPS, _config_map(), manager="t")
        assert pool.names("ConfigMap", "v1") == []
    finally:
        await client.close()


def _config_map() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}


# -- rights ------------------------------------------------------------------------------------------------------


async def test_exact_role_passes_preflight(gateway: Gateway) -> None:
    assert await preflight(gateway) == ()


async def test_each_missing_right_is_named(api_server: ControlPlane, namespace: str) -> None:
    rules = [rule for rule in role_rules() if rule["resources"] != ["deployments"]]
    user = operator_identity(api_server, namespace, rules=rules)
    client = await open_client(api_server.kubeconfig(user, namespace=namespace))
    try:
        problems = await preflight(Gateway(client, namespace=namespace))
    finally:
        await client.close()

    assert len(problems) == 5
    assert all("deployments (apps)" in problem for problem in problems)


# -- Lease -------------------------------------------------------------------------------------------------------


async def test_second_operator_takes_the_lease_only_after_a_whole_window_of_its_own_clock(gateway: Gateway) -> None:
    first_clock, second_clock = Clock(), Clock()
    first = OwnLease(gateway, name="op", clock=first_clock)
    second = OwnLease(gateway, name="op", clock=second_clock)
    assert await first._try()

    assert not await second._try()
    second_clock.now += DURATION_S - 0.1
    assert not await second._try()
    second_clock.now += 0.2
    assert await second._try()

    first_clock.now += RENEW_DEADLINE_S
    assert not first.holds(), "the first has stopped writing before the second could begin"
    assert second.holds()


async def test_renewal_starts_the_rivals_window_again(gateway: Gateway) -> None:
    first, second_clock = OwnLease(gateway, name="op"), Clock()
    second = OwnLease(gateway, name="op", clock=second_clock)
    await first._try()
    await second._try()

    second_clock.now += DURATION_S - 0.1
    await first._try()
    await second._try()
    second_clock.now += 1.0

    assert not await second._try()


async def test_released_lease_is_free_at_once_and_transitions_are_counted(gateway: Gateway, pool: Pool) -> None:
    first, second = OwnLease(gateway, name="op"), OwnLease(gateway, name="op")
    await first._try()

    await first.release()

    assert not first.holds()
    assert await second._try()
    spec = pool.get("Lease", "op", "coordination.k8s.io/v1")["spec"]
    assert spec["holderIdentity"] == second.identity
    assert spec["leaseTransitions"] == 1


async def test_holder_whose_lease_was_taken_ends(gateway: Gateway, pool: Pool) -> None:
    first = OwnLease(gateway, name="op")
    await first._try()
    lease = pool.get("Lease", "op", "coordination.k8s.io/v1")

    pool.client.merge(lease, {"spec": {"holderIdentity": "other"}}, namespace=pool.namespace).expect(200)

    async with asyncio.timeout(10):
        with pytest.raises(LeaseLostError, match="other has it"):
            await first.keep()
    assert not first.holds()
