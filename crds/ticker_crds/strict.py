"""Members that no schema knows, named as a strict API server names them; for whoever reads files instead of one.

`KindModel.from_manifest` ignores what it does not know, because another version may have written it. What a person
types is another matter: a misspelt member would silently leave the default in force. So the schema that the API
server is given is walked beside the document; what it would preserve (free forms, maps) is let through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, Final

from ticker_crds.base import PRESERVE_UNKNOWN
from ticker_crds.constants import Kind
from ticker_crds.schema import MODELS, Schema, structural_schema

ANY: Final[Schema] = {}
FREE: Final[Schema] = {PRESERVE_UNKNOWN: True}
METADATA_NAMES: Final = (
    *("name", "generateName", "namespace", "labels", "annotations", "finalizers"),
    *("uid", "resourceVersion", "generation", "selfLink"),
    *("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
)
SECRET_NAMES: Final = ("apiVersion", "kind", "type", "immutable", "data", "stringData")
METADATA: Final[Schema] = {
    "properties": {**dict.fromkeys(METADATA_NAMES, ANY), "ownerReferences": FREE, "managedFields": FREE}
}
SECRET: Final[Schema] = {"properties": {**dict.fromkeys(SECRET_NAMES, ANY), "metadata": METADATA}}


def unknown_members(kind: Kind, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for each member of `manifest` that objects of this kind do not have."""
    return tuple(_unknown(manifest, _schema(kind), ""))


def unknown_members_of_secret(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The same for a Secret. Names members only, never a value."""
    return tuple(_unknown(manifest, SECRET, ""))


@cache
def _schema(kind: Kind) -> Schema:
    schema = structural_schema(MODELS[kind])
    return {**schema, "properties": {**schema["properties"], "metadata": METADATA}}


def _unknown(value: Any, schema: Schema, place: str) -> Iterator[str]:
    if schema.get(PRESERVE_UNKNOWN):
        return
    if isinstance(value, Mapping) and "properties" in schema:
        properties = schema["properties"]
        for name, inner in value.items():
            path = f"{place}.{name}".lstrip(".")
            if name in properties:
                yield from _unknown(inner, properties[name], path)
            else:
                yield f"{path}: unknown member{_meant(str(name), properties)}"
    elif isinstance(value, list) and "items" in schema:
        for index, inner in enumerate(value):
            yield from _unknown(inner, schema["items"], f"{place}[{index}]")


def _meant(name: str, properties: Mapping[str, Schema]) -> str:
    near = get_close_matches(name, properties, n=1)
    return f"; is {near[0]} meant?" if near else f"; there are {', '.join(sorted(properties))}"
