"""States of one socket as a table: (state, cause) → state. A pair that is absent is a fault of ours.

Read it by columns: an attempt (CONNECTING) ends in one of four ways; an open socket is lost, displaced by another of
ours (then it waits as after a 429), or left for other credentials; the three ways of waiting end when their time is
over, except REJECTED, which only other credentials end. STOP ends everything, and nothing leads out of STOPPED.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from ticker_shard.feed.events import SessionState


class Cause(Enum):
    """What moves a session from state to state."""

    CREDENTIALS = auto()  # other credentials than before, and reason to use them now
    UPGRADED = auto()
    FORBIDDEN = auto()
    LIMITED = auto()
    FAILED = auto()
    LOST = auto()
    DISPLACED = auto()
    DUE = auto()  # the wait is over
    STOP = auto()


S, C = SessionState, Cause
TRANSITIONS: Final[dict[tuple[SessionState, Cause], SessionState]] = {
    (S.IDLE, C.CREDENTIALS): S.CONNECTING,
    (S.CONNECTING, C.UPGRADED): S.OPEN,
    (S.CONNECTING, C.FORBIDDEN): S.REJECTED,
    (S.CONNECTING, C.LIMITED): S.RATE_LIMITED,
    (S.CONNECTING, C.FAILED): S.BACKING_OFF,
    (S.CONNECTING, C.CREDENTIALS): S.CONNECTING,  # refused with credentials that were replaced meanwhile
    (S.OPEN, C.LOST): S.BACKING_OFF,
    (S.OPEN, C.DISPLACED): S.RATE_LIMITED,
    (S.OPEN, C.CREDENTIALS): S.CONNECTING,
    (S.BACKING_OFF, C.DUE): S.CONNECTING,
    (S.BACKING_OFF, C.CREDENTIALS): S.CONNECTING,
    (S.RATE_LIMITED, C.DUE): S.CONNECTING,
    (S.RATE_LIMITED, C.CREDENTIALS): S.CONNECTING,  # another key: another limit
    (S.REJECTED, C.CREDENTIALS): S.CONNECTING,
} | {(state, C.STOP): S.STOPPED for state in SessionState}


class IllegalTransitionError(RuntimeError):
    """The session was told something that cannot happen in its state: a fault of its user."""


def next_state(state: SessionState, cause: Cause) -> SessionState:
    """Where `cause` leads from `state`.

    Raises
    ------
    IllegalTransitionError
        When the pair is not in the table.
    """
    after = TRANSITIONS.get((state, cause))
    if after is None:
        raise IllegalTransitionError(f"{cause.name} while {state}")
    return after
