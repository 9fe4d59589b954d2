"""Settings freeze at the door: flags over environment over defaults, refusals that name the setting."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ticker_common.settings import ProgramSettings, load_settings, settings_options


class ExampleSettings(ProgramSettings):
    model_config = SettingsConfigDict(env_prefix="EXAMPLE_")

    window_ms: int = Field(100, ge=1, le=1_000, description="When a batch leaves at the latest.")
    paths: tuple[str, ...] = Field((), description="Where to look.")
    verbose: bool = Field(default=False, description="Say more.")
    labels: dict[str, str] = Field(default_factory=dict, description="What to write on it, as JSON.")
    rules: tuple[dict[str, Any], ...] = Field((), description="A rule, as JSON.")


@click.command()
@settings_options(ExampleSettings)
def show(settings: ExampleSettings) -> None:
    click.echo(settings.model_dump_json())


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_WINDOW_MS", "200")

    assert load_settings(ExampleSettings).window_ms == 200
    assert '"window_ms":300' in CliRunner().invoke(show, ["--window-ms", "300"]).output


def test_a_refused_value_names_flag_and_variable_and_rule() -> None:
    result = CliRunner().invoke(show, ["--window-ms", "0"])

    assert result.exit_code == 2
    assert "--window-ms (EXAMPLE_WINDOW_MS)" in result.output
    assert "greater than or equal to 1" in result.output


def test_help_shows_each_setting_with_meaning_variable_and_default() -> None:
    output = CliRunner().invoke(show, ["--help"]).output

    assert "When a batch leaves at the latest." in output
    assert "EXAMPLE_WINDOW_MS" in output
    assert "≥1, ≤1000; default 100" in " ".join(output.split())


def test_repeated_flags_make_a_tuple_and_switches_a_bool() -> None:
    output = CliRunner().invoke(show, ["--paths", "a", "--paths", "b", "--verbose"]).output

    assert '"paths":["a","b"],"verbose":true' in output


def test_a_variable_that_names_no_setting_is_refused_with_the_one_that_may_be_meant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXAMPLE_WINDOWMS", "canary1")
    monkeypatch.setenv("EXAMPLE_COLOUR", "red")

    result = CliRunner().invoke(show, [])

    assert result.exit_code == 2
    assert "EXAMPLE_COLOUR: no such setting\n" in result.output
    assert "EXAMPLE_WINDOWMS: no such setting; is EXAMPLE_WINDOW_MS meant?" in result.output
    assert "canary1" not in result.output


@pytest.mark.parametrize(
    "name",
    ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP_ADDR", "TWO_SERVICE_PORT", "TWO_PORT_53_UDP_PROTO"],
)
def test_what_kubernetes_says_of_a_service_with_such_a_name_is_no_setting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"EXAMPLE_{name}", "tcp://10.0.0.1:8080")

    assert CliRunner().invoke(show, []).exit_code == 0


def test_lists_and_objects_are_json_in_variables_and_one_element_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_PATHS", '["a", "b"]')
    monkeypatch.setenv("EXAMPLE_LABELS", '{"team": "ticks"}')

    read = load_settings(ExampleSettings, {"rules": ('{"key": 1}', '{"key": 2}')})

    assert (read.paths, read.labels) == (("a", "b"), {"team": "ticks"})
    assert read.rules == ({"key": 1}, {"key": 2})


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("EXAMPLE_PATHS", "/a", "must be a JSON list"),
        ("EXAMPLE_PATHS", '{"a": 1}', "must be a JSON list"),
        ("EXAMPLE_LABELS", "{canary1", "must be a JSON object"),
        ("EXAMPLE_LABELS", '["canary1"]', "must be a JSON object"),
        ("EXAMPLE_RULES", "[1]", "a valid dictionary"),
    ],
)
def test_what_is_no_json_is_refused_by_name_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, rule: str
) -> None:
    monkeypatch.setenv(variable, value)

    result = CliRunner().invoke(show, [])

    assert result.exit_code == 2
    assert f"({variable}): " in result.output
    assert rule in result.output
    assert "canary1" not in result.output
