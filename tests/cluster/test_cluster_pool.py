"""A pool on a real cluster, from `kubectl apply` to ticks in Redis, through the day's troubles.

The market of the simulator gives each of the 28 instruments about 14 changes a second, so an instrument that is heard
from nobody for `UNBROKEN_S` has a hole. The tests follow one day: each begins with everything streaming.
"""

from __future__ import annotations

import time
from collections import Counter

import pytest

from tests.support.cluster_client import eventually
from tests.support.cluster_pool import OPERATOR, SYMBOLS, TEST_S, Pool
from tests.support.cluster_tape import judge, silences

pytestmark = pytest.mark.timeout(TEST_S)

UNBROKEN_S = 3.0
WATCHED_S = 4.0


def watch_market(pool: Pool, seconds: float = WATCHED_S) -> None:
    """Let the market run until the tape holds `seconds` more of it."""
    end_s = time.monotonic() + seconds
    eventually(
        lambda: pool.tape.heard[-1].at_s if pool.tape.heard else 0.0,
        until=lambda at_s: at_s >= end_s,
        timeout_s=seconds + 10,
        what="messages on the tape",
    )


def holes(pool: Pool, start_s: float, symbols: tuple[str, ...] = SYMBOLS) -> dict[str, float]:
    """Instruments that were silent for too long since `start_s`."""
    found = silences(pool.tape.since(0), symbols, start_s=start_s, end_s=time.monotonic(), ran_s=pool.ran_s)
    return {symbol: silence for symbol, silence in found.items() if silence > UNBROKEN_S}


def complaints(pool: Pool, mark: int) -> list[str]:
    """What a consumer would complain about since `mark`."""
    verdicts = judge(pool.tape.since(mark), silence_s=60)
    return [f"{source}: {text}" for source, verdict in verdicts.items() for text in verdict.complaints]


# -- the first morning -----------------------------------------------------------


def test_the_operator_is_ready_and_holds_its_lease(pool: Pool) -> None:
    pool.client.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=30s")

    holder = pool.client.get("lease", OPERATOR)["spec"]["holderIdentity"]
    assert holder.startswith(OPERATOR)


@pytest.mark.parametrize("kind", ["kiteaccounts", "tickersubscriptions", "tickershards"])
def test_what_was_applied_becomes_ready(streaming: Pool, kind: str) -> None:
    streaming.await_ready(kind, "--all")

    for each in streaming.client.items(kind):
        for condition in each["status"]["conditions"]:
            assert condition["message"], condition
            assert condition["observedGeneration"] == each["metadata"]["generation"], condition


def test_instruments_are_spread_in_turn(streaming: Pool) -> None:
    placement = streaming.placement(["acc1", "acc2"])

    ordered = sorted(SYMBOLS)
    assert placement == {symbol: ("acc1", "acc2")[position % 2] for position, symbol in enumerate(ordered)}


def test_counts_and_last_values_match_the_brokers_record(streaming: Pool) -> None:
    watch_market(streaming)

    assert streaming.simulator.pause(finish=True)
    try:
        eventually(
            lambda: streaming.wrong_last_values("prices", SYMBOLS),
            until=lambda wrong: not wrong,
            timeout_s=10,
            what="the last values in Redis are the last rows that the broker sent",
        )
        for number, account in ((1, "acc1"), (2, "acc2")):
            sent = streaming.simulator.stats(api_key=f"simkey{number}", tokens=False)
            packets = sum(socket["packets"] for socket in sent.sockets)
            books = streaming.ledger(account)
            heard = sum(
                len(each.message["ticks"]) for each in streaming.tape.since(0) if each.source[0].endswith(account)
            )
            assert books["received"] == packets > 0, books
            # Withheld: packets of the first moments, before the shard held the channel.
            assert packets == books["published"] + books["conflated"] + books["withheld"], books
            assert books["in_flight"] == 0, books
            assert heard == books["published"] + books["repeated"], books
    finally:
        streaming.simulator.resume()


def test_kubectl_get_shows_how_the_shards_are(streaming: Pool) -> None:
    rows = streaming.client.table("tickershards")

    assert list(rows[0]) == [
        *("NAME", "ACCOUNT", "ASSIGNED", "CONFIRMED", "CAPACITY", "SOCKETS", "READY", "STATUS", "AGE"),
    ]
    assert [(row["NAME"], row["ACCOUNT"], row["ASSIGNED"], row["CAPACITY"]) for row in rows] == [
        ("ticker-acc1", "acc1", "14", "3000"),
        ("ticker-acc2", "acc2", "14", "3000"),
    ]
    wide = streaming.client.table("tickershards", "-o", "wide")
    assert {row["IMAGE"] for row in wide} == {streaming.cluster.image}
    assert all(int(row["EPOCH"]) > 0 and int(row["REVISION"]) > 0 for row in wide)


# -- more accounts, fewer accounts ----------------------------------------------------


def test_a_new_account_takes_its_share_and_nothing_else_moves(streaming: Pool) -> None:
    made = ("kiteaccount/acc3", "secret/kite-acc3")  # by a first try, if this is the second one
    streaming.client.kubectl("delete", *made, "--ignore-not-found", "--timeout=150s")
    streaming.await_streaming(["acc1", "acc2"], len(SYMBOLS))
    before = streaming.placement(["acc1", "acc2"])
    mark, start_s = streaming.tape.mark(), time.monotonic()

    streaming.add_account("acc3", number=3)
    placement = eventually(
        lambda: streaming.placement(["acc1", "acc2", "acc3"]),
        until=lambda found: sorted(Counter(found.values()).values()) == [9, 9, 10],
        timeout_s=90,
        what="acc3 owns its share",
    )
    streaming.await_streaming(["acc1", "acc2", "acc3"], len(SYMBOLS))

    moved = {symbol for symbol, account in placement.items() if before[symbol] != account}
    assert {placement[symbol] for symbol in moved} == {"acc3"}
    assert sorted(Counter(placement.values()).values()) == [9, 9, 10]
    assert holes(streaming, start_s) == {}
    assert complaints(streaming, mark) == []


