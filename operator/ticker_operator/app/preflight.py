"""What has to be so before anything else: our kinds are served, and we may do what we have to do.

With endless back-off inside kopf a missing right would look like an idle operator. So each verb is asked for
beforehand, and what is missing is said by name, in the log and by the readiness probe.

`RULES` is the operator's Role, exactly: what it does itself, and what it grants to shards (one may only grant what one
holds). The chart renders the same list, and tests run the operator under it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from ticker_crds.constants import GROUP, PLURALS, Kind
from ticker_operator.kube.gateway import CUSTOM, AbsentError, Gateway, RefusedError

RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on one resource; `granted` are those that only serve to be granted to a shard."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    granted: tuple[str, ...] = ()

    @property
    def all_verbs(self) -> tuple[str, ...]:
        """What the Role has to hold."""
        return (*self.verbs, *self.granted)


ACCOUNTS: Final = PLURALS[Kind.ACCOUNT]
SUBSCRIPTIONS: Final = PLURALS[Kind.SUBSCRIPTION]
SHARDS: Final = PLURALS[Kind.SHARD]

RULES: Final[tuple[Rule, ...]] = (
    Rule(GROUP, ACCOUNTS, ("get", "list", "watch", "patch")),
    Rule(GROUP, f"{ACCOUNTS}/status", ("patch",)),
    Rule(GROUP, f"{ACCOUNTS}/finalizers", ("update",)),
    Rule(GROUP, SUBSCRIPTIONS, ("list", "watch")),
    Rule(GROUP, f"{SUBSCRIPTIONS}/status", ("patch",)),
    Rule(GROUP, SHARDS, ("get", "list", "watch", "create", "patch", "delete")),
    Rule(GROUP, f"{SHARDS}/status", ("patch",)),
    Rule(GROUP, f"{SHARDS}/finalizers", ("update",)),
    Rule("", "configmaps", ("list", "create", "patch", "delete"), granted=("get", "watch")),
    Rule("", "secrets", ("get",), granted=("watch",)),
    Rule("", "serviceaccounts", ("get", "create", "patch", "delete")),
    Rule("", "pods", ("list",)),
    Rule("apps", "deployments", ("list", "watch", "create", "patch", "delete")),
    Rule("apps", "replicasets", ("list",)),
    Rule(RBAC, "roles", ("get", "create", "patch", "delete")),
    Rule(RBAC, "rolebindings", ("get", "create", "patch", "delete")),
    Rule("coordination.k8s.io", "leases", ("get", "list", "create", "update", "delete")),
    Rule("events.k8s.io", "events", ("create", "patch")),
)


async def preflight(gateway: Gateway) -> tuple[str, ...]:
    """What keeps us from working here, a line each; empty if nothing does.

    Raises
    ------
    ApiError
        When the API server does not answer.
    """
    unserved = await asyncio.gather(*(_is_unserved(gateway, kind) for kind in Kind))
    missing = await asyncio.gather(*(_missing(gateway, rule, verb) for rule in RULES for verb in rule.all_verbs))
    return tuple(line for line in (*unserved, *missing) if line)


async def _is_unserved(gateway: Gateway, kind: Kind) -> str:
    try:
        await gateway.list_all(CUSTOM[kind])
    except AbsentError:
        return f"{kind} is not served: install the CustomResourceDefinitions (helm --set crds.enabled=true)"
    except RefusedError:
        return ""  # the rights below say it better
    return ""


async def _missing(gateway: Gateway, rule: Rule, verb: str) -> str:
    plural, _, subresource = rule.resource.partition("/")
    allowed = await gateway.review_access(verb=verb, group=rule.group, plural=plural, subresource=subresource)
    where = f" ({rule.group})" if rule.group else ""
    return "" if allowed else f"not allowed in namespace {gateway.namespace}: {verb} {rule.resource}{where}"
