"""A session, virtual time and a peer: what a test of one socket is told with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random

from ticker_crds import Mode
from ticker_shard.feed.events import BinaryKind, ChangeKind, CloseReason, SessionState
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.settings import Credentials, FeedSettings

MS = 1_000_000
SETTINGS = FeedSettings(
    url="ws://broker", silence_ms=7_000, confirm_ms=3_000, confirm_attempts=3, confirm_max_ms=20_000, stable_ms=10_000,
    backoff_ms=1_000, backoff_max_ms=30_000, rate_limited_ms=(30_000, 40_000), recycle_quiet_ms=60_000,
)  # fmt: skip
FIRST, SECOND, OTHER_KEY = Credentials("key", "t1"), Credentials("key", "t2"), Credentials("other", "t1")
# The numbers in these stories depend on them.
assert SETTINGS.silence_ms > 2 * SETTINGS.confirm_ms
assert SETTINGS.stable_ms > SETTINGS.silence_ms


@dataclass
class Story:
    """A session, a clock, and a peer that keeps what it was sent.

    Attributes
    ----------
    answering
        The peer answers each subscription and each mode with a cached packet, as the broker does, and that confirms.
    answers
        To which of the two.
    """

    session: KiteSession
    now_ms: int = 1_000
    answering: bool = False
    answers: tuple[str, ...] = ("subscribe", "mode")
    subscribed: dict[int, str] = field(default_factory=dict)
    expected: set[int] = field(default_factory=set)
    messages: list[dict[str, object]] = field(default_factory=list)

    @property
    def now_ns(self) -> int:
        return self.now_ms * MS

    def open(self, credentials: Credentials = FIRST) -> Story:
        if self.session.state is SessionState.IDLE:
            self.session.set_credentials(credentials, now_ns=self.now_ns)
        self.session.begin()
        self.session.upgraded(now_ns=self.now_ns)
        self.subscribed.clear()
        return self.sync()

    def sync(self) -> Story:
        """Send what is to be sent; the peer does what the broker does."""
        outgoing = self.session.outgoing(now_ns=self.now_ns)
        self.expected |= set(outgoing.expect)
        for raw in outgoing.messages:
            message = json.loads(raw)
            self.messages.append(message)
            match message["a"], message["v"]:
                case "subscribe", tokens:
                    self.subscribed.update((token, self.subscribed.get(token, "quote")) for token in tokens)
                    self._answer(message["a"], tokens)
                case "mode", [mode, tokens]:
                    # For a token that is not subscribed a mode request has no effect.
                    self.subscribed.update((token, mode) for token in tokens if token in self.subscribed)
                    self._answer(message["a"], tokens)
                case "unsubscribe", tokens:
                    for token in tokens:
                        self.subscribed.pop(token, None)
        if self.answering:
            self.session.confirm(outgoing.expect)
        return self

    def _answer(self, action: str, tokens: list[int]) -> None:
        known = [token for token in tokens if token in self.subscribed]
        if self.answering and action in self.answers and known:
            self.tick(packets=len(known))

    def want(self, **modes: Mode) -> Story:
        self.session.want({int(name[1:]): mode for name, mode in modes.items()}, now_ns=self.now_ns)
        return self.sync()

    def tick(self, *, packets: int = 1) -> BinaryKind:
        """A frame of so many packets."""
        return self.session.receive_binary(2 + 10 * packets, packets=packets, now_ns=self.now_ns)

    def flow(self, ms: int, *, every_ms: int = 500) -> Story:
        """Packets come that nobody asked for."""
        end = self.now_ms + ms
        while self.now_ms < end:
            self.later(min(every_ms, end - self.now_ms))
            self.tick()
            self.sync()
        return self

    def later(self, ms: int, *, alive: bool = True) -> Story:
        """Time passes, deadline by deadline; `alive`: a heartbeat comes every second."""
        end = self.now_ms + ms
        while self.now_ms < end:
            deadline = self.session.next_deadline_ns()
            step = end if deadline is None else min(end, max(-(-deadline // MS), self.now_ms))
            if alive:
                step = min(step, self.now_ms + 1_000)
            self.now_ms = max(step, self.now_ms + 1)
            if alive and self.session.state is SessionState.OPEN:
                self.session.receive_binary(1, now_ns=self.now_ns)
            self.session.on_deadline(now_ns=self.now_ns)
            self.sync()
        return self

    @property
    def changes(self) -> list[tuple[ChangeKind, str]]:
        return [(change.kind, change.detail) for change in self.session.drain_changes()]


def session_in(state: SessionState) -> KiteSession:
    """A session that has come to this state."""
    session = KiteSession(SETTINGS, chance=Random(1))
    if state is SessionState.IDLE:
        return session
    session.set_credentials(FIRST, now_ns=0)
    session.begin()
    match state:
        case SessionState.OPEN:
            session.upgraded(now_ns=0)
        case SessionState.BACKING_OFF:
            session.failed(CloseReason.UNREACHABLE, now_ns=0)
        case SessionState.RATE_LIMITED:
            session.refused(429, now_ns=0)
        case SessionState.REJECTED:
            session.refused(403, now_ns=0)
        case SessionState.STOPPED:
            session.stop()
    return session
