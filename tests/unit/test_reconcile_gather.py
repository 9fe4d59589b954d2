"""From objects to the snapshot: whatever somebody wrote becomes a view, and what is wrong with it is said in it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticker_crds import Mode
from ticker_crds.constants import API_VERSION, Kind, Reason
from ticker_operator.model import AccountView, PoolSnapshot
from ticker_operator.reconcile.gather import Readings, Rules, gather
from ticker_operator.reconcile.ports import CredentialsFact, StoredTable
from ticker_operator.reconcile.store import PoolObjects

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
NOW_NS = 5_000_000_000_000
GOOD = CredentialsFact(Reason.ACCEPTED, "fine", "7", "2026-11-20T03:00:00Z")
RULES = Rules(namespace="pool", endpoints_allowed=frozenset({"http://sim:8080", "ws://sim:8080"}), drain_deadline_s=300)


def an_account(name: str = "acc1", *, metadata: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    body = {"credentialsRef": {"name": "kite"}} | spec
    meta = {"name": name, "uid": f"uid-{name}", "generation": 3} | (metadata or {})
    return {"apiVersion": API_VERSION, "kind": Kind.ACCOUNT.value, "metadata": meta, "spec": body}


def readings(**more: Any) -> Readings:
    values: dict[str, Any] = {
        "tables": {}, "workloads": {}, "signs": {}, "credentials": {"kite": GOOD}, "catalog": None,
        "dump_fault": "", "remembered": {},
        "today": date(2026, 11, 20), "now": NOW, "now_ns": NOW_NS,
    }  # fmt: skip
    return Readings(**(values | more))


def pool_of(objects: PoolObjects, **more: Any) -> PoolSnapshot:
    return gather(objects, readings(**more), rules=RULES)


def the_account(manifest: dict[str, Any], **more: Any) -> AccountView:
    return pool_of(PoolObjects(accounts=(manifest,)), **more).accounts[0]


def test_account_without_fault_is_taken_over_as_it_stands() -> None:
    view = the_account(an_account(sockets=2, metadata={"labels": {"tier": "fast"}}))

    assert view.refusal is None
    assert (view.capacity, view.secret, view.labels, view.token_issued_at) == (
        6_000, "kite", {"tier": "fast"}, "2026-11-20T03:00:00Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("manifest", "facts", "reason"),
    [
        (an_account(), CredentialsFact(Reason.SECRET_MISSING, "no Secret"), Reason.SECRET_MISSING),
        (an_account(), CredentialsFact(Reason.SECRET_NOT_LABELLED, "no label"), Reason.SECRET_NOT_LABELLED),
        (an_account(endpoints={"api": "https://evil.example"}), GOOD, Reason.ENDPOINT_NOT_ALLOWED),
        (an_account(endpoints={"ticker": "wss://evil.example"}), GOOD, Reason.ENDPOINT_NOT_ALLOWED),
        (an_account(sockets=9), GOOD, Reason.INVALID),
        (an_account("with.dot"), GOOD, Reason.INVALID),
        ({"metadata": {"name": "acc1"}}, GOOD, Reason.INVALID),
        ({"metadata": {"name": "acc1"}, "spec": "text"}, GOOD, Reason.INVALID),
    ],
    ids=["no Secret", "no label", "REST elsewhere", "socket elsewhere", "nine sockets", "dotted", "no spec", "text"],
)
def test_account_that_cannot_be_used_says_why(manifest: dict[str, Any], facts: CredentialsFact, reason: Reason) -> None:
    view = the_account(manifest, credentials={"kite": facts})

    assert view.refusal is not None
    assert view.refusal.reason is reason
    assert view.refusal.message


def test_simulator_is_an_allowed_endpoint_when_the_settings_say_so() -> None:
    view = the_account(an_account(endpoints={"api": "http://sim:8080", "ticker": "ws://sim:8080"}))

    assert view.refusal is None


def test_a_slash_at_the_end_of_an_allowed_endpoint_makes_no_difference() -> None:
    manifest = an_account(endpoints={"api": "http://sim:8080/", "ticker": "ws://sim:8080"})
    rules = Rules(namespace="pool", endpoints_allowed=frozenset({"http://sim:8080/", "ws://sim:8080/"}))

    view = gather(PoolObjects(accounts=(manifest,)), readings(), rules=rules).accounts[0]

    assert view.refusal is None


def test_drain_deadline_counts_from_the_deletion_and_survives_a_restart() -> None:
    deleted = an_account(metadata={"deletionTimestamp": "2026-11-20T03:59:00Z"})

    view = the_account(deleted)

    assert view.deleting
    assert view.drain_deadline_ns == NOW_NS + (300 - 60) * 1_000_000_000


def test_malformed_subscription_is_a_view_with_its_fault_and_the_others_are_whole() -> None:
    bad = {"metadata": {"name": "bad"}, "spec": {"instruments": [{"symbol": "lower:case"}]}}
    good = {"metadata": {"name": "good"}, "spec": {"instruments": [{"symbol": "NSE:INFY", "mode": "ltp"}]}}

    first, second = pool_of(PoolObjects(subscriptions=(bad, good))).subscriptions

    assert "NSE:INFY" in first.fault or first.fault
    assert second.fault == ""
    assert second.instruments[0].mode is Mode.LTP


def test_shard_whose_account_is_gone_is_still_seen() -> None:
    orphan = {"metadata": {"name": "ticker-old", "uid": "u"}, "spec": {"accountRef": {"name": "old"}}}

    snapshot = pool_of(PoolObjects(shards=(orphan,)), tables={"older": StoredTable("older", "1", None, "damaged")})

    assert set(snapshot.shards) == {"old", "older"}
    assert snapshot.shards["old"].exists
    assert not snapshot.shards["older"].exists


def test_shard_that_has_said_nothing_has_no_report() -> None:
    silent = {"metadata": {"name": "ticker-a"}, "spec": {"accountRef": {"name": "a"}}, "status": {"assigned": 3}}
    said = {
        "metadata": {"name": "ticker-b"},
        "spec": {"accountRef": {"name": "b"}},
        "status": {
            "acknowledged": {
                "revision": 4, "digest": "sha256:x", "process": "p/1", "unconfirmed": ["NSE:X"],
                "barrier": {"revision": 5, "digest": "sha256:y"},
            }
        },
    }  # fmt: skip

    shards = pool_of(PoolObjects(shards=(silent, said))).shards

    assert shards["a"].report is None
    report = shards["b"].report
    assert report is not None
    assert (report.acknowledged.revision, report.acknowledged.unconfirmed) == (4, frozenset({"NSE:X"}))
    assert (report.acknowledged.barrier_revision, report.acknowledged.barrier_digest) == (5, "sha256:y")
    assert shards["b"].revision_floor == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "spec", "status", "name", "labels", "annotations", "conditions", "acknowledged"]
            )
            | st.text(max_size=6),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
METADATA = st.fixed_dictionaries(
    {"name": st.text(max_size=10)},
    optional={"labels": JSON, "annotations": JSON, "deletionTimestamp": JSON, "generation": JSON, "uid": JSON},
)
ANYTHING = st.fixed_dictionaries({"metadata": METADATA}, optional={"spec": JSON, "status": JSON})


@settings(max_examples=60)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_object_of_others_can_end_a_pass(account: Any, subscription: Any, shard: Any) -> None:
    snapshot = pool_of(PoolObjects(accounts=(account,), subscriptions=(subscription,), shards=(shard,)))

    assert len(snapshot.accounts) == len(snapshot.subscriptions) == 1
