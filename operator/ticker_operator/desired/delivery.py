"""Which wanted instruments arrive and are published right now, judged once for all subscriptions.

An instrument streams when some account publishes it (role ``owner`` or ``settling``), that account's shard is alive and
connected, has acknowledged its table, and does not list it as unconfirmed. While a newer table waits for its
acknowledgement nobody can tell which rows of it are new; what rests there as ``owner`` is *probable*: a subscription
that streamed completely and has not changed is not reported as broken for the second that an acknowledgement takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from ticker_crds import PUBLISHING_ROLES, Role
from ticker_crds.constants import Condition, Reason
from ticker_operator.model import Health, Identity, Plan, PoolSnapshot, Resolution, TablePlan, Unassigned, Verdict


class Delivered(IntEnum):
    """How sure it is that an instrument streams."""

    NO = 0
    PROBABLY = 1
    YES = 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """By position in `Resolution.wanted`; and by symbol what nobody streams, with its reason."""

    states: bytes
    missing: Mapping[str, Unassigned]


def judge_delivery(
    snapshot: PoolSnapshot,
    *,
    resolution: Resolution,
    plan: Plan,
    tables: TablePlan,
    verdicts: Mapping[str, Verdict] | None = None,
) -> Delivery:
    """The delivery of everything wanted.

    Parameters
    ----------
    snapshot, resolution, plan, tables
        Of one pass.
    verdicts
        Health of the accounts; without them every shard that reported is taken for alive.
    """
    best: dict[Identity, Delivered] = {}
    for account, view in snapshot.tables.items():
        if view.table is None:
            continue
        rested, unconfirmed = _account_state(account, snapshot, verdicts)
        if rested is Delivered.NO:
            continue
        moving = rested if rested is Delivered.YES else Delivered.NO
        for row in view.table.instruments:
            if row.role not in PUBLISHING_ROLES or row.is_reference or row.symbol in unconfirmed:
                continue
            state = rested if row.role is Role.OWNER else moving
            identity = row.identity
            best[identity] = max(best.get(identity, Delivered.NO), state)
    states = bytes(best.get(wanted.row.identity, Delivered.NO) for wanted in resolution.wanted)
    missing = {entry.symbol: entry for entry in (*tables.waiting, *plan.unassigned)}
    return Delivery(states, missing)


def _account_state(
    account: str, snapshot: PoolSnapshot, verdicts: Mapping[str, Verdict] | None
) -> tuple[Delivered, frozenset[str]]:
    """How sure it is that what rests at the account streams, and what is known not to."""
    shard, table = snapshot.shard(account), snapshot.table(account).table
    report = shard.report
    if report is None or table is None or not report.acknowledged.revision:
        return Delivered.NO, frozenset()
    verdict = verdicts.get(account) if verdicts is not None else Verdict(Health.ALIVE)
    if verdict is None or not verdict.health.streams:
        return Delivered.NO, frozenset()
    connected, streaming = report.condition(Condition.CONNECTED), report.condition(Condition.STREAMING)
    if connected is None or connected.status != "True":
        return Delivered.NO, frozenset()
    if streaming is None or (streaming.status != "True" and streaming.reason != Reason.CONFIRMING):
        return Delivered.NO, frozenset()
    said = report.acknowledged
    sure = verdict.health is Health.ALIVE and said.revision == table.revision and said.digest == table.digest
    return Delivered.YES if sure else Delivered.PROBABLY, said.unconfirmed
