"""One socket's subscriptions, by the broker's rules; no socket in it.

Text in, texts out; what is to be sent is asked for. Documented or confirmed by the vendor: a new token has mode
*quote*; of more than 3,000 tokens the excess is refused with an error text while the rest stays; anything but numbers
as tokens is answered with an error text and subscribes nothing; every subscribe and mode change yields one cached
packet at once, and after that a packet comes only when something that its mode shows has changed. Only presumed: the
exact JSON of the error texts, that `mode` for a token that is not subscribed does nothing, that unknown requests are
ignored.

Between two takes an instrument that changed many times is due once, with its newest row: a slow reader gets
snapshots further apart, never a backlog.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ticker_sim import wire
from ticker_sim.market import Places
from ticker_sim.wire import MODE_BY_NAME, Mode, Modes, Rows

INSTRUMENTS_MAX: Final = 3_000
REQUEST_CHARS_MAX: Final = 1 << 20
ERROR_PARSING: Final = "Error parsing instrument tokens"
TOKEN_MAX: Final = 0xFFFF_FFFF


def error_too_many(instruments_max: int) -> str:
    """The broker's words for tokens beyond the cap."""
    return f"Can't subscribe to more than {instruments_max} instruments."


def text_frame(kind: str, data: Any) -> str:
    """A text message of the broker."""
    return json.dumps({"type": kind, "data": data})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request did.

    Attributes
    ----------
    action
        ``subscribe``, ``unsubscribe``, ``mode`` or ``ignored``.
    accepted, refused
        Numbers of tokens.
    texts
        Messages to send.
    mode
        The mode asked for, with ``mode``.
    """

    action: str
    accepted: int = 0
    refused: int = 0
    texts: tuple[str, ...] = ()
    mode: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What is to be sent now: places in the market and the mode of each, ascending by place."""

    places: Places
    modes: Modes


