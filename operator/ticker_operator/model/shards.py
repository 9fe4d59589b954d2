"""A shard as the operator sees it: its table, its report, its signs of life, its workload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ticker_crds import AssignmentTable
from ticker_crds.constants import Condition, Reason


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """``status.acknowledged``: up to which table the shard has done everything, but for the listed instruments.

    Of the table that the barrier names, if it is a later one, nothing outgoing is published any more.
    """

    revision: int = 0
    digest: str = ""
    process: str = ""
    unconfirmed: frozenset[str] = frozenset()
    barrier_revision: int = 0
    barrier_digest: str = ""

    @property
    def acted_on(self) -> int:
        """The highest revision it speaks of."""
        return max(self.revision, self.barrier_revision)


@dataclass(frozen=True, slots=True)
class ConditionView:
    """One condition as somebody wrote it. `status` is ``True``, ``False`` or ``Unknown``."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    observed_generation: int = 0
    last_transition_time: str = ""


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What the shard itself says (field manager ``ticker-shard``).

    Attributes
    ----------
    acknowledged
        See `Acknowledgement`.
    confirmed
        Instruments whose first packet came.
    sockets
        ``"1/1"``.
    epoch
        Of the first channel, for display.
    conditions
        By type: Connected, CredentialsValid, Streaming, Degraded.
    """

    acknowledged: Acknowledgement = Acknowledgement()
    confirmed: int = 0
    sockets: str = ""
    epoch: int = 0
    conditions: Mapping[str, ConditionView] = field(default_factory=dict)

    def condition(self, kind: Condition) -> ConditionView | None:
        """One of its conditions, if it has said anything about it."""
        return self.conditions.get(kind.value)

    @property
    def reported_dead(self) -> bool:
        """The broker has refused the account's token: nothing will come until there is a new one."""
        credentials = self.condition(Condition.CREDENTIALS_VALID)
        connected = self.condition(Condition.CONNECTED)
        if credentials is None or credentials.status != "False":
            return False
        # A Secret that went missing closes no open socket: the shard streams on and is not dead.
        return connected is None or connected.status != "True"

    @property
    def reported_mute(self) -> bool:
        """Its sockets are open and bring nothing, the market is open, and nothing that the shard can do has helped."""
        streaming = self.condition(Condition.STREAMING)
        return streaming is not None and streaming.status == "False" and streaming.reason == Reason.FEED_MUTE.value


@dataclass(frozen=True, slots=True)
class Signs:
    """Signs of life on the operator's own monotonic clock; `None` = never seen by this operator process.

    Attributes
    ----------
    first_seen_ns
        When this operator process first knew of the shard: what it waits from.
    renewed_ns
        When the Lease (or lock) was last seen to change.
    """

    first_seen_ns: int = 0
    renewed_ns: int | None = None


