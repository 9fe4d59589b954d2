"""New releases, undone releases: of a shard, of the operator, by helm. What a person undoes stays undone.

A release here is a change of one setting that every shard carries in its template, so what runs can be read from it.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.cluster_client import CommandError, eventually
from tests.support.cluster_pool import OPERATOR, RELEASE, SYMBOLS, TEST_S, Pool, values_of
from tests.support.cluster_tape import judge, silences
from ticker_crds.constants import ANNOTATION_RESUME

pytestmark = pytest.mark.timeout(TEST_S)

UNBROKEN_S = 3.0
HELD_S = 12.0  # several passes of the operator
ACCOUNTS = ("acc1", "acc2")


def release(pool: Pool, window_ms: int, *options: str) -> None:
    """`helm upgrade` to a release that is recognised by its `window_ms`."""
    pool.install(values_of(pool.cluster, shards={"windowMs": window_ms}), *options)


def await_window(pool: Pool, window_ms: int, accounts: tuple[str, ...] = ACCOUNTS) -> None:
    pool.await_shards(
        accounts,
        lambda account: pool.shard_flag(account, "window-ms") == str(window_ms),
        what=f"release with window_ms {window_ms}",
    )


def rolled_back(pool: Pool, account: str) -> dict[str, Any]:
    return pool.client.condition("tickershard", f"ticker-{account}", "RolledBack")


def missed(pool: Pool, mark: int, start_s: float) -> list[str]:
    """Instruments that fell silent, numbers that are missing, and whoever published beside another."""
    found = silences(pool.tape.since(mark), SYMBOLS, start_s=start_s, end_s=time.monotonic(), ran_s=pool.ran_s)
    silent = [f"{symbol}: silent for {silence:.1f} s" for symbol, silence in found.items() if silence > UNBROKEN_S]
    verdicts = judge(pool.tape.since(mark), silence_s=60)
    return silent + [text for verdict in verdicts.values() for text in verdict.complaints]


@pytest.fixture(scope="module", autouse=True)
def first_release(pool: Pool) -> None:
    release(pool, 100)
    pool.await_streaming(ACCOUNTS, len(SYMBOLS))
    await_window(pool, 100)


# -- one release after the other ----------------------------------------------------


def test_a_new_release_replaces_every_shard_without_a_hole(streaming: Pool) -> None:
    before = {account: streaming.shard_pod(account)["metadata"]["uid"] for account in ACCOUNTS}
    mark, start_s = streaming.tape.mark(), time.monotonic()

    release(streaming, 90)
    await_window(streaming, 90)

    streaming.await_streaming(ACCOUNTS, len(SYMBOLS))
    assert missed(streaming, mark, start_s) == []
    assert all(streaming.shard_pod(account)["metadata"]["uid"] != before[account] for account in ACCOUNTS)


def test_a_new_image_is_a_release_too(streaming: Pool) -> None:
    if streaming.cluster.own is None:
        pytest.skip("somebody else's cluster: no second name for the image there")
    other = f"{streaming.cluster.image}-again"
    streaming.cluster.own.tag(streaming.cluster.image, other)
    mark, start_s = streaming.tape.mark(), time.monotonic()

    tag = other.rpartition(":")[2]
    streaming.install(values_of(streaming.cluster, shards={"windowMs": 90, "image": {"tag": tag}}))
    streaming.await_shards(ACCOUNTS, lambda account: streaming.shard_image(account) == other, what="the new image")

    assert missed(streaming, mark, start_s) == []
    shown = eventually(
        lambda: {row["IMAGE"] for row in streaming.client.table("tickershards", "-o", "wide")},
        until=lambda images: images == {other},
        timeout_s=30,
        what="kubectl get tickershards -o wide shows the new image",
    )
    assert shown == {other}
    release(streaming, 90)
    await_window(streaming, 90)
    streaming.await_shards(
        ACCOUNTS,
        lambda account: streaming.shard_image(account) == streaming.cluster.image,
        what="the first image again",
    )


# -- a shard is undone ---------------------------------------------------------------


def test_an_undone_shard_stays_undone_and_says_so(streaming: Pool) -> None:
    release(streaming, 80)
    await_window(streaming, 80)

    streaming.client.kubectl("rollout", "undo", "deployment/ticker-acc1")

    held = eventually(
        lambda: rolled_back(streaming, "acc1"),
        until=lambda condition: condition.get("status") == "True",
        timeout_s=60,
        what="RolledBack=True",
    )
    assert "ticker-acc1" in held["message"] or ANNOTATION_RESUME in held["message"], held
    end_s = time.monotonic() + HELD_S
    while time.monotonic() < end_s:
        # A change of something else makes the operator run: it must not put the release back.
        streaming.client.kubectl(
            "annotate", "--overwrite", "kiteaccount/acc1", f"example.org/now={time.monotonic():.0f}"
        )
        assert streaming.shard_flag("acc1", "window-ms") != "80"
        time.sleep(2)
    assert streaming.shard_flag("acc2", "window-ms") == "80"
    assert rolled_back(streaming, "acc2").get("status") != "True"
    streaming.await_streaming(ACCOUNTS, len(SYMBOLS))


def test_it_is_said_in_an_event(streaming: Pool) -> None:
    events = streaming.client.items("events")

    about = [each for each in events if each.get("reason") == "RolledBack"]
    assert about
    assert {each["involvedObject"]["name"] for each in about} <= {"ticker-acc1", "acc1"}


def test_the_resume_annotation_applies_the_held_release(streaming: Pool) -> None:
    blocked = streaming.client.get("tickershard", "ticker-acc1")["status"]["rollout"]["blocked"]

    streaming.client.kubectl("annotate", "tickershard/ticker-acc1", f"{ANNOTATION_RESUME}={blocked}")

    await_window(streaming, 80)
    released = eventually(
        lambda: rolled_back(streaming, "acc1"),
        until=lambda condition: condition.get("status") == "False",
        timeout_s=30,
        what="RolledBack=False",
    )
    assert released["status"] == "False"
    assert {streaming.shard_flag(account, "window-ms") for account in ACCOUNTS} == {"80"}


def test_the_next_release_ends_a_hold(streaming: Pool) -> None:
    streaming.client.kubectl("rollout", "undo", "deployment/ticker-acc1")
    eventually(
        lambda: rolled_back(streaming, "acc1"),
        until=lambda condition: condition.get("status") == "True",
        timeout_s=60,
        what="RolledBack=True",
    )

    release(streaming, 70)
    await_window(streaming, 70)

    assert rolled_back(streaming, "acc1")["status"] == "False"


# -- the operator is undone -------------------------------------------------------------


def test_undoing_the_operator_undoes_its_shards(streaming: Pool) -> None:
    mark, start_s = streaming.tape.mark(), time.monotonic()

    streaming.client.kubectl("rollout", "undo", f"deployment/{OPERATOR}")
    await_window(streaming, 80)

    assert all(rolled_back(streaming, account)["status"] == "False" for account in ACCOUNTS)
    assert missed(streaming, mark, start_s) == []


def test_helm_does_not_run_over_an_undone_operator_unasked(streaming: Pool) -> None:
    with pytest.raises(CommandError) as refusal:
        release(streaming, 60)
    assert "conflict" in refusal.value.said.lower()

    release(streaming, 60, "--force-conflicts")
    await_window(streaming, 60)
    assert {streaming.shard_flag(account, "window-ms") for account in ACCOUNTS} == {"60"}


def test_helm_rollback_goes_back_one_release(streaming: Pool) -> None:
    history = streaming.client.helm("history", RELEASE, "-o", "json")
    release(streaming, 50)
    await_window(streaming, 50)
    mark, start_s = streaming.tape.mark(), time.monotonic()

    streaming.client.helm("rollback", RELEASE, "--wait", "--timeout=120s")
    await_window(streaming, 60)

    assert history
    assert missed(streaming, mark, start_s) == []
