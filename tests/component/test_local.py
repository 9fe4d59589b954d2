"""A pool on one machine, as a trader runs it: folder in, ticks in Redis, one line of JSON at the end.

Everything is real: the command, its shards as processes, the simulator, the embedded Redis.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from tests.support.simulator import simulator
from ticker_crds import decode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import API_VERSION, LABEL_CREDENTIALS
from ticker_operator.local.processes import ShardProcess

WITHIN_S = 90.0  # a bound for busy machines, not a figure
SIMULATE = ("--simulate", "--simulate-day", "2026-11-18")
SYMBOLS = ("NSE:NIFTY 50", "NSE:RELIANCE", "NSE:INFY", "NSE:TCS", "NSE:SBIN", "NSE:ITC")
CANARY = "c4n4ryAccessToken0123456789"


def write_pool(folder: Path, *accounts: str, symbols: tuple[str, ...] = SYMBOLS) -> None:
    for name in accounts:
        write_account(folder, name)
    spec = {"instruments": [{"symbol": symbol} for symbol in symbols], "channel": "mine"}
    write(folder, "stream", {"apiVersion": API_VERSION, "kind": "TickerSubscription", "spec": spec})


def write_account(folder: Path, name: str, *, token: str = CANARY, endpoints: dict[str, str] | None = None) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{name}-token", "labels": {LABEL_CREDENTIALS: "true"}},
        "stringData": {"api_key": f"key-{name}", "access_token": token},
    }
    write(folder, f"{name}-token", secret)
    spec: dict[str, Any] = {"credentialsRef": {"name": f"{name}-token"}}
    if endpoints is not None:
        spec["endpoints"] = endpoints
    write(folder, name, {"apiVersion": API_VERSION, "kind": "KiteAccount", "spec": spec})


def write(folder: Path, name: str, document: dict[str, Any]) -> None:
    text = yaml.safe_dump({"metadata": {"name": name}, **document})
    temporary = folder / f"{name}.new"
    temporary.write_text(text)
    temporary.replace(folder / f"{name}.yaml")


class LocalPool:
    """A running ``tickershard local``."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.state = folder / ".tickershard"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ticker_operator.app", "local", str(folder), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def eventually(self, so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not so():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, f"not within {WITHIN_S:.0f} s: {what}; {self.logs()[-2_000:]}"
            time.sleep(0.1)

    def report(self, account: str) -> dict[str, Any]:
        try:
            value: dict[str, Any] = json.loads((self.state / "accounts" / account / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return value

    def streams(self, account: str, count: int) -> bool:
        """The account's shard confirmed `count` instruments, publishes them and said so."""
        report = self.report(account)
        published = report.get("ledger", {}).get("published", 0)
        acknowledged = report.get("acknowledged", {}).get("revision", 0)
        return report.get("confirmed") == count and published > 0 and acknowledged == self.revision(account)

    def revision(self, account: str) -> int:
        folder = self.state / "accounts" / account
        return decode_table((folder / HEADER_KEY).read_text(), (folder / TABLE_KEY).read_bytes()).revision

    def process_of(self, account: str) -> int:
        pid: int = json.loads((self.state / "accounts" / account / "process.json").read_text())["pid"]
        return pid

    def logs(self) -> str:
        paths = [self.state / "operator.log", *self.state.glob("accounts/*/shard.log")]
        return "".join(path.read_text() for path in paths if path.exists())

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url((self.state / "redis-url").read_text())

    def abandon(self) -> None:
        """A test failed: leave no process behind, least of all a shard whose operator is gone."""
        self.process.kill()
        self.process.communicate()
        for folder in self.state.glob("accounts/*"):
            shard = ShardProcess(folder)
            if shard.adopt():
                shard.kill()

    def end(self) -> dict[str, Any]:
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=WITHIN_S)
        assert out, err[-2_000:]
        summary: dict[str, Any] = json.loads(out.splitlines()[-1])
        return summary


@contextmanager
def local_pool(folder: Path, *flags: str, simulate: bool = True) -> Iterator[LocalPool]:
    pool = LocalPool(folder, *(SIMULATE if simulate else ()), *flags)
    try:
        yield pool
        if pool.process.poll() is None:
            pool.end()
    except BaseException:
        pool.abandon()
        raise


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pool"
    path.mkdir()
    return path


def test_a_folder_becomes_ticks_and_ends_with_balanced_books(folder: Path) -> None:
    write_pool(folder, "acc1", "acc2")
    with local_pool(folder) as pool:
        pool.eventually(lambda: pool.streams("acc1", 3) and pool.streams("acc2", 3), "both accounts stream their half")
        with pool.redis() as client:
            last = client.hgetall("{ticker:mine}:last")
        summary = pool.end()

    fields = {field.decode() for field in last}
    assert fields >= set(SYMBOLS)
    assert summary["instruments"] == summary["confirmed"] == len(SYMBOLS)
    assert summary["ledger_balanced"]
    assert summary["ticks_in_flight"] == 0
    assert pool.process.returncode == 0


def test_the_pool_follows_its_folder_and_a_slip_of_the_editor_stops_nothing(folder: Path) -> None:
    write_pool(folder, "acc1", symbols=SYMBOLS[:3])
    with local_pool(folder) as pool:
        pool.eventually(lambda: pool.streams("acc1", 3), "three instruments stream")
        (folder / "broken.yaml").write_text("{half a")
        write_pool(folder, "acc1", symbols=SYMBOLS)

        pool.eventually(lambda: pool.streams("acc1", len(SYMBOLS)), "all stream, without a restart")
        logs = pool.logs()

    assert "broken.yaml" in logs
    assert logs.count("probes and metrics listen") == 1


def test_a_removed_account_gives_its_instruments_away_before_it_goes(folder: Path) -> None:
    write_pool(folder, "acc1", "acc2")
    with local_pool(folder) as pool:
        pool.eventually(lambda: pool.streams("acc1", 3) and pool.streams("acc2", 3), "both accounts stream their half")
        (folder / "acc2.yaml").unlink()

        pool.eventually(lambda: pool.streams("acc1", len(SYMBOLS)), "the other account streams everything")
        pool.eventually(lambda: not (pool.state / "accounts" / "acc2").exists(), "nothing is left of the account")
        summary = pool.end()

    assert summary["shards"] == 1
    assert summary["confirmed"] == len(SYMBOLS)


def test_a_new_token_reaches_the_shard_and_no_token_reaches_any_output(folder: Path) -> None:
    write_pool(folder, "acc1")
    with local_pool(folder, "--log-level", "debug") as pool:
        pool.eventually(lambda: pool.streams("acc1", len(SYMBOLS)), "everything streams")
        write_account(folder, "acc1", token=CANARY + "second")
        token = pool.state / "accounts" / "acc1" / "token"
        pool.eventually(lambda: "second" in token.read_text(), "the shard's token file holds the new one")
        pid = pool.process_of("acc1")
        seen = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        assert token.stat().st_mode & 0o777 == 0o600
        pool.end()
        public = [path for path in pool.state.rglob("*") if path.is_file() and path.name != "token"]

    assert CANARY not in seen
    assert [path.name for path in public if CANARY in path.read_text(errors="replace")] == []


def test_shards_stream_on_while_their_operator_is_gone_and_are_adopted(folder: Path, redis_url: str) -> None:
    """Redis and broker live on their own here, as in real use: only the operator is killed."""
    with simulator(accept_any=True) as broker:
        write_pool(folder, "acc1")
        write_account(folder, "acc1", endpoints={"ticker": broker.ws, "api": broker.url})
        (folder.parent / "redis-url").write_text(redis_url)
        flags = ["--redis-url-file", str(folder.parent / "redis-url")]
        flags += ["--endpoints-allowed", broker.ws, "--endpoints-allowed", broker.url]
        with local_pool(folder, *flags, simulate=False) as first:
            first.eventually(lambda: first.streams("acc1", len(SYMBOLS)), "everything streams")
            pid = first.process_of("acc1")
            first.process.kill()
            first.process.communicate()
        before = first.report("acc1")["ledger"]["published"]

        with local_pool(folder, *flags, simulate=False) as second:
            second.eventually(lambda: second.report("acc1")["ledger"]["published"] > before, "the shard streams on")
            write_pool(folder, symbols=SYMBOLS[:4])
            second.eventually(lambda: second.streams("acc1", 4), "the new operator leads the old shard")
            adopted = second.process_of("acc1")
            summary = second.end()

    assert adopted == pid
    assert summary["ledger_balanced"]


def test_what_keeps_a_pool_from_streaming_is_told_with_its_reason(folder: Path) -> None:
    write_pool(folder, "acc1", symbols=("NSE:NOSUCHNAME",))
    (folder / "acc1-token.yaml").unlink()
    with local_pool(folder) as pool:
        told = pool.state / "status"
        pool.eventually(lambda: len([*told.rglob("*.json")]) == 2, "both objects have a status")
        pool.process.send_signal(signal.SIGINT)
        out, err = pool.process.communicate(timeout=WITHIN_S)

    assert pool.process.returncode == 1
    assert json.loads(out.splitlines()[-1])["instruments"] == 0
    assert "KiteAccount acc1 is not ready: SecretMissing: No file declares a Secret acc1-token." in err
    assert "TickerSubscription stream is not ready: " in err


def test_a_shard_that_refuses_its_settings_is_told_with_the_place_of_its_words(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKERSHARD_SHARD_RATE", "6.5")
    write_pool(folder, "acc1")
    with local_pool(folder) as pool:
        log = pool.state / "accounts" / "acc1" / "shard.log"
        pool.eventually(lambda: "shard process ended" in pool.logs(), "the shard has ended")
        pool.process.send_signal(signal.SIGINT)
        _, err = pool.process.communicate(timeout=WITHIN_S)

    assert f"acc1: the shard refused its settings; the end of {log} names them" in err
    assert "--rate (TICKERSHARD_SHARD_RATE): must be a fraction a year" in log.read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param('{"day": "yesterday"}', "simulate.json must hold", id="a pinned day that is none"),
        pytest.param("[]", "simulate.json must hold", id="a pinned day in the wrong shape"),
    ],
)
def test_bad_input_is_refused_in_one_line(folder: Path, content: str, says: str) -> None:
    (folder / "simulate.json").write_text(content)
    command = [sys.executable, "-m", "ticker_operator.app", "local", str(folder), "--simulate", "--for", "1"]

    answer = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)

    assert answer.returncode != 0
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
