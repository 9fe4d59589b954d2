"""The reference of all fields as Markdown, from the same schemas that the API server judges by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ticker_crds.base import CEL, INT_OR_STRING, LIST_KEYS, LIST_TYPE, PRESERVE_UNKNOWN
from ticker_crds.constants import API_VERSION, PLURALS, Kind
from ticker_crds.schema import COLUMNS, MODELS, SHORT_NAMES, structural_schema

OPENING: Final = f"""\
<!-- Made from the models in crds/ticker_crds by `make generate`; change those. -->
# Reference: the three kinds

Group and version `{API_VERSION}`, namespaced, category `ticker` (`kubectl get ticker`). A namespace is a pool:
its accounts share its subscriptions. Unknown members are refused by `kubectl apply` and ignored by our programs.

On any of the three, the annotation `tickershard.io/paused: "true"` asks the operator to leave it as it is.
"""


def reference() -> str:
    """The whole document."""
    return "\n".join([OPENING, *(_chapter(kind) for kind in Kind)])


def _chapter(kind: Kind) -> str:
    schema = structural_schema(MODELS[kind])
    lines = [
        f"## {kind.value}",
        "",
        f"{schema['description']} Short name `{SHORT_NAMES[kind]}`.",
        "",
        "`kubectl get " + PLURALS[kind] + "` shows " + _columns(kind) + ".",
        "",
        "Conditions: " + ", ".join(f"`{condition.value}`" for condition in MODELS[kind].conditions_used) + ".",
        "",
    ]
    for part in ("spec", "status"):
        lines += [f"### {kind.value}: {part}", "", "| Field | Type | Meaning |", "| --- | --- | --- |"]
        lines += [_row(*field) for field in _fields(schema["properties"][part], path=part)]
        lines.append("")
    rules = list(_rules(schema, path=""))
    if rules:
        lines += [f"### {kind.value}: rules", "", "| At | What the API server says |", "| --- | --- |"]
        lines += [f"| `{path or 'the object'}` | {message} |" for path, message in rules]
        lines.append("")
    return "\n".join(lines)


def _columns(kind: Kind) -> str:
    narrow = ", ".join(column.name.upper() for column in COLUMNS[kind] if not column.wide)
    wide = ", ".join(column.name.upper() for column in COLUMNS[kind] if column.wide)
    return f"NAME, {narrow}; with `-o wide` also {wide}"


def _fields(schema: dict[str, Any], *, path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    required = schema.get("required", ())
    for name, part in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here, part, name in required
        yield from _fields(part, path=here)
        if "items" in part:
            yield from _fields(part["items"], path=f"{here}[]")


def _row(path: str, schema: dict[str, Any], required: bool) -> str:
    meaning = [str(schema.get("description", ""))]
    if required:
        meaning.append("Required.")
    if "default" in schema and schema["default"] != {}:
        meaning.append(f"Default `{_literal(schema['default'])}`.")
    return f"| `{path}` | {_type(schema)} | {_escape(' '.join(meaning))} |"


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    if schema.get(INT_OR_STRING):
        return "integer or string"
    if schema["type"] == "array":
        keyed = f" by `{schema[LIST_KEYS][0]}`" if schema.get(LIST_TYPE) == "map" else ""
        return f"list{keyed}{_bounds(schema, 'minItems', 'maxItems')}: {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map{_bounds(schema, 'minProperties', 'maxProperties')}: {_type(schema['additionalProperties'])}"
    if schema["type"] == "object":
        return "object, any members" if schema.get(PRESERVE_UNKNOWN) else "object"
    if schema.get("format") == "date-time":
        return "time"
    if schema["type"] == "string":
        bounds = _bounds(schema, "minLength", "maxLength")
        return f"string{bounds} characters" if bounds else "string"
    return f"{schema['type']}{_bounds(schema, 'minimum', 'maximum')}"


def _bounds(schema: dict[str, Any], low: str, high: str) -> str:
    if low in schema and high in schema:
        return f", {schema[low]} to {schema[high]}"
    if high in schema:
        return f", at most {schema[high]}"
    return f", at least {schema[low]}" if low in schema else ""


def _rules(schema: dict[str, Any], *, path: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get(CEL, ()):
        yield path, _escape(rule["message"])
    for name, part in schema.get("properties", {}).items():
        yield from _rules(part, path=f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], path=f"{path}[]")


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
