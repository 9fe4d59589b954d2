"""One socket's session by bytes and virtual time: what it decides, sends, waits for and tells."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.feed_story import FIRST, MS, OTHER_KEY, SECOND, SETTINGS, Story
from ticker_crds import AssignedInstrument, AssignmentTable, Mode
from ticker_shard.feed.events import BinaryKind, ChangeKind, CloseReason, SessionState, TextKind
from ticker_shard.feed.messages import TEXT_BYTES_MAX, read_text
from ticker_shard.feed.pool import KiteWebSocketPool
from ticker_shard.feed.session import KiteSession
from ticker_shard.feed.setbacks import backoff_ns
from ticker_shard.feed.settings import Credentials
from ticker_shard.feed.transitions import TRANSITIONS, Cause, IllegalTransitionError
from ticker_shard.ticks.instruments import InstrumentTable, build_instruments


@pytest.fixture
def story() -> Story:
    return Story(KiteSession(SETTINGS, chance=Random(3)))


# -- transitions -------------------------------------------------------------------------------------------------------


def session_in(state: SessionState) -> KiteSession:
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


TELLING = {
    Cause.UPGRADED: lambda session: session.upgraded(now_ns=1),
    Cause.FORBIDDEN: lambda session: session.refused(403, now_ns=1),
    Cause.LIMITED: lambda session: session.refused(429, now_ns=1),
    Cause.FAILED: lambda session: session.failed(CloseReason.UNREACHABLE, now_ns=1),
    Cause.STOP: lambda session: session.stop(),
}


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("cause", TELLING)
def test_the_table_is_what_happens(state: SessionState, cause: Cause) -> None:
    session = session_in(state)
    assert session.state is state

    if (state, cause) in TRANSITIONS:
        TELLING[cause](session)
        assert session.state is TRANSITIONS[state, cause]
    else:
        session.drain_changes()
        before = session.status()
        with pytest.raises(IllegalTransitionError):
            TELLING[cause](session)
        assert session.status() == before
        assert session.drain_changes() == []


def test_every_state_can_be_stopped_and_none_is_left_afterwards() -> None:
    assert {after for (state, _), after in TRANSITIONS.items() if state is SessionState.STOPPED} == {
        SessionState.STOPPED
    }
    assert {state for state, cause in TRANSITIONS if cause is Cause.STOP} == set(SessionState)


# -- subscribing -------------------------------------------------------------------------------------------------------


def test_everything_wanted_is_subscribed_in_its_mode_when_the_socket_opens(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.LTP, t3=Mode.QUOTE).open()

    assert story.subscribed == {1: "full", 2: "ltp", 3: "quote"}
    assert story.expected == {1, 2, 3}
    assert story.session.missing == [1, 2, 3]


def test_nothing_is_sent_while_the_socket_is_not_open(story: Story) -> None:
    story.want(t1=Mode.FULL)

    assert story.messages == []
    assert story.session.status().wanted == 1


def test_lists_are_cut_into_chunks() -> None:
    story = Story(KiteSession(replace(SETTINGS, chunk=500), chance=Random(1)))

    story.session.want(dict.fromkeys(range(1, 1_202), Mode.FULL), now_ns=story.now_ns)
    story.open()

    assert [len(message["v"]) for message in story.messages if message["a"] == "subscribe"] == [500, 500, 201]  # type: ignore[arg-type]
    assert set(story.subscribed.values()) == {"full"}


def test_a_new_table_sends_only_the_difference_and_frees_room_first(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL, t3=Mode.FULL).open()
    story.session.confirm([1, 2, 3])
    story.messages.clear()
    story.expected.clear()

    story.want(t2=Mode.FULL, t3=Mode.LTP, t4=Mode.FULL)

    assert [message["a"] for message in story.messages] == ["unsubscribe", "subscribe", "mode", "mode"]
    assert story.subscribed == {2: "full", 3: "ltp", 4: "full"}
    assert story.expected == {3, 4}
    assert story.session.missing == [3, 4]


def test_a_token_that_stands_for_another_contract_is_asked_for_anew(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1, 2])
    story.messages.clear()
    story.expected.clear()

    story.session.want({1: Mode.FULL, 2: Mode.FULL}, recycled=[2], now_ns=story.now_ns)
    story.sync()

    assert [(message["a"], message["v"]) for message in story.messages] == [("subscribe", [2]), ("mode", ["full", [2]])]
    assert story.expected == {2}
    assert story.session.missing == [2]
    story.session.confirm([2])
    assert story.session.status().warm


def contracts(*names: str) -> InstrumentTable:
    """Some contracts, under the tokens 1, 2 and so on."""
    rows = tuple(
        AssignedInstrument(token, "NFO", name, Mode.FULL, channels=()) for token, name in enumerate(names, start=1)
    )
    return build_instruments(AssignmentTable("acc1", 1, (), rows))


async def test_the_pool_finds_out_which_tokens_were_recycled() -> None:
    pool = KiteWebSocketPool(SETTINGS, on_frame=lambda *_: (), on_expect=lambda _: None, on_change=lambda _: None)
    story = Story(pool._shells[0].session)
    table = contracts("NIFTY20NOV", "INFY")
    pool.want(table)
    story.open()
    story.session.confirm(table.tokens.tolist())
    assert pool.status().warm

    recycled = contracts("NIFTY27NOV", "INFY")
    assert recycled.tokens.tolist() == table.tokens.tolist()
    pool.want(recycled)

    assert story.session.missing == [int(table.tokens[0])]


def test_a_confirmation_in_an_earlier_mode_does_not_count_for_the_new_one(story: Story) -> None:
    story.want(t1=Mode.FULL).open()
    story.session.confirm([1])
    story.want(t1=Mode.QUOTE).want(t1=Mode.FULL)

    assert story.session.missing == [1]


def test_confirmation_of_everything_is_told_once_and_again_after_a_change(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.session.confirm([1])
    assert ChangeKind.CONFIRMED not in dict(story.changes)

    story.session.confirm([2, 1])
    assert story.changes == [(ChangeKind.CONFIRMED, "2")]

    story.want(t1=Mode.FULL, t2=Mode.FULL, t3=Mode.FULL)
    assert story.changes == []
    story.session.confirm([3])
    assert story.changes == [(ChangeKind.CONFIRMED, "3")]


def test_a_token_nobody_asked_for_confirms_nothing(story: Story) -> None:
    story.want(t1=Mode.FULL).open()

    story.session.confirm([99])

    assert story.session.status().confirmed == 0


def test_an_empty_assignment_is_confirmed_by_opening(story: Story) -> None:
    story.open()

    assert story.changes[-1] == (ChangeKind.CONFIRMED, "0")
    assert story.session.status().warm


def test_after_a_reconnect_nothing_counts_as_confirmed_and_all_is_asked_for_again(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.LTP).open()
    story.session.confirm([1, 2])
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
    assert story.session.status().confirmed == 0

    story.later(40_000, alive=False)
    story.open()

    assert story.subscribed == {1: "full", 2: "ltp"}
    assert story.session.missing == [1, 2]


def test_what_is_taken_away_and_given_back_within_a_moment_begins_anew(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1, 2])
    story.messages.clear()
    story.expected.clear()

    story.session.want({1: Mode.FULL}, now_ns=story.now_ns)  # whoever reads packets has let its row go
    story.session.want({1: Mode.FULL, 2: Mode.FULL}, now_ns=story.now_ns)
    assert story.session.missing == [2]
    story.sync()

    assert story.messages == [{"a": "subscribe", "v": [2]}, {"a": "mode", "v": ["full", [2]]}]
    assert story.expected == {2}
    story.session.confirm([2])
    assert story.session.status().warm


def test_what_had_not_come_when_it_was_taken_away_and_given_back_is_still_waited_for(story: Story) -> None:
    story.want(t1=Mode.FULL).open()
    story.session.want({}, now_ns=story.now_ns)
    story.want(t1=Mode.FULL)
    story.messages.clear()

    story.later(3_000)

    assert story.messages[0] == {"a": "subscribe", "v": [1]}


# -- repair ------------------------------------------------------------------------------------------------------------


def test_what_does_not_come_is_asked_for_again_then_listed_and_never_given_up(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.messages.clear()
    story.expected.clear()

    story.later(2_999)
    assert story.messages == []
    story.later(1)
    assert story.messages == [{"a": "subscribe", "v": [2]}, {"a": "mode", "v": ["full", [2]]}]
    assert story.expected == {2}, "what was looked for may have come over another socket, where it confirmed nothing"
    assert not story.session.status().warm

    story.later(5_999)
    assert story.session.status().unconfirmed == ()
    story.later(1)
    assert story.session.status().unconfirmed == (2,)
    assert story.session.status().warm, "one dead instrument does not hold up the rest"
    assert (ChangeKind.UNCONFIRMED, "1") in story.changes

    story.messages.clear()
    story.later(120_000)
    assert 5 <= len(story.messages) / 2 <= 10, "asking goes on, slowly"


def test_a_late_packet_takes_the_instrument_off_the_list(story: Story) -> None:
    story.want(t1=Mode.FULL).open().later(10_000)
    assert story.session.status().unconfirmed == (1,)

    story.session.confirm([1])

    assert story.session.status().unconfirmed == ()
    assert story.changes[-2:] == [(ChangeKind.UNCONFIRMED, "0"), (ChangeKind.CONFIRMED, "1")]


def test_an_instrument_no_longer_wanted_leaves_the_list(story: Story) -> None:
    story.want(t1=Mode.FULL, t2=Mode.FULL).open()
    story.session.confirm([1])
    story.later(10_000).want(t1=Mode.FULL)

    assert story.session.status().unconfirmed == ()
    assert story.changes[-1] == (ChangeKind.CONFIRMED, "1")


# -- life and death ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["heartbeat", "ticks", "text", "junk", "ping"])
def test_any_frame_is_a_sign_of_life(story: Story, sign: str) -> None:
    story.open().later(6_999, alive=False)
    match sign:
        case "heartbeat":
            assert story.session.receive_binary(1, now_ns=story.now_ns) is BinaryKind.HEARTBEAT
        case "ticks":
            assert story.session.receive_binary(12, now_ns=story.now_ns) is BinaryKind.TICKS
        case "text":
            story.session.receive_text(b'{"type":"message","data":"x"}', now_ns=story.now_ns)
        case "junk":
            story.session.receive_text(b"\xff\xfe", now_ns=story.now_ns)
        case "ping":
            story.session.receive_control(now_ns=story.now_ns)

    story.later(6_999, alive=False)
    assert story.session.state is SessionState.OPEN
    story.later(1, alive=False)
    assert story.session.state is SessionState.BACKING_OFF
    assert story.session.status().last_close is CloseReason.SILENT
    assert "7000" in story.session.status().close_text


def test_back_off_grows_while_nothing_lives_and_starts_again_after_a_life(story: Story) -> None:
    waits = []

    def fail() -> None:
        before = story.now_ns
        deadline = story.session.next_deadline_ns()
        assert deadline is not None
        waits.append((deadline - before) // MS)
        story.later(31_000, alive=False)
        assert story.session.state is SessionState.CONNECTING

    story.open()
    for _ in range(6):  # accepted and dropped at once: an upgrade alone resets nothing
        story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        fail()
        story.open()
    ceilings = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True)), waits
    assert max(waits) > 2_000

    story.later(SETTINGS.stable_ms)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
    fail()
    assert waits[-1] <= 1_000


def test_a_connection_that_opened_long_ago_but_brought_nothing_resets_nothing() -> None:
    story = Story(KiteSession(replace(SETTINGS, silence_ms=20_000), chance=Random(3)))
    story.open()
    for _ in range(5):
        story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        story.later(31_000, alive=False)
        story.open()
    story.later(19_000, alive=False)
    story.session.lost(CloseReason.LOST, now_ns=story.now_ns)

    deadline = story.session.next_deadline_ns()
    assert deadline is not None
    assert deadline - story.now_ns > 1_000 * MS


@pytest.mark.parametrize("seed", range(5))
def test_a_hundred_connections_accepted_and_dropped_make_no_storm(seed: int) -> None:
    story = Story(KiteSession(SETTINGS, chance=Random(seed)))
    upgrades_ms: list[int] = []
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    while len(upgrades_ms) < 100:
        if story.session.state is SessionState.CONNECTING:
            upgrades_ms.append(story.now_ms)
            story.open()
            story.session.receive_binary(1, now_ns=story.now_ns)
            story.session.lost(CloseReason.LOST, now_ns=story.now_ns)
        story.later(50, alive=False)

    steady = [after - before for before, after in pairwise(upgrades_ms)][5:]
    assert max(steady) > SETTINGS.backoff_max_ms / 2
    mean_ms = sum(steady) / len(steady)
    assert mean_ms == pytest.approx(SETTINGS.backoff_max_ms / 2, rel=0.3), "full jitter below the highest ceiling"
    for start in upgrades_ms[6:-1]:
        in_a_minute = sum(start <= at < start + 60_000 for at in upgrades_ms)
        assert in_a_minute <= 15, "never a burst, wherever one looks"


def test_full_jitter_fills_the_range_below_the_ceiling() -> None:
    chance = Random(11)
    waits = [backoff_ns(3, settings=SETTINGS, chance=chance) // MS for _ in range(2_000)]

    assert min(waits) < 400
    assert max(waits) > 7_600
    assert max(waits) <= 8_000
    assert backoff_ns(500, settings=SETTINGS, chance=chance) <= 30_000 * MS


def test_429_waits_long_whatever_came_before(story: Story) -> None:
    for _ in range(5):
        if story.session.state is SessionState.IDLE:
            story.session.set_credentials(FIRST, now_ns=story.now_ns)
        story.session.begin()
        story.session.refused(429, now_ns=story.now_ns)
        story.later(29_999, alive=False)
        assert story.session.state is SessionState.RATE_LIMITED
        story.later(10_001, alive=False)
        assert story.session.state is SessionState.CONNECTING


# -- credentials -------------------------------------------------------------------------------------------------------


def test_403_waits_for_other_credentials_for_ever(story: Story) -> None:
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.session.begin()
    story.session.refused(403, now_ns=story.now_ns)
    assert story.session.next_deadline_ns() is None
    since = story.session.status().rejected_since_ns
    assert since == story.now_ns

    story.later(86_400_000, alive=False)
    story.session.set_credentials(Credentials("key", "t1"), now_ns=story.now_ns)
    assert story.session.state is SessionState.REJECTED

    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND
    assert story.session.status().rejected_since_ns is None


def test_403_for_credentials_that_were_replaced_meanwhile_is_not_the_end(story: Story) -> None:
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.session.begin()
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    story.session.refused(403, now_ns=story.now_ns)

    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND


def test_new_credentials_end_a_back_off_but_not_the_wait_after_429(story: Story) -> None:
    backing_off, limited = session_in(SessionState.BACKING_OFF), session_in(SessionState.RATE_LIMITED)
    backing_off.set_credentials(SECOND, now_ns=2)
    limited.set_credentials(SECOND, now_ns=2)
    assert backing_off.state is SessionState.CONNECTING
    assert limited.state is SessionState.RATE_LIMITED

    limited.set_credentials(OTHER_KEY, now_ns=3)
    assert limited.state is SessionState.CONNECTING


def test_a_streaming_socket_is_kept_and_a_tickless_one_replaced_for_a_new_token(story: Story) -> None:
    story.want(t1=Mode.FULL).open().later(1_000)
    story.session.receive_binary(188, now_ns=story.now_ns)
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    assert story.session.state is SessionState.OPEN

    story.later(59_999)
    assert story.session.state is SessionState.OPEN
    story.later(1)
    assert story.session.state is SessionState.CONNECTING
    assert story.session.begin() == SECOND
    assert story.session.status().last_close is CloseReason.CREDENTIALS


def test_another_key_replaces_the_connection_at_once(story: Story) -> None:
    story.open()
    story.session.set_credentials(OTHER_KEY, now_ns=story.now_ns)

    assert story.session.state is SessionState.CONNECTING


def test_a_token_put_back_before_it_was_used_changes_nothing(story: Story) -> None:
    story.open()
    story.session.set_credentials(SECOND, now_ns=story.now_ns)
    story.session.set_credentials(FIRST, now_ns=story.now_ns)
    story.later(120_000)

    assert story.session.state is SessionState.OPEN


def test_credentials_are_never_printed() -> None:
    assert "t1" not in repr(FIRST) + str(FIRST) + f"{FIRST}"


# -- texts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        (b'{"type":"order","data":{"order_id":"1","user_id":"AB1234"}}', TextKind.ORDER, ""),
        (b'{"type":"error","data":"Error parsing tokens"}', TextKind.ERROR, "Error parsing tokens"),
        (
            b'{"type":"error","data":"Can\'t subscribe to more than 3000 instruments."}',
            TextKind.TOO_MANY_INSTRUMENTS,
            "Can't subscribe to more than 3000 instruments.",
        ),
        (b'{"type":"error","data":{"code":1}}', TextKind.ERROR, '{"code": 1}'),
        (b'{"type":"message","data":"hello"}', TextKind.MESSAGE, "hello"),
        (b'{"type":"instruments_meta","data":{"count":2}}', TextKind.INSTRUMENTS_META, '{"count": 2}'),
        (b'{"type":"app_code","timestamp":"x"}', TextKind.UNKNOWN, "app_code"),
        (b'{"type":["order"]}', TextKind.UNKNOWN, '["order"]'),
        (b"{}", TextKind.UNKNOWN, "null"),
        (b"[1,2]", TextKind.JUNK, "JSON, but a list where an object was expected"),
        (b'"order"', TextKind.JUNK, "JSON, but a str where an object was expected"),
        (b"", TextKind.JUNK, "not JSON"),
        (b"\xff\xfe", TextKind.JUNK, "not JSON"),
        (b"[" * 60_000, TextKind.JUNK, "not JSON"),
        (b" " * (TEXT_BYTES_MAX + 1), TextKind.JUNK, f"{TEXT_BYTES_MAX + 1} bytes of text, {TEXT_BYTES_MAX} are read"),
    ],
)  # fmt: skip
def test_texts_become_counted_events_and_never_errors(story: Story, payload: bytes, kind: TextKind, text: str) -> None:
    story.open()
    story.session.drain_changes()

    assert story.session.receive_text(payload, now_ns=story.now_ns) is kind

    [change] = story.session.drain_changes()
    assert (change.kind, change.detail, change.text) == (ChangeKind.TEXT, kind, text)
    assert story.session.status().counts[f"text_{kind}"] == 1
    assert story.session.state is SessionState.OPEN


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_text_is_understood_somehow(payload: bytes) -> None:
    kind, text = read_text(payload)

    assert kind in TextKind
    assert len(text) <= 300


# -- everything at once ------------------------------------------------------------------------------------------------


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
