"""What one socket is to stream, what the broker was asked for, and what has come. Pure.

*Wanted* (token → mode, from the assignment) and *confirmed* (token → mode, from packets of this connection) are two
sets; what is missing is their difference, computed whenever somebody asks. *Asked for* is what was requested on this
connection, because the next difference must be sent against it. A token that was asked for and has not come waits with
a due time: it is asked for again every `confirm_ms`, is listed as unconfirmed when `confirm_attempts` requests brought
nothing, and then waits twice as long each time. The broker answers a repeated subscription with its cached packet, so
asking again is repair and check in one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ticker_crds import Mode
from ticker_shard.feed.messages import mode_messages, subscribe_messages, unsubscribe_messages
from ticker_shard.feed.settings import FeedSettings

MILLISECOND_NS: Final = 1_000_000
DOUBLINGS_MAX: Final = 16  # keeps 2 ** n small; every ceiling is reached long before


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is to be sent now, in this order.

    Attributes
    ----------
    expect
        Tokens asked for: before `messages` leave, whoever reads packets must look for these.
    messages
        Texts, one frame each.
    asked
        How many tokens are asked for; the broker answers each.
    repeated
        How many of them are asked for again.
    """

    expect: tuple[int, ...] = ()
    messages: tuple[bytes, ...] = ()
    asked: int = 0
    repeated: int = 0


@dataclass(slots=True)
class _Waiting:
    """A token that was asked for and has not come."""

    times: int
    due_ns: int


class Subscriptions:
    """One socket's instruments.

    Parameters
    ----------
    settings
        Chunk size and waits.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self._settings = settings
        self._wanted: dict[int, Mode] = {}
        self._asked_for: dict[int, Mode] = {}
        self._confirmed: dict[int, Mode] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._again: list[int] = []
        self._renew: set[int] = set()
        self._cached: list[int] = []  # asked for what the broker has of them, and no more
        self._left: set[int] = set()  # were not wanted for a moment since the last `outgoing`

    @property
    def wanted(self) -> int:
        """Number of wanted tokens."""
        return len(self._wanted)

    @property
    def tokens(self) -> Collection[int]:
        """The wanted tokens."""
        return self._wanted.keys()

    @property
    def missing(self) -> list[int]:
        """Wanted tokens without a packet of the wanted mode on this connection."""
        if self._confirmed == self._wanted:  # nearly always, and asked several times a second
            return []
        return [token for token, mode in self._wanted.items() if self._confirmed.get(token) is not mode]

    @property
    def come(self) -> Collection[int]:
        """Tokens of which a packet of the wanted mode has come on this connection."""
        return self._confirmed.keys()

    @property
    def listed(self) -> frozenset[int]:
        """Tokens that were asked for often enough without an answer."""
        limit = self._settings.confirm_attempts
        return frozenset(token for token, waiting in self._waiting.items() if waiting.times > limit)

    @property
    def next_due_ns(self) -> int | None:
        """When `repeat` has something to do."""
        return min((waiting.due_ns for waiting in self._waiting.values()), default=None)

    def want(self, instruments: Mapping[int, Mode], *, recycled: Collection[int] = ()) -> None:
        """These and nothing else from now on; those `recycled` mean another contract, of which nothing has come."""
        assert len(instruments) <= self._settings.instruments_per_socket, len(instruments)
        self._wanted = dict(instruments)
        left = self._asked_for.keys() - self._wanted.keys()
        self._left |= left
        for token in left:
            self._confirmed.pop(token, None)
        for token in recycled:
            self._asked_for.pop(token, None)
            self._confirmed.pop(token, None)
        for token in [token for token in self._waiting if token not in self._wanted]:
            del self._waiting[token]

    def forget(self) -> None:
        """The connection has ended, or is new: nothing is asked for, nothing has come."""
        self._asked_for.clear()
        self._confirmed.clear()
        self._waiting.clear()
        self._again.clear()
        self._renew.clear()
        self._cached.clear()
        self._left.clear()

    def ask_again(self, tokens: Collection[int] | None = None) -> None:
        """Put these (or everything) into the next `outgoing`, although they have come: they have gone quiet."""
        self._renew.update(self._asked_for if tokens is None else tokens)

    def ask_for_cached(self, tokens: Collection[int]) -> None:
        """Set the modes of these once more in the next `outgoing`: each that is still subscribed is answered once."""
        self._cached = list(tokens)

    def confirm(self, tokens: Iterable[int]) -> bool:
        """The first packet of the wanted mode came for these; whether any of them was waited for."""
        before = len(self._waiting)
        for token in tokens:
            mode = self._asked_for.get(token)
            if mode is not None and mode is self._wanted.get(token):
                self._confirmed[token] = mode
                self._waiting.pop(token, None)
        return len(self._waiting) != before

    def repeat(self, *, now_ns: int) -> None:
        """Put what is due into the next `outgoing`."""
        settings = self._settings
        for token, waiting in self._waiting.items():
            if waiting.due_ns > now_ns:
                continue
            over = max(0, waiting.times + 1 - settings.confirm_attempts)  # doubling starts once it is listed
            wait_ms = min(settings.confirm_ms << min(over, DOUBLINGS_MAX), settings.confirm_max_ms)
            waiting.times += 1
            waiting.due_ns = now_ns + wait_ms * MILLISECOND_NS
            self._again.append(token)

    def outgoing(self, *, now_ns: int) -> Outgoing:
        """Messages that bring the broker from what it was asked to what is wanted; taken as sent."""
        wanted, asked_for = self._wanted, self._asked_for
        for token in self._left & wanted.keys():  # back before it was unsubscribed: its row is gone, so it begins anew
            asked_for.pop(token, None)
        self._left.clear()
        gone = [token for token in asked_for if token not in wanted]
        for token in gone:
            del asked_for[token]
        fresh = {token: mode for token, mode in wanted.items() if token not in asked_for}
        changed = {token: mode for token, mode in wanted.items() if asked_for.get(token, mode) is not mode}
        again = {token: wanted[token] for token in self._again if token in self._waiting and token not in changed}
        renewed = {token: wanted[token] for token in sorted(self._renew) if asked_for.get(token) is wanted.get(token)}
        cached = {token: wanted[token] for token in self._cached if token in wanted}
        self._again.clear()
        self._renew.clear()
        self._cached.clear()
        due_ns = now_ns + self._settings.confirm_ms * MILLISECOND_NS
        for token, mode in (fresh | changed).items():
            asked_for[token] = mode
            self._confirmed.pop(token, None)
            self._waiting[token] = _Waiting(times=1, due_ns=due_ns)
        chunk = self._settings.chunk
        # First what frees room, then what needs it. A token's mode follows its subscription in the next message,
        # because the broker starts every new token in quote mode.
        messages = [
            *unsubscribe_messages(gone, chunk=chunk),
            *subscribe_messages(fresh | again | renewed, chunk=chunk),
            *mode_messages(changed | cached, chunk=chunk),
        ]
        asked = len(fresh) + len(changed) + len(again | renewed)
        # Those asked for again too: the packet that was looked for may have come over the socket they were on before,
        # where it confirmed nothing.
        expect = (*fresh, *changed, *(again | renewed))
        return Outgoing(expect, tuple(messages), asked=asked, repeated=len(again | renewed))
