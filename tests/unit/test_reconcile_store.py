"""The store: a list replaces, the watch may be late, nothing acts early, and our own echo asks for no pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_crds.constants import Kind
from ticker_operator.reconcile.ports import WORKLOAD, Listing
from ticker_operator.reconcile.reloader import Urgency
from ticker_operator.reconcile.store import WATCHED, Store

ACCOUNT = Kind.ACCOUNT


def an_object(name: str, version: int, *, generation: int = 1, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": generation}
    return {"metadata": metadata | more.pop("metadata", {}), **more}


class Recorded:
    """A store and what it asked for."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, Urgency]] = []
        self.store = Store(lambda cause, urgency: self.changes.append((cause, urgency)))
        for kind in WATCHED:
            self.list(kind)
        self.changes.clear()

    def list(self, kind: str, *objects: dict[str, Any]) -> None:
        self.store.replace(self.store.begin_list(kind), Listing(objects))

    def names(self) -> list[str]:
        return [manifest["metadata"]["name"] for manifest in self.store.snapshot().accounts]


@pytest.fixture
def pool() -> Recorded:
    return Recorded()


def test_nothing_can_be_read_before_every_kind_was_listed() -> None:
    store = Store(lambda _cause, _urgency: None)
    for kind in WATCHED[:-1]:
        store.replace(store.begin_list(kind), Listing(()))

    assert not store.complete
    with pytest.raises(AssertionError):
        store.snapshot()


def test_list_removes_what_vanished_unseen(pool: Recorded) -> None:
    pool.list(ACCOUNT, an_object("a", 1), an_object("b", 2))

    pool.list(ACCOUNT, an_object("b", 2))

    assert pool.names() == ["b"]


def test_list_keeps_what_the_watch_brought_in_meanwhile(pool: Recorded) -> None:
    begun = pool.store.begin_list(ACCOUNT)
    pool.store.observe(ACCOUNT, an_object("new", 9))

    pool.store.replace(begun, Listing((an_object("old", 3),)))

    assert pool.names() == ["new", "old"]


def test_list_does_not_bring_back_what_the_watch_saw_deleted_meanwhile(pool: Recorded) -> None:
    pool.list(ACCOUNT, an_object("a", 1))
    begun = pool.store.begin_list(ACCOUNT)
    pool.store.observe(ACCOUNT, an_object("a", 5), deleted=True)

    pool.store.replace(begun, Listing((an_object("a", 1),)))

    assert pool.names() == []


def test_list_does_not_put_an_older_state_over_a_newer_one(pool: Recorded) -> None:
    begun = pool.store.begin_list(ACCOUNT)
    pool.store.observe(ACCOUNT, an_object("a", 7, generation=2))

    pool.store.replace(begun, Listing((an_object("a", 5),)))

    assert pool.store.snapshot().accounts[0]["metadata"]["generation"] == 2


def test_late_event_changes_nothing(pool: Recorded) -> None:
    pool.store.observe(ACCOUNT, an_object("a", 12, generation=3))
    pool.changes.clear()

    pool.store.observe(ACCOUNT, an_object("a", 9, generation=2))

    assert pool.store.snapshot().accounts[0]["metadata"]["generation"] == 3
    assert pool.changes == []


def test_late_answer_to_a_write_does_not_revive_a_deleted_object(pool: Recorded) -> None:
    pool.store.observe(ACCOUNT, an_object("a", 5))
    pool.store.observe(ACCOUNT, an_object("a", 9), deleted=True)

    pool.store.observe(ACCOUNT, an_object("a", 7))

    assert pool.names() == []


def test_versions_that_are_no_numbers_are_taken_as_they_come(pool: Recorded) -> None:
    first, second = an_object("a", 0), an_object("a", 0, generation=2)
    first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"] = "b7f", "a01"
    pool.store.observe(ACCOUNT, first)

    pool.store.observe(ACCOUNT, second)

    assert pool.store.snapshot().accounts[0]["metadata"]["generation"] == 2


@given(st.permutations(range(8)))
def test_order_of_events_does_not_matter(order: list[int]) -> None:
    pool = Recorded()
    for version in order:
        pool.store.observe(ACCOUNT, an_object("a", version + 1, generation=version + 1))

    assert pool.store.snapshot().accounts[0]["metadata"]["resourceVersion"] == "8"


