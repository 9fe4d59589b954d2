"""What one process knows of its part in the hand-over: the part of `Handover` that decides nothing."""

from __future__ import annotations

from ticker_shard.publish.fence import ChannelState
from ticker_shard.publish.handover_rules import Phase
from ticker_shard.publish.handover_terms import ChannelTerm
from ticker_shard.publish.lanes import split_lane
from ticker_shard.publish.limits import Timing
from ticker_shard.publish.stages import Stages
from ticker_shard.publish.watching import Watcher


class HandoverState:
    """Where one process stands.

    Parameters
    ----------
    process, timing, sockets, watched
        See `handover.Handover`.
    """

    def __init__(self, *, process: str, timing: Timing, sockets: int, watched: int) -> None:
        instance, slash, _ = process.partition("/")
        assert instance, process
        assert slash, process
        self.process = process
        self.timing = timing
        self.phase = Phase.WARMING
        self.revision = 0
        self.terminating = False
        self.freeing = False  # the drain is over: calls go out as free
        self.stages = Stages(sockets)
        self._watched = max(watched, sockets)
        self._watcher = Watcher(instance, timing)
        self._channels: dict[str, ChannelTerm] = {}
        self._beside: dict[str, ChannelTerm] = {}  # lanes that this process does not want, to be looked at only
        self._held: tuple[str, ...] | None = None  # as `held` was last; nothing where that may have changed
        self._terminated_ns = 0
        self._poll_due_ns = 0
        self._polled_ns: int | None = None
        self._ran_ns: int | None = None

    @property
    def channels(self) -> tuple[str, ...]:
        """The table's channels, by name."""
        return tuple(sorted(name for name, channel in self._channels.items() if not channel.retiring))

    @property
    def leaving(self) -> bool:
        """Whether this process gives way to any warm one."""
        return self.terminating or any(self.stages.lane_yields(lane) for lane in range(1, self.stages.parts + 1))

    @property
    def warm(self) -> bool:
        """Whether the feed delivers, on every socket that may be open."""
        return self.stages.warm

    @property
    def sockets_done(self) -> frozenset[int]:
        """Sockets to be closed for good, because this process is to end and their lanes are another's."""
        return self.stages.done(self._lanes_held()) if self.terminating else frozenset()

    def holds(self, channel: str) -> bool:
        """Whether rows of `channel` may be sent."""
        known = self._channels.get(channel)
        return known is not None and known.held is not None

    def knows(self, channel: str) -> bool:
        """Whether `channel` is in the table, or still on its way out."""
        return channel in self._channels

    def epoch(self, channel: str) -> int | None:
        """The term under which `channel` is held."""
        known = self._channels.get(channel)
        return None if known is None else known.held

    def acknowledged_n(self, channel: str) -> int | None:
        """The last call number in `channel` whose acceptance this process saw; `None` while it is not held."""
        known = self._channels.get(channel)
        return known.acknowledged_n if known is not None and known.held is not None else None

    def heard_ns(self, channel: str) -> int | None:
        """When another process's record in `channel` was last seen to be new; `None`: never."""
        return self._channels[channel].heard_ns

    @property
    def held(self) -> tuple[str, ...]:
        """Channels held, those on their way out included; asked several times a frame."""
        if self._held is None:
            self._held = tuple(sorted(name for name, channel in self._channels.items() if channel.held is not None))
        return self._held

    def other_holder(self, *, now_ns: int) -> bool | None:
        """Whether another process publishes for this account; `None` when that is not known."""
        answers = [
            self._watcher.occupied(channel, now_ns=now_ns)
            for channel in self._channels.values()
            if channel.held is None
        ]
        if True in answers:
            return True
        return None if None in answers else False

    @property
    def divides_anew(self) -> bool:
        """Whether the instruments are to be in another number of lanes from now on: `configure` after `divide`."""
        if self.stages.parts == self.stages.sockets and self.held:
            return False  # asked after every round
        return self.stages.parts_due(self._terms(), wanted=self._channels, leaving=self.leaving) != self.stages.parts

    # -- for Handover

    def _terms(self) -> dict[str, ChannelTerm]:
        return self._beside | self._channels if self._beside else self._channels

    def _term(self, name: str) -> ChannelTerm | None:
        return self._channels.get(name) or self._beside.get(name)

    def _lanes_held(self) -> set[int]:
        return {split_lane(name)[1] for name, channel in self._channels.items() if channel.held is not None}

    def _state(self, name: str, channel: ChannelTerm) -> ChannelState:
        if channel.retiring or self.freeing:
            return ChannelState.FREE
        if not self.terminating and not self.stages.yields:
            return ChannelState.ACTIVE  # asked for every lane at every frame
        lane = split_lane(name)[1]
        if not self.terminating and not self.stages.lane_yields(lane):
            return ChannelState.ACTIVE
        # A lane that is on its way out was merged into another: until that is known, nobody may take either.
        merging = any(split_lane(other)[1] > 1 and term.retiring for other, term in self._channels.items())
        gives_way = self.stages.gives_way(lane, self._lanes_held()) and not merging
        return ChannelState.LEAVING if gives_way else ChannelState.ACTIVE
