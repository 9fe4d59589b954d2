"""What the delivery checker makes of a pool's tables and accounts: who has what, who is there, what had to move."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.support.cluster_client import ClusterClient
from tests.support.delivery.check import check
from tests.support.delivery.generate import CHANNEL, clean_history
from tests.support.delivery.history import SECOND_NS, Bounds, Placement
from tests.support.delivery.placing import Turn, accounts_there, homes, turns
from tests.support.delivery.pods import LABEL, Pods
from ticker_crds import AssignedInstrument, AssignmentTable, Channel, Mode, Role, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY

BOUNDS = Bounds(
    fresh_ns=int(2.1 * SECOND_NS), hole_ns=int(2.1 * SECOND_NS), beat_ns=SECOND_NS, wrong_time_ns=10 * SECOND_NS,
    decided_ns=5 * SECOND_NS,
)  # fmt: skip
SIX = "aaabbb"  # whose each of six instruments is
BOTH, ONE = frozenset("ab"), frozenset("a")


def placed(
    owners: str, *, at_s: int, accounts: frozenset[str] = BOTH, returned: frozenset[str] = frozenset()
) -> Placement:
    return Placement(at_s * SECOND_NS, {f"NSE:X{n}": owner for n, owner in enumerate(owners)}, accounts, returned)


@pytest.mark.parametrize(
    ("placements", "clean"),
    [
        pytest.param([placed(SIX, at_s=0), placed("aaaaab", at_s=1, accounts=ONE)], True, id="what goes is emptied"),
        pytest.param(
            [placed("aaaaaa", at_s=0, accounts=ONE), placed("aaaaaa", at_s=1), placed("aaaabb", at_s=2),
             placed(SIX, at_s=3)], True, id="what comes back gets its share, step by step",
        ),
        pytest.param(
            [placed("aaaaaa", at_s=0, accounts=ONE), placed(SIX, at_s=1, accounts=ONE, returned=frozenset("b"))], True,
            id="what comes back between two looks has its share at the second",
        ),
        pytest.param(
            [placed("aaaaaa", at_s=0, accounts=ONE), placed("aabbbb", at_s=1, accounts=ONE, returned=frozenset("b"))],
            False, id="and no more than that",
        ),
        pytest.param(
            [placed("aaaaaa", at_s=0, accounts=ONE), placed(SIX, at_s=1, accounts=ONE)], False,
            id="what is not there gets nothing",
        ),
        pytest.param([placed("aaaabb", at_s=0), placed("aabbbb", at_s=1)], False, id="more than its share"),
        pytest.param([placed(SIX, at_s=0), placed("baaabb", at_s=1)], False, id="two change places"),
        pytest.param(
            [placed(SIX, at_s=0, accounts=ONE), placed(SIX, at_s=4), placed("aaaaaa", at_s=5)], True,
            id="decided while it was away",
        ),
        pytest.param(
            [placed(SIX, at_s=0, accounts=ONE), placed(SIX, at_s=5), placed("aaaaaa", at_s=6)], False,
            id="long after it was away",
        ),
        pytest.param([placed("aaabbb", at_s=0), placed("aaabb", at_s=1)], True, id="what goes did not move"),
    ],
)  # fmt: skip
def test_what_must_move_may_and_nothing_else(placements: list[Placement], clean: bool) -> None:
    history = replace(clean_history(1), placements=tuple(placements))

    assert (check(history, BOUNDS) == []) is clean


def test_an_instruments_home_is_where_it_is_on_its_way_to() -> None:
    rows = {
        "a": {"X0": Role.OWNER, "X1": Role.OWNER, "X2": Role.OUTGOING, "X3": Role.OUTGOING},
        "b": {"X1": Role.INCOMING, "X2": Role.SETTLING},
    }

    assert homes({account: a_table(account, roles) for account, roles in rows.items()}) == {
        "NSE:X0": "a",
        "NSE:X1": "b",
        "NSE:X2": "b",
    }


def test_an_account_is_there_while_it_is_active_accepted_and_heard_of() -> None:
    def seen(*, state: str = "Active", valid: str = "True", turned: str = "t1", ready: str = "Streaming") -> Turn:
        conditions = [
            {"type": "CredentialsValid", "status": valid, "lastTransitionTime": turned},
            {"type": "Ready", "status": "True", "reason": ready},
        ]
        account = {"kind": "KiteAccount", "metadata": {"name": "a"}, "spec": {"state": state}}
        shard = {"kind": "TickerShard", "spec": {"accountRef": {"name": "a"}}, "status": {"conditions": conditions}}
        return turns([account, shard])["a"]

    away = [seen(state="Draining"), seen(valid="False"), seen(ready="ShardSilent"), seen(ready="FeedMute")]

    assert accounts_there({"a": seen()}, before={"a": seen()}) == {"a"}
    assert [accounts_there({"a": one}, before={}) for one in away] == [frozenset()] * 4
    assert not accounts_there({"a": seen(turned="t2")}, before={"a": seen()}), "it was away between two looks"


class OnePool:
    """Answers as `kubectl get` does: two accounts, one table each, and objects that belong to nobody."""

    namespace = "default"

    def __init__(self) -> None:
        self.state = "Active"
        self.tables = {"a": {"X0": Role.OWNER}, "b": {"X1": Role.OWNER}}

    def items(self, *_: str) -> list[dict[str, Any]]:
        nobodys = {"kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {}}
        states = {"a": "Active", "b": self.state}
        accounts = [
            {"kind": "KiteAccount", "metadata": {"name": name}, "spec": {"state": state}}
            for name, state in states.items()
        ]
        shards = [
            {"kind": "TickerShard", "metadata": {"name": name}, "spec": {"accountRef": {"name": name}}}
            for name in states
        ]
        return [nobodys, *(stored(a_table(name, roles)) for name, roles in self.tables.items()), *accounts, *shards]


def test_a_look_at_a_pool_tells_what_is_where_and_who_is_there() -> None:
    pool = OnePool()
    pods = Pods(cast("ClusterClient", pool))

    list(pods.look())
    pool.state, pool.tables["a"]["X1"] = "Draining", Role.INCOMING
    list(pods.look())
    pool.state = "Active"
    list(pods.look())

    before, after, back = pods.placements
    assert (before.owners, before.accounts) == ({"NSE:X0": "a", "NSE:X1": "b"}, {"a", "b"})
    assert (after.owners, after.accounts) == ({"NSE:X0": "a", "NSE:X1": "a"}, {"a"})
    assert (back.accounts, back.returned) == ({"a"}, {"b"})
    assert pods.owners(CHANNEL) == {"a", "b"}, "b publishes until a does"


def a_table(account: str, roles: Mapping[str, Role]) -> AssignmentTable:
    rows = tuple(
        AssignedInstrument(token, "NSE", name, Mode.FULL, (CHANNEL,), role)
        for token, (name, role) in enumerate(roles.items())
    )
    return AssignmentTable(account, 1, (Channel(CHANNEL),), rows)


def stored(table: AssignmentTable) -> dict[str, Any]:
    header, packed = encode_table(table)
    return {
        "kind": "ConfigMap",
        "metadata": {"name": f"ticker-{table.account}-assignment", "labels": {LABEL: table.account}},
        "data": {HEADER_KEY: header},
        "binaryData": {TABLE_KEY: base64.b64encode(packed).decode()},
    }
