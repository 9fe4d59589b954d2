"""Names of what belongs to an account, derived in one place.

A shard is named after its account with a prefix, so that an account called ``redis`` does not claim a Deployment
of that name. Account names have at most 40 characters, so every name below fits into a label value (63).
"""

from __future__ import annotations


def shard_name(account: str) -> str:
    """Name of the account's TickerShard, Deployment, ServiceAccount, Role, RoleBinding and Lease."""
    return f"ticker-{account}"


def assignment_name(account: str) -> str:
    """Name of the ConfigMap that holds the account's assignment table."""
    return f"{shard_name(account)}-assignment"


def fence_member(namespace: str, account: str) -> str:
    """The account's name in the fence keys of its channels; the namespace keeps two pools on one Redis apart."""
    return f"{namespace}.{account}"
