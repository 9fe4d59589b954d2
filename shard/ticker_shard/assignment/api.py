"""The few calls a shard makes to the Kubernetes API, by plain HTTP.

A client library would cost each of a pool's processes tens of megabytes for five kinds of request: get one object,
watch one object, put the Lease, apply the status. The pod's token is short-lived and replaced under us, so the file
is read again every `TOKEN_REREAD_S`, and at once after a 401.

Three kinds of answer come back: a status code with a body, an event of a watch, or `ApiUnreachableError`. What a code
means is the caller's business. Bodies are bounded (`ANSWER_BYTES_MAX`): nobody else's object fills our memory.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp

from ticker_common.logs import register_secret

CALL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 3.0
TOKEN_REREAD_S: Final = 10.0
WATCH_SERVER_S: Final = 120  # the server ends the watch then; each new one starts from a fresh read
WATCH_SILENCE_S: Final = WATCH_SERVER_S + 30.0  # longer: the connection is half dead
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024  # an object has at most 1.5 MiB in etcd; base64 and managedFields on top
NS_PER_S: Final = 1_000_000_000

JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"


class ApiUnreachableError(Exception):
    """No answer: refused, reset, timed out, or not JSON. Whether a write was done is unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and the decoded body (an empty object where it was none)."""

    code: int
    body: Mapping[str, Any]

    @property
    def message(self) -> str:
        """What the server says about it."""
        return str(self.body.get("message", ""))[:500]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch."""

    kind: str  # ADDED, MODIFIED, DELETED, BOOKMARK, ERROR; ours: OPEN, the watch was accepted
    object: Mapping[str, Any]


class ApiServer:
    """One API server and this pod's identity at it.

    Parameters
    ----------
    url
        ``https://host:port``.
    token_file
        The service account's token.
    ca_file
        Certificates the server must be signed by; `None` for plain HTTP in tests.
    monotonic_ns
        The clock that says when the token is to be read again.
    """

    def __init__(self, url: str, *, token_file: Path, ca_file: Path | None, monotonic_ns: Callable[[], int]) -> None:
        self._url, self._token_file, self._ca_file, self._monotonic_ns = (
            url.rstrip("/"),
            token_file,
            ca_file,
            monotonic_ns,
        )
        self._session: aiohttp.ClientSession | None = None
        self._token, self._token_read_ns = "", 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, path: str) -> Answer:
        """Read an object from the store itself (no resourceVersion: never from a cache)."""
        return await self._call("GET", path)

    async def put(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Create by name, or replace what has the resourceVersion in `body`."""
        return await self._call("PUT", path, body=body)

    async def apply(self, path: str, body: Mapping[str, Any], *, manager: str, force: bool) -> Answer:
        """Server-side apply of the complete set of what `manager` owns."""
        query = {"fieldManager": manager, **({"force": "true"} if force else {})}
        return await self._call("PATCH", path, query=query, body=body, content_type=APPLY)

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
    ) -> Answer:
        answer = await self._call_once(method, path, query=query, body=body, content_type=content_type)
        if answer.code == 401:  # the token was replaced between two reads
            self._token_read_ns = 0
            answer = await self._call_once(method, path, query=query, body=body, content_type=content_type)
        return answer

    async def _call_once(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
    ) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = self._headers(content_type if data is not None else None)
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_S),
                self._open().request(method, self._url + path, params=query, data=data, headers=headers) as response,
            ):
                raw = await _bounded(response)
                return Answer(response.status, _json_object(raw))
        except ssl.SSLError as error:
            await self.close()  # certificates are read again with the next session
            raise ApiUnreachableError(f"{method} {path}: {type(error).__name__}") from error
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error, aiohttp.ClientSSLError):
                await self.close()
            raise ApiUnreachableError(f"{method} {path}: {type(error).__name__}: {error}") from error

    async def watch(self, path: str, *, name: str, version: str | None) -> AsyncIterator[WatchEvent]:
        """OPEN, then events of one object after `version`; without one, first the object itself, if it exists.

        Ends when the server ends it. Raises `ApiUnreachableError` for everything else, a refusal included.
        """
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={name}",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SERVER_S),
            **({"resourceVersion": version} if version else {}),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=WATCH_SILENCE_S)
        try:
            async with self._open().get(
                self._url + path, params=query, headers=self._headers(None), timeout=timeout
            ) as response:
                if response.status != 200:
                    if response.status == 401:
                        self._token_read_ns = 0
                    raise ApiUnreachableError(f"watch of {path}: HTTP {response.status}")
                yield WatchEvent("OPEN", {})
                # aiohttp's own line reader refuses lines above 128 KiB; a full assignment is longer.
                buffered = bytearray()
                async for chunk in response.content.iter_any():
                    buffered += chunk
                    while (end := buffered.find(b"\n")) >= 0:
                        line = bytes(buffered[:end])
                        del buffered[: end + 1]
                        if line.strip():
                            yield _event(line)
                    if len(buffered) > ANSWER_BYTES_MAX:
                        raise ApiUnreachableError(f"watch of {path}: a line above {ANSWER_BYTES_MAX:,} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            if isinstance(error, aiohttp.ClientSSLError):
                await self.close()
            raise ApiUnreachableError(f"watch of {path}: {type(error).__name__}: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context: ssl.SSLContext | bool = True
            if self._ca_file is not None:
                context = ssl.create_default_context(cafile=str(self._ca_file))
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=8),
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S),
                trust_env=False,
            )
        return self._session

    def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": JSON, "User-Agent": "tickershard-shard"}
        if content_type is not None:
            headers["Content-Type"] = content_type
        now_ns = self._monotonic_ns()
        if not self._token or not self._token_read_ns or now_ns - self._token_read_ns > TOKEN_REREAD_S * NS_PER_S:
            try:
                token = self._token_file.read_text().strip()
            except (OSError, ValueError) as error:
                cause = error.strerror if isinstance(error, OSError) else type(error).__name__  # no bytes of the token
                raise ApiUnreachableError(f"the service account's token cannot be read: {cause}") from None
            if token != self._token:
                register_secret(token)
            self._token, self._token_read_ns = token, now_ns
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > ANSWER_BYTES_MAX:
            raise ValueError(f"an answer above {ANSWER_BYTES_MAX:,} bytes")
    return bytes(raw)


def _json_object(raw: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(raw) if raw else {}
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}  # a proxy's page: the code says enough
    return document if isinstance(document, dict) else {}


def _event(line: bytes) -> WatchEvent:
    document = json.loads(line)
    body = document.get("object") if isinstance(document, dict) else None
    if not isinstance(body, dict):
        return WatchEvent("ERROR", {"message": "a watch line without an object"})
    return WatchEvent(str(document.get("type", "")), body)


def version_of(body: Mapping[str, Any]) -> str | None:
    """``metadata.resourceVersion`` of an object."""
    metadata = body.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    return version if isinstance(version, str) else None
