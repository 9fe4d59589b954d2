"""The generated files: they hold what the models say, and only what an API server takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ticker_crds.base import CEL, INT_OR_STRING, PRESERVE_UNKNOWN
from ticker_crds.constants import CONDITIONS_MAX, Kind
from ticker_crds.reference import reference
from ticker_crds.schema import COLUMNS, MODELS, definition, definitions, file_name, structural_schema, to_yaml
from ticker_operator.app.cli import main
from ticker_operator.app.crds_command import REFERENCE_FILE, drift, write

ROOT = Path(__file__).parents[2]
KINDS = pytest.mark.parametrize("kind", list(Kind), ids=str)


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


# ---------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------


def test_files_hold_what_the_models_say() -> None:
    assert drift(ROOT / "crds") == [], "run `make generate`"


def test_reference_holds_what_the_models_say() -> None:
    assert (ROOT / REFERENCE_FILE).read_text(encoding="utf-8") == reference(), "run `make generate`"


def test_check_names_the_file_that_drifted(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "crds", tmp_path / "crds", ignore=shutil.ignore_patterns("ticker_crds"))
    folder = tmp_path / "crds"
    runner = CliRunner()
    assert runner.invoke(main, ["crds", "--check", str(folder)]).exit_code == 0

    changed, gone = file_name(Kind.ACCOUNT), file_name(Kind.SHARD)
    (folder / changed).write_text((folder / changed).read_text().replace("maximum: 3\n", "maximum: 4\n"))
    (folder / gone).unlink()
    (folder / "stranger.yaml").write_text("{}")
    outcome = runner.invoke(main, ["crds", "--check", str(folder)])

    assert outcome.exit_code == 1
    assert [Path(line.partition(":")[0]).name for line in outcome.stderr.splitlines()] == [
        changed,
        gone,
        "stranger.yaml",
    ]


def test_printed_definitions_are_one_stream_of_documents() -> None:
    outcome = CliRunner().invoke(main, ["crds"])

    printed = list(yaml.safe_load_all(outcome.output))
    assert printed == [definition(kind) for kind in Kind]


def test_write_changes_only_what_differs(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == 2 * len(Kind) + 1  # crds, the chart's copies, the reference
    assert write(tmp_path) == []
    assert drift(tmp_path / "crds") == []


def test_reference_is_printed() -> None:
    assert CliRunner().invoke(main, ["crds", "--reference"]).output == reference()


def test_two_wishes_at_once_are_refused(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["crds", "--reference", "--check", str(tmp_path)])

    assert outcome.exit_code == 2
    assert "exclude each other" in outcome.stderr


@pytest.mark.parametrize("wish", ["--check", "--write"])
def test_a_folder_that_is_not_there_is_refused_and_not_made(wish: str, tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["crds", wish, str(tmp_path / "absent")])

    assert outcome.exit_code == 2
    assert "does not exist" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_booleans_to_some_readers_are_quoted() -> None:
    text = to_yaml({"n": "y", "on": "off", "yes": ["no", "true", "plain"]})

    assert text.partition("\n")[2] == "'n': 'y'\n'on': 'off'\n'yes':\n- 'no'\n- 'true'\n- plain\n"


def test_nothing_is_said_by_reference_to_elsewhere_in_a_file() -> None:
    for name, text in definitions().items():
        assert not [line for line in text.splitlines() if ": &" in line or ": *" in line], name


# ---------------------------------------------------------------------------------------------------------------
# Schemas
# ---------------------------------------------------------------------------------------------------------------


@KINDS
def test_schema_is_structural(kind: Kind) -> None:
    for path, schema in nodes(structural_schema(MODELS[kind])):
        assert not schema.keys() & {"$ref", "$defs", "anyOf", "allOf", "oneOf", "title", "nullable"}, path
        assert "type" in schema or schema.get(INT_OR_STRING), path
        assert schema.get("default", ...) is not None, path


@KINDS
def test_every_member_says_what_it_means(kind: Kind) -> None:
    for path, schema in nodes(structural_schema(MODELS[kind])):
        for name, part in schema.get("properties", {}).items():
            assert part.get("description") or name == "metadata", f"{path}.{name}"


@KINDS
def test_everything_that_can_grow_has_a_ceiling(kind: Kind) -> None:
    schema = structural_schema(MODELS[kind])
    for path, part in nodes(schema):
        if path.startswith((".apiVersion", ".kind", ".metadata")) or part.get(INT_OR_STRING):
            continue
        match part["type"]:
            case "array":
                assert "maxItems" in part, path
            case "string":
                assert part.keys() & {"maxLength", "enum", "format"}, path
            case "object" if "additionalProperties" in part:
                assert "maxProperties" in part, path


@KINDS
def test_conditions_are_a_map_by_type_with_room_for_all_of_them(kind: Kind) -> None:
    conditions = structural_schema(MODELS[kind])["properties"]["status"]["properties"]["conditions"]

    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])
    assert len(MODELS[kind].conditions_used) <= CONDITIONS_MAX


@KINDS
def test_every_rule_says_what_to_do(kind: Kind) -> None:
    for path, schema in nodes(structural_schema(MODELS[kind])):
        for rule in schema.get(CEL, ()):
            assert rule.keys() == {"rule", "message"}, path
            assert len(rule["message"].split()) >= 4, path


@KINDS
def test_columns_point_at_members_that_exist(kind: Kind) -> None:
    schema = structural_schema(MODELS[kind])
    known = {path.replace("[]", "") for path, _ in nodes(schema)}
    for column in COLUMNS[kind]:
        if column.path == ".metadata.creationTimestamp":
            continue
        plain = column.path.replace('[?(@.type=="Ready")]', "")
        assert plain in known, column


@KINDS
def test_status_is_a_subresource_of_the_one_stored_version(kind: Kind) -> None:
    (version,) = definition(kind)["spec"]["versions"]

    assert version["subresources"] == {"status": {}}
    assert version["served"]
    assert version["storage"]


def test_only_nested_pod_types_and_the_rollout_are_open() -> None:
    found = {
        f"{kind}{path}"
        for kind in Kind
        for path, schema in nodes(structural_schema(MODELS[kind]))
        if schema.get(PRESERVE_UNKNOWN)
    }

    assert found == {
        "KiteAccount.spec.podTemplate.affinity",
        "KiteAccount.spec.podTemplate.tolerations[]",
        "KiteAccount.spec.podTemplate.topologySpreadConstraints[]",
        "TickerShard.status.rollout",
    }
