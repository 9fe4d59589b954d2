"""What a pass wants done, as data: a shard as it should be, a status, an event. Acting is reconcile's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from ticker_crds.constants import Kind, Reason
from ticker_operator.model.accounts import AccountView

Manifest: TypeAlias = Mapping[str, Any]


class RollPermit(StrEnum):
    """Whether a shard may replace its running process in this pass: at most one of a pool does."""

    MAY_ROLL = "may-roll"
    WAIT = "wait"  # another shard is rolling; everything that does not restart a process may still be written
    STOPPED = "stopped"  # the pool's roll-out stopped: a shard is held or stalled


@dataclass(frozen=True, slots=True)
class DesiredShard:
    """Everything one account's shard needs, rendered; owner references are added once the owner's uid is known.

    Attributes
    ----------
    account
        Whose shard.
    name
        Of the TickerShard and all that belongs to it.
    shard
        The TickerShard (owned by the KiteAccount).
    service_account, role, role_binding, deployment
        Owned by the TickerShard.
    release_hash, template_hash
        Also annotated on the Deployment (docs/rollouts.md).
    suspend
        No process is wanted.
    """

    account: AccountView
    name: str
    shard: Manifest = field(repr=False)
    service_account: Manifest = field(repr=False)
    role: Manifest = field(repr=False)
    role_binding: Manifest = field(repr=False)
    deployment: Manifest = field(repr=False)
    release_hash: str = ""
    template_hash: str = ""
    suspend: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """A transition that a person should hear of; `about` is the object it is attached to."""

    kind: Kind
    name: str
    reason: Reason
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class StatusWrite:
    """The operator's complete part of one object's status, and the events that its transitions deserve."""

    kind: Kind
    name: str
    uid: str
    status: Manifest
    events: tuple[Event, ...] = ()
