"""What one account's publisher consists of and where it stands: the part of `PublisherCore` that decides nothing."""

from __future__ import annotations

from collections.abc import Mapping

from ticker_crds import Encoding
from ticker_crds.constants import INSTRUMENTS_PER_SOCKET_MAX
from ticker_shard.publish.backpressure import BackpressureSettings, Relief
from ticker_shard.publish.batcher import Flush, TickBatcher, Wait
from ticker_shard.publish.calls import CallMaker, NewestValues
from ticker_shard.publish.duties import Duties
from ticker_shard.publish.encode import Encoder, make_encoders
from ticker_shard.publish.fence import Trouble
from ticker_shard.publish.handover import Handover
from ticker_shard.publish.holes import HoleKeeper
from ticker_shard.publish.intake import Intake
from ticker_shard.publish.latency import Latency
from ticker_shard.publish.ledger import Ledger
from ticker_shard.publish.limits import MS_NS, Timing
from ticker_shard.publish.outbox import Outbox
from ticker_shard.publish.rehearsal import Rehearsal
from ticker_shard.publish.roster import Roster
from ticker_shard.ticks.instruments import InstrumentTable


class CoreState:
    """Where one account's publishing stands.

    Parameters
    ----------
    shard, process
        Names in the envelope; see `RedisPublisher`.
    newest
        Where rewrites read.
    source
        ``live``, ``mock`` or ``replay``.
    window_ms, ticks_max
        When a batch leaves at the latest.
    timing
        Times of the hand-over.
    encoders
        Of this process alone.
    stream_max
        Messages that each channel's stream keeps; 0 = there is none.
    backpressure
        When newest values must do.
    sockets, per_socket
        Of this process, and how many instruments one carries.
    watched
        So many lanes of each channel are looked at.
    """

    def __init__(
        self,
        *,
        shard: str,
        process: str,
        newest: NewestValues,
        source: str,
        window_ms: int,
        ticks_max: int,
        timing: Timing,
        encoders: Mapping[Encoding, Encoder] | None = None,
        stream_max: int = 0,
        backpressure: BackpressureSettings = BackpressureSettings(),  # noqa: B008 - frozen
        sockets: int = 1,
        per_socket: int = INSTRUMENTS_PER_SOCKET_MAX,
        watched: int = 1,
    ) -> None:
        self.handover = Handover(process=process, timing=timing, sockets=sockets, watched=watched)
        self._per_socket = per_socket
        self.batcher = TickBatcher(window_ms=window_ms, ticks_max=ticks_max)
        self.duties = Duties()
        self.ledger = Ledger()
        self.relief = Relief(batcher=self.batcher, ledger=self.ledger, settings=backpressure)
        self.latency = Latency()
        self.trouble: Trouble | None = None  # what went wrong last, until a round goes well
        self._calls = CallMaker(
            shard=shard,
            process=process,
            source=source,
            newest=newest,
            handover=self.handover,
            batcher=self.batcher,
            ledger=self.ledger,
            encoders=encoders or make_encoders(),
        )
        self._calls.stream_max = stream_max
        self.rehearsal = Rehearsal(handover=self.handover, calls=self._calls)
        self._shard, self._newest = shard, newest
        self._outboxes: dict[str, Outbox] = {}
        self.holes = HoleKeeper(shard, self._outboxes, window_ns=window_ms * MS_NS, beat_ns=timing.beat_ns)
        self._now_ns = 0
        self._unreadable: dict[str, Trouble] = {}  # channels whose record Redis refuses to read
        self._assigned: InstrumentTable | None = None
        self._roster: Roster | None = None
        self._offered_ns: int | None = None
        self._settling_due_ns = self._settling_fresh_ns = 0  # when to repeat next, and until when soon
        self._first = 0  # which channel a round starts with: turns, so that none starves
        self._flush_until_ns: int | None = None
        self._intake = Intake(handover=self.handover, batcher=self.batcher, ledger=self.ledger)
        self.ledger.holders.append(self.batcher.in_flight)
        self.ledger.holders.append(lambda: sum(outbox.in_flight() for outbox in self._outboxes.values()))

    @property
    def table(self) -> InstrumentTable | None:
        """The table in force, with a channel for each lane of each channel."""
        return None if self._roster is None else self._roster.table

    @property
    def refused_channels(self) -> dict[str, Trouble]:
        """Channels that Redis refuses although it works, and why."""
        refused = {name: outbox.trouble for name, outbox in self._outboxes.items() if outbox.trouble is not None}
        return self._unreadable | refused

    def is_repeating(self) -> bool:
        """Whether repetitions wait to leave."""
        return any(self._outboxes[name].repeats for name in self.handover.held)

    def wake_ns(self, *, now_ns: int) -> int:
        """When to plan a round at the latest; a time that is past means now."""
        due = self.handover.wake_ns(now_ns=now_ns)
        for name in self.handover.held:
            if self._outboxes[name].blocked(now_ns=now_ns):
                due = min(due, self._outboxes[name].retry_ns)
                continue
            if not self.handover.may_call(name) or self._outboxes[name].has_more:
                return now_ns
            match self.batcher.due(name, now_ns=now_ns, outstanding=False):
                case Flush():
                    return now_ns
                case Wait(until_ns) if until_ns is not None:
                    due = min(due, until_ns)
        if self._flush_until_ns is not None:
            due = min(due, self._flush_until_ns)
        rehearsal_ns = self.rehearsal.due_ns(self.table)
        return due if rehearsal_ns is None else min(due, rehearsal_ns)

    def acknowledged(self) -> int:
        """The table revision whose publishing duties are done."""
        return self.duties.done(have_value=lambda slots: self._newest.newest(slots).slot)

    def past_barriers(self) -> int:
        """The table revision of which nothing outgoing can be published any more, whatever else of it is owed; or 0."""
        return self.duties.past_barriers()

    def _unheard_ns(self, name: str, *, now_ns: int) -> int | None:
        """For how long nobody was known to publish, by another's record or by an own call; `None`: since ever."""
        known = (self.handover.heard_ns(name), self._outboxes[name].accepted_ns)
        return min((now_ns - at_ns for at_ns in known if at_ns is not None), default=None)
