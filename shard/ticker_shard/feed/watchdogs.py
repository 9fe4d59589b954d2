"""What is watched on a socket, from when on it is a fault, and what is done about it. Pure: time is an argument.

==================  ===================================================  ======================================
signal              limit                                                actions, one limit after the other
==================  ===================================================  ======================================
silent              no frame of any sort for `silence_ms`                reconnect
mute                frames, but no *flow*, the market open, for          subscribe again → new connection →
                    `mute_ms` or longer, by the socket's own rhythm      report for fail-over
==================  ===================================================  ======================================

The third signal, one mute instrument on a socket that flows, is `ticker_shard.feed.stalls`.

*Flow* is a packet that nobody asked for. The broker answers every subscription with its cached packet, at night and on
a broken line too, so that an answer proves nothing: a request for n tokens lets up to ``2 n`` packets (mode changes are
answered as well) go by unjudged for `ANSWER_S`.

*Rhythm*: a socket that carries three far options is quiet for minutes and healthy. So the limit is at least
`PATIENCE` times the longest pause that it made lately while the market was open. Before `PAUSES_KNOWN` pauses were
seen, every instrument is believed to send once in `PRIOR_S`. What was learnt is forgotten when there are fewer
instruments whose market is open: it was another socket's rhythm. More of them are never quieter than those that were
there, so then it stays, unless as many strangers would be believed to be brisker.

*Questions*. Every subscription is answered at once. So a socket on which nothing at all has come since everything was
asked for is mute after `mute_ms`, however few instruments it carries. And one that may be quiet for longer, by its
rhythm or for want of one, is asked when three quarters of `mute_ms` have passed without a packet: the mode of what has
come is set once more, which changes nothing, and is answered with the cached packet by a socket that still carries it.
If nothing comes by `mute_ms`, the socket is mute. A question is believed in only where one was answered on the same
connection, which is therefore asked early; a broker that never answers costs a message whenever the socket has been
quiet that long after a tick, and no alarm, unless a tick within a second of a question is taken for its answer. A spell
that began with a missing answer ends with the next packet of any sort. Answers are no flow: a socket that answers and
does not flow is judged by its rhythm.

When the ladder is at its end the report stands, and every further step is a new connection after a wait that doubles
up to `MUTE_RETRY_MAX_S`. Flow ends the spell at once. A report that cost the account its instruments, so that nothing
can flow any more, is withdrawn after `REPORT_STANDS_S`. While the market is shut nothing is due.

*Unseen*. Long before a limit nobody can know whether a quiet socket is mute or has nothing to say. But should its
process give way or die just then, nobody would ever tell what it missed. So a socket is called unseen when it has been
quiet for longer than `UNSEEN_S` and than `UNSEEN_PAUSES` of its mean pauses, which one pause in 3,000 of a Poisson
process is. A rhythm that is not known yet is believed to be brisk (`PRIOR_PAUSE_S`, worth one pause), because a fresh
process dies as easily. Nothing is done about it: it is noted down for a successor (docs/handover.md, holes), and
rubbed out when anything comes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ticker_shard.feed.settings import FeedSettings

MILLISECOND_NS: Final = 1_000_000
SECOND_NS: Final = 1_000 * MILLISECOND_NS
ANSWERS_PER_TOKEN: Final = 2  # to the subscription and to the mode
ANSWER_S: Final = 5.0
PATIENCE: Final = 3.0
PAUSES_KNOWN: Final = 16
PRIOR_S: Final = 300.0
PAUSE_HALF_LIFE_S: Final = 1_800.0
MUTE_LIMIT_MAX_S: Final = 1_800.0
MUTE_RETRY_MAX_S: Final = 900.0
REPORT_STANDS_S: Final = 600.0
ASK_AT: Final = 0.75  # of `mute_ms`; the rest is the answer's time
FIRST_ASK_AT: Final = 0.25
ANSWERED_S: Final = 1.0  # what comes later was not asked for
UNSEEN_S: Final = 0.5  # with a look each half second and a beat each second, two seconds until a successor can read it
UNSEEN_PAUSES: Final = 8.0
PRIOR_PAUSE_S: Final = 0.25


class Signal(StrEnum):
    """What a watchdog looks at."""

    SILENT = "silent"
    MUTE = "mute"


class Action(StrEnum):
    """What it does."""

    RESUBSCRIBE = "resubscribe"
    RECONNECT = "reconnect"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Watchdog:
    """One row of the table: after the signal's limit (again, if rows of the same signal came before), the action."""

    signal: Signal
    action: Action


