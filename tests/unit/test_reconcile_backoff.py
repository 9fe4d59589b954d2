"""Waits after failures: they grow, they spread, they have a ceiling, and a change of the thing itself ends them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ticker_operator.reconcile.backoff import FIRST_S, KEYS_MAX, LONGEST_S, BackoffBook, delay_s

CHANCE = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), CHANCE)
def test_wait_is_never_nothing_and_never_above_the_ceiling(failures: int, chance: float) -> None:
    assert 0 < delay_s(failures, chance=chance) <= LONGEST_S


@given(CHANCE)
def test_ceiling_of_the_wait_doubles(chance: float) -> None:
    assert delay_s(3, chance=0.999) > delay_s(2, chance=0.999) > delay_s(1, chance=0.999)
    assert delay_s(1, chance=chance) <= FIRST_S


def test_two_that_failed_together_do_not_come_back_together() -> None:
    assert delay_s(8, chance=0.1) != delay_s(8, chance=0.9)


def test_key_waits_until_its_time_and_others_do_not() -> None:
    book = BackoffBook()
    wait_s = book.failed("acc1", now=10.0, chance=0.5)

    assert not book.may_try("acc1", now=10.0 + wait_s / 2)
    assert book.may_try("acc1", now=10.0 + wait_s)
    assert book.may_try("acc2", now=10.0)


def test_repair_of_the_object_ends_the_wait_and_the_count() -> None:
    book = BackoffBook()
    for _ in range(10):
        book.failed("acc1", now=0.0, chance=0.9, generation="1")

    assert not book.may_try("acc1", now=0.1, generation="1")
    assert book.may_try("acc1", now=0.1, generation="2")
    book.failed("acc1", now=0.1, chance=0.9, generation="2")
    assert book.failures("acc1") == 1


def test_success_forgives() -> None:
    book = BackoffBook()
    book.failed("acc1", now=0.0, chance=0.9)

    book.succeeded("acc1")

    assert book.waiting == 0


def test_book_forgets_what_no_longer_exists_and_has_a_ceiling() -> None:
    book = BackoffBook()
    for number in range(KEYS_MAX + 10):
        book.failed(f"acc{number}", now=0.0, chance=0.5)
    assert book.waiting == KEYS_MAX

    book.keep_only(frozenset({f"acc{KEYS_MAX}"}))

    assert book.waiting == 1
