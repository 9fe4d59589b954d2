"""One process's sockets in a hand-over: which it may open, which it may close, how many lanes it publishes in. Pure.

The broker lets an account have `SOCKETS_MAX` sockets. Two processes with two each do not fit, so a lane changes hands
with its socket: the old process closes a lane's socket when the lane is another's, and only then calls its next lane
leaving; the new one opens its next socket when the records say that this place is free. So a record that is *leaving*
says more than that its holder gives way: the sockets of the lanes before are closed.

A process publishes in as many lanes as the one before it did, whatever its own sockets are, so that at any time each
instrument has one voice. When every record is its own it goes over to as many lanes as it has sockets: within one
process an instrument changes its lane between two rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ticker_crds.constants import SOCKETS_MAX
from ticker_shard.publish.fence import ChannelState
from ticker_shard.publish.handover_terms import ChannelTerm
from ticker_shard.publish.lanes import split_lane
from ticker_shard.publish.watching import Watcher


@dataclass(slots=True)
class _Feed:
    warm: bool = False
    cold_since_ns: int | None = None
    yielding: bool = False


@dataclass(slots=True)
class Stages:
    """What one process knows of its sockets and lanes.

    Parameters
    ----------
    sockets
        Of this process, 1 to so many.

    Attributes
    ----------
    parts
        In how many lanes its instruments are.
    allowed
        Sockets that it may have open: the first so many.
    known
        The records have told it so.
    """

    sockets: int = 1
    parts: int = 1
    allowed: int = 1
    known: bool = False
    _feeds: dict[int, _Feed] = field(default_factory=dict)
    _closed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        assert 1 <= self.sockets <= SOCKETS_MAX, self.sockets
        self._feeds = {socket: _Feed() for socket in range(1, self.sockets + 1)}

    @property
    def lanes(self) -> int:
        """How many lanes of each channel this process wants to hold; those beyond `parts` are empty yet."""
        return max(self.parts, self.sockets)

    # -- the feed

    def fed(self, socket: int, *, warm: bool, now_ns: int) -> bool:
        """A socket delivers everything that is wanted of it, or no longer; whether it does and did not before."""
        feed = self._feeds[socket]
        turned_warm = warm and not feed.warm
        if warm:
            feed.cold_since_ns, feed.yielding = None, False
        elif feed.warm or feed.cold_since_ns is None:
            feed.cold_since_ns = now_ns
        feed.warm = warm
        return turned_warm

    def let_time_pass(self, *, now_ns: int, yield_ns: int) -> None:
        """Whoever has had no feed for so long gives way."""
        for socket, feed in self._feeds.items():
            cold = feed.cold_since_ns is not None and now_ns - feed.cold_since_ns >= yield_ns
            if cold and socket <= self.allowed:
                feed.yielding = True

    def yield_due_ns(self, *, yield_ns: int) -> int | None:
        """When the next socket will have been without feed for too long."""
        due = [
            feed.cold_since_ns + yield_ns
            for socket, feed in self._feeds.items()
            if feed.cold_since_ns is not None and not feed.yielding and socket <= self.allowed
        ]
        return min(due, default=None)

    @property
    def warm(self) -> bool:
        """Every socket that may be open delivers, and it is known which may."""
        known = self.known or self.sockets == 1
        return known and all(feed.warm for socket, feed in self._feeds.items() if socket <= self.allowed)

    @property
    def yields(self) -> bool:
        """Any socket has not delivered for long."""
        return True in [feed.yielding for feed in self._feeds.values()]

    def lane_warm(self, lane: int) -> bool:
        """The sockets of this lane's instruments deliver."""
        return all(self._feeds[socket].warm for socket in self.sockets_of(lane))

    def lane_yields(self, lane: int) -> bool:
        """One of them has not for long."""
        return any(self._feeds[socket].yielding for socket in self.sockets_of(lane))

    def sockets_of(self, lane: int) -> range:
        """Where a lane's instruments may be: on its own socket, or on any while lanes and sockets differ."""
        own = self.parts == self.sockets and lane <= self.sockets
        return range(lane, lane + 1) if own else range(1, self.sockets + 1)

    # -- places

    def look(self, terms: Mapping[str, ChannelTerm], *, watcher: Watcher, sent_ns: int) -> None:
        """Conclude from a poll which places are taken; nothing, while any record was not read yet that can be read.

        Parameters
        ----------
        terms
            Of every lane of every channel, also of those that this process does not want.
        watcher
            Judges who may live.
        sent_ns
            When the poll left.
        """
        unheld = {name: term for name, term in terms.items() if term.held is None}
        if _unread(unheld):
            return
        alive: dict[int, bool] = {}  # lane -> whether every record of it is leaving
        for name, term in unheld.items():
            record, lane = term.observed, split_lane(name)[1]
            if record is not None and watcher.may_live(term, sent_ns=sent_ns):
                alive[lane] = alive.get(lane, True) and record.state is ChannelState.LEAVING
        if not alive:
            theirs = 0
        elif 1 in alive:
            theirs = max(*alive, self.parts if len(unheld) < len(terms) else _divided(terms))
        else:
            # The first of their sockets is closed before any of these is called leaving.
            theirs = len(alive) + (not all(alive.values()))
        kept = self.allowed if len(unheld) < len(terms) else self._delivering()
        allowed = max(kept, min(self.sockets, SOCKETS_MAX - theirs))
        for socket in range(min(self.allowed, allowed) + 1, max(self.allowed, allowed) + 1):
            feed = self._feeds[socket]
            feed.cold_since_ns, feed.yielding = None, False  # it was not to deliver before, or is not any more
        self.allowed, self.known = allowed, True

    def _delivering(self) -> int:
        """Sockets that a process which holds nothing keeps, whatever the records say.

        It may have been allowed more too early: one that has just started claims its first lane with both its sockets
        open, and the next when its window of silence is over.
        """
        return max((socket for socket, feed in self._feeds.items() if feed.warm), default=1)

    def parts_due(self, terms: Mapping[str, ChannelTerm], *, wanted: Mapping[str, ChannelTerm], leaving: bool) -> int:
        """In how many lanes the instruments are to be.

        While this process holds nothing: as many as its predecessor's, dead or alive. When all that it wants is its
        own: one for each socket; but whoever gives way does not merge lanes while another one may be taking them.
        """
        if not any(term.held is not None or term.claim_sent for term in terms.values()):
            return self.parts if _unread(terms) else _divided(terms)
        whole = all(term.held is not None and not term.asserting for term in wanted.values())
        return self.sockets if whole and (self.parts < self.sockets or not leaving) else self.parts

    # -- the end

    def done(self, held: set[int]) -> frozenset[int]:
        """Sockets that a process which is to end needs no more; `held`: the lanes that it holds."""
        wanted = {socket for lane in held for socket in self.sockets_of(lane) if socket in self._feeds}
        return frozenset(self._feeds.keys() - wanted)

    def closed(self, socket: int) -> None:
        """A socket is closed for good."""
        self._closed.add(socket)

    def gives_way(self, lane: int, held: set[int]) -> bool:
        """Whether a process which is to end calls this lane leaving: those before are gone, their sockets closed."""
        if any(before in held for before in range(1, lane)):
            return False
        places = range(1, min(lane, self.allowed + 1)) if self.parts == self.sockets else ()
        return self._closed.issuperset(places)


def _unread(terms: Mapping[str, ChannelTerm]) -> bool:
    """Whether a record is still to be read; one that Redis refuses to read keeps nobody waiting."""
    return any(term.since_ns is None and not term.refused for term in terms.values())


def _divided(terms: Mapping[str, ChannelTerm]) -> int:
    """The highest lane whose record is in use, by whomever.

    Where none is, one: a record that was freed tells since when nobody published, but the first one only for sure.
    """
    used = [
        split_lane(name)[1]
        for name, term in terms.items()
        if term.observed is not None and term.observed.state is not ChannelState.FREE
    ]
    return max(used, default=1)