def test_deleting_an_account_moves_its_instruments_first(streaming: Pool) -> None:
    start_s = time.monotonic()

    streaming.client.kubectl("delete", "kiteaccount", "acc3", "--timeout=150s")

    streaming.await_streaming(["acc1", "acc2"], len(SYMBOLS))
    assert len(streaming.placement(["acc1", "acc2"])) == len(SYMBOLS)
    assert holes(streaming, start_s) == {}
    made = "deployment,serviceaccount,role,rolebinding,configmap"
    eventually(
        lambda: streaming.client.kubectl("get", made, "-l", "tickershard.io/account=acc3", "-o", "name"),
        until=lambda left: not left,
        timeout_s=60,
        what="nothing left of acc3",
    )


# -- pods that go ------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete", "evict"])
def test_a_shards_pod_is_replaced_without_a_hole(streaming: Pool, way: str) -> None:
    pod = streaming.shard_pod("acc1")
    before = streaming.placement(["acc1", "acc2"])
    mark, start_s = streaming.tape.mark(), time.monotonic()

    name = pod["metadata"]["name"]
    if way == "delete":
        streaming.client.kubectl("delete", "pod", name, "--timeout=120s")
    else:
        streaming.evict(name)
    eventually(
        lambda: streaming.pods("acc1"),
        until=lambda names: len(names) == 1 and name not in names,
        timeout_s=120,
        what="only the replacement is left",
    )
    watch_market(streaming)

    assert streaming.shard_pod("acc1")["metadata"]["uid"] != pod["metadata"]["uid"]
    assert holes(streaming, start_s) == {}
    assert complaints(streaming, mark) == []
    assert streaming.placement(["acc1", "acc2"]) == before


def test_a_killed_shard_disturbs_nobody_else_and_comes_back(streaming: Pool) -> None:
    mine = tuple(symbol for symbol, account in streaming.placement(["acc2"]).items() if account == "acc2")
    before = streaming.placement(["acc1", "acc2"])
    start_s = time.monotonic()

    streaming.client.kubectl(
        "delete", "pod", streaming.shard_pod("acc1")["metadata"]["name"], "--grace-period=0", "--force"
    )
    streaming.client.kubectl("rollout", "status", "deployment/ticker-acc1", "--timeout=60s")
    streaming.await_streaming(["acc1", "acc2"], len(SYMBOLS))
    watch_market(streaming)

    assert holes(streaming, start_s, mine) == {}
    assert streaming.placement(["acc1", "acc2"]) == before


def test_without_its_operator_the_pool_streams_on(streaming: Pool) -> None:
    before = {account: streaming.table(account).revision for account in ("acc1", "acc2")}
    mark, start_s = streaming.tape.mark(), time.monotonic()

    streaming.client.kubectl("delete", "pod", "-l", "app.kubernetes.io/component=operator", "--wait=true")
    streaming.client.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=60s")
    streaming.await_ready("tickershards", "--all")
    watch_market(streaming)

    assert holes(streaming, start_s) == {}
    assert complaints(streaming, mark) == []
    assert {account: streaming.table(account).revision for account in ("acc1", "acc2")} == before


# -- tokens ------------------------------------------------------------------------


def test_a_new_token_is_taken_without_a_restart(streaming: Pool) -> None:
    pod = streaming.shard_pod("acc1")

    streaming.rotate("acc1", number=1, token="canary-acc1-second")
    streaming.simulator.fault("drop", api_key="simkey1")
    eventually(
        lambda: streaming.simulator.stats(api_key="simkey1", tokens=False).sockets,
        until=lambda sockets: bool(sockets) and sockets[0]["age_ms"] < 30_000 and sockets[0]["subscribed"] > 0,
        timeout_s=30,
        what="a new socket of acc1, with the new token",
    )
    watch_market(streaming)

    now = streaming.shard_pod("acc1")
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert all(each["restartCount"] == 0 for each in now["status"]["containerStatuses"])
    assert streaming.client.get("secret", "kite-acc1")["metadata"]["labels"]["tickershard.io/credentials"] == "true"
    streaming.await_ready("kiteaccount/acc1")


def test_a_dead_token_is_shown_and_its_instruments_stream_elsewhere(streaming: Pool) -> None:
    pod = streaming.shard_pod("acc1")

    streaming.simulator.revoke("simkey1")
    streaming.simulator.fault("drop", api_key="simkey1")

    rejected = eventually(
        lambda: streaming.client.condition("kiteaccount", "acc1", "CredentialsValid"),
        until=lambda condition: condition.get("status") == "False",
        timeout_s=20,
        what="acc1 says that its token is refused",
    )
    assert rejected["reason"] == "TokenRejected"
    streaming.await_streaming(["acc2"], len(SYMBOLS), timeout_s=30)
    watch_market(streaming)
    assert holes(streaming, time.monotonic() - WATCHED_S) == {}

    streaming.rotate("acc1", number=1, token="canary-acc1-third")
    eventually(
        lambda: streaming.client.condition("kiteaccount", "acc1", "CredentialsValid"),
        until=lambda condition: condition.get("status") == "True",
        timeout_s=30,
        what="acc1 has a good token again",
    )
    assert streaming.shard_pod("acc1")["metadata"]["uid"] == pod["metadata"]["uid"]
