"""The one way to the API server: ten verbs over ``kubernetes.aio``, plain dicts in and out, every answer a value.

Only the client's connection, credentials and transport are used (`ApiClient`), not its typed operations: typed models
drop members they do not know, and a newer API server has such members; they also cost memory and seconds at import.
What the API is called, the caller knows (`Resource`).

Who repeats what: a GET that met a 5xx, 429 or a broken connection is repeated a few times, because it is safe and
because a pass would otherwise begin anew for a hiccup. A write is never repeated here; the next pass decides whether it
is still wanted. An answer that says nothing about what became of a write is an `UnclearError`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio.client import ApiClient

from ticker_common.logs import redact
from ticker_crds.constants import GROUP, PLURALS, VERSION, Kind

REQUEST_S: Final = 30.0
GET_ATTEMPTS: Final = 3
GET_PAUSE_S: Final = 0.3
CONCURRENT_REQUESTS_MAX: Final = 12
DETAIL_CHARS_MAX: Final = 400

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind's address: group (empty for core), version, plural, kind."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """``group/version``, or the bare version of core."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """The object's path, or the collection's."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [f"{root}/namespaces/{quote(namespace, safe='')}/{self.plural}"]
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


CUSTOM: Final[dict[Kind, Resource]] = {kind: Resource(GROUP, VERSION, PLURALS[kind], kind.value) for kind in Kind}
CONFIG_MAPS: Final = Resource("", "v1", "configmaps", "ConfigMap")
SECRETS: Final = Resource("", "v1", "secrets", "Secret")
PODS: Final = Resource("", "v1", "pods", "Pod")
SERVICE_ACCOUNTS: Final = Resource("", "v1", "serviceaccounts", "ServiceAccount")
DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet")
ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS: Final = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASES: Final = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS: Final = Resource("events.k8s.io", "v1", "events", "Event")
ACCESS_REVIEWS: Final = Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")


