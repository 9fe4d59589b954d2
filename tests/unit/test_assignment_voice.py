"""One process speaks for a shard: the holder while it lives and holds a channel, else who holds the first channel."""

from __future__ import annotations

import pytest

from ticker_shard.assignment import LeaseState
from ticker_shard.assignment.voice import RENEW_S, WINDOW_S, Held, LeaseWatcher, VoiceMove, decide_voice

S = 1_000_000_000


@pytest.mark.parametrize(
    ("lease", "held", "other_holds", "expected"),
    [
        pytest.param(LeaseState.MINE, Held.ALL, False, VoiceMove.TAKE, id="holder with channels renews"),
        pytest.param(LeaseState.MINE, Held.SOME, True, VoiceMove.TAKE, id="holder of any channel keeps it"),
        pytest.param(LeaseState.MINE, Held.NONE, False, VoiceMove.TAKE, id="first warming process keeps it"),
        pytest.param(LeaseState.MINE, Held.NONE, True, VoiceMove.RELEASE, id="fenced everywhere gives it away"),
        pytest.param(LeaseState.VACANT, Held.FIRST, True, VoiceMove.TAKE, id="holder of the first channel takes it"),
        pytest.param(LeaseState.VACANT, Held.SOME, True, VoiceMove.WAIT, id="the first channel is another's"),
        pytest.param(LeaseState.VACANT, Held.NONE, True, VoiceMove.WAIT, id="standby beside a live holder is quiet"),
        pytest.param(LeaseState.VACANT, Held.NONE, False, VoiceMove.TAKE, id="nobody holds any: first warming one"),
        pytest.param(LeaseState.OTHER, Held.FIRST, True, VoiceMove.WAIT, id="a live holder may hold the rest"),
        pytest.param(LeaseState.OTHER, Held.NONE, False, VoiceMove.WAIT, id="never from a live holder"),
        pytest.param(LeaseState.OTHER, Held.ALL, False, VoiceMove.TAKE, id="a holder without any channel is replaced"),
        pytest.param(LeaseState.UNKNOWN, Held.ALL, False, VoiceMove.WAIT, id="nothing is taken unseen"),
    ],
)
def test_who_speaks(lease: LeaseState, held: Held, other_holds: bool, expected: VoiceMove) -> None:
    assert decide_voice(lease, held, other_holds=other_holds, leaving=False) is expected


def test_a_leaving_process_without_channels_takes_no_voice() -> None:
    assert decide_voice(LeaseState.VACANT, Held.NONE, other_holds=False, leaving=True) is VoiceMove.WAIT


POSSIBLE_TOGETHER = [
    (Held.NONE, Held.NONE), (Held.NONE, Held.SOME), (Held.NONE, Held.FIRST), (Held.NONE, Held.ALL),
    (Held.SOME, Held.SOME), (Held.SOME, Held.FIRST),
]  # fmt: skip


@pytest.mark.parametrize(("one", "two"), [*POSSIBLE_TOGETHER, *[(two, one) for one, two in POSSIBLE_TOGETHER]])
def test_a_held_lease_is_never_renewed_by_one_and_taken_by_the_other(one: Held, two: Held) -> None:
    renews = decide_voice(LeaseState.MINE, one, other_holds=two is not Held.NONE, leaving=False)
    takes = decide_voice(LeaseState.OTHER, two, other_holds=one is not Held.NONE, leaving=False)

    assert (renews, takes) != (VoiceMove.TAKE, VoiceMove.TAKE)


def test_a_lease_is_vacant_after_a_whole_window_without_a_renewal() -> None:
    watcher = LeaseWatcher("pod-2/b")
    states = [watcher.read(holder="pod-1/a", version="7", now_ns=(100 + 2 * n) * S) for n in range(4)]

    assert states == [LeaseState.OTHER, LeaseState.OTHER, LeaseState.OTHER, LeaseState.VACANT]


def test_a_renewal_starts_the_window_again() -> None:
    watcher = LeaseWatcher("pod-2/b")
    for n, version in enumerate("7788"):
        state = watcher.read(holder="pod-1/a", version=version, now_ns=(100 + 2 * n) * S)

    assert state is LeaseState.OTHER


def test_a_failed_read_proves_nothing_and_starts_the_window_again() -> None:
    watcher = LeaseWatcher("pod-2/b")
    watcher.read(holder="pod-1/a", version="7", now_ns=100 * S)

    assert watcher.failed() is LeaseState.UNKNOWN
    assert watcher.read(holder="pod-1/a", version="7", now_ns=int((100 + WINDOW_S) * S)) is LeaseState.OTHER


def test_an_observer_that_was_paused_does_not_bury_the_holder() -> None:
    watcher = LeaseWatcher("pod-2/b")
    watcher.read(holder="pod-1/a", version="7", now_ns=100 * S)
    watcher.read(holder="pod-1/a", version="7", now_ns=int((100 + RENEW_S) * S))

    assert watcher.read(holder="pod-1/a", version="7", now_ns=130 * S) is LeaseState.OTHER


def test_an_earlier_process_of_this_pod_is_dead_at_once() -> None:
    assert LeaseWatcher("pod-1/b").read(holder="pod-1/a", version="7", now_ns=S) is LeaseState.VACANT


def test_a_released_lease_is_vacant_at_once() -> None:
    assert LeaseWatcher("pod-2/b").read(holder="", version="7", now_ns=S) is LeaseState.VACANT


def test_ones_own_lease_is_recognised() -> None:
    assert LeaseWatcher("pod-2/b").read(holder="pod-2/b", version="7", now_ns=S) is LeaseState.MINE
