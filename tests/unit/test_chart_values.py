"""values.yaml is the documentation, values.schema.json its guard: both name the same values, nothing is undeclared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import click
import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from tests.support.chart import CHART, REDIS, TRIAL, helm
from ticker_common.settings import load_settings
from ticker_operator.app.settings import OperatorSettings
from ticker_shard.app.settings import ShardSettings

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEXT = (CHART / "values.yaml").read_text()
VALUES: dict[str, Any] = yaml.safe_load(TEXT)


def objects_in(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if schema.get("type") == "object":
        yield path, schema
        for name, inner in schema.get("properties", {}).items():
            yield from objects_in(inner, f"{path}.{name}".lstrip("."))


def declared(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "properties" not in schema:
        yield path
        return
    for name, inner in schema["properties"].items():
        yield from declared(inner, (*path, name))


def present(values: Any, schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if "properties" not in schema:
        yield path
        return
    for name, inner in values.items():
        yield from present(inner, schema["properties"][name], (*path, name))


def test_the_schema_is_one() -> None:
    of_schemas = jsonschema.Draft7Validator(
        jsonschema.Draft7Validator.META_SCHEMA, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER
    )

    assert list(of_schemas.iter_errors(SCHEMA)) == []


def test_the_default_values_satisfy_it() -> None:
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(VALUES)) == []


def test_every_object_refuses_what_it_does_not_declare() -> None:
    free = {"operator.affinity", "shards.affinity", "global"}

    loose = [path for path, each in objects_in(SCHEMA) if "additionalProperties" not in each]

    assert set(loose) == free


def test_every_declared_value_is_in_the_documentation_and_the_other_way_round() -> None:
    wanted = set(declared(SCHEMA)) - {("global",)}

    assert set(present(VALUES, SCHEMA)) == wanted


def test_every_top_level_value_is_explained() -> None:
    lines = TEXT.splitlines()

    for number, line in enumerate(lines):
        if line and line[0].isalpha() and line.split(":")[0] in VALUES and not line.startswith("serviceAccount"):
            before = lines[number - 1]
            assert before.startswith("#") or line.startswith("fullnameOverride"), f"line {number + 1}: {line}"


def test_lint_finds_nothing(tmp_path: Any) -> None:
    for name, values in {"redis": REDIS, "trial": TRIAL}.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps(values))
        outcome = subprocess.run(
            [helm(), "lint", "--strict", "--quiet", f"--values={file}", str(CHART)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def numeric(model: type[BaseModel], name: str) -> tuple[Any, Any]:
    """The least and the most that a setting may be."""
    said = model.model_json_schema()["properties"][name]
    one = next(option for option in said.get("anyOf", [said]) if option.get("type") != "null")
    return one.get("minimum"), one.get("maximum")


PASSED_ON = sorted(name.removeprefix("shard_") for name in OperatorSettings.model_fields if name.startswith("shard_"))


@pytest.mark.parametrize("name", [name for name in PASSED_ON if name in ShardSettings.model_fields])
def test_chart_operator_and_shard_draw_the_same_bounds(name: str) -> None:
    first, *more = name.split("_")
    said = SCHEMA["properties"]["shards"]["properties"][first + "".join(word.title() for word in more)]

    assert numeric(OperatorSettings, f"shard_{name}") == numeric(ShardSettings, name)
    if numeric(ShardSettings, name) != (None, None):
        assert (said["minimum"], said["maximum"]) == numeric(ShardSettings, name)


@pytest.mark.parametrize(
    ("given", "both"),
    [
        ({"shard_circuit_wait_first_ms": 500, "shard_circuit_wait_max_ms": 100}, ("500", "100")),
        ({"shard_backpressure_conflate_ms": 3_000, "shard_backpressure_shed_ms": 3_000}, ("3000", "3000")),
    ],
)
def test_what_every_shard_would_refuse_the_operator_refuses_at_its_start(
    given: dict[str, int], both: tuple[str, str]
) -> None:
    with pytest.raises(click.UsageError) as refusal:
        load_settings(OperatorSettings, {"shard_image": "i", **given})

    assert all(number in refusal.value.message for number in both)
