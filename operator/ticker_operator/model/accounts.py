"""An account as planning sees it: how much it carries, whether it may be used, and what its shard needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ticker_crds.account import AccountState
from ticker_crds.constants import API_URL, INSTRUMENTS_PER_SOCKET_MAX, TICKER_URL, Reason
from ticker_crds.names import shard_name


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something cannot be used: a word for scripts, a sentence for people (never a secret's value)."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class AccountView:
    """One KiteAccount.

    Attributes
    ----------
    name, uid, generation, created
        From its metadata; `created` is RFC 3339 text, which sorts by age.
    state, sockets, instruments_per_socket
        From its spec.
    refusal
        Why it cannot be used at all (Secret missing or not labelled, endpoint not allowed, malformed spec).
    secret
        Name of the Secret that holds its key and token.
    ticker_endpoint, api_endpoint
        The broker, or a simulator that the operator allows.
    token_issued_at
        When its token changed last, RFC 3339 text, for display.
    labels
        What `accountSelector` looks at.
    pod_template
        The account's own part of its shard's pod template.
    paused
        Annotated: neither its table nor its workload is touched.
    deleting, drain_deadline_ns
        Being deleted; on the operator's monotonic clock, until when its instruments may still move away in peace.
    """

    name: str
    uid: str = ""
    generation: int = 0
    created: str = ""
    state: AccountState = AccountState.ACTIVE
    sockets: int = 1
    instruments_per_socket: int = INSTRUMENTS_PER_SOCKET_MAX
    refusal: Refusal | None = None
    secret: str = ""
    ticker_endpoint: str = TICKER_URL
    api_endpoint: str = API_URL
    token_issued_at: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_template: Mapping[str, Any] = field(default_factory=dict)
    paused: bool = False
    deleting: bool = False
    drain_deadline_ns: int | None = None

    @property
    def capacity(self) -> int:
        """Instruments that fit on its sockets."""
        return self.sockets * self.instruments_per_socket

    @property
    def shard(self) -> str:
        """Name of its TickerShard."""
        return shard_name(self.name)

    @property
    def leaving(self) -> bool:
        """Whether it is to give away what it has: draining, suspended or being deleted."""
        return self.deleting or self.state is not AccountState.ACTIVE
