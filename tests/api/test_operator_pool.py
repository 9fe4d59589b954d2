"""The operator on a real API server, as its own ServiceAccount under its exact Role: what people write becomes so.

Controllers and shards are played by `Stage`. What is proved ends in objects: tables, roles, conditions, who wrote what.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.operator import (
    Broker,
    Pool,
    RunningOperator,
    broker,
    eventually,
    operator_identity,
    operator_settings,
)
from tests.support.operator_stage import Stage
from ticker_crds.constants import (
    FINALIZER_DRAIN,
    MANAGER_OPERATOR,
    MANAGER_ROLLOUT,
    MANAGER_SHARD,
    Condition,
    Kind,
    Reason,
)
from ticker_crds.names import assignment_name, shard_name
from ticker_operator.app.settings import OperatorSettings

SYMBOLS = [f"NSE:EQ{number:03}" for number in range(1, 13)]
READY = Condition.READY


@pytest.fixture(scope="module")
def kite() -> Iterator[Broker]:
    with broker() as running:
        yield running


@pytest.fixture
def pool(api_server: ControlPlane, namespace: str, kite: Broker) -> Pool:
    kite.answer = 200
    return Pool(api_server.client(), namespace, kite)


@pytest.fixture
def stage(pool: Pool) -> Iterator[Stage]:
    playing = Stage(pool)
    playing.start()
    yield playing
    playing.stop()


@pytest.fixture
def settings(api_server: ControlPlane, namespace: str, kite: Broker) -> OperatorSettings:
    user = operator_identity(api_server, namespace)
    allowed = (kite.url, kite.url.replace("http", "ws"))
    return operator_settings(api_server.kubeconfig(user, namespace=namespace), namespace, endpoints=allowed)


@pytest.fixture
def operator(settings: OperatorSettings) -> Iterator[RunningOperator]:
    running = RunningOperator(settings).start()
    yield running
    assert running.stop() == 0


def streams(pool: Pool, subscription: str, count: int) -> bool:
    status = pool.status(Kind.SUBSCRIPTION, subscription)
    return bool(status.get("streaming") == count)


def is_true(pool: Pool, kind: Kind, name: str, condition: Condition = READY) -> bool:
    return bool(pool.condition(kind, name, condition)["status"] == "True")


def test_declared_pool_streams(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.account("acc2")
    pool.subscription("equities", SYMBOLS)

    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    owners = pool.owners()
    assert sorted(owners) == SYMBOLS
    assert [owners[symbol] for symbol in SYMBOLS] == ["acc1", "acc2"] * 6
    eventually(lambda: is_true(pool, Kind.SUBSCRIPTION, "equities"))
    for account in ("acc1", "acc2"):
        eventually(lambda: is_true(pool, Kind.ACCOUNT, account))  # noqa: B023 - looked at now
        eventually(lambda: is_true(pool, Kind.SHARD, shard_name(account)))  # noqa: B023
        assert FINALIZER_DRAIN in pool.get(Kind.ACCOUNT, account)["metadata"]["finalizers"]
        assert pool.get("Deployment", shard_name(account), "apps/v1")["spec"]["replicas"] == 1
        for kind, version in (
            ("ServiceAccount", "v1"),
            ("Role", "rbac.authorization.k8s.io/v1"),
            ("RoleBinding", "rbac.authorization.k8s.io/v1"),
        ):
            owner = pool.get(kind, shard_name(account), version)["metadata"]["ownerReferences"][0]
            assert owner["uid"] == pool.get(Kind.SHARD, shard_name(account))["metadata"]["uid"]


def test_kubectl_wait_works_on_all_three_kinds(
    pool: Pool, stage: Stage, operator: RunningOperator, api_server: ControlPlane
) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: pool.get(Kind.SHARD, shard_name("acc1")))

    names = ("kacc/acc1", "tsub/equities", f"tsh/{shard_name('acc1')}")
    said = api_server.kubectl("wait", "--for=condition=Ready", "--timeout=30s", *names, namespace=pool.namespace)

    assert said.returncode == 0, said.stderr


def test_statuses_have_single_writers(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: is_true(pool, Kind.SHARD, shard_name("acc1")))

    entries = pool.get(Kind.SHARD, shard_name("acc1"))["metadata"]["managedFields"]

    written: dict[str, set[str]] = {}
    for entry in entries:
        if entry.get("subresource") != "status":
            continue
        fields = entry["fieldsV1"]["f:status"]
        conditions = {f"condition {key}" for key in fields.get("f:conditions", {})}
        written[entry["manager"]] = {*fields, *conditions} - {"f:conditions"}
    assert set(written) == {MANAGER_SHARD, MANAGER_OPERATOR, MANAGER_ROLLOUT}
    assert not written[MANAGER_SHARD] & written[MANAGER_OPERATOR]
    assert written[MANAGER_ROLLOUT] == {"f:rollout"}


def test_new_account_takes_over_through_the_roles_and_only_what_must_move_moves(
    pool: Pool, stage: Stage, operator: RunningOperator
) -> None:
    pool.account("acc1", instrumentsPerSocket=8)
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: len(pool.owners()) == 8)
    before = pool.owners()

    pool.account("acc2")
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    after = pool.owners()
    assert set(after.values()) == {"acc1", "acc2"}
    moved = [symbol for symbol in before if after[symbol] != before[symbol]]
    for symbol in moved:
        told = [roles[symbol] for _, roles in stage.acknowledged["acc2"] if symbol in roles]
        assert told[0] == "incoming", f"{symbol}: {told}"
        assert told[-1] == "owner", f"{symbol}: {told}"


def test_deleted_account_hands_over_before_it_goes(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.account("acc2")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    pool.delete(Kind.ACCOUNT, "acc1")
    eventually(lambda: "acc1" not in pool.names(Kind.ACCOUNT))

    assert set(pool.owners().values()) == {"acc2"}
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))
    eventually(lambda: shard_name("acc1") not in pool.names("Deployment", "apps/v1"))
    assert shard_name("acc1") not in pool.names(Kind.SHARD)
    assert assignment_name("acc1") not in pool.names("ConfigMap", "v1")
    assert shard_name("acc1") not in pool.names("ServiceAccount", "v1")
    assert shard_name("acc1") not in pool.names("Lease", "coordination.k8s.io/v1")


def test_last_account_deleted_leaves_a_clear_word_and_nothing_stuck(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    operator = RunningOperator(settings.model_copy(update={"drain_deadline_s": 2.0})).start()
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: is_true(pool, Kind.SUBSCRIPTION, "equities"))

    pool.delete(Kind.ACCOUNT, "acc1")
    eventually(lambda: pool.names(Kind.ACCOUNT) == [])

    eventually(lambda: pool.condition(Kind.SUBSCRIPTION, "equities", Condition.ASSIGNED)["reason"] == Reason.NO_ACCOUNT)
    assert pool.condition(Kind.SUBSCRIPTION, "equities", READY)["status"] == "False"
    assert pool.names(Kind.SHARD) == []
    assert operator.stop() == 0


def test_refused_token_moves_everything_at_once(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.account("acc2")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    stage.refused.add("acc1")

    eventually(lambda: pool.owners() == dict.fromkeys(SYMBOLS, "acc2"), within_s=15)
    eventually(lambda: pool.condition(Kind.ACCOUNT, "acc1", Condition.CREDENTIALS_VALID)["status"] == "False")
    assert pool.condition(Kind.SUBSCRIPTION, "equities", Condition.ASSIGNED)["status"] == "True"


def test_silent_shard_is_marked_and_then_loses_its_instruments(
    pool: Pool, stage: Stage, settings: OperatorSettings
) -> None:
    quick = settings.model_copy(update={"detect_after_s": 3.5, "move_after_s": 6.0})
    operator = RunningOperator(quick).start()
    for account in ("acc1", "acc2", "acc3"):
        pool.account(account)
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)))

    stage.silent.add("acc1")

    shard = shard_name("acc1")
    eventually(lambda: pool.condition(Kind.SHARD, shard, READY)["reason"] == Reason.SHARD_SILENT, within_s=15)
    eventually(lambda: streams(pool, "equities", len(SYMBOLS)), within_s=20)
    assert operator.stop() == 0


def test_vanished_and_edited_children_are_healed(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    eventually(lambda: is_true(pool, Kind.SHARD, shard_name("acc1")))
    deployment = pool.get("Deployment", shard_name("acc1"), "apps/v1")

    pool.client.merge(deployment, {"spec": {"replicas": 0}}, namespace=pool.namespace).expect(200)
    eventually(lambda: pool.get("Deployment", shard_name("acc1"), "apps/v1")["spec"]["replicas"] == 1)
    pool.client.delete(deployment, namespace=pool.namespace).expect(200)

    eventually(
        lambda: (
            pool.get("Deployment", shard_name("acc1"), "apps/v1")["metadata"]["uid"] != deployment["metadata"]["uid"]
        )
    )


def test_edited_template_is_set_back_without_leftovers_and_told(
    pool: Pool, stage: Stage, operator: RunningOperator, api_server: ControlPlane
) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    shard = shard_name("acc1")
    eventually(lambda: is_true(pool, Kind.SHARD, shard))
    before = pool.get("Deployment", shard, "apps/v1")["spec"]["template"]

    for arguments in (
        ("set", "env", f"deployment/{shard}", "A=b"),
        ("set", "image", f"deployment/{shard}", "shard=x:y"),
    ):
        said = api_server.kubectl(*arguments, namespace=pool.namespace)
        assert said.returncode == 0, said.stderr

    eventually(lambda: pool.get("Deployment", shard, "apps/v1")["spec"]["template"] == before)
    owners = {
        entry["manager"]
        for entry in pool.get("Deployment", shard, "apps/v1")["metadata"]["managedFields"]
        if "f:template" in entry["fieldsV1"].get("f:spec", {})
    }
    assert owners == {MANAGER_OPERATOR}


def test_strategy_follows_the_sockets_forth_and_back(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS)
    shard = shard_name("acc1")
    eventually(lambda: is_true(pool, Kind.SHARD, shard))

    def settled(sockets: int) -> bool:
        spec = pool.get("Deployment", shard, "apps/v1")["spec"]
        overlap = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        resting = overlap if sockets < 3 else {"type": "Recreate"}
        return f"--sockets={sockets}" in spec["template"]["spec"]["containers"][0]["args"] and bool(
            spec["strategy"] == resting
        )

    # Each step is written in another way: by an apply, beside the template, by an apply over what was written beside.
    for sockets in (2, 1, 3, 1, 3):
        account = pool.get(Kind.ACCOUNT, "acc1")
        pool.client.merge(account, {"spec": {"sockets": sockets}}, namespace=pool.namespace).expect(200)
        eventually(lambda: settled(sockets))  # noqa: B023 - asked before the next turn

    assert settled(3)


def test_paused_account_is_left_alone(pool: Pool, stage: Stage, operator: RunningOperator) -> None:
    pool.account("acc1")
    pool.subscription("equities", SYMBOLS[:4])
    eventually(lambda: streams(pool, "equities", 4))
    revision = pool.table("acc1").revision
    account = pool.get(Kind.ACCOUNT, "acc1")

    pool.client.merge(
        account, {"metadata": {"annotations": {"tickershard.io/paused": "true"}}}, namespace=pool.namespace
    ).expect(200)
    eventually(lambda: is_true(pool, Kind.ACCOUNT, "acc1", Condition.PAUSED))
    pool.subscription("more", SYMBOLS[4:])
    eventually(lambda: pool.condition(Kind.SUBSCRIPTION, "more", Condition.ASSIGNED)["status"] == "False")

    assert pool.table("acc1").revision == revision
