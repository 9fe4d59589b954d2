"""Which process of one account may publish in which channel: the hand-over, as decisions over plain data.

Several processes of one account live at the same time during a roll-out, a drain or a restart. For each channel a
record in Redis names its holder (`fence`); this file decides when to claim a record, what to do with each answer,
and when to go. It reads no clock, knows no socket, and never learns which pod is *newer*: Kubernetes decides that
and says so by SIGTERM. Only a record that is leaving, free, silent, or of an earlier process of this very pod can be
claimed, so a healthy holder is never robbed.

The rules are tables: `PHASES` and `CLAIM_RULES` in `handover_rules`, and `ON_CALL` in `handover_terms`: what each
answer to a call means for its channel.

Everything else is bookkeeping per channel: the epoch held, call numbers, the observation window. Epochs belong to
one channel each; losing one channel loses nothing else. With several sockets a lane of a channel is a channel of
its own here (`lanes`); in which order lanes and sockets change hands is `stages`' part. A process that was superseded
keeps its feed and stays standby, unless SIGTERM told it that it is not wanted: leaving by exit 0 would only get it
restarted.

All times are monotonic nanoseconds of this process.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ticker_shard.publish.fence import Answer, Assert, ChannelState, Claim, Record
from ticker_shard.publish.handover_rules import PHASES, Move, Phase
from ticker_shard.publish.handover_state import HandoverState
from ticker_shard.publish.handover_terms import (
    ON_CALL,
    CallMark,
    ChannelTerm,
    Effect,
    on_assert,
    on_call,
    on_claim,
)
from ticker_shard.publish.lanes import lane_name, split_lane
from ticker_shard.publish.limits import TIMING, Timing

__all__ = ["ON_CALL", "CallMark", "Effect", "Handover", "Move", "Phase"]


class Handover(HandoverState):
    """One process's part in the hand-over.

    Parameters
    ----------
    process
        ``<instance>/<random>``.
    timing
        Times of the protocol.
    sockets
        Of this process.
    watched
        So many lanes of each channel are looked at: another process may have more sockets than this one.
    """

    def __init__(self, *, process: str, timing: Timing = TIMING, sockets: int = 1, watched: int = 1) -> None:
        super().__init__(process=process, timing=timing, sockets=sockets, watched=watched)

    # -- what happened

    def configure(self, channels: Iterable[str], *, revision: int) -> None:
        """A table was applied: these channels (every lane of them), under this revision."""
        assert revision >= self.revision, f"revision {revision} after {self.revision}: tables only grow"
        self.revision = revision
        wanted = set(channels)
        for name in wanted:
            self._channels.setdefault(name, self._beside.pop(name, ChannelTerm())).retiring = False
        every = {lane_name(split_lane(name)[0], lane) for name in wanted for lane in range(1, self._watched + 1)}
        self._beside = {name: self._beside.get(name, ChannelTerm()) for name in every - wanted}
        for name in [name for name in self._channels if name not in wanted]:
            if self._channels[name].held is None and not self._channels[name].claim_sent:
                del self._channels[name]
            else:
                self._channels[name].retiring = True
                self._channels[name].claim = self._channels[name].claim if self._channels[name].claim_sent else None

    def feed(self, *, warm: bool, now_ns: int, socket: int | None = None) -> None:
        """A socket (`None`: each) is open and everything wanted of it is confirmed, or no longer."""
        for number in range(1, self.stages.sockets + 1) if socket is None else (socket,):
            if self.stages.fed(number, warm=warm, now_ns=now_ns):
                self._poll_due_ns = 0  # what was waited for may be there to be claimed

    def terminate(self, *, now_ns: int) -> None:
        """SIGTERM: Kubernetes does not want this process any more."""
        if not self.terminating:
            self.terminating = True
            self._terminated_ns = now_ns
            for channel in self._channels.values():
                if not channel.claim_sent:
                    channel.claim = None

    def rehearsed(self) -> None:
        """A call under epoch 0 was refused: connection, scripts and encoder work."""
        assert self.warm, "the rehearsal sends real rows"
        self._move(Move.REHEARSED)
        self._poll_due_ns = 0  # from now on a poll may end in a claim

    def polled(self, records: Mapping[str, Record | None], *, sent_ns: int, now_ns: int) -> None:
        """Records as read by one successful poll, asked for at `sent_ns`, answered now."""
        late = self._polled_ns is not None and now_ns - self._polled_ns > 3 * self.timing.poll_ns
        if late:
            self._forget_observations()
        self._polled_ns = now_ns
        observed = [name for name in records if (term := self._term(name)) is not None and term.held is None]
        for name in observed:
            self._watcher.observe(self._terms()[name], records[name], now_ns=now_ns)
        self.stages.look(self._terms(), watcher=self._watcher, sent_ns=sent_ns)
        if not self.divides_anew:
            for name in observed:
                if name in self._channels:
                    self._consider(name, self._channels[name], sent_ns=sent_ns, now_ns=now_ns)

    def divide(self) -> None:
        """They are."""
        self.stages.parts = self.stages.parts_due(self._terms(), wanted=self._channels, leaving=self.leaving)

    def socket_closed(self, socket: int) -> None:
        """One of `sockets_done` is closed, and the broker knows."""
        self.stages.closed(socket)

    def poll_failed(self, name: str) -> None:
        """Reading a record was refused: what was unchanged before may have changed and changed back."""
        channel = self._term(name)
        if channel is not None:
            channel.forget_observation()
            channel.refused = True

    def disconnected(self) -> None:
        """The connection is gone: nothing that was observed or decided over it counts any more."""
        self._forget_observations()
        for name, channel in list(self._channels.items()):
            channel.claim = None
            channel.claim_sent = False
            # The record may have been lost with the connection; a call will tell.
            channel.asserting = False
            self._forget_if_retired(name, channel)

    def call_answered(self, mark: CallMark, answer: Answer) -> Effect:
        """What an answer to a call means; answers come in the order of the calls."""
        channel = self._channels.get(mark.channel)
        if channel is None or channel.held != mark.epoch:
            return Effect.NOTHING  # a term that is over
        return self._ended(mark.channel, on_call(channel, mark, answer, wanted=self._state(mark.channel, channel)))

    def claim_answered(self, name: str, answer: Answer, *, now_ns: int) -> Effect:
        """What an answer to a claim means."""
        channel = self._channels.get(name)
        if channel is None:
            return Effect.NOTHING
        effect = on_claim(channel, answer, now_ns=now_ns)
        self._held = None
        if effect is Effect.REWRITE and self.phase is not Phase.ACTIVE:
            self._move(Move.TOOK_FIRST)
        self._forget_if_retired(name, channel)
        return effect

    def assert_answered(self, order: Assert, answer: Answer) -> Effect:
        """What an answer to an assert means."""
        channel = self._channels.get(order.channel)
        if channel is None or channel.held != order.epoch:
            return Effect.NOTHING
        return self._ended(order.channel, on_assert(channel, order, answer))

    def ran(self, *, now_ns: int) -> None:
        """The process runs; to be told several times in a beat, whatever else it waits for.

        Whoever did not run for almost a window of silence may have been replaced: its last call is a beat older.
        """
        before_ns, self._ran_ns = self._ran_ns, now_ns
        if before_ns is not None and now_ns - before_ns >= self.timing.silent_ns - self.timing.beat_ns:
            for channel in self._channels.values():
                if channel.held is not None:
                    channel.doubt()

    # -- what is to be done

    def advance(self, *, now_ns: int, idle: bool) -> None:
        """Let time pass: yield, end the drain, go.

        Parameters
        ----------
        now_ns
            Now.
        idle
            Whether nothing is queued or unanswered, and no row has come for `yield`.
        """
        if self.phase is Phase.GONE:
            return
        self.stages.let_time_pass(now_ns=now_ns, yield_ns=self.timing.yield_ns)
        if not self.terminating:
            return
        # Without a feed there is nothing to go on publishing, and a restarted process finds the record free. But a
        # reconnect, or a table that is being confirmed, is no lost feed: going then would leave a hole.
        held = self._lanes_held()
        lost = bool(held) and all(self.stages.lane_yields(lane) for lane in held)
        drained = now_ns - self._terminated_ns >= self.timing.drain_deadline_ns or (lost and idle)
        if drained:
            self.freeing = True
        claiming = any(channel.claim_sent for channel in self._channels.values())
        if not self.held and not claiming:
            self._move(Move.LEFT)

    def give_up(self) -> None:
        """Go although channels are held: the flush after the drain deadline did not come through in time."""
        assert self.terminating
        if self.phase is not Phase.GONE:
            self._move(Move.LEFT)

    def poll_due(self, *, now_ns: int) -> bool:
        """Whether the records should be read now."""
        return now_ns >= self._poll_due_ns and any(channel.held is None for channel in self._channels.values())

    def begin_poll(self, *, now_ns: int) -> tuple[str, ...]:
        """The channels whose records are to be read."""
        self._poll_due_ns = now_ns + self.timing.poll_ns
        return tuple(sorted(name for name, channel in self._terms().items() if channel.held is None))

    def begin_claims(self) -> tuple[Claim, ...]:
        """The claims to send now."""
        orders = []
        for name in sorted(self._channels):
            channel = self._channels[name]
            if channel.claim is not None and not channel.claim_sent:
                channel.claim_sent = True
                orders.append(channel.claim)
        return tuple(orders)

    def begin_asserts(self) -> tuple[Assert, ...]:
        """The asserts to send now."""
        orders = []
        for name in sorted(self._channels):
            channel = self._channels[name]
            if channel.held is not None and channel.asserting:
                channel.n += 1
                state = self._state(name, channel)
                orders.append(Assert(name, channel.held, self.process, channel.n, state, self.revision))
        return tuple(orders)

    def may_call(self, name: str) -> bool:
        """Whether a call may be made in `name` now."""
        channel = self._channels.get(name)
        return channel is not None and channel.held is not None and not channel.asserting

    def beat_due(self, name: str, *, now_ns: int) -> bool:
        """Whether a call is due although there may be no rows: for life, or to tell a changed state."""
        channel = self._channels[name]
        if not self.may_call(name):
            return False
        return (
            now_ns - channel.last_call_ns >= self.timing.beat_ns
            or self._state(name, channel) is not channel.accepted_state
        )

    def call_soon(self, name: str) -> None:
        """The next call is due now, if the channel is held: somebody waits for it."""
        if (channel := self._channels.get(name)) is not None:
            channel.last_call_ns -= self.timing.beat_ns

    def begin_call(self, name: str, *, now_ns: int, last: bool = True) -> CallMark:
        """The fenced part of the next call; every call has a number of its own.

        Parameters
        ----------
        name
            The channel.
        now_ns
            Now.
        last
            False while more of the channel's rows follow: nothing may follow *free*.
        """
        channel = self._channels[name]
        assert channel.held is not None, f"{name} is not held"
        channel.n += 1
        channel.last_call_ns = now_ns
        state = self._state(name, channel)
        if state is ChannelState.FREE and not last:
            state = ChannelState.LEAVING
        return CallMark(name, channel.held, channel.n, state)

    def wake_ns(self, *, now_ns: int) -> int:
        """When to look again at the latest."""
        claims = any(channel.claim is not None and not channel.claim_sent for channel in self._channels.values())
        if claims or (self.terminating and not self.held):
            return now_ns
        due = [now_ns + self.timing.beat_ns]
        if any(channel.held is None for channel in self._channels.values()):
            due.append(self._poll_due_ns)
        due += [channel.last_call_ns + self.timing.beat_ns for channel in self._channels.values() if channel.held]
        if (yield_ns := self.stages.yield_due_ns(yield_ns=self.timing.yield_ns)) is not None:
            due.append(yield_ns)
        if self.terminating and not self.freeing:
            due.append(self._terminated_ns + self.timing.drain_deadline_ns)
        return min(due)

    # -- private

    def _move(self, move: Move) -> None:
        following = PHASES.get((self.phase, move))
        assert following is not None, f"{move} cannot happen in {self.phase}"
        self.phase = following

    def _consider(self, name: str, channel: ChannelTerm, *, sent_ns: int, now_ns: int) -> None:
        """Decide on a claim after a poll."""
        base, lane = split_lane(name)
        if channel.retiring or channel.claim is not None or not self.stages.lane_warm(lane) or self.freeing:
            return
        if lane > 1 and not self.holds(lane_name(base, lane - 1)):
            return  # lane by lane: whoever has the first decides how many there are
        if lane > self.stages.parts and self.leaving:
            return
        if self.phase not in (Phase.STANDBY, Phase.ACTIVE) or (self.terminating and self.phase is Phase.STANDBY):
            return
        reason = self._watcher.reason(
            channel,
            revision=self.revision,
            divided=lane == 1 and self.stages.parts > 1,
            terminating=self.terminating,
            sent_ns=sent_ns,
            now_ns=now_ns,
        )
        if reason is not None:
            record = channel.observed
            revision = max(self.revision, 0 if record is None else record.revision)
            channel.claim = Claim(name, self.process, reason, record, seen=channel.seen, revision=revision)

    def _forget_observations(self) -> None:
        self._polled_ns = None
        for channel in self._terms().values():
            channel.forget_observation()

    def _ended(self, name: str, effect: Effect) -> Effect:
        """Draw the consequences for the process where an answer ended the channel's term."""
        if effect in (Effect.DROPPED, Effect.RELEASED):
            channel = self._channels[name]
            channel.end()
            self._held = None
            if effect is Effect.DROPPED:
                self._poll_due_ns = 0
            self._forget_if_retired(name, channel)
            if not self.held and self.phase is Phase.ACTIVE:
                self._move(Move.LOST_LAST)
        return effect

    def _forget_if_retired(self, name: str, channel: ChannelTerm) -> None:
        if channel.retiring and channel.held is None:
            del self._channels[name]
            base, lane = split_lane(name)
            if lane > 1 and base in self._channels:
                self._beside[name] = channel
