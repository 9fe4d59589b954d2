"""CustomResourceDefinitions from the models: structural OpenAPI v3, as the API server wants it.

pydantic writes JSON schema with references, ``anyOf`` for "or nothing", titles and nulls as defaults; a structural
schema has none of these. So references are written out, "or nothing" becomes an optional member (the API server
prunes nulls from members that are not nullable), and bounds move to where the type is. Empty lists and maps are no
defaults there: a stored object should show what somebody chose, and the few defaults that mean something.

`definitions` is what ``crds/*.yaml`` holds; a test fails where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from ticker_crds.account import KiteAccount
from ticker_crds.base import CEL, INT_OR_STRING, LIST_KEYS, LIST_TYPE, PRESERVE_UNKNOWN, KindModel
from ticker_crds.constants import CATEGORY, GROUP, PLURALS, VERSION, Kind
from ticker_crds.shard import TickerShard
from ticker_crds.subscription import TickerSubscription

Schema = dict[str, Any]

ORDER: Final = (  # of a schema's members, as a person reads them; whatever is not here does not belong into one
    "description",
    "type",
    "format",
    INT_OR_STRING,
    PRESERVE_UNKNOWN,
    "enum",
    "default",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    LIST_TYPE,
    LIST_KEYS,
    CEL,
    "required",
    "properties",
    "additionalProperties",
    "items",
)
IGNORED: Final = frozenset({"title", "$defs"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``; a wide one shows with ``-o wide`` only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False


def _condition(kind: str, member: str) -> str:
    return f'.status.conditions[?(@.type=="{kind}")].{member}'


_READY: Final = Column("Ready", _condition("Ready", "status"), "Whether it does what it should.")
_STATUS: Final = Column("Status", _condition("Ready", "reason"), "Why, in one word; the condition's message says more.")
_AGE: Final = Column("Age", ".metadata.creationTimestamp", "Time since it was made.", "date")

COLUMNS: Final[dict[Kind, tuple[Column, ...]]] = {
    Kind.ACCOUNT: (
        Column("State", ".spec.state", "What its owner wants: Active, Draining or Suspended."),
        Column("Assigned", ".status.assigned", "Instruments assigned to it.", "integer"),
        Column("Capacity", ".status.capacity", "Instruments it can carry.", "integer"),
        _READY,
        _STATUS,
        _AGE,
        Column("Shard", ".status.shardRef.name", "Its TickerShard.", wide=True),
        Column("Secret", ".spec.credentialsRef.name", "The Secret that holds its token.", wide=True),
        Column("Token", ".status.tokenIssuedAt", "Age of its token.", "date", wide=True),
    ),
    Kind.SUBSCRIPTION: (
        Column("Resolved", ".status.resolved", "Instruments found in the broker's list.", "integer"),
        Column("Assigned", ".status.assigned", "Instruments that an account carries.", "integer"),
        Column("Streaming", ".status.streaming", "Instruments whose packets arrive and are published.", "integer"),
        _READY,
        _STATUS,
        _AGE,
        Column("Mode", ".spec.mode", "Packet mode.", wide=True),
        Column("Channel", ".spec.channel", "Channel, where one was chosen.", wide=True),
        Column("Priority", ".spec.priority", "Higher ones are placed first.", "integer", wide=True),
    ),
    Kind.SHARD: (
        Column("Account", ".spec.accountRef.name", "The KiteAccount."),
        Column("Assigned", ".status.assigned", "Instruments assigned to the account.", "integer"),
        Column("Confirmed", ".status.confirmed", "Instruments whose first packet arrived.", "integer"),
        Column("Capacity", ".status.capacity", "Instruments the account can carry.", "integer"),
        Column("Sockets", ".status.sockets", "Open and wanted sockets."),
        _READY,
        _STATUS,
        _AGE,
        Column("Epoch", ".status.epoch", "Fence epoch of the first channel.", "integer", wide=True),
        Column("Revision", ".status.appliedRevision", "Revision of the assignment in force.", "integer", wide=True),
        Column("Image", ".status.image", "Image of the live pod.", wide=True),
    ),
}
SHORT_NAMES: Final[dict[Kind, str]] = {Kind.ACCOUNT: "kacc", Kind.SUBSCRIPTION: "tsub", Kind.SHARD: "tsh"}
MODELS: Final[dict[Kind, type[KindModel]]] = {
    Kind.ACCOUNT: KiteAccount,
    Kind.SUBSCRIPTION: TickerSubscription,
    Kind.SHARD: TickerShard,
}


def definition(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    plural = PLURALS[kind]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.value,
                "listKind": f"{kind.value}List",
                "plural": plural,
                "singular": kind.value.lower(),
                "shortNames": [SHORT_NAMES[kind]],
                "categories": [CATEGORY],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [_column(column) for column in COLUMNS[kind]],
                    "schema": {"openAPIV3Schema": structural_schema(MODELS[kind])},
                }
            ],
        },
    }


def file_name(kind: Kind) -> str:
    """Name of the file that holds a kind's definition."""
    return f"{GROUP}_{PLURALS[kind]}.yaml"


