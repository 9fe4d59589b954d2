"""What a publisher's owner may read of it: the part of `RedisPublisher` that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from ticker_shard.publish.backpressure import BackpressureMonitor, Level
from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.doors import AnyDoor
from ticker_shard.publish.fence import Trouble
from ticker_shard.publish.handover import Phase
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger


class Holdings(StrEnum):
    """Which channels this process holds; an account without channels counts as all."""

    NONE = "none"
    SOME = "some"  # the first by name is not among them
    FIRST = "first"  # the first by name, but not all
    ALL = "all"


class OtherHolder(StrEnum):
    """What is known of another process that holds a channel of this account."""

    UNKNOWN = "unknown"  # the records could not be read, or not for a whole window yet
    NONE = "none"  # every record is missing, free, silent or ours
    ALIVE = "alive"  # its record moves


class Standing:
    """How one process stands: towards its channels, towards Redis, and in its books.

    Parameters
    ----------
    core
        What it has decided and counted.
    monotonic_ns
        The publisher's clock.
    """

    def __init__(self, core: PublisherCore, *, monotonic_ns: Callable[[], int]) -> None:
        self._core, self._monotonic_ns = core, monotonic_ns
        self._door: AnyDoor | None = None

    @property
    def ledger(self) -> Ledger:
        """The books."""
        return self._core.ledger

    @property
    def latency(self) -> Latency:
        """Frame received → publish acknowledged."""
        return self._core.latency

    @property
    def acknowledged(self) -> int:
        """The table revision whose publishing duties are done (barrier, first values, rewrites); 0 before any."""
        return self._core.acknowledged()

    @property
    def past_barriers(self) -> int:
        """The table revision of which nothing outgoing can be published any more, whatever else of it is owed; or 0."""
        return self._core.past_barriers()

    @property
    def state(self) -> Phase:
        """Warming, standby, active or gone."""
        return self._core.handover.phase

    @property
    def drained(self) -> bool:
        """Whether nobody has taken over in time: what is queued leaves, and nobody would publish what comes now."""
        return self._core.handover.freeing

    @property
    def leaving(self) -> bool:
        """Whether this process offers its channels: after SIGTERM, or without feed."""
        return self._core.handover.leaving

    @property
    def holdings(self) -> Holdings:
        """Which channels are held."""
        channels = self._core.handover.channels
        held = [channel for channel in channels if self._core.handover.holds(channel)]
        if len(held) == len(channels):
            return Holdings.ALL
        if not held:
            return Holdings.NONE
        return Holdings.FIRST if held[0] == channels[0] else Holdings.SOME

    @property
    def other_holder(self) -> OtherHolder:
        """Whether another process is known to publish for this account; readiness asks."""
        alive = self._core.handover.other_holder(now_ns=self._monotonic_ns())
        if alive is None:
            return OtherHolder.UNKNOWN
        return OtherHolder.ALIVE if alive else OtherHolder.NONE

    @property
    def epoch(self) -> int | None:
        """The first channel's epoch, for display; `None` while it is not held."""
        channels = self._core.handover.channels
        return self._core.handover.epoch(channels[0]) if channels else None

    @property
    def sockets_allowed(self) -> int:
        """The first so many sockets may be open: another process may still need the other places."""
        return self._core.handover.stages.allowed

    @property
    def sockets_done(self) -> frozenset[int]:
        """Sockets (from 1 on) to be closed for good: this process is to end, and their lanes are another's."""
        return self._core.handover.sockets_done

    @property
    def backpressure(self) -> BackpressureMonitor:
        """How much gives way, because ticks come faster than Redis takes them."""
        return self._core.relief.monitor

    @property
    def is_repeating(self) -> bool:
        """Whether rows that are to be published once more still wait: whoever refreshes many waits for these."""
        return self._core.is_repeating()

    @property
    def trouble(self) -> str | None:
        """What Redis refuses, or why it cannot be reached, in words without secrets; `None` when healthy."""
        return None if self._trouble is None else self._trouble.text

    @property
    def _trouble(self) -> Trouble | None:
        refused = self._core.refused_channels
        local = (Trouble(why.kind, f"channel {name}: {why.message}") for name, why in sorted(refused.items()))
        return self._core.trouble or self._core.rehearsal.forbidden or next(local, None)

    @property
    def usable(self) -> bool:
        """Whether Redis as a whole works; a channel that it refuses says nothing against it."""
        return self._core.trouble is None and self._core.rehearsal.forbidden is None

    @property
    def refused_channels(self) -> int:
        """How many channels Redis refuses although it works; the others go on."""
        return len(self._core.refused_channels)

    @property
    def connected(self) -> bool:
        """Whether there is a connection to Redis."""
        return self._door is not None

    @property
    def _shown(self) -> object:
        """All that others show of this process; it differs when any of it does."""
        shedding, sockets = self.backpressure.level is Level.SHED, (self.sockets_allowed, self.sockets_done)
        says = (self.state, self.leaving, self.holdings, self.trouble, self.connected)
        return says, (self.acknowledged, self.past_barriers), shedding, sockets
