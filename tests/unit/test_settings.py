"""Settings freeze at the door: flags over environment over defaults, refusals that name the setting."""

from __future__ import annotations

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
    assert "default 100" in " ".join(output.split())


def test_repeated_flags_make_a_tuple_and_switches_a_bool() -> None:
    output = CliRunner().invoke(show, ["--paths", "a", "--paths", "b", "--verbose"]).output

    assert '"paths":["a","b"],"verbose":true' in output