class TestWhatAsksForAPass:
    def test_new_subscription_settles(self, pool: Recorded) -> None:
        pool.store.observe(Kind.SUBSCRIPTION, an_object("s", 1))

        assert pool.changes == [("TickerSubscription s", Urgency.SETTLE)]

    def test_echo_of_our_own_status_does_not(self, pool: Recorded) -> None:
        pool.store.observe(ACCOUNT, an_object("a", 1))
        pool.changes.clear()

        pool.store.observe(ACCOUNT, an_object("a", 2, status={"assigned": 12, "conditions": [{"type": "Ready"}]}))

        assert pool.changes == []

    def test_managed_fields_do_not(self, pool: Recorded) -> None:
        pool.store.observe(ACCOUNT, an_object("a", 1))
        pool.changes.clear()

        pool.store.observe(ACCOUNT, an_object("a", 2, metadata={"managedFields": [{"manager": "x"}]}))

        assert pool.changes == []

    def test_acknowledgement_is_urgent(self, pool: Recorded) -> None:
        pool.store.observe(Kind.SHARD, an_object("ticker-a", 1, status={"confirmed": 1}))
        pool.changes.clear()

        pool.store.observe(Kind.SHARD, an_object("ticker-a", 2, status={"acknowledged": {"revision": 2}}))

        assert pool.changes == [("TickerShard ticker-a", Urgency.URGENT)]

    def test_refused_token_is_urgent(self, pool: Recorded) -> None:
        pool.store.observe(Kind.SHARD, an_object("ticker-a", 1))
        pool.changes.clear()
        refused = {"type": "CredentialsValid", "status": "False", "reason": "TokenRejected"}

        pool.store.observe(Kind.SHARD, an_object("ticker-a", 2, status={"conditions": [refused]}))

        assert pool.changes == [("TickerShard ticker-a", Urgency.URGENT)]

    def test_condition_of_ours_on_a_shard_does_not(self, pool: Recorded) -> None:
        pool.store.observe(Kind.SHARD, an_object("ticker-a", 1))
        pool.changes.clear()

        pool.store.observe(
            Kind.SHARD, an_object("ticker-a", 2, status={"conditions": [{"type": "Ready", "status": "True"}]})
        )

        assert pool.changes == []

    def test_time_of_a_condition_alone_does_not(self, pool: Recorded) -> None:
        said = {"type": "Connected", "status": "True", "reason": "Connected", "lastTransitionTime": "1"}
        pool.store.observe(Kind.SHARD, an_object("ticker-a", 1, status={"conditions": [said]}))
        pool.changes.clear()

        later = said | {"lastTransitionTime": "2"}
        pool.store.observe(Kind.SHARD, an_object("ticker-a", 2, status={"conditions": [later]}))

        assert pool.changes == []

    def test_pause_deletion_and_label_do(self, pool: Recorded) -> None:
        pool.store.observe(ACCOUNT, an_object("a", 1))
        pool.changes.clear()

        pool.store.observe(ACCOUNT, an_object("a", 2, metadata={"annotations": {"tickershard.io/paused": "true"}}))
        pool.store.observe(ACCOUNT, an_object("a", 3, metadata={"deletionTimestamp": "2026-11-21T09:00:00Z"}))
        pool.store.observe(ACCOUNT, an_object("a", 4, metadata={"labels": {"tier": "fast"}}))

        assert len(pool.changes) == 3

    def test_vanished_workload_is_healed_at_once(self, pool: Recorded) -> None:
        pool.store.observe(WORKLOAD, an_object("ticker-a", 1))
        pool.changes.clear()

        pool.store.observe(WORKLOAD, an_object("ticker-a", 2), deleted=True)

        assert pool.changes == [("Deployment ticker-a", Urgency.URGENT)]

    @pytest.mark.parametrize("status", [None, [], "text", {"conditions": "text"}, {"conditions": [1, None]}])
    def test_nonsense_in_a_status_hurts_nobody(self, pool: Recorded, status: Any) -> None:
        for kind in WATCHED:
            pool.store.observe(kind, an_object("x", 1, status=status))
            pool.store.observe(kind, an_object("x", 2, status={"conditions": []}))

        assert pool.names() == ["x"]
