"""What a trader wrote: every YAML document below a folder, judged by the models of the kinds.

Files stand in for the API server here, so this room gives objects what an API server would: a uid, a generation that
counts changes of the spec, a time of creation, and a deletion that waits while somebody holds it (an account's
instruments move away first). That memory is one small file in the state folder.

A file or document that cannot be used is a `Fault` with its place and its sentence; all others count. What stood in a
file that cannot be read any more (half-written, say), or in a document that is refused now, goes on as it was: a slip
of the editor deletes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from ticker_crds.account import KiteAccount
from ticker_crds.base import InvalidObjectError, KindModel
from ticker_crds.constants import API_VERSION, FINALIZER_DRAIN, Kind
from ticker_crds.strict import unknown_members, unknown_members_of_secret
from ticker_crds.subscription import TickerSubscription
from ticker_operator.local.files import read_json, replace_json
from ticker_operator.model import Manifest
from ticker_operator.reconcile.ports import Unreachable

MODELS: Final[dict[str, type[KindModel]]] = {Kind.ACCOUNT: KiteAccount, Kind.SUBSCRIPTION: TickerSubscription}
SECRET: Final = "Secret"  # noqa: S105 - a kind
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
KEY_CHARS_MAX: Final = 100  # of a key in a sentence


@dataclass(frozen=True, slots=True)
class Fault:
    """A document that does not count: where, and what to do."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Declared:
    """All usable documents by kind and name, what could not be used, and each document's file.

    Attributes
    ----------
    objects
        By (kind, name).
    files
        The file of each, relative to the folder.
    unreadable
        Files of which nothing is known.
    refused
        Documents of this pool that break a rule of their kind, by (kind, name).
    faults
        For people.
    """

    objects: Mapping[tuple[str, str], Mapping[str, Any]]
    files: Mapping[tuple[str, str], str]
    unreadable: frozenset[str]
    refused: frozenset[tuple[str, str]]
    faults: tuple[Fault, ...]

    def with_secrets_of(self, before: Declared) -> Declared:
        """With the Secrets that `before` had from files unreadable now; the register, a file, must hold no Secret."""
        kept = {
            key: file
            for key, file in before.files.items()
            if key[0] == SECRET and file in self.unreadable and key not in self.objects
        }
        return replace(
            self,
            objects={**self.objects, **{key: before.objects[key] for key in kept}},
            files={**self.files, **kept},
        )


def read_folder(folder: Path, *, namespace: str) -> Declared:
    """Every document of every ``*.yaml`` and ``*.yml`` below `folder` (hidden folders are left out).

    Raises
    ------
    Unreachable
        When there is no such folder: then nobody can say what is declared.
    """
    objects: dict[tuple[str, str], Mapping[str, Any]] = {}
    files: dict[tuple[str, str], str] = {}
    unreadable: set[str] = set()
    refused: set[tuple[str, str]] = set()
    faults: list[Fault] = []
    for path in _yaml_files(folder):
        file = str(path.relative_to(folder))
        documents = _documents(path)
        if isinstance(documents, str):
            unreadable.add(file)
            faults.append(Fault(file, documents))
            continue
        for number, document in enumerate(documents, start=1):
            key, problem = _judge(document, namespace=namespace)
            if problem is not None:
                refused.add(key)
            elif key in objects:
                problem = f"{key[0]} {key[1]} is declared in {files[key]} already; that one counts"
            if problem is not None:
                faults.append(Fault(f"{file} (document {number})", problem))
            else:
                objects[key], files[key] = document, file
    return Declared(objects, files, frozenset(unreadable), frozenset(refused), tuple(faults))


def folder_signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a document may have changed: names, sizes and times of the files.

    Raises
    ------
    Unreachable
    """
    seen: list[tuple[str, int, int]] = []
    for path in _yaml_files(folder):
        try:
            stat = path.stat()
        except OSError:
            continue  # gone between the two looks; the next one says so
        seen.append((str(path), stat.st_size, stat.st_mtime_ns))
    return tuple(seen)


def _yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Unreachable(f"{folder} is not a folder")
    found = [path for pattern in ("*.yaml", "*.yml") for path in folder.rglob(pattern)]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _documents(path: Path) -> list[Any] | str:
    """The documents of a file, empty ones left out; or why it cannot be read."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            return f"more than {FILE_BYTES_MAX:,} bytes; split it"
        documents = list(yaml.load_all(path.read_text(), Loader=_Loader))
    except _TwiceError as error:
        return str(error)
    except (OSError, UnicodeDecodeError) as error:
        return f"cannot be read: {type(error).__name__}"
    except yaml.YAMLError as error:
        # Never the error's own text: it may quote the document, and a Secret stands in one.
        mark = getattr(error, "problem_mark", None)
        return "not YAML" + (f" (line {mark.line + 1})" if mark else "")
    except (ValueError, RecursionError) as error:
        # Out of the parser: a date that does not exist, or nesting without end.
        return f"cannot be read: {type(error).__name__}"
    return [document for document in documents if document is not None]


