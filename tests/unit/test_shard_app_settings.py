"""Settings are refused by name, and every one of them is documented."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ticker_common.settings import load_settings
from ticker_shard.app.command import RefusedError, api_url, command
from ticker_shard.app.pipeline import backpressure_settings, breaker_settings
from ticker_shard.app.settings import ShardSettings
from ticker_shard.publish.backpressure import BackpressureSettings
from ticker_shard.publish.breaker import REDIS, BreakerSettings
from ticker_shard.publish.limits import MS_NS

CONTRACTS = Path(__file__).parents[2] / "docs" / "contracts.md"
FOLDER: dict[str, Any] = {"account": "acc1", "source": "folder", "folder": "/x", "redis_url_file": "/y"}
CLUSTER: dict[str, Any] = {"account": "acc1", "redis_url_file": "/y", "secret_name": "s", "instance": "uid"}


def test_both_sources_load_with_defaults() -> None:
    assert load_settings(ShardSettings, FOLDER).capacity == 3_000
    assert load_settings(ShardSettings, CLUSTER).source == "kubernetes"


def test_thresholds_reach_the_breaker_and_the_backpressure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKERSHARD_SHARD_CIRCUIT_FAILURES", "3")
    flags = {"circuit_wait_max_ms": 1_900, "backpressure_fill": 0.5, "backpressure_shed_ms": 4_000}

    settings = load_settings(ShardSettings, {**FOLDER, **flags})

    assert breaker_settings(settings) == BreakerSettings(failures_to_open=3, wait_max_ns=1_900 * MS_NS)
    assert backpressure_settings(settings) == BackpressureSettings(fill_max=0.5, shed_ms=4_000)


def test_thresholds_have_the_defaults_of_their_rooms() -> None:
    settings = load_settings(ShardSettings, FOLDER)

    assert breaker_settings(settings) == REDIS
    assert backpressure_settings(settings) == BackpressureSettings()


@pytest.mark.parametrize(
    ("base", "change", "named"),
    [
        (FOLDER, {"account": "Not A Name"}, "TICKERSHARD_SHARD_ACCOUNT"),
        (FOLDER, {"account": "a" * 41}, "TICKERSHARD_SHARD_ACCOUNT"),
        (FOLDER, {"folder": None}, "TICKERSHARD_SHARD_FOLDER"),
        (CLUSTER, {"secret_name": None}, "TICKERSHARD_SHARD_SECRET_NAME"),
        (CLUSTER, {"instance": None}, "TICKERSHARD_SHARD_INSTANCE"),
        (CLUSTER, {"instance": "a/b"}, "TICKERSHARD_SHARD_INSTANCE"),
        (FOLDER, {"sockets": 4}, "TICKERSHARD_SHARD_SOCKETS"),
        (FOLDER, {"sockets": 0}, "TICKERSHARD_SHARD_SOCKETS"),
        (FOLDER, {"instruments_per_socket": 3_001}, "TICKERSHARD_SHARD_INSTRUMENTS_PER_SOCKET"),
        (FOLDER, {"ticker_url": "https://ws.kite.trade"}, "TICKERSHARD_SHARD_TICKER_URL"),
        (FOLDER, {"ticker_url": "wss://u:canary1@h"}, "TICKERSHARD_SHARD_TICKER_URL"),
        (FOLDER, {"prefix": "{a}"}, "TICKERSHARD_SHARD_PREFIX"),
        (FOLDER, {"window_ms": 0}, "TICKERSHARD_SHARD_WINDOW_MS"),
        (FOLDER, {"port": 65_536}, "TICKERSHARD_SHARD_PORT"),
        (FOLDER, {"drain_deadline_s": -1}, "TICKERSHARD_SHARD_DRAIN_DEADLINE_S"),
        (FOLDER, {"rate": 6.5}, "TICKERSHARD_SHARD_RATE"),
        (FOLDER, {"rate": math.nan}, "TICKERSHARD_SHARD_RATE"),
        (FOLDER, {"dividend_yield": -0.2}, "TICKERSHARD_SHARD_DIVIDEND_YIELD"),
        (FOLDER, {"underlying_stale_s": 0}, "TICKERSHARD_SHARD_UNDERLYING_STALE_S"),
        (FOLDER, {"reprice_ms": 20}, "TICKERSHARD_SHARD_REPRICE_MS"),
        (FOLDER, {"circuit_failures": 0}, "TICKERSHARD_SHARD_CIRCUIT_FAILURES"),
        (FOLDER, {"circuit_wait_first_ms": 5}, "TICKERSHARD_SHARD_CIRCUIT_WAIT_FIRST_MS"),
        (FOLDER, {"circuit_wait_max_ms": 1_901}, "TICKERSHARD_SHARD_CIRCUIT_WAIT_MAX_MS"),
        (FOLDER, {"circuit_wait_first_ms": 800, "circuit_wait_max_ms": 700}, "circuit_wait_first_ms (800)"),
        (FOLDER, {"backpressure_fill": 1.1}, "TICKERSHARD_SHARD_BACKPRESSURE_FILL"),
        (FOLDER, {"backpressure_conflate_ms": 0}, "TICKERSHARD_SHARD_BACKPRESSURE_CONFLATE_MS"),
        (FOLDER, {"backpressure_shed_ms": 1_000}, "must be below backpressure_shed_ms (1000)"),
        (FOLDER, {"backpressure_calm_ms": 0}, "TICKERSHARD_SHARD_BACKPRESSURE_CALM_MS"),
    ],
)
def test_a_bad_setting_is_refused_by_the_name_of_its_variable(
    base: dict[str, Any], change: dict[str, Any], named: str
) -> None:
    with pytest.raises(click.UsageError) as refused:
        load_settings(ShardSettings, {**base, **change})

    assert named in refused.value.message
    assert "canary1" not in refused.value.message


def test_a_rate_in_per_cent_is_told_how_to_write_it() -> None:
    with pytest.raises(click.UsageError) as refused:
        load_settings(ShardSettings, {**FOLDER, "rate": 6.5})

    assert "6.5 % is 0.065" in refused.value.message
    assert load_settings(ShardSettings, {**FOLDER, "reprice_ms": 0}).reprice_ms == 0


def test_refused_settings_end_the_command_with_2() -> None:
    result = CliRunner().invoke(command, ["--account", "acc1", "--source", "folder", "--redis-url-file", "/y"])

    assert result.exit_code == 2
    assert "--folder" in result.output


def test_help_shows_every_setting_with_its_variable() -> None:
    text = re.sub(r"\s+", "", CliRunner().invoke(command, ["--help"], terminal_width=200).output)

    missing = [name for name in ShardSettings.model_fields if f"TICKERSHARD_SHARD_{name}".upper() not in text]
    assert missing == []


def test_every_setting_is_in_the_table_of_the_contracts() -> None:
    section = CONTRACTS.read_text().split("### `tickershard shard`")[1].split("###")[0]
    documented = set(re.findall(r"`([a-z_]+)`", section))

    assert set(ShardSettings.model_fields) <= documented


def test_the_api_server_comes_from_the_setting_or_the_pods_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    settings = load_settings(ShardSettings, CLUSTER)
    with pytest.raises(RefusedError, match="TICKERSHARD_SHARD_API_URL"):
        api_url(settings)

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert api_url(settings) == "https://[fd00::1]:6443"
    assert api_url(load_settings(ShardSettings, {**CLUSTER, "api_url": "https://h:1"})) == "https://h:1"
