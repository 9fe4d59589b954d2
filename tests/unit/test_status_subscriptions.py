"""What a subscription says: counts that add up, what does not stream by symbol and reason, ready or why not."""

from __future__ import annotations

from dataclasses import replace

from tests.support.pool import Pool, a_subscription, option_symbol
from tests.support.statuses import a_pool, condition, kill, report, subscription_of, tables_of
from ticker_crds.constants import Condition, Reason
from ticker_operator.desired.status import subscription_status


def test_a_subscription_is_ready_when_everything_streams() -> None:
    pool = a_pool()

    write = subscription_of(pool)

    assert {name: write.status[name] for name in ("resolved", "assigned", "streaming", "unresolved")} == {
        "resolved": 4,
        "assigned": 4,
        "streaming": 4,
        "unresolved": [],
    }
    assert [condition(write, kind)[:2] for kind in (Condition.READY, Condition.RESOLVED, Condition.ASSIGNED)] == [
        ("True", "Streaming"),
        ("True", "Resolved"),
        ("True", "Assigned"),
    ]


def test_what_does_not_stream_is_listed_by_symbol_with_its_reason() -> None:
    pool = a_pool()
    symbols = [option_symbol(0), "NFO:NONE", *(option_symbol(index) for index in range(1, 4))]
    pool.subscriptions["s"] = a_subscription("s", symbols)
    for name in pool.accounts:
        pool.change_account(name, instruments_per_socket=1)

    write = subscription_of(pool)

    assert [(entry["symbol"], entry["reason"]) for entry in write.status["unresolved"]] == [
        (option_symbol(2), "CapacityExceeded"),
        (option_symbol(3), "CapacityExceeded"),
        ("NFO:NONE", "SymbolUnknown"),
    ]
    assert (write.status["resolved"], write.status["assigned"]) == (4, 2)
    ready = condition(write, Condition.READY)
    assert ready[:2] == ("False", "PartlyResolved")
    assert ready[2].startswith("1 of 5 symbols are not streamed (1 SymbolUnknown); the first: NFO:NONE:")
    assert condition(write, Condition.ASSIGNED)[:2] == ("False", "CapacityExceeded")


def test_the_list_is_bounded_and_the_counts_tell_of_the_rest() -> None:
    pool = a_pool()
    pool.subscriptions["s"] = a_subscription("s", [f"NFO:NONE{index:03d}" for index in range(80)])

    write = subscription_of(pool)

    assert len(write.status["unresolved"]) == 50
    assert "80 of 80 symbols" in condition(write, Condition.RESOLVED)[2]


def test_a_new_subscription_is_not_ready_before_its_instruments_are_acknowledged() -> None:
    pool = a_pool()
    pool.catalog = Pool([], [], options=6).catalog
    pool.subscriptions["t"] = a_subscription("t", [option_symbol(4)])
    before = dict(pool.shards)
    assert subscription_of(pool, name="t").status["streaming"] == 0

    pool.run_pass()
    pool.shards = before  # written, not acknowledged yet

    write = subscription_of(pool, name="t")
    assert write.status["streaming"] == 0
    assert condition(write, Condition.READY)[:2] == ("False", "Confirming")


def test_a_subscription_that_streams_is_not_called_broken_while_a_newer_table_waits_for_its_acknowledgement() -> None:
    pool = a_pool()
    previous = dict(subscription_of(pool).status)
    pool.catalog = Pool([], [], options=6).catalog
    pool.subscriptions["t"] = a_subscription("t", [option_symbol(4)])
    before = dict(pool.shards)
    pool.run_pass()
    pool.shards = before

    assert subscription_of(pool, previous=previous).status["streaming"] == 4
    assert subscription_of(pool).status["streaming"] < 4  # without that history nothing is taken for granted


def test_an_instrument_that_the_shard_lists_as_unconfirmed_does_not_stream() -> None:
    pool = a_pool()
    shard = pool.shards["acc0"]
    assert shard.report is not None
    said = replace(shard.report.acknowledged, unconfirmed=frozenset({option_symbol(0)}))
    pool.shards["acc0"] = replace(shard, report=replace(shard.report, acknowledged=said))

    write = subscription_of(pool)

    assert write.status["streaming"] == 3
    assert condition(write, Condition.READY) == (
        "False",
        "Confirming",
        "3 of 4 instruments stream; the others wait for their first packet",
    )


def test_nothing_streams_at_a_dead_account() -> None:
    pool = a_pool()
    kill(pool)
    report(pool, Condition.CONNECTED, "False", Reason.DISCONNECTED)

    assert subscription_of(pool).status["streaming"] == 2


def test_what_is_not_supported_is_the_reason_of_every_condition_it_touches() -> None:
    pool = a_pool()
    pool.subscriptions["s"] = replace(pool.subscriptions["s"], instruments=(), selects=True)

    write = subscription_of(pool)

    assert condition(write, Condition.READY)[:2] == ("False", "NotSupported")
    assert condition(write, Condition.RESOLVED)[:2] == ("False", "NotSupported")


def test_a_list_that_cannot_be_had_is_told_with_its_cause() -> None:
    pool = a_pool()
    pool.catalog = None
    pool.subscriptions["s"] = a_subscription("s", ["NFO:NONE"])

    write = subscription_status(
        pool.subscriptions["s"],
        snapshot=replace(pool.snapshot(), dump_fault="http://sim:8080/instruments answered 503"),
        resolution=pool.resolved(),
        plan=pool.planned(),
        tables=tables_of(pool),
        previous={},
    )

    assert condition(write, Condition.RESOLVED)[:2] == ("False", "NoInstrumentDump")
    assert "http://sim:8080/instruments answered 503" in condition(write, Condition.RESOLVED)[2]
