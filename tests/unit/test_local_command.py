"""What `tickershard local` refuses, and what it tells the simulator: all it was told itself, nothing refused there."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ticker_operator.app.local_command import LocalSettings, command, simulator_flags
from ticker_sim import command as simulator
from ticker_sim.settings import SimulatorSettings


def told(monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> SimulatorSettings:
    """The settings that the simulator's own command line makes of these flags."""
    seen: list[SimulatorSettings] = []

    async def serve(settings: SimulatorSettings) -> None:
        seen.append(settings)

    monkeypatch.setattr(simulator, "serve", serve)
    outcome = CliRunner().invoke(simulator.command, flags)
    assert outcome.exit_code == 0, outcome.output
    return seen[0]


def test_every_setting_of_the_simulated_market_reaches_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {
        "ticks_per_second": 250.0,
        "speed": 60.0,
        "frame_packets": 17,
        "seed": 42,
        "rate_limits": False,
    }
    settings = LocalSettings(**{f"simulate_{name}": value for name, value in given.items()})

    received = told(monkeypatch, simulator_flags(settings, date(2026, 11, 18)))

    assert {name: getattr(received, name) for name in given} == given
    assert received.day == date(2026, 11, 18)
    assert received.accept_any


def test_defaults_are_the_simulators_own(monkeypatch: pytest.MonkeyPatch) -> None:
    received = told(monkeypatch, simulator_flags(LocalSettings(), None))

    assert received == SimulatorSettings(accept_any=True)


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--namespace", "My Pool", "TICKERSHARD_LOCAL_NAMESPACE"),
        ("--prefix", "{ticker}", "TICKERSHARD_LOCAL_PREFIX"),
        ("--redis-url-file", "/nowhere/redis-url", "there is no file /nowhere/redis-url; write redis://"),
        ("--endpoints-allowed", "localhost:80", "must be ws(s)://host"),
        ("--state", __file__, "cannot hold the state"),
    ],
)
def test_a_bad_setting_is_refused_by_name_before_anything_starts(
    flag: str, value: str, says: str, tmp_path: Path
) -> None:
    refused = CliRunner().invoke(command, [str(tmp_path), flag, value, "--for", "1"])

    assert refused.exit_code == 2
    assert flag in refused.stderr
    assert says in refused.stderr
    assert list(tmp_path.iterdir()) == []
