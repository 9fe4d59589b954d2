"""The hand-over's protocol, each time with one rule broken: a history must catch it (docs/handover.md)."""

from __future__ import annotations

from ticker_shard.publish.core import PublisherCore
from ticker_shard.publish.fence import Accepted, ChannelState
from ticker_shard.publish.handover import Effect
from ticker_shard.publish.limits import TIMING, Timing


class NoRewriteAfterClaim(PublisherCore):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        answered = self.handover.claim_answered

        def silently(*args, **kwargs):
            answered(*args, **kwargs)
            return Effect.NOTHING

        self.handover.claim_answered = silently


class NoRewriteAfterRewind(PublisherCore):
    def _apply(self, name, effect):
        if effect is Effect.REWRITE and not self._outboxes[name].sent:
            effect = Effect.KEEP_ON
        super()._apply(name, effect)

    def disconnected(self):
        self.handover.disconnected()


class NoAssert(PublisherCore):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.begin_asserts = lambda: ()


class NeverDoubts(PublisherCore):
    """A process that stood still goes on as if nothing could have happened meanwhile."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover.ran = lambda **times: None


class RewindByLess(PublisherCore):
    """The number before is only asked for being lower, not for being another; and nothing else causes a rewrite."""

    def _settle_call(self, name, call, answer, **times):
        term = self.handover._channels.get(name)
        known = 0 if term is None else term.acknowledged_n
        self._lower = isinstance(answer, Accepted) and answer.previous_n < known
        super()._settle_call(name, call, answer, **times)
        self._lower = True

    def _apply(self, name, effect):
        if effect is Effect.REWRITE and not getattr(self, "_lower", True):
            effect = Effect.KEEP_ON
        super()._apply(name, effect)

    def disconnected(self):
        self.handover.disconnected()


class OneEpochForAllChannels(PublisherCore):
    """Whatever is held last gives its epoch to all."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        answered = self.handover.claim_answered

        def of_all(name, answer, **times):
            effect = answered(name, answer, **times)
            terms = [term for term in self.handover._channels.values() if term.held is not None]
            for term in terms:
                term.held = max(term.held for term in terms)
            return effect

        self.handover.claim_answered = of_all


class FencedInOneSilentInAll(PublisherCore):
    """What one channel's fence says is taken for all of them."""

    def _apply(self, name, effect):
        super()._apply(name, effect)
        if effect is Effect.DROPPED:
            self.handover._consider = lambda *args, **times: None
            for other in self.handover.held:
                self.handover._ended(other, Effect.DROPPED)
                super()._apply(other, Effect.DROPPED)


class FencedNeverComesBack(PublisherCore):
    """A superseded process claims nothing any more."""

    def _apply(self, name, effect):
        super()._apply(name, effect)
        if effect is Effect.DROPPED:
            self.handover._consider = lambda *args, **times: None


class NoLeavingMark(PublisherCore):
    """SIGTERM is kept secret until the end."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        state = self.handover._state
        self.handover._state = lambda *channel: (
            ChannelState.ACTIVE if state(*channel) is ChannelState.LEAVING else state(*channel)
        )


class WindowSurvives(PublisherCore):
    """Neither a lost connection nor an own pause begins the observation anew."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.handover._forget_observations = lambda: None


def unsound(**times: int) -> Timing:
    """Times of which the asserted relations do not hold."""
    timing = object.__new__(Timing)
    for name in Timing.__slots__:
        object.__setattr__(timing, name, times.get(name, getattr(TIMING, name)))
    return timing
