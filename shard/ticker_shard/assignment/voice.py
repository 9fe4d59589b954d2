"""Who speaks for a shard when several of its processes live: the Lease, by rule. Pure.

Two writers under one field manager destroy each other's status, so one process has the *voice*:

* it stays with its holder while that lives and holds any channel;
* otherwise it goes to the process that holds the account's first channel by name;
* where nobody holds any channel, to the first warming process that asks.

"Lives" is judged as everywhere in the house: by the observer's own monotonic clock, over a whole window of
uninterrupted reads in which nothing changed. A failed read, or an observer that was itself late, starts the window
again. A Lease of an earlier process of this instance is vacant at once: that process is dead.

The status may be written until `SPEAK_S` after the start of the last successful renewal: a holder that was paused, or
that cannot reach the API server, falls silent before anybody may take its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from ticker_shard.assignment.ports import LeaseState

RENEW_S: Final = 2.0
SPEAK_S: Final = 4.0
WINDOW_S: Final = 5.0  # unchanged for so long = its holder is dead
OBSERVER_LATE_S: Final = 2 * RENEW_S  # we were paused: what we saw before proves nothing
NS_PER_S: Final = 1_000_000_000

assert RENEW_S < SPEAK_S < WINDOW_S, "a holder renews while it may speak, and is silent before it is succeeded"
assert RENEW_S < OBSERVER_LATE_S < WINDOW_S, "an ordinary cadence never restarts the window, a whole lost one does"


class VoiceMove(StrEnum):
    """What this process does about the Lease now."""

    TAKE = "take"  # take it, or renew it when it is ours
    RELEASE = "release"
    WAIT = "wait"


class Held(StrEnum):
    """Which of the account's channels this process holds."""

    NONE = "none"  # also where the account has no channel
    SOME = "some"  # the first by name is not among them
    FIRST = "first"  # the first by name, but not all
    ALL = "all"


def decide_voice(lease: LeaseState, held: Held, *, other_holds: bool, leaving: bool) -> VoiceMove:
    """The rule of the module's opening, for one process at one moment.

    Parameters
    ----------
    lease
        As observed last.
    held
        What this process holds.
    other_holds
        A process that lives is known to hold a channel.
    leaving
        This process has got SIGTERM: it keeps the voice while it publishes, but takes none that is nobody's.
    """
    match lease:
        case LeaseState.MINE:
            return VoiceMove.RELEASE if held is Held.NONE and other_holds else VoiceMove.TAKE
        case LeaseState.VACANT:
            if held in (Held.FIRST, Held.ALL):
                return VoiceMove.TAKE
            # Nobody is known to hold anything (Redis may be unreachable: just that must be said).
            nobody = held is Held.NONE and not other_holds
            return VoiceMove.TAKE if nobody and not leaving else VoiceMove.WAIT
        case LeaseState.OTHER:
            # We hold every channel, so the Lease's holder holds none and may not even know (no Redis, half dead).
            return VoiceMove.TAKE if held is Held.ALL else VoiceMove.WAIT
        case LeaseState.UNKNOWN:
            return VoiceMove.WAIT


@dataclass(slots=True)
class LeaseWatcher:
    """Turns reads of a Lease into a `LeaseState`.

    Parameters
    ----------
    process
        This process, ``<instance>/<random>``.
    """

    process: str
    _seen: tuple[str, str] | None = field(default=None, init=False)  # holder, version
    _since_ns: int = field(default=0, init=False)
    _last_ns: int = field(default=0, init=False)

    def read(self, *, holder: str, version: str, now_ns: int) -> LeaseState:
        """A successful read: who holds it (empty: nobody) and what changes with every renewal."""
        late = now_ns - self._last_ns > OBSERVER_LATE_S * NS_PER_S
        if self._seen != (holder, version) or late:
            self._seen, self._since_ns = (holder, version), now_ns
        self._last_ns = now_ns
        if not holder:
            return LeaseState.VACANT
        if holder == self.process:
            return LeaseState.MINE
        if instance_of(holder) == instance_of(self.process):
            return LeaseState.VACANT
        unchanged_ns = now_ns - self._since_ns
        return LeaseState.VACANT if unchanged_ns >= WINDOW_S * NS_PER_S else LeaseState.OTHER

    def failed(self) -> LeaseState:
        """A read that failed: the window starts again."""
        self._seen = None
        return LeaseState.UNKNOWN


def instance_of(process: str) -> str:
    """The instance (pod) of a process id."""
    return process.partition("/")[0]