def definitions() -> dict[str, str]:
    """Content of ``crds/`` by file name."""
    return {file_name(kind): to_yaml(definition(kind)) for kind in Kind}


def to_yaml(document: Mapping[str, Any]) -> str:
    """YAML with members in the order they are given, and the line that says where they come from."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# Made from the models in crds/ticker_crds by `make generate`; change those.\n{text}"


def structural_schema(model: type[KindModel]) -> Schema:
    """The schema of a whole object; of metadata only what a rule of ours judges may stand in it."""
    whole = model.model_json_schema(by_alias=True)
    schema = _flatten(whole, whole.get("$defs", {}))
    properties = schema["properties"]
    properties["metadata"] = {"type": "object"}
    properties["apiVersion"] = {"type": "string", "description": "Group and version of this representation."}
    properties["kind"] = {"type": "string", "description": "The kind of this object."}
    return {
        "description": model.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {name: properties[name] for name in ("apiVersion", "kind", "metadata", "spec", "status")},
        **{key: value for key, value in schema.items() if key == CEL},
    }


def _column(column: Column) -> Schema:
    made: Schema = {
        "name": column.name,
        "type": column.type,
        "description": column.description,
        "jsonPath": column.path,
    }
    if column.wide:
        made["priority"] = 1
    return made


def _flatten(node: Schema, shared: Mapping[str, Schema]) -> Schema:
    """`node` without references, titles, nulls and ``anyOf``."""
    merged = dict(node)
    while True:
        if "$ref" in merged:
            referred = shared[str(merged.pop("$ref")).removeprefix("#/$defs/")]
            merged = {**referred, **merged}
        elif "anyOf" in merged:
            choices = [choice for choice in merged.pop("anyOf") if choice != {"type": "null"}]
            assert len(choices) == 1, f"a member is of one type or absent, not {choices}"
            merged = {**choices[0], **merged}
        else:
            break
    strange = merged.keys() - set(ORDER) - IGNORED
    assert not strange, f"a structural schema has no {sorted(strange)}"
    if merged.get("default") in (None, "", [], {}):
        merged.pop("default", None)
    if "properties" in merged:
        required = merged.get("required", ())
        merged["properties"] = {
            name: _member(part, shared, required=name in required) for name, part in merged["properties"].items()
        }
    if "items" in merged:
        merged["items"] = _flatten(merged["items"], shared)
    values = merged.pop("additionalProperties", None)
    if isinstance(values, Mapping):
        merged["additionalProperties"] = _flatten(dict(values), shared)
    elif values is True:
        merged[PRESERVE_UNKNOWN] = True
    return {key: merged[key] for key in ORDER if key in merged}


def _member(node: Schema, shared: Mapping[str, Schema], *, required: bool) -> Schema:
    """A member of an object. Defaults inside it apply only where it is there, so it gets an empty one itself."""
    flat = _flatten(node, shared)
    always_there = "$ref" in node and not required  # neither "or nothing" nor the user's to give
    if always_there and any("default" in part for part in flat.get("properties", {}).values()):
        return {key: {"default": {}, **flat}[key] for key in ORDER if key in flat or key == "default"}
    return flat


class _Dumper(yaml.SafeDumper):
    """Quotes the words that some YAML readers take for booleans: an unquoted ``n:`` is *false* to the API server."""

    def ignore_aliases(self, data: object) -> bool:
        return True  # a file that people read says things where they apply


_BOOLEAN_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false"})


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if text.lower() in _BOOLEAN_WORDS else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
