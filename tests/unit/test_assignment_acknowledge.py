"""An acknowledgement is never said too early, and silent instruments never hold it up for ever.

The operator takes instruments away from one account because another has acknowledged them, so every doubt must come
out as "not yet" or as a name on the list.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticker_crds import Role
from ticker_crds.constants import UNCONFIRMED_LISTED_MAX
from ticker_shard.assignment import Acknowledged, Evidence, NotYet, acknowledge, carry_on, revision_of
from ticker_shard.assignment.status import known_status

DONE = Evidence(
    process="pod-1/a", revision=12, digest="sha256:x", connected=True, waiting=0, silent=(), duties_revision=12,
    barriers_revision=0, holds_all=True,
)  # fmt: skip


def test_everything_done_is_acknowledged_with_revision_digest_and_process() -> None:
    assert acknowledge(DONE) == Acknowledged(12, "sha256:x", "pod-1/a", ())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"revision": 0}, id="no table was ever applied"),
        pytest.param({"holds_all": False}, id="another process holds a channel"),
        pytest.param({"duties_revision": 11}, id="barrier, first values or rewrites are not done"),
        pytest.param({"connected": False}, id="a socket is closed"),
        pytest.param({"waiting": 1}, id="one instrument has not sent its first packet"),
    ],
)
def test_anything_missing_is_not_yet_and_says_so(change: dict[str, Any]) -> None:
    answer = acknowledge(replace(DONE, **change))

    assert isinstance(answer, NotYet)
    assert answer.message


def test_given_up_instruments_are_listed_and_block_nothing() -> None:
    answer = acknowledge(replace(DONE, silent=[("NFO:B", Role.OWNER), ("NFO:A", Role.OWNER)]))

    assert isinstance(answer, Acknowledged)
    assert answer.unconfirmed == ("NFO:A", "NFO:B")


def test_moving_instruments_come_first_where_the_list_is_full() -> None:
    resting = [(f"NSE:A{n:04}", Role.OWNER) for n in range(UNCONFIRMED_LISTED_MAX)]

    answer = acknowledge(replace(DONE, silent=[*resting, ("NSE:Z", Role.INCOMING)]))

    assert isinstance(answer, Acknowledged)
    assert answer.unconfirmed[0] == "NSE:Z"
    assert len(answer.unconfirmed) == UNCONFIRMED_LISTED_MAX


def test_more_silent_moving_instruments_than_can_be_listed_are_no_acknowledgement() -> None:
    moving = [(f"NSE:A{n:04}", Role.SETTLING) for n in range(UNCONFIRMED_LISTED_MAX + 1)]

    answer = acknowledge(replace(DONE, silent=moving))

    assert isinstance(answer, NotYet)
    assert f"{UNCONFIRMED_LISTED_MAX + 1:,} moving" in answer.message


@given(
    silent=st.lists(
        st.tuples(st.integers(0, 400).map(lambda n: f"NSE:S{n}"), st.sampled_from(list(Role))),
        max_size=300,
        unique_by=lambda entry: entry[0],
    )
)
def test_no_silent_moving_instrument_ever_passes_for_confirmed(silent: list[tuple[str, Role]]) -> None:
    answer = acknowledge(replace(DONE, silent=silent))

    if isinstance(answer, Acknowledged):
        moving = {symbol for symbol, role in silent if role is not Role.OWNER}
        assert moving <= set(answer.unconfirmed)
        assert len(answer.unconfirmed) <= UNCONFIRMED_LISTED_MAX


def test_a_predecessors_acknowledgement_is_carried_on_until_there_is_a_new_one() -> None:
    before = {"revision": 11, "digest": "sha256:w", "process": "pod-0/z", "unconfirmed": []}

    assert carry_on(NotYet("wait"), previous=before) == before
    assert revision_of(carry_on(acknowledge(DONE), previous=before)) == 12


@pytest.mark.parametrize(
    "held_up", [{"holds_all": False}, {"duties_revision": 11}, {"connected": False}, {"waiting": 1}]
)
def test_what_was_given_up_is_told_whatever_holds_up_the_rest(held_up: dict[str, Any]) -> None:
    before = {"revision": 11, "digest": "sha256:w", "process": "pod-0/z", "unconfirmed": ["NFO:S"]}
    passed = {**before, "barrier": {"revision": 12, "digest": "sha256:x"}}

    answer = acknowledge(replace(DONE, barriers_revision=12, **held_up))

    assert carry_on(answer, previous=before) == passed
    assert carry_on(acknowledge(DONE), previous=passed) == acknowledge(DONE).as_status()  # type: ignore[union-attr]
    assert carry_on(acknowledge(replace(DONE, barriers_revision=11, **held_up)), previous=before) == before
    assert carry_on(answer, previous=None) is None


def test_a_barrier_is_a_floor_for_tables_and_never_falls_back() -> None:
    before = {"revision": 11, "digest": "sha256:w", "process": "pod-0/z", "unconfirmed": []}
    ahead = {**before, "barrier": {"revision": 14, "digest": "sha256:z"}}

    assert known_status({"acknowledged": ahead}, generation=1).revision_floor == 14
    assert carry_on(acknowledge(replace(DONE, barriers_revision=12, waiting=1)), previous=ahead) == ahead
    caught_up = carry_on(acknowledge(DONE), previous=ahead)
    assert caught_up is not None
    assert (caught_up["revision"], caught_up["barrier"]["revision"]) == (12, 14)


def test_a_lower_revision_never_replaces_a_higher_one() -> None:
    before = {"revision": 13, "digest": "sha256:y", "process": "pod-0/z", "unconfirmed": []}

    assert carry_on(acknowledge(DONE), previous=before) == before


@pytest.mark.parametrize("junk", [None, {}, {"revision": "12"}, {"revision": True}, {"revision": None}])
def test_somebody_elses_acknowledgement_counts_as_none(junk: dict[str, Any] | None) -> None:
    assert revision_of(junk) == 0