WATCHDOGS: Final = (
    Watchdog(Signal.SILENT, Action.RECONNECT),
    Watchdog(Signal.MUTE, Action.RESUBSCRIBE),
    Watchdog(Signal.MUTE, Action.RECONNECT),
    Watchdog(Signal.MUTE, Action.REPORT),
)
LADDER: Final = tuple(watchdog.action for watchdog in WATCHDOGS if watchdog.signal is Signal.MUTE)
assert LADDER[-1] is Action.REPORT, "after the report comes nothing but patience"


def _prior_ns(instruments: int) -> int:
    return int(PATIENCE * PRIOR_S * SECOND_NS / instruments)


class Rhythm:
    """How long a healthy socket is quiet: the longest pause lately, which halves every `PAUSE_HALF_LIFE_S`.

    Parameters
    ----------
    ignored_ns
        Shorter pauses are counted and no more: they change no limit, and nearly every frame ends one.
    """

    def __init__(self, *, ignored_ns: int) -> None:
        self._ignored_ns = ignored_ns
        self._pauses = 0
        self._counted_ns = 0  # all pauses together
        self._longest_ns = 0.0
        self._at_ns = 0

    def forget(self) -> None:
        """Another socket's rhythm."""
        self._pauses, self._counted_ns, self._longest_ns, self._at_ns = 0, 0, 0.0, 0

    def carry(self, *, before: int, instruments: int, now_ns: int) -> None:
        """The number of instruments has changed: keep what still holds."""
        if instruments < before or self.limit_ns(instruments=instruments, now_ns=now_ns) > _prior_ns(instruments):
            self.forget()

    def learn(self, pause_ns: int, *, now_ns: int) -> None:
        """It was quiet for so long and then went on by itself."""
        self._pauses += 1
        self._counted_ns += pause_ns
        if pause_ns > self._ignored_ns and pause_ns >= self._faded_ns(now_ns):
            self._longest_ns, self._at_ns = float(pause_ns), now_ns

    def limit_ns(self, *, instruments: int, now_ns: int) -> int:
        """Longer than this is not its way."""
        assert instruments > 0, instruments
        if self._pauses < PAUSES_KNOWN:
            return _prior_ns(instruments)
        return int(PATIENCE * self._faded_ns(now_ns))

    @property
    def mean_ns(self) -> float:
        """The mean pause, with one of `PRIOR_PAUSE_S` counted in."""
        return (PRIOR_PAUSE_S * SECOND_NS + self._counted_ns) / (1 + self._pauses)

    def _faded_ns(self, now_ns: int) -> float:
        halves: float = 0.5 ** ((now_ns - self._at_ns) / (PAUSE_HALF_LIFE_S * SECOND_NS))
        return self._longest_ns * halves


