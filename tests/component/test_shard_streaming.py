"""One shard as a child process: simulator → shard → real Redis, with what people and brokers do to it meanwhile.

Proved: what the broker sent last is what Redis holds, for every assigned instrument; the books balance; tables and
tokens change under a running process; nothing bad in them, in the Redis URL or on the socket ends it; no secret
shows anywhere. Each test has its own API key, account folder and prefix-free channels in an empty Redis.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import redis

from tests.support.shard import (
    Listed,
    ShardFolder,
    ShardProcess,
    a_table,
    free_channels,
    last_rows,
    listed_instruments,
    replace_file,
    shard_process,
)
from tests.support.shard_checks import books, differences
from tests.support.simulator import SimulatorProcess, simulator
from ticker_client.keys import gaps_key
from ticker_crds import AssignmentTable, Channel, Mode
from ticker_crds.assignment import HEADER_KEY

EQUITY, OPTIONS = "ticker:equity", "ticker:nifty:options"
KEYS = count(1)
TICKS_PER_SECOND = 1_500


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorProcess]:
    with simulator(seed=11, day="2026-11-20", ticks_per_second=TICKS_PER_SECOND, accept_any=False) as running:
        yield running


@pytest.fixture(scope="module")
def listed(sim: SimulatorProcess) -> list[Listed]:
    return listed_instruments(sim)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        free_channels(connected, (EQUITY, OPTIONS))
        yield connected


class Bench:
    """A folder, a key and a way to start shards on them."""

    def __init__(self, path: Path, sim: SimulatorProcess, redis_url: str) -> None:
        number = (next(KEYS) - 1) % 9 + 1
        self.api_key, self.token = f"simkey{number}", f"simtoken{number}"
        sim.control.grant(self.api_key, self.token)
        sim.control.resume()
        self.sim, self.folder, self.url_file = sim, ShardFolder(path / "acc1"), path / "redis-url"
        self.folder.create()
        self.folder.give_token(self.api_key, self.token)
        self.url_file.write_text(redis_url)
        self.running: list[ShardProcess] = []

    def shard(self, **settings: object) -> AbstractContextManager[ShardProcess]:
        defaults: dict[str, object] = {"drain_deadline_s": 0.5, "confirm_after_s": 3}
        return shard_process(
            self.folder, redis_url_file=self.url_file, ticker_url=self.sim.ws, **{**defaults, **settings}
        )

    def stand_still(self) -> None:
        """The market stops after everybody got what had changed."""
        assert self.sim.control.pause(finish=True)


@pytest.fixture
def bench(tmp_path: Path, sim: SimulatorProcess, redis_url: str) -> Iterator[Bench]:
    made = Bench(tmp_path, sim, redis_url)
    yield made
    sim.control.heal()
    sim.control.resume()


def by_segment(listed: list[Listed], segment: str, number: int) -> list[Listed]:
    found = [row for row in listed if row.segment == segment][:number]
    assert len(found) == number, segment
    return found


def a_mix(listed: list[Listed]) -> AssignmentTable:
    """Every segment and mode, two channels, some instruments in both."""
    rows = [row.assigned(EQUITY) for row in by_segment(listed, "INDICES", 10)]
    rows += [
        row.assigned(EQUITY, mode=mode) for row, mode in zip(by_segment(listed, "NSE", 60), [*Mode] * 20, strict=True)
    ]
    rows += [row.assigned(OPTIONS) for row in by_segment(listed, "NFO-OPT", 200)]
    rows += [row.assigned(EQUITY, OPTIONS) for row in by_segment(listed, "NFO-FUT", 20)]
    rows += [row.assigned(EQUITY) for segment in ("CDS-FUT", "BCD-FUT") for row in by_segment(listed, segment, 2)]
    return a_table(1, rows)


def wrong_rows(bench: Bench, client: redis.Redis, table: AssignmentTable) -> list[str]:
    """Every difference between Redis and the simulator's record; missing rows included."""
    sent = bench.sim.control.stats(api_key=bench.api_key).tokens
    wrong = []
    for channel in table.channels:
        rows = last_rows(client, channel.name)
        for instrument in table.instruments:
            if channel.name not in instrument.channels:
                continue
            row = rows.get(instrument.symbol)
            if row is None:
                wrong.append(f"{instrument.symbol} is missing in {channel.name}")
            else:
                wrong += [f"{instrument.symbol}: {text}" for text in differences(sent[instrument.token].row, row)]
    return wrong


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
def test_every_assigned_instrument_ends_as_the_broker_sent_it_last(
    bench: Bench, client: redis.Redis, listed: list[Listed], zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)  # of the shard's host
    table = a_mix(listed)
    bench.folder.assign(table)
    with bench.shard() as shard:
        shard.await_acknowledged(1)
        shard.wait_until(lambda: bench.folder.status()["ledger"]["published"] > 2_000, "rows flow")
        bench.stand_still()
        shard.wait_until(lambda: not wrong_rows(bench, client, table), "Redis holds what was sent", within_s=5)
        assert shard.ready()
        assert shard.terminate() == 0

    status = bench.folder.status()
    ledger = status["ledger"]
    assert books(ledger) == 0
    assert (ledger["in_flight"], ledger["dropped"], ledger["rejected"]) == (0, 0, 0)
    assert status["confirmed"] == len(table.instruments)
    assert status["latency_ms"]["p99"] < 1_000
    assert wrong_rows(bench, client, table) == []