@dataclass(frozen=True, slots=True)
class TableView:
    """An account's table as stored. `table` is `None` where there is none or it cannot be read (`fault` says why)."""

    version: str | None = None
    table: AssignmentTable | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class PodsView:
    """Processes of one shard. `alive` includes those that are terminating.

    Attributes
    ----------
    alive, ready, terminating
        How many.
    ends
        When the last of those that are terminating will have been killed, RFC 3339; empty where there is none.
    """

    alive: int = 0
    ready: int = 0
    terminating: int = 0
    ends: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaSetView:
    """A template that existed: revision, its release hash, its shard's sockets, how many pods it has."""

    name: str
    revision: int
    release_hash: str = ""
    sockets: int = 1
    replicas: int = 0
    pods_ready: int = 0


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """``status.rollout``: what the operator must not forget about releases (field manager ``ticker-operator-rollout``).

    Attributes
    ----------
    applied
        The release hash that was confirmed last.
    blocked
        The release hash that a person has undone; it is not applied again by itself.
    intent, intent_revision
        The hash about to be applied, and the Deployment's revision when that was written down.
    history
        Release hashes ever applied, oldest first, bounded.
    resumed
        The resume annotation that has been obeyed: the same one does not lift the next hold.
    unknown
        Members that another version of the operator wrote: copied back.
    """

    applied: str = ""
    blocked: str = ""
    intent: str = ""
    intent_revision: int = 0
    history: tuple[str, ...] = ()
    resumed: str = ""
    unknown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The live Deployment, as far as decisions look at it.

    Attributes
    ----------
    version
        resourceVersion, which guards every template write.
    generation, observed_generation
        The controller has seen the newest spec when they are equal.
    revision
        ``deployment.kubernetes.io/revision``; 0 before the controller gave one.
    release_hash, template_hash, release
        Our annotations; an undo rewinds them together with the template. `release` is the operator's knobs as text.
    paused, replicas, strategy
        From its spec; `kubectl rollout pause` and `scale` write the first two.
    pods_updated, pods_ready, pods_available, pods_terminating, pods_total
        From its status.
    progressing_reason, progressing_message
        Of its condition ``Progressing`` (``ProgressDeadlineExceeded``, …).
    replica_sets
        Every template that is still kept.
    template
        The live pod template.
    managed_fields
        ``metadata.managedFields``.
    """

    version: str = ""
    generation: int = 0
    observed_generation: int = 0
    revision: int = 0
    release_hash: str = ""
    template_hash: str = ""
    release: str = ""
    paused: bool = False
    replicas: int = 1
    strategy: Mapping[str, Any] = field(default_factory=dict)
    pods_updated: int = 0
    pods_ready: int = 0
    pods_available: int = 0
    pods_terminating: int = 0
    pods_total: int = 0
    progressing_reason: str = ""
    progressing_message: str = ""
    replica_sets: tuple[ReplicaSetView, ...] = ()
    template: Mapping[str, Any] = field(default_factory=dict)
    managed_fields: tuple[Mapping[str, Any], ...] = ()

    @property
    def current(self) -> bool:
        """Whether its controller has seen the newest spec."""
        return self.observed_generation >= self.generation


@dataclass(frozen=True, slots=True)
class ShardView:
    """Everything observed about one account's shard. Absent parts keep their defaults.

    Attributes
    ----------
    account
        Whose shard it is.
    exists, uid, generation
        The TickerShard object.
    applied_revision
        ``status.appliedRevision`` as the operator wrote it: with the report's, the floor for new revisions.
    report
        What the shard says of itself; `None` before it has said anything.
    signs
        Signs of life.
    pods
        Processes; `None` = not known, which is never "none".
    deployment
        `None` where there is none (yet), and on one machine.
    rollout
        The operator's memory of releases.
    resume
        The annotation that releases a held roll-out: the blocked hash.
    paused
        The TickerShard is annotated: its workload is not touched.
    status
        The whole status object as read, for comparison.
    """

    account: str
    exists: bool = False
    uid: str = ""
    generation: int = 0
    applied_revision: int = 0
    report: ShardReport | None = None
    signs: Signs = Signs()
    pods: PodsView | None = None
    deployment: DeploymentFacts | None = None
    rollout: RolloutRecord = RolloutRecord()
    resume: str = ""
    paused: bool = False
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def gone(self) -> bool:
        """It is known that no process of it is left: then nothing of it can still be published."""
        return self.pods is not None and self.pods.alive == 0

    def changes_hands_by_socket(self, *, now: str) -> bool:
        """Whether a pod with several sockets is giving them to another one, one after the other.

        Not for longer than Kubernetes lets it live: a pod whose node is lost is terminating for ever.

        Parameters
        ----------
        now
            Wall clock, RFC 3339.
        """
        pods, live = self.pods, self.deployment
        if pods is None or live is None or not 0 < pods.terminating < pods.alive:
            return False
        both = live.replica_sets[-2:]  # whatever rolls, forwards or back, has the newest revisions
        return now < pods.ends and any(entry.sockets > 1 for entry in both)

    @property
    def revision_floor(self) -> int:
        """The highest revision anybody has acted upon: a new table must be above."""
        acted_on = self.report.acknowledged.acted_on if self.report else 0
        return max(acted_on, self.applied_revision)