@dataclass(slots=True)
class SocketSession:
    """Subscriptions of one socket over a market of `size` instruments.

    Parameters
    ----------
    place_of
        Token → place in the market's columns. Other tokens may be subscribed too; nothing ever comes for them.
    instruments_max
        Cap on distinct tokens.
    """

    place_of: dict[int, int]
    instruments_max: int = INSTRUMENTS_MAX
    quote_first: bool = False
    _unlisted: set[int] = field(default_factory=set)
    modes: Modes = field(init=False)
    _due: NDArray[np.bool_] = field(init=False)
    _forced: NDArray[np.bool_] = field(init=False)
    _fresh: NDArray[np.bool_] = field(init=False)
    _sent: wire.Octets = field(init=False)

    def __post_init__(self) -> None:
        size = len(self.place_of)
        self.modes = np.zeros(size, np.uint8)
        self._due = np.zeros(size, np.bool_)
        self._forced = np.zeros(size, np.bool_)
        self._fresh = np.zeros(size, np.bool_)
        self._sent = np.zeros((size, wire.ROW.itemsize), np.uint8)

    @property
    def subscribed(self) -> int:
        """Number of distinct tokens, listed or not."""
        return int(np.count_nonzero(self.modes)) + len(self._unlisted)

    @property
    def places(self) -> Places:
        """Subscribed places."""
        return np.flatnonzero(self.modes)

    def receive_text(self, text: str, *, keep: int | None = None) -> Answer:
        """Carry out one request.

        Parameters
        ----------
        keep
            A fault: silently forget all tokens of a subscribe but the first `keep`.
        """
        if len(text) > REQUEST_CHARS_MAX:
            return Answer("ignored")
        try:
            request = json.loads(text)
        except ValueError:
            return Answer("ignored")
        if not isinstance(request, dict):
            return Answer("ignored")
        action, value = request.get("a"), request.get("v")
        if action == "mode":
            if not (isinstance(value, list) and len(value) == 2 and value[0] in MODE_BY_NAME):
                return Answer("ignored")
            return self._set_mode(value[0], value[1])
        if action not in ("subscribe", "unsubscribe"):
            return Answer("ignored")
        tokens = _tokens(value)
        if tokens is None:
            return Answer(action, texts=(text_frame("error", ERROR_PARSING),))
        return self._subscribe(tokens[:keep]) if action == "subscribe" else self._unsubscribe(tokens)

    def notice(self, places: Places) -> bool:
        """Remember that these places changed; answers whether anything subscribed did."""
        watched = places[self.modes[places] != Mode.NONE]
        self._due[watched] = True
        return bool(len(watched))

    def pending(self, *, muted: NDArray[np.bool_] | None = None) -> int:
        """Number of instruments that wait to be looked at."""
        return int(np.count_nonzero(self._due if muted is None else self._due & ~muted))

    def take(self, rows: Rows, *, muted: NDArray[np.bool_] | None = None) -> Taken:
        """Everything that is due: forced cached packets, and changes that the mode shows. It counts as sent."""
        places = np.flatnonzero(self._due if muted is None else self._due & ~muted)
        modes = self.modes[places]
        if self.quote_first:
            hasty = self._fresh[places] & (modes == Mode.FULL)
            modes = np.where(hasty, np.uint8(Mode.QUOTE), modes).astype(np.uint8)
        else:
            hasty = np.zeros(len(places), np.bool_)
        visible = wire.visible_octets(rows[places], modes)
        chosen = self._forced[places] | (visible != self._sent[places]).any(axis=1)
        self._due[places] = self._forced[places] = hasty  # a hasty one comes again, in the mode that was asked for
        self._fresh[places] = False
        self._sent[places[chosen]] = visible[chosen]
        return Taken(places[chosen], modes[chosen])

    def _subscribe(self, tokens: list[int]) -> Answer:
        accepted = refused = 0
        room = self.instruments_max - self.subscribed
        listed: list[int] = []
        for token in dict.fromkeys(tokens):
            place = self.place_of.get(token)
            known = token in self._unlisted if place is None else self.modes[place] != Mode.NONE
            if not known and room <= 0:
                refused += 1
                continue
            room -= not known
            accepted += 1
            if place is None:
                self._unlisted.add(token)
                continue
            if not known:
                self.modes[place] = Mode.QUOTE
                self._fresh[place] = True
            listed.append(place)
        self._force(listed)
        texts = (text_frame("error", error_too_many(self.instruments_max)),) if refused else ()
        return Answer("subscribe", accepted, refused, texts)

    def _unsubscribe(self, tokens: list[int]) -> Answer:
        accepted = 0
        for token in dict.fromkeys(tokens):
            place = self.place_of.get(token)
            if place is None:
                accepted += token in self._unlisted
                self._unlisted.discard(token)
                continue
            accepted += bool(self.modes[place])
            self.modes[place] = Mode.NONE
            self._due[place] = self._forced[place] = self._fresh[place] = False
        return Answer("unsubscribe", accepted)

    def _set_mode(self, name: str, value: Any) -> Answer:
        tokens = _tokens(value)
        if tokens is None:
            return Answer("mode", texts=(text_frame("error", ERROR_PARSING),), mode=name)
        places = [self.place_of[token] for token in dict.fromkeys(tokens) if token in self.place_of]
        places = [place for place in places if self.modes[place] != Mode.NONE]
        self.modes[places] = MODE_BY_NAME[name]
        self._force(places)
        return Answer("mode", len(places), mode=name)

    def _force(self, places: list[int]) -> None:
        self._due[places] = True
        self._forced[places] = True


def _tokens(value: Any) -> list[int] | None:
    """The tokens of a request; `None` when anything in it is not a number that could be one."""
    if not isinstance(value, list):
        return None
    good = all(type(token) is int and 0 <= token <= TOKEN_MAX for token in value)
    return value if good else None