def test_a_new_table_is_applied_without_a_reconnect(bench: Bench, client: redis.Redis, listed: list[Listed]) -> None:
    options = by_segment(listed, "NFO-OPT", 60)
    first = a_table(1, [row.assigned(OPTIONS, mode=Mode.QUOTE) for row in options[:40]])
    second = a_table(2, [row.assigned(OPTIONS, mode=Mode.FULL) for row in options[20:]])
    bench.folder.assign(first)
    with bench.shard() as shard:
        shard.await_acknowledged(1)
        sockets = [one["socket"] for one in bench.sim.control.stats(api_key=bench.api_key, tokens=False).sockets]
        bench.folder.assign(second)
        shard.await_acknowledged(2)
        bench.stand_still()
        shard.wait_until(lambda: not wrong_rows(bench, client, second), "Redis holds the new table", within_s=5)

        stats = bench.sim.control.stats(api_key=bench.api_key, tokens=False)
        assert [one["socket"] for one in stats.sockets] == sockets
        assert stats.sockets[0]["modes"] == {"ltp": 0, "quote": 0, "full": 40}
        assert set(last_rows(client, OPTIONS)) == {row.symbol for row in second.instruments}
        assert books(bench.folder.status()["ledger"]) == 0


def await_degraded(shard: ShardProcess, words: str) -> None:
    shard.wait_until(lambda: words in shard.folder.condition("Degraded").get("message", ""), f"Degraded says {words!r}")


def test_bad_tables_change_nothing_and_are_named(bench: Bench, client: redis.Redis, listed: list[Listed]) -> None:
    rows = [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 30)]
    good = a_table(5, rows)
    bench.folder.assign(good)
    with bench.shard() as shard:
        shard.await_acknowledged(5)
        bad_tables: tuple[tuple[str, Callable[[], None]], ...] = (
            ("older than revision 5", lambda: bench.folder.assign(a_table(4, rows[:10]))),
            ("another content", lambda: bench.folder.assign(a_table(5, rows[:10]))),
            ("account acc2's", lambda: bench.folder.assign(a_table(6, rows, account="acc2"))),
            ("malformed", lambda: replace_file(bench.folder.path / HEADER_KEY, b'{"account": "acc1", "revision": 7')),
        )
        for words, spoil in bad_tables:
            spoil()
            await_degraded(shard, words)
            await_degraded(shard, "revision 5 stays in force")
        assert bench.folder.condition("Streaming")["status"] == "True"

        bench.folder.assign(a_table(8, rows))
        shard.await_acknowledged(8)
        shard.await_condition("Degraded", "False", "Healthy")
        bench.stand_still()
        shard.wait_until(lambda: not wrong_rows(bench, client, good), "it streams on", within_s=5)


