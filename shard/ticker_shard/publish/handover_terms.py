"""One channel's term: what a process knows of the channel's record, and what each answer means for it.

`ON_CALL` is the table of answers to a call; claims and asserts have theirs above it. Nothing here looks at other
channels or at the phase of the process: that is `handover`'s part, told by the `Effect`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ticker_shard.publish.fence import (
    Accepted,
    Answer,
    Assert,
    Asserted,
    Behind,
    ChannelState,
    Claim,
    Claimed,
    Conflict,
    Fenced,
    Kept,
    Record,
    Refused,
    Rewound,
    Stale,
    Unanswered,
)


@dataclass(frozen=True, slots=True)
class CallMark:
    """The fenced part of one call: under which term, number and state it goes."""

    channel: str
    epoch: int
    n: int
    state: ChannelState


class Effect(Enum):
    """What the caller does with its rows after an answer."""

    KEEP_ON = "accepted, in order"
    REWRITE = "the channel's newest values must be published again"
    DROPPED = "the channel is another process's: discard its queue"
    ASSERT = "Redis lost the record: assert, then rewrite"
    RELEASED = "the channel was given up as intended"
    NOTHING = "no consequence"


@dataclass(slots=True)
class ChannelTerm:
    """What one process knows of one channel's record, and its own part in it."""

    held: int | None = None  # epoch
    n: int = 0  # last number used
    acknowledged_n: int = 0
    accepted_state: ChannelState | None = None
    asserting: bool = False
    doubted_n: int | None = None  # the process stood still after this call: only a later one can prove its belief
    retiring: bool = False  # the table does not have it any more
    last_call_ns: int = 0
    seen: int = 0  # highest epoch ever read here
    # Observation of somebody else's record; `since_ns` is None while there is none.
    observed: Record | None = None
    since_ns: int | None = None
    refused: bool = False  # Redis would not read it the last time
    changed_ns: int | None = None  # when it was last seen to change
    known: Record | None = None  # the last record ever read here, and when it was new
    heard_ns: int | None = None  # outlives every observation
    claim: Claim | None = None  # decided, not answered
    claim_sent: bool = False
    behind_ns: int | None = None  # since when only the tables' revisions keep us from claiming

    def see(self, record: Record | None) -> None:
        """Remember the highest epoch ever read, whatever brought it."""
        if record is not None:
            self.seen = max(self.seen, record.epoch)

    def hear(self, record: Record | None, *, now_ns: int) -> None:
        """A poll brought `record`: one that is new means that its holder lived a moment ago."""
        if record is not None and record != self.known:
            self.known, self.heard_ns = record, now_ns

    def doubt(self) -> None:
        """The process stood still for so long that another one may have taken the channel without its knowing."""
        self.doubted_n = self.n
        self.asserting = False  # ask again

    def restart_window(self) -> None:
        """What was unchanged until now may change unseen."""
        self.observed, self.since_ns = None, None

    def forget_observation(self) -> None:
        """What was seen before counts no more, nor what was decided on it."""
        self.restart_window()
        self.changed_ns = None
        if not self.claim_sent:
            self.claim = None

    def end(self) -> None:
        """The channel is not held any more."""
        self.held = None
        self.asserting = False
        self.doubted_n = None
        self.accepted_state = None
        self.restart_window()


def on_claim(term: ChannelTerm, answer: Answer, *, now_ns: int) -> Effect:
    """What an answer to a claim means."""
    term.claim, term.claim_sent = None, False
    match answer:
        case Claimed(epoch):
            assert epoch > term.seen, f"epoch {epoch} was given although {term.seen} was seen"
            term.held = term.seen = epoch
            term.n = term.acknowledged_n = 0
            term.accepted_state = ChannelState.ACTIVE
            term.asserting = False
            term.doubted_n = None
            term.since_ns = term.behind_ns = None
            term.last_call_ns = now_ns
            return Effect.REWRITE
        case Conflict(record) | Behind(record):
            term.restart_window()
            term.see(record)
        case Refused() | Unanswered():
            term.restart_window()
        case _:
            raise AssertionError(f"{answer} does not answer a claim")
    return Effect.NOTHING


def on_assert(term: ChannelTerm, order: Assert, answer: Answer) -> Effect:
    """What an answer to an assert means."""
    term.asserting = False
    match answer:
        case Asserted():
            term.acknowledged_n = order.n
            term.accepted_state = order.state
            return Effect.REWRITE
        case Kept(record):
            term.n = max(term.n, record.n)
            term.acknowledged_n = record.n
            term.accepted_state = record.state
            return Effect.REWRITE
        case Fenced(record):
            term.see(record)
            return Effect.DROPPED
        case Refused():
            term.asserting = True
            return Effect.NOTHING
        case Unanswered():
            return Effect.REWRITE
        case _:
            raise AssertionError(f"{answer} does not answer an assert")


def on_call(term: ChannelTerm, mark: CallMark, answer: Answer, *, wanted: ChannelState) -> Effect:
    """What an answer to a call means; `wanted` is the state that a call would carry now."""
    rule = ON_CALL.get(type(answer))
    assert rule is not None, f"{answer} does not answer a call"
    return rule(term, mark, answer, wanted)


def _accepted(term: ChannelTerm, mark: CallMark, answer: Answer, wanted: ChannelState) -> Effect:
    assert isinstance(answer, Accepted)
    in_order = answer.previous_n == term.acknowledged_n
    if term.doubted_n is not None and mark.n > term.doubted_n:
        term.doubted_n = None
    term.acknowledged_n = mark.n
    term.accepted_state = mark.state
    if mark.state is ChannelState.FREE and wanted is ChannelState.FREE:
        return Effect.RELEASED
    # Anything but the call before: Redis went back, or an answer was lost. "Less" would not do: a late call
    # may have lifted the number again.
    return Effect.KEEP_ON if in_order else Effect.REWRITE


def _stale(term: ChannelTerm, mark: CallMark, answer: Answer, wanted: ChannelState) -> Effect:
    assert isinstance(answer, Stale)
    term.n = max(term.n, answer.record.n)
    return Effect.REWRITE


def _fenced(term: ChannelTerm, mark: CallMark, answer: Answer, wanted: ChannelState) -> Effect:
    assert isinstance(answer, Fenced)
    term.see(answer.record)
    return Effect.DROPPED


def _rewound(term: ChannelTerm, mark: CallMark, answer: Answer, wanted: ChannelState) -> Effect:
    if term.doubted_n is not None:
        return Effect.DROPPED  # a successor's record may be what Redis lost: observe like any claimant
    term.asserting = True
    return Effect.ASSERT


def _no_answer(term: ChannelTerm, mark: CallMark, answer: Answer, wanted: ChannelState) -> Effect:
    return Effect.REWRITE


_Rule = Callable[[ChannelTerm, CallMark, Answer, ChannelState], Effect]
ON_CALL: Final[dict[type[Answer], _Rule]] = {
    Accepted: _accepted,
    Stale: _stale,
    Fenced: _fenced,
    Rewound: _rewound,
    Refused: _no_answer,
    Unanswered: _no_answer,
}