class FlowWatch:
    """The ladder of one socket: told what is sent and received, it says what is due.

    Parameters
    ----------
    settings
        `mute_ms`, the shortest limit.

    Attributes
    ----------
    flowed_ns
        Monotonic nanoseconds of the last flow on the present connection; nothing without one.
    mute_since_ns
        When the present spell began, once it was noticed.
    reported
        The whole ladder was climbed in vain.
    whole_ns
        Monotonic nanoseconds up to which nothing was missed: of the last flow, or of asking for everything anew.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self._shortest_ns = settings.mute_ms * MILLISECOND_NS
        self._rhythm = Rhythm(ignored_ns=int(self._shortest_ns / PATIENCE))
        self._instruments = 0  # wanted ones whose market is open
        self._connected = False
        self._steps = 0  # actions taken in the present spell
        self._waits_from_ns = 0  # flow, the last action, the connection, the opening of the market: the newest of them
        self._owed = 0
        self._owed_until_ns = 0
        self._heard_ns = 0  # the newest packet of any sort
        self._unanswered = False  # everything was asked for, and nothing at all has come since
        self._question_ns: int | None = None  # when a question was asked to which nothing has come yet
        self._answers = 0  # still to come to it
        self._is_answered = False  # one was, on this connection
        self._may_ask = False  # nothing was asked yet, or it has flowed since
        self._deaf = False  # the present spell began with a missing answer
        self.flowed_ns: int | None = None
        self.mute_since_ns: int | None = None
        self.reported = False
        self.whole_ns = 0

    def watch(self, instruments: int, *, wanted: int, now_ns: int) -> bool:
        """So many of the `wanted` instruments have an open market now; whether that ended a spell."""
        before, self._instruments = self._instruments, instruments
        if instruments != before:
            self._rhythm.carry(before=before, instruments=instruments, now_ns=now_ns)
            self.flowed_ns = None  # a pause across the change teaches nothing
        if not before:
            self._waits_from_ns = now_ns
        if instruments or (self.reported and not wanted):
            return False
        return self._end_spell()

    def connected(self, *, now_ns: int) -> None:
        """A connection was made: it gets the whole limit to show that it flows."""
        self._connected = True
        self._waits_from_ns = self.whole_ns = now_ns
        self._owed = self._answers = 0
        self._unanswered, self._question_ns, self._is_answered, self._may_ask = True, None, False, True
        self.flowed_ns = None

    def disconnected(self) -> None:
        """It has ended; a spell goes on."""
        self._connected = False
        self.flowed_ns = None

    def asked(self, tokens: int, *, now_ns: int) -> None:
        """So many tokens are being asked for: their answers prove nothing."""
        self._owed = ANSWERS_PER_TOKEN * tokens + (self._owed if now_ns < self._owed_until_ns else 0)
        self._owed_until_ns = now_ns + int(ANSWER_S * SECOND_NS)

    def received(self, packets: int, *, now_ns: int) -> bool:
        """A frame of so many packets came; whether it ended a spell (then `whole_ns` is left to `asked_for_all`)."""
        self._heard_ns, self._unanswered, self._question_ns = now_ns, False, None
        if now_ns < self._owed_until_ns and packets <= self._owed:
            self._owed -= packets
            self._answered(packets, now_ns=now_ns)
            return self._deaf and self._end_spell()
        self._owed = self._answers = 0
        self._may_ask = True
        if not self._steps:
            self.whole_ns = now_ns
        if not self._instruments:
            return False
        if self.flowed_ns is not None and not self._steps:  # a pause that we ended is not its own
            self._rhythm.learn(now_ns - self.flowed_ns, now_ns=now_ns)
        self.flowed_ns = self._waits_from_ns = now_ns
        return self._steps > 0 and self._end_spell()

    def questioned(self, tokens: int, *, now_ns: int) -> None:
        """So many tokens, all that came, are asked for their cached packet alone; of none there is no answer."""
        self._is_answered = self._is_answered and tokens > 0
        self._may_ask, self._question_ns, self._answers = False, now_ns, tokens
        self._owed = tokens + (self._owed if now_ns < self._owed_until_ns else 0)
        self._owed_until_ns = max(self._owed_until_ns, now_ns + int(ANSWERED_S * SECOND_NS))

    def _answered(self, packets: int, *, now_ns: int) -> None:
        """When the last answer to a question has come, everything is known that the broker knew."""
        if not self._answers:
            return
        self._answers = max(0, self._answers - packets)
        if not self._answers and not self._steps:
            self._is_answered, self.whole_ns = True, now_ns

    def sure_ns(self, heartbeat_ns: int) -> int:
        """Up to when nothing was missed on a connection that ends, its last frame having come at `heartbeat_ns`.

        A heartbeat says that there is nothing to say. On a socket that flowed, while the market is open, only a tick is
        believed: it may have turned mute a moment ago. (Nothing came in between, so the hole is not told too long.)
        """
        flowed = self.flowed_ns is not None or self.mute_since_ns is not None
        return self.whole_ns if flowed and self._instruments else heartbeat_ns

    def asked_for_all(self, *, now_ns: int) -> int:
        """Everything is being asked for anew; how long before that something may have been missed."""
        unseen_ns, self.whole_ns = now_ns - self.whole_ns, now_ns
        self._unanswered = True
        return unseen_ns

    @property
    def unseen_ns(self) -> int | None:
        """Quiet for longer, the socket is unseen; nothing where that cannot be said."""
        if not self._instruments or not self._connected:
            return None
        return int(max(UNSEEN_S * SECOND_NS, UNSEEN_PAUSES * self._rhythm.mean_ns))

    @property
    def limit_ns(self) -> int:
        """How long it may be mute, as things are."""
        if self._unanswered:
            return self._shortest_ns
        own_ns = self._rhythm.limit_ns(instruments=self._instruments, now_ns=self._waits_from_ns)
        return max(self._shortest_ns, min(own_ns, int(MUTE_LIMIT_MAX_S * SECOND_NS)))

    @property
    def due_ns(self) -> int | None:
        """When `act` has something to do; nothing while the market is shut or there is no connection."""
        if self.reported and not self._instruments:
            return self._waits_from_ns + int(REPORT_STANDS_S * SECOND_NS)
        if not self._instruments or not self._connected:
            return None
        due_ns = self._waits_from_ns + self._wait_ns()
        if self._question_ns is None or not self._is_answered:
            return due_ns
        return min(due_ns, self._question_ns + int((1 - ASK_AT) * self._shortest_ns))

    @property
    def question_due_ns(self) -> int | None:
        """When the socket is to be asked whether it answers; nothing where its own limit is short enough."""
        if not self._instruments or not self._connected or self._steps or self._question_ns is not None:
            return None
        if self.limit_ns <= self._shortest_ns or not (self._may_ask or self._is_answered):
            return None
        part = ASK_AT if self._is_answered else FIRST_ASK_AT
        return max(self._heard_ns, self._waits_from_ns) + int(part * self._shortest_ns)

    def act(self, *, now_ns: int) -> Action | None:
        """The next action of the ladder, if it is due; taken as done (but for `asked_for_all`)."""
        due_ns = self.due_ns
        if due_ns is None or now_ns < due_ns:
            return None
        if not self._instruments:
            self._end_spell()
            return None
        if self.mute_since_ns is None:
            self._deaf = self._unanswered or (self._is_answered and self._question_ns is not None)
            self.mute_since_ns = max(self._heard_ns, self._waits_from_ns) if self._deaf else self._waits_from_ns
        action = LADDER[self._steps] if self._steps < len(LADDER) else Action.RECONNECT
        self._steps += 1
        self._waits_from_ns, self._question_ns = now_ns, None
        self.reported = self.reported or action is Action.REPORT
        return action

    def _wait_ns(self) -> int:
        limit_ns = self.limit_ns
        beyond = self._steps - len(LADDER)
        if beyond < 0:
            return limit_ns
        return max(limit_ns, min(limit_ns << min(beyond + 1, 16), int(MUTE_RETRY_MAX_S * SECOND_NS)))

    def _end_spell(self) -> bool:
        over = self._steps > 0
        self._steps, self._deaf, self.mute_since_ns, self.reported = 0, False, None, False
        return over