def test_a_dead_token_waits_for_a_new_one_without_a_restart(
    bench: Bench, client: redis.Redis, listed: list[Listed]
) -> None:
    bench.folder.assign(a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 30)]))
    with bench.shard() as shard:
        shard.await_acknowledged(1)
        bench.sim.control.revoke(bench.api_key)
        assert bench.folder.condition("CredentialsValid")["status"] == "True"  # the open socket streams on

        bench.sim.control.fault("drop", api_key=bench.api_key)
        message = shard.await_condition("CredentialsValid", "False", "TokenRejected")
        seen = datetime.now(UTC)
        assert "403" in message
        refused = [line for line in shard.lines() if line["message"] == "no socket"]
        assert [line["detail"] for line in refused] == ["rejected"], "once, and never with a dead token again"
        assert seen - datetime.fromisoformat(refused[0]["time"]) < timedelta(seconds=2)

        bench.sim.control.grant(bench.api_key, "freshTokenOfToday")
        bench.folder.give_token(bench.api_key, "freshTokenOfToday")
        shard.await_condition("Streaming", "True", "Streaming", within_s=5)
        shard.await_condition("CredentialsValid", "True", "Accepted")
        assert shard.process.poll() is None
        shard.wait_until(lambda: bench.folder.status()["gaps"] >= 1, "the hole has a record")

    records = client.xrange(gaps_key(EQUITY))
    assert len(records) == 1, records


def test_a_lost_connection_leaves_one_gap_record_and_the_last_values_right(
    bench: Bench, client: redis.Redis, listed: list[Listed]
) -> None:
    table = a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 40)])
    bench.folder.assign(table)
    with bench.shard() as shard:
        shard.await_acknowledged(1)
        bench.sim.control.fault("reset", api_key=bench.api_key)
        shard.wait_until(lambda: bench.folder.status()["gaps"] >= 1, "the hole has a record")
        bench.stand_still()
        shard.wait_until(lambda: not wrong_rows(bench, client, table), "Redis holds what was sent", within_s=5)

    ((_, record),) = client.xrange(gaps_key(EQUITY))
    text = json.dumps({key.decode(): value.decode() for key, value in record.items()})
    assert "lost" in text
    assert all(row.symbol in text for row in table.instruments)


def test_an_instrument_the_broker_does_not_know_is_listed_and_blocks_nothing(
    bench: Bench, client: redis.Redis, listed: list[Listed]
) -> None:
    good = [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 10)]
    unknown = Listed(99 * 256 + 1, "NSE", "NOSUCH", "NSE", "").assigned(EQUITY)
    bench.folder.assign(a_table(1, [*good, unknown]))
    with bench.shard(confirm_after_s=0.6) as shard:
        shard.await_acknowledged(1)

        assert bench.folder.status()["acknowledged"]["unconfirmed"] == ["NSE:NOSUCH"]
        assert "1 have not sent a packet" in shard.await_condition("Streaming", "False", "Confirming")
        assert shard.ready()


def test_bad_tokens_and_redis_urls_are_named_one_after_another_and_healed_without_a_restart(
    bench: Bench, client: redis.Redis, listed: list[Listed], redis_url: str
) -> None:
    bench.folder.assign(a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 10)]))
    token = bench.folder.path / "token"
    token.unlink()
    bench.url_file.unlink()
    with bench.shard() as shard:
        shard.await_condition("CredentialsValid", "False", "SecretMissing")
        replace_file(token, b"canaryJunk, no JSON")
        shard.await_condition("CredentialsValid", "False", "SecretKeyMissing")

        await_degraded(shard, "does not exist")
        for url, words in (
            (b"redis-canaryUrl", "does not hold a Redis URL"),
            (b"redis://127.0.0.1:1/0", "Redis: Unreachable"),
        ):
            replace_file(bench.url_file, url)
            await_degraded(shard, words)
        shard.await_condition("Degraded", "True", "RedisUnreachable")
        assert shard.get("/livez")[0] == 200

        replace_file(bench.url_file, redis_url.encode())
        bench.folder.give_token(bench.api_key, bench.token)
        shard.await_acknowledged(1)
        shard.await_condition("Streaming", "True", "Streaming")
        shard.await_condition("Degraded", "False", "Healthy")
        assert "canary" not in shard.log.read_text()


