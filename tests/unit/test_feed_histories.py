"""Any history of one socket ends well once the broker is well."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.feed_story import SETTINGS, Story
from ticker_crds import Mode
from ticker_shard.feed.events import CloseReason, SessionState
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.settings import Credentials


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens, once the broker is well everything wanted is subscribed, confirmed, and nothing else."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed: int) -> None:
        self.story = Story(KiteSession(replace(SETTINGS, chunk=2), chance=Random(seed)))
        self.wanted: dict[int, Mode] = {}
        self.tokens = 0

    @property
    def session(self) -> KiteSession:
        return self.story.session

    @rule(wanted=st.dictionaries(st.integers(1, 6), st.sampled_from(Mode), max_size=6))
    def table(self, wanted: dict[int, Mode]) -> None:
        self.wanted = wanted
        self.session.want(wanted, now_ns=self.story.now_ns)
        self.story.sync()

    @rule(other_key=st.booleans())
    def rotate(self, other_key: bool) -> None:
        self.tokens += 1
        key = f"key{self.tokens}" if other_key else "key"
        self.session.set_credentials(Credentials(key, f"t{self.tokens}"), now_ns=self.story.now_ns)
        self.story.sync()

    @precondition(lambda self: self.session.state is SessionState.CONNECTING)
    @rule(status=st.sampled_from([101, 101, 101, 403, 429, 503, 0]))
    def upgrade(self, status: int) -> None:
        self.session.begin()
        now_ns = self.story.now_ns
        if status == 101:
            self.story.subscribed.clear()
            self.session.upgraded(now_ns=now_ns)
            self.story.sync()
        elif status:
            self.session.refused(status, now_ns=now_ns)
        else:
            self.session.failed(CloseReason.UNREACHABLE, now_ns=now_ns)

    @precondition(lambda self: self.session.state is SessionState.OPEN)
    @rule(data=st.data())
    def packets(self, data: st.DataObject) -> None:
        """Some of what is subscribed sends a packet; only packets of the wanted mode confirm."""
        sent = data.draw(st.lists(st.sampled_from(range(1, 7)), max_size=6))
        good = [token for token in sent if self.story.subscribed.get(token) == self.wanted.get(token)]
        self.session.receive_binary(100, now_ns=self.story.now_ns)
        self.session.confirm(good)

    @precondition(lambda self: self.session.state is SessionState.OPEN)
    @rule()
    def drop(self) -> None:
        self.session.lost(CloseReason.LOST, now_ns=self.story.now_ns)

    @precondition(lambda self: self.session.state is SessionState.OPEN)
    @rule(data=st.data())
    def broker_forgets(self, data: st.DataObject) -> None:
        """A request got lost: only repair can bring it back."""
        if waiting := [token for token in self.session.missing if token in self.story.subscribed]:
            del self.story.subscribed[data.draw(st.sampled_from(waiting))]

    @rule(ms=st.sampled_from([1, 500, 3_000, 8_000, 45_000]), alive=st.booleans())
    def wait(self, ms: int, alive: bool) -> None:
        self.story.later(ms, alive=alive)

    @invariant()
    def counts_add_up(self) -> None:
        status = self.session.status()
        assert status.confirmed + len(self.session.missing) == status.wanted == len(self.wanted)
        assert set(status.unconfirmed) <= set(self.session.missing)
        if status.state is not SessionState.OPEN:
            assert status.confirmed == 0
        self.session.drain_changes()

    def teardown(self) -> None:
        if not hasattr(self, "story"):
            return
        self.rotate(other_key=True)
        for _ in range(200):
            if self.session.state is SessionState.CONNECTING:
                self.upgrade(101)
            self.story.later(1_000)
            if self.session.state is SessionState.OPEN:
                self.session.confirm(
                    [token for token, mode in self.story.subscribed.items() if self.wanted.get(token) == mode]
                )
        assert self.session.state is SessionState.OPEN
        assert self.story.subscribed == {token: mode.value for token, mode in self.wanted.items()}
        assert self.session.missing == []
        assert self.session.status().warm


AnyHistory.TestCase.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyHistory = AnyHistory.TestCase
