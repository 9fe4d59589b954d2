"""Where a pool's instruments are on their way to, and which accounts there are to choose from. Pure.

Read from the tables and the objects as they lie there, not from what the operator says that it planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ticker_crds import AssignmentTable, Role
from ticker_crds.account import AccountState
from ticker_crds.constants import Condition, Reason

_COMING_FIRST: Final = (Role.INCOMING, Role.SETTLING, Role.OWNER)
_AWAY: Final = frozenset({Reason.SHARD_SILENT, Reason.FEED_MUTE})

Turn = tuple[bool, str]  # whether an account is there, and when it last became so or ceased to be


def homes(tables: Mapping[str, AssignmentTable]) -> dict[str, str]:
    """Symbol → account; what moves is where it is going. What is only leaving is nowhere."""
    found: dict[str, str] = {}
    for role in _COMING_FIRST:
        for account, table in sorted(tables.items()):
            for row in table.instruments:
                if row.role is role and not row.is_reference:
                    found.setdefault(row.symbol, account)
    return found


def turns(objects: Iterable[Mapping[str, Any]]) -> dict[str, Turn]:
    """Of each account: active, its token not refused, its shard heard of and not mute.

    A token that was refused and replaced between two looks shows by the time of its condition.
    """
    active: dict[str, bool] = {}
    shards: dict[str, Turn] = {}
    for each in objects:
        if each["kind"] == "KiteAccount":
            state = each["spec"].get("state", AccountState.ACTIVE)
            active[each["metadata"]["name"]] = state == AccountState.ACTIVE
        elif each["kind"] == "TickerShard":
            shards[each["spec"]["accountRef"]["name"]] = _turn(each.get("status", {}).get("conditions", ()))
    nothing = (False, "")
    return {name: (on and shards.get(name, nothing)[0], shards.get(name, nothing)[1]) for name, on in active.items()}


def _turn(listed: Iterable[Mapping[str, Any]]) -> Turn:
    conditions = {each["type"]: each for each in listed}
    valid = conditions.get(Condition.CREDENTIALS_VALID, {})
    away = any(each.get("reason") in _AWAY for each in conditions.values())
    return valid.get("status") != "False" and not away, valid.get("lastTransitionTime", "")


def accounts_there(now: Mapping[str, Turn], *, before: Mapping[str, Turn]) -> frozenset[str]:
    """Accounts that are there now and were all the time since the look before."""
    return frozenset(name for name, turn in now.items() if turn[0] and before.get(name, turn) == turn)