def test_sigterm_without_redis_ends_at_once(bench: Bench, client: redis.Redis, listed: list[Listed]) -> None:
    bench.folder.assign(a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 10)]))
    replace_file(bench.url_file, b"redis://127.0.0.1:1/0")
    with bench.shard(drain_deadline_s=60) as shard:
        await_degraded(shard, "Redis: Unreachable")

        assert shard.terminate(within_s=5) == 0


def test_a_changed_redis_url_is_followed(
    bench: Bench, client: redis.Redis, listed: list[Listed], redis_url: str
) -> None:
    table = a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 10)])
    bench.folder.assign(table)
    other = redis_url.removesuffix("/0") + "/1"
    with redis.Redis.from_url(other) as elsewhere, bench.shard() as shard:
        shard.await_acknowledged(1)
        free_channels(elsewhere, (EQUITY,))
        replace_file(bench.url_file, other.encode())
        shard.wait_until(lambda: len(last_rows(elsewhere, EQUITY)) == 10, "it publishes to the other database")
        bench.stand_still()
        shard.wait_until(lambda: not wrong_rows(bench, elsewhere, table), "with the right last values", within_s=5)
        assert wrong_rows(bench, elsewhere, table) == []


def test_no_secret_shows_anywhere(bench: Bench, client: redis.Redis, listed: list[Listed], redis_url: str) -> None:
    canaries = ("canaryKey0815", "canaryToken4711", "canaryToken4712", "canaryRedisPass")
    key, token, rotated, password = canaries
    bench.sim.control.grant(key, token)
    bench.folder.give_token(key, token)
    bench.url_file.write_text(redis_url.replace("redis://", f"redis://default:{password}@"))
    bench.folder.assign(a_table(1, [row.assigned(EQUITY) for row in by_segment(listed, "NSE", 10)]))
    client.config_set("requirepass", password)
    try:
        with bench.shard(log_level="debug") as shard:
            shard.await_acknowledged(1)
            bench.sim.control.revoke(key)
            bench.sim.control.fault("drop", api_key=key)
            shard.await_condition("CredentialsValid", "False", "TokenRejected")
            bench.sim.control.grant(key, rotated)
            bench.folder.give_token(key, rotated)
            shard.await_condition("Streaming", "True", "Streaming")
            replace_file(bench.url_file, redis_url.replace("redis://", f"redis://default:{password}X@").encode())
            shard.await_condition("Degraded", "True", "RedisRefused")
            process = Path(f"/proc/{shard.process.pid}")
            shown = {
                "metrics": shard.get("/metrics")[1],
                "probes": "".join(shard.get(path)[1] for path in ("/livez", "/readyz", "/startupz")),
                "arguments": (process / "cmdline").read_text(),
                "environment": (process / "environ").read_text(),
                "status": (bench.folder.path / "status.json").read_text(),
            }
            assert shard.terminate() == 0
            shown["log"] = shard.log.read_text()
    finally:
        with redis.Redis.from_url(redis_url, password=password) as admin:
            admin.config_set("requirepass", "")

    assert shown["log"]
    leaks = [f"{where}: {canary}" for where, text in shown.items() for canary in canaries if canary in text]
    assert leaks == []


def test_an_account_without_instruments_is_ready_and_idle(bench: Bench, client: redis.Redis) -> None:
    bench.folder.assign(AssignmentTable("acc1", 1, (Channel(EQUITY),), ()))
    with bench.shard() as shard:
        shard.await_acknowledged(1)
        shard.await_condition("Streaming", "True", "NothingAssigned")
        shard.wait_until(shard.ready, "it is ready")
        assert shard.terminate() == 0
