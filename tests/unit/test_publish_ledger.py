"""The books: each term is counted by itself, and a row that is nowhere or twice shows."""

from __future__ import annotations

from ticker_shard.publish.ledger import DropCause, Ledger


def test_an_empty_ledger_balances():
    assert Ledger().balance().balanced


def test_every_term_is_part_of_the_sum():
    ledger = Ledger(received=28, published=1, conflated=2, withheld=4, superseded=5)
    ledger.holders += [lambda: 6, lambda: 1]
    ledger.drop(DropCause.UNANSWERED, 3)
    ledger.drop(DropCause.LOST, 4)
    ledger.reject("crossed", 2)
    ledger.received += 0

    balance = ledger.balance()

    assert (balance.rejected, balance.dropped, balance.in_flight) == (2, 7, 7)
    assert balance.received == 30
    assert balance.difference == 30 - (1 + 2 + 2 + 7 + 4 + 5 + 7)
    assert not balance.balanced


def test_in_flight_is_counted_where_the_rows_lie_so_it_can_disagree():
    lying = [3]
    ledger = Ledger(received=3)
    ledger.holders.append(lambda: len(lying) * 3)
    assert ledger.balance().balanced

    lying.clear()  # rows vanished without anybody counting them

    assert ledger.balance().difference == 3


def test_repeated_rows_are_outside_the_balance():
    assert Ledger(repeated=100).balance().balanced