class _TwiceError(Exception):
    """A key stands twice in one object."""


class _Loader(yaml.SafeLoader):
    """YAML as an API server reads it: of a key that stands twice, the later one must not win unseen."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        assert node is not None
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise _TwiceError(f"{key.value[:KEY_CHARS_MAX]} stands twice, again in line {key.start_mark.line + 1}")
            seen.add((key.tag, key.value))
        return node


def _judge(document: Any, *, namespace: str) -> tuple[tuple[str, str], str | None]:
    """The document's kind and name, and why it does not count (`None` when it does)."""
    if not isinstance(document, Mapping):
        return ("", ""), "a document is not an object"
    kind, metadata = str(document.get("kind")), document.get("metadata")
    if not isinstance(metadata, Mapping) or not metadata.get("name"):
        return (kind, ""), f"{kind} has no metadata.name"
    key = (kind, str(metadata["name"]))
    if metadata.get("namespace", namespace) != namespace:
        # Not this pool's object of that name: its key says nothing about ours.
        return (kind, ""), f"{kind} {key[1]} is of namespace {metadata['namespace']}, this pool is {namespace}"
    if kind == SECRET:
        return key, _strange(key, unknown_members_of_secret(document))
    if kind not in MODELS:
        return key, f"kind {kind} is none that one machine knows: KiteAccount, TickerSubscription, Secret"
    if document.get("apiVersion") != API_VERSION:
        return key, f"{kind} {key[1]}: apiVersion must be {API_VERSION}"
    try:
        MODELS[kind].from_manifest(document)
    except InvalidObjectError as error:
        return key, str(error)
    return key, _strange(key, unknown_members(Kind(kind), document))


def _strange(key: tuple[str, str], members: tuple[str, ...]) -> str | None:
    """As the API server refuses what it does not know: a misspelt member must not leave a default in force unseen."""
    return f"{key[0]} {key[1]}: " + "; ".join(members) if members else None


class Register:
    """What an API server would remember about declared objects.

    Parameters
    ----------
    path
        Where it is kept.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, dict[str, Any]] = read_json(path)

    def admit(self, declared: Declared, *, kind: str, now: str) -> tuple[Manifest, ...]:
        """Objects of `kind` as an API server would list them; those that vanished stay while they are held."""
        listed: list[Manifest] = []
        for (of_kind, name), document in sorted(declared.objects.items(), key=lambda item: item[0]):
            if of_kind == kind:
                record = self._record(kind, name, document, file=declared.files[kind, name], now=now)
                listed.append(_as_listed(document, record))
        for key in [key for key in self._records if key.startswith(f"{kind}/")]:
            if (kind, key.split("/", 1)[1]) not in declared.objects:
                listed += self._vanished(key, declared, now=now)
        self._save()
        return tuple(listed)

    def _vanished(self, key: str, declared: Declared, *, now: str) -> list[Manifest]:
        record = self._records[key]
        refused = tuple(key.split("/", 1)) in declared.refused
        if not refused and record.get("file") not in declared.unreadable:
            if not record.get("held"):
                del self._records[key]
                return []
            record.setdefault("deleted", now)
        return [_as_listed(record["document"], record)]

    def hold(self, kind: str, name: str, *, held: bool) -> None:
        """Whether a vanished object goes on being listed, with a time of deletion."""
        record = self._records.get(f"{kind}/{name}")
        if record is not None:
            record["held"] = held
            self._save()

    def _record(self, kind: str, name: str, document: Mapping[str, Any], *, file: str, now: str) -> dict[str, Any]:
        digest = hashlib.sha256(json.dumps(document.get("spec"), sort_keys=True, default=str).encode()).hexdigest()
        record = self._records.get(f"{kind}/{name}")
        if record is None or "deleted" in record:
            uid = hashlib.sha256(f"{kind}/{name}/{now}".encode()).hexdigest()[:32]
            record = {"uid": uid, "created": now, "generation": 0, "digest": "", "held": False}
        if record["digest"] != digest:
            record.update(generation=record["generation"] + 1, digest=digest)
        record["file"] = file
        record["document"] = json.loads(json.dumps(document, default=str))
        self._records[f"{kind}/{name}"] = record
        return record

    def _save(self) -> None:
        if self._records != read_json(self._path):
            replace_json(self._path, self._records)


def _as_listed(document: Mapping[str, Any], record: Mapping[str, Any]) -> Manifest:
    metadata = {
        **document["metadata"],
        "uid": record["uid"],
        "generation": record["generation"],
        "creationTimestamp": record["created"],
        "finalizers": [FINALIZER_DRAIN] if record.get("held") else [],
    }
    content = json.dumps([document, record.get("deleted"), record.get("held")], sort_keys=True, default=str)
    metadata["resourceVersion"] = hashlib.sha256(content.encode()).hexdigest()[:16]
    if "deleted" in record:
        metadata["deletionTimestamp"] = record["deleted"]
    return {**document, "metadata": metadata}
