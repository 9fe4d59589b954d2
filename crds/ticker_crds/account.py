"""KiteAccount (``kacc``): one API key of the broker, what it may carry, and how it does.

The account names a Secret; the operator and the shard refuse one that does not carry the label
``tickershard.io/credentials: "true"``, so that nobody can point an account at somebody's secret.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, WithJsonSchema

from ticker_crds.base import (
    AS_TIME,
    ATOMIC,
    FREE_FORM,
    INT_OR_STRING,
    Conditions,
    Count,
    Int64,
    KindModel,
    Matches,
    ObjectName,
    Part,
    Reference,
    Rule,
    Within,
)
from ticker_crds.constants import (
    ACCOUNT_NAME_CHARS_MAX,
    API_URL,
    GROUP,
    INSTRUMENTS_PER_SOCKET_MAX,
    POD_TEMPLATE_ENTRIES_MAX,
    SOCKETS_MAX,
    TICKER_URL,
    Condition,
    Kind,
)

_LABEL: Final = re.compile("[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_HOST: Final = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
_URL_CHARS_MAX: Final = 512

TickerUrl = Annotated[
    str,
    Field(max_length=_URL_CHARS_MAX),
    Matches(f"^wss?://{_HOST}$", message="write ws:// or wss://host[:port][/path], without user, query or fragment"),
]
ApiUrl = Annotated[
    str,
    Field(max_length=_URL_CHARS_MAX),
    Matches(
        f"^https?://{_HOST}$",
        message="write http:// or https://host[:port][/path], without user, query or fragment",
    ),
]
TextMap = Annotated[
    dict[str, Annotated[str, Field(max_length=4_096)]],
    Field(max_length=POD_TEMPLATE_ENTRIES_MAX),
]
Quantity = Annotated[int | str, WithJsonSchema({INT_OR_STRING: True})]
QuantityMap = Annotated[dict[str, Quantity], Field(max_length=8)]
FreeObject = Annotated[dict[str, Any], Field(json_schema_extra=FREE_FORM)]
FreeObjects = Annotated[
    tuple[FreeObject, ...],
    Field(max_length=POD_TEMPLATE_ENTRIES_MAX, json_schema_extra=ATOMIC),
]


class AccountState(StrEnum):
    """What the account's owner wants of it."""

    ACTIVE = "Active"  # takes instruments
    DRAINING = "Draining"  # gives its instruments to the others, then stands empty
    SUSPENDED = "Suspended"  # no pod at all


class Endpoints(Part):
    """Where the broker is. Anything but the real broker must be on the operator's allow-list."""

    ticker: TickerUrl = Field(default=TICKER_URL, description="WebSocket address, ws:// or wss://.")
    api: ApiUrl = Field(default=API_URL, description="REST address, http:// or https://.")


class PodResources(Part):
    """Requests and limits of the shard's container, as in a pod."""

    requests: QuantityMap = Field(default_factory=dict, description="Requested quantities by resource: cpu, memory.")
    limits: QuantityMap = Field(default_factory=dict, description="Limiting quantities by resource: cpu, memory.")


