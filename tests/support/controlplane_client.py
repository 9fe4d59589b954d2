"""Plain HTTP to an API server: exactly the requests a test means, answers as they come.

No client library stands between a test and what the server says, so a test may send what a library would not, and
sees status codes and messages verbatim.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from ticker_crds.constants import API_VERSION, PLURALS, Kind

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
TIMEOUT_S: Final = 30.0

_CORE: Final = {
    "ConfigMap": "configmaps",
    "Namespace": "namespaces",
    "Pod": "pods",
    "Secret": "secrets",
    "ServiceAccount": "serviceaccounts",
}
_PLURALS: Final = {
    "CustomResourceDefinition": "customresourcedefinitions",
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Lease": "leases",
    **_CORE,
    **{kind.value: plural for kind, plural in PLURALS.items()},
}
_CLUSTER_WIDE: Final = {"CustomResourceDefinition", "Namespace"}


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    document: Any

    @property
    def message(self) -> str:
        """The message of a refusal."""
        return str(self.document.get("message", "")) if isinstance(self.document, dict) else str(self.document)

    def expect(self, *statuses: int) -> dict[str, Any]:
        """The document, if the status is one of `statuses` (200 or 201 by default)."""
        assert self.status in (statuses or (200, 201)), f"{self.status}: {self.message}"
        document: dict[str, Any] = self.document
        return document


@dataclass(frozen=True)
class ApiClient:
    """Requests of one user."""

    url: str
    token: str = field(repr=False)
    ca_file: Path

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        **query: str,
    ) -> Answer:
        """One request; an answer of any status is an answer."""
        target = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept, "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(target, data=data, headers=headers, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca_file)),
        )
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                return Answer(answer.status, _read(answer.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, _read(refused.read()))

    def create(self, manifest: Mapping[str, Any], *, namespace: str = "default") -> Answer:
        """POST to the collection."""
        path = collection_path(manifest["kind"], _api_version(manifest), namespace=namespace)
        return self.request("POST", path, manifest, fieldValidation="Strict")

    def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        manager: str,
        namespace: str = "default",
        subresource: str = "",
        force: bool = False,
    ) -> Answer:
        """Server-side apply, of the object or of a subresource such as ``status``."""
        path = object_path(manifest, namespace=namespace, subresource=subresource)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return self.request("PATCH", path, manifest, content_type=APPLY, **query)

    def get(
        self, kind: str, name: str, *, namespace: str = "default", api_version: str = API_VERSION
    ) -> dict[str, Any]:
        """The object; it must be there."""
        manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}}
        return self.request("GET", object_path(manifest, namespace=namespace)).expect(200)

    def merge(
        self,
        manifest: Mapping[str, Any],
        patch: Mapping[str, Any],
        *,
        namespace: str = "default",
        subresource: str = "",
    ) -> Answer:
        """Merge patch of the object that `manifest` names."""
        path = object_path(manifest, namespace=namespace, subresource=subresource)
        return self.request("PATCH", path, patch, content_type=MERGE)

    def delete(self, manifest: Mapping[str, Any], *, namespace: str = "default") -> Answer:
        """Delete the object that `manifest` names."""
        return self.request("DELETE", object_path(manifest, namespace=namespace))


def collection_path(kind: str, api_version: str, *, namespace: str) -> str:
    """Path of all objects of a kind."""
    root = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
    where = "" if kind in _CLUSTER_WIDE else f"/namespaces/{namespace}"
    return f"{root}{where}/{_PLURALS[kind]}"


def object_path(manifest: Mapping[str, Any], *, namespace: str, subresource: str = "") -> str:
    """Path of the object that `manifest` names."""
    collection = collection_path(manifest["kind"], _api_version(manifest), namespace=namespace)
    path = f"{collection}/{manifest['metadata']['name']}"
    return f"{path}/{subresource}" if subresource else path


def kind_manifest(kind: Kind, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}, "spec": dict(spec)}


def _api_version(manifest: Mapping[str, Any]) -> str:
    return str(manifest["apiVersion"])


def _read(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