class ApiError(Exception):
    """The API server did not do it. The subclass says what that means for the caller."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class AbsentError(ApiError):
    """404: there is no such object."""


class ConflictError(ApiError):
    """409, or a failed guard: somebody else wrote. Nothing was written."""


class RefusedError(ApiError):
    """Another 4xx: this request will never be taken as it is."""


class UnclearError(ApiError):
    """No answer, 5xx or 429: for a write this means it may have been done."""


Observer = Callable[[str, str, int], None]  # verb, plural, HTTP status (0 = no answer)


class Gateway:
    """The API of one namespace.

    Parameters
    ----------
    client
        A connected client; whoever made it closes it.
    namespace
        The pool.
    observer
        Told of every request, for metrics.
    may_write
        Asked right before every write: whether the pool's Lease is still ours.
    """

    def __init__(
        self,
        client: ApiClient,
        *,
        namespace: str,
        observer: Observer | None = None,
        may_write: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self.namespace = namespace
        self._observer = observer or (lambda _verb, _plural, _status: None)
        self._may_write = may_write
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS_MAX)

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, name: str) -> Body:
        """One object.

        Raises
        ------
        ApiError
        """
        return await self._read("get", resource, resource.path(self.namespace, name), {})

    async def list_all(self, resource: Resource, *, labels: str = "", fields: str = "") -> Body:
        """A complete list (never in pages: a page's token can expire half-way).

        Raises
        ------
        ApiError
        """
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        return await self._read("list", resource, resource.path(self.namespace), query)

    async def _read(self, verb: str, resource: Resource, path: str, query: Mapping[str, str]) -> Body:
        for attempt in range(1, GET_ATTEMPTS + 1):
            try:
                return await self._call("GET", verb, resource, path, query)
            except UnclearError:
                if attempt == GET_ATTEMPTS:
                    raise
            await asyncio.sleep(GET_PAUSE_S * attempt * (0.5 + random.random()))  # noqa: S311 - jitter
        raise AssertionError("the loop returns or raises")

    # -- writing ---------------------------------------------------------------------------------------------

    async def apply(self, resource: Resource, body: Body, *, manager: str, subresource: str = "") -> Body:
        """Server-side apply: `body` is all that `manager` wants of the object; conflicts are forced.

        A ``metadata.resourceVersion`` in `body` guards it (`ConflictError`).

        Raises
        ------
        ApiError
        """
        path = resource.path(self.namespace, body["metadata"]["name"], subresource)
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", "patch", resource, path, query, body, "application/apply-patch+yaml")

    async def json_patch(
        self, resource: Resource, name: str, operations: Sequence[Body], *, manager: str, subresource: str = ""
    ) -> Body:
        """A JSON patch; a failed ``test`` is an `ConflictError`.

        Raises
        ------
        ApiError
        """
        path = resource.path(self.namespace, name, subresource)
        query = {"fieldManager": manager}
        body = list(operations)
        return await self._call("PATCH", "patch", resource, path, query, body, "application/json-patch+json")

    async def create(self, resource: Resource, body: Body, *, manager: str) -> Body:
        """POST a new object.

        Raises
        ------
        ApiError
        """
        path = resource.path(self.namespace)
        return await self._call("POST", "create", resource, path, {"fieldManager": manager}, body)

    async def replace(self, resource: Resource, body: Body, *, manager: str) -> Body:
        """PUT an object; its resourceVersion guards it.

        Raises
        ------
        ApiError
        """
        path = resource.path(self.namespace, body["metadata"]["name"])
        return await self._call("PUT", "update", resource, path, {"fieldManager": manager}, body)

    async def delete(self, resource: Resource, name: str, *, uid: str = "") -> None:
        """Delete in the background; an object that is not there is deleted. With `uid`: that very object or none.

        Raises
        ------
        ApiError
        """
        body: Body = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        path = resource.path(self.namespace, name)
        try:
            await self._call("DELETE", "delete", resource, path, {}, body)
        except AbsentError:
            return

    async def review_access(self, *, verb: str, group: str, plural: str, subresource: str = "") -> bool:
        """Whether we may do this in the namespace (SelfSubjectAccessReview).

        Raises
        ------
        ApiError
        """
        attributes = {"namespace": self.namespace, "verb": verb, "group": group, "resource": plural}
        if subresource:
            attributes["subresource"] = subresource
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = f"/apis/{ACCESS_REVIEWS.group}/{ACCESS_REVIEWS.version}/{ACCESS_REVIEWS.plural}"
        answer = await self._call("POST", "create", ACCESS_REVIEWS, path, {}, body)
        return bool(answer.get("status", {}).get("allowed"))

    # -- one request -----------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        query: Mapping[str, str],
        body: object = None,
        content_type: str = "application/json",
    ) -> Body:
        what = f"{verb} {path}"
        try:
            async with self._slots, asyncio.timeout(REQUEST_S):
                if method != "GET" and resource is not ACCESS_REVIEWS and not self._may_write():
                    raise UnclearError(f"{what}: not sent: the Lease is not ours")
                status, payload = await self._exchange(method, path, query, body, content_type)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            self._observer(verb, resource.plural, 0)
            raise UnclearError(f"{what}: {type(error).__name__}: {redact(str(error))}") from error
        self._observer(verb, resource.plural, status)
        return _answer(what, status, payload)

    async def _exchange(
        self, method: str, path: str, query: Mapping[str, str], body: object, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        # Paths and bodies are ours: only the credentials are taken from the client, which re-reads the token file.
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._client.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        response = await self._client.rest_client.request(
            method, url, headers=headers, body=body, _request_timeout=REQUEST_S
        )
        return int(response.status), bytes(await response.read())


def _answer(what: str, status: int, payload: bytes) -> Body:
    if 200 <= status < 300:
        try:
            body = json.loads(payload)
        except ValueError as error:
            raise UnclearError(f"{what}: the answer is not JSON", status=status) from error
        if not isinstance(body, dict):
            raise UnclearError(f"{what}: the answer is not an object", status=status)
        return body
    detail = f"{what}: HTTP {status}: {_message(payload)}"
    if status == 404:
        raise AbsentError(detail, status=status)
    if status == 409 or (status == 422 and _is_failed_test(payload)):
        raise ConflictError(detail, status=status)
    if status == 429 or status >= 500:
        raise UnclearError(detail, status=status)
    raise RefusedError(detail, status=status)


def _is_failed_test(payload: bytes) -> bool:
    """A JSON patch whose ``test`` failed is answered as an invalid request without any detail of what is invalid."""
    try:
        status = json.loads(payload)
    except ValueError:
        return False
    return isinstance(status, dict) and not status.get("details")


def _message(payload: bytes) -> str:
    try:
        status = json.loads(payload)
        text = str(status["message"]) if isinstance(status, dict) and "message" in status else ""
    except ValueError:
        text = ""
    return redact(text or payload.decode(errors="replace"))[:DETAIL_CHARS_MAX]