class PodTemplate(Part):
    """What an account may add to its shard's pod; everything else is the operator's."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"!has(self.labels) || self.labels.all(key, !key.startsWith('{GROUP}/'))",
            f"labels below {GROUP}/ belong to the operator: use another prefix",
            lambda template: not any(key.startswith(f"{GROUP}/") for key in template.labels),
        ),
        Rule(
            f"!has(self.annotations) || self.annotations.all(key, !key.startsWith('{GROUP}/'))",
            f"annotations below {GROUP}/ belong to the operator: use another prefix",
            lambda template: not any(key.startswith(f"{GROUP}/") for key in template.annotations),
        ),
    )

    labels: TextMap = Field(default_factory=dict, description="Labels added to the pod.")
    annotations: TextMap = Field(default_factory=dict, description="Annotations added to the pod.")
    resources: PodResources | None = Field(
        default=None, description="Requests and limits in place of the operator's default ones."
    )
    node_selector: TextMap = Field(default_factory=dict, description="Node labels that the pod's node must have.")
    tolerations: FreeObjects = Field(default=(), description="Tolerations, as in a pod.")
    affinity: FreeObject | None = Field(default=None, description="Affinity, as in a pod.")
    topology_spread_constraints: FreeObjects = Field(default=(), description="Spread constraints, as in a pod.")
    priority_class_name: ObjectName | None = Field(default=None, description="Name of a PriorityClass.")


class KiteAccountSpec(Part):
    """What is wanted of the account."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.credentialsRef.name == oldSelf.credentialsRef.name",
            "credentialsRef is immutable: put a new token into the same Secret; for another API key add a KiteAccount",
        ),
    )

    credentials_ref: Reference = Field(
        description=f'Secret with the keys api_key and access_token, labelled {GROUP}/credentials: "true". Immutable: '
        "a new token goes into the same Secret."
    )
    sockets: Annotated[
        Int64,
        Within(
            1, SOCKETS_MAX, message="the broker allows an API key 1 to 3 sockets: add another KiteAccount to carry more"
        ),
    ] = Field(
        default=1,
        description="WebSocket connections, 1 to 3. With 1 or 2, a roll-out overlaps without a gap; with 3 the old pod "
        "stops first.",
    )
    instruments_per_socket: Annotated[
        Int64,
        Within(
            1,
            INSTRUMENTS_PER_SOCKET_MAX,
            message="the broker allows a socket 1 to 3000 instruments: raise sockets or add another KiteAccount",
        ),
    ] = Field(default=INSTRUMENTS_PER_SOCKET_MAX, description="Instruments on each socket, at most 3000.")
    state: AccountState = Field(
        default=AccountState.ACTIVE,
        description="Active: takes instruments. Draining: gives them to other accounts. Suspended: runs no pod.",
    )
    endpoints: Endpoints = Field(
        default_factory=Endpoints,
        description="The broker's addresses; others than the real ones only if the operator's allow-list has them.",
    )
    pod_template: PodTemplate | None = Field(default=None, description="Additions to the shard's pod.")

    @property
    def capacity(self) -> int:
        """Instruments the account can carry."""
        return self.sockets * self.instruments_per_socket


class KiteAccountStatus(Part):
    """How the account does. Written by the operator alone."""

    observed_generation: Count | None = Field(default=None, description="Generation that this status speaks about.")
    capacity: Count | None = Field(default=None, description="Instruments the account can carry.")
    assigned: Count | None = Field(default=None, description="Instruments assigned to it.")
    shard_ref: Reference | None = Field(default=None, description="Its TickerShard.")
    token_issued_at: str | None = Field(
        default=None, json_schema_extra=AS_TIME, description="When the token in use was put into the Secret."
    )
    conditions: Conditions = ()


class KiteAccount(KindModel):
    """One API key of the broker: its Secret, its capacity, and what its pod needs."""

    kind_name: ClassVar[Kind] = Kind.ACCOUNT
    conditions_used: ClassVar[tuple[Condition, ...]] = (
        Condition.READY,
        Condition.CREDENTIALS_VALID,
        Condition.CONNECTED,
        Condition.DRAINING,
        Condition.PAUSED,
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"size(self.metadata.name) <= {ACCOUNT_NAME_CHARS_MAX}",
            f"an account's name has at most {ACCOUNT_NAME_CHARS_MAX} characters, because names are derived from it: "
            "choose a shorter one",
            lambda account: len(account.metadata.name) <= ACCOUNT_NAME_CHARS_MAX,
        ),
        Rule(
            "!self.metadata.name.contains('.')",  # the API server sees to the rest
            "an account's name has lower case letters, digits and '-' only, because names that allow no dots are "
            "derived from it: choose another",
            lambda account: _LABEL.fullmatch(account.metadata.name) is not None,
        ),
    )

    spec: KiteAccountSpec = Field(description="What is wanted of the account.")
    status: KiteAccountStatus = Field(default_factory=KiteAccountStatus, description="How the account does.")
