"""The four ports on the Kubernetes API.

Both sources follow one object by name (`assignment.follower`).

The status is applied as field manager ``ticker-shard`` without force. A conflict with anybody else means that somebody
else writes our fields: that is told, not fought over. A conflict with our own name (a predecessor's update)
is ours to settle, by force.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from ticker_common.logs import register_secret
from ticker_crds import AssignmentError, decode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import (
    API_VERSION,
    GROUP,
    LABEL_ACCOUNT,
    LABEL_CREDENTIALS,
    LABEL_MANAGED_BY,
    LABEL_SHARD,
    MANAGED_BY,
    MANAGER_SHARD,
    PLURALS,
    VERSION,
    Kind,
    Reason,
)
from ticker_crds.names import shard_name
from ticker_shard.assignment.api import Answer, ApiServer, ApiUnreachableError, version_of
from ticker_shard.assignment.credentials import ACCESS_TOKEN, API_KEY, credentials_from
from ticker_shard.assignment.follower import Absent, Forbidden, Found, ObjectFollower
from ticker_shard.assignment.ports import (
    CredentialsAnswer,
    CredentialsRead,
    CredentialsUnusable,
    KnownStatus,
    LeaseState,
    TableAbsent,
    TableAnswer,
    TableMalformed,
    TableRead,
    WriteOutcome,
)
from ticker_shard.assignment.status import known_status
from ticker_shard.assignment.voice import WINDOW_S, LeaseWatcher

log = logging.getLogger(__name__)


class KubernetesAssignment:
    """`AssignmentSource` on the ConfigMap ``<shard>-assignment``."""

    def __init__(self, follower: ObjectFollower, *, name: str) -> None:
        self._follower, self._name = follower, name

    async def follow(self) -> AsyncIterator[TableAnswer]:
        """The table now, then after each change; endless."""
        async for state in self._follower.follow():
            match state:
                case Found(object=body):
                    yield await asyncio.to_thread(table_from, body)
                case Absent():
                    yield TableAbsent(f"no assignment table yet: ConfigMap {self._name} does not exist")
                case Forbidden(message=message):
                    yield TableAbsent(f"the ConfigMap {self._name} may not be read: {message}")


class KubernetesCredentials:
    """`CredentialsSource` on the account's Secret."""

    def __init__(self, follower: ObjectFollower, *, name: str) -> None:
        self._follower, self._name = follower, name

    async def follow(self) -> AsyncIterator[CredentialsAnswer]:
        """The pair now, then after each change; endless."""
        async for state in self._follower.follow():
            match state:
                case Found(object=body):
                    answer = secret_credentials(body, name=self._name)
                    if isinstance(answer, CredentialsRead):
                        register_secret(answer.api_key, answer.access_token)
                    yield answer
                case Absent():
                    yield CredentialsUnusable(
                        Reason.SECRET_MISSING,
                        f"Secret {self._name} does not exist; create it with {API_KEY} and {ACCESS_TOKEN} "
                        f'and the label {LABEL_CREDENTIALS}: "true"',
                    )
                case Forbidden(message=message):
                    yield CredentialsUnusable(
                        Reason.SECRET_MISSING, f"Secret {self._name} may not be read by this shard: {message}"
                    )


class KubernetesStatus:
    """`StatusSink` on ``tickershards/<shard>/status``."""

    def __init__(self, api: ApiServer, *, namespace: str, shard: str) -> None:
        self._api, self._shard = api, shard
        self._path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace)}/{PLURALS[Kind.SHARD]}/{quote(shard)}"
        self._generation = 0
        self.vitals_s: float | None = None

    @property
    def generation(self) -> int:
        """As the last answer had it."""
        return self._generation

    async def read(self) -> KnownStatus | None:
        """The status now; `None` when the server does not answer or does not let us."""
        try:
            answer = await self._api.get(self._path)
        except ApiUnreachableError as error:
            log.warning("the status cannot be read", extra={"cause": str(error)})
            return None
        if answer.code == 404:
            return KnownStatus()  # a shard that nobody has spoken for
        if answer.code != 200:
            log.warning("the status cannot be read", extra={"cause": f"HTTP {answer.code}: {answer.message}"})
            return None
        self._generation = _generation(answer.body)
        status = answer.body.get("status")
        return known_status(status if isinstance(status, dict) else {}, generation=self._generation)

    async def write(self, status: Mapping[str, Any], *, vitals: Mapping[str, Any]) -> WriteOutcome:
        """Apply the complete set; `vitals` change too fast for an object."""
        body = {
            "apiVersion": API_VERSION,
            "kind": Kind.SHARD.value,
            "metadata": {"name": self._shard},
            "status": dict(status),
        }
        try:
            answer = await self._api.apply(f"{self._path}/status", body, manager=MANAGER_SHARD, force=False)
            if answer.code == 409 and conflicting_managers(answer) == {MANAGER_SHARD}:
                answer = await self._api.apply(f"{self._path}/status", body, manager=MANAGER_SHARD, force=True)
        except ApiUnreachableError as error:
            log.warning("the status was perhaps not written", extra={"cause": str(error)})
            return WriteOutcome.UNKNOWN
        if answer.code not in (200, 201):
            log.warning("the status was refused", extra={"cause": f"HTTP {answer.code}: {answer.message}"})
            return WriteOutcome.UNKNOWN if answer.code >= 500 or answer.code == 429 else WriteOutcome.REFUSED
        self._generation = _generation(answer.body)
        return WriteOutcome.WRITTEN


class KubernetesVoice:
    """`Voice` by the Lease ``<shard>``, created and renewed by PUT on its named URL."""

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        account: str,
        process: str,
        monotonic_ns: Callable[[], int],
        wall_clock: Callable[[], datetime],
    ) -> None:
        shard = shard_name(account)
        self._api, self._process = api, process
        # By the labels the operator knows whose Lease it is, when the account is gone.
        labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: account, LABEL_SHARD: shard}
        self._metadata: Mapping[str, Any] = {"name": shard, "labels": labels}
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace)}/leases/{quote(shard)}"
        self._monotonic_ns, self._wall_clock = monotonic_ns, wall_clock
        self._watcher = LeaseWatcher(process)
        self._lease: Mapping[str, Any] | None = None  # as read or written last; an empty object: there is none

    async def observe(self) -> LeaseState:
        """Read the Lease."""
        try:
            answer = await self._api.get(self._path)
        except ApiUnreachableError as error:
            return self._not_read(str(error))
        if answer.code not in (200, 404):
            return self._not_read(f"HTTP {answer.code}: {answer.message}")
        self._lease = answer.body if answer.code == 200 else {}
        return self._watcher.read(
            holder=_holder(self._lease), version=version_of(self._lease) or "", now_ns=self._monotonic_ns()
        )

    async def take(self) -> bool:
        """Write ourselves into the Lease as read last; the resourceVersion lets only one succeed."""
        if self._lease is None:
            return False
        now = self._wall_clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = _spec(self._lease)
        mine = spec.get("holderIdentity") == self._process
        transitions = spec.get("leaseTransitions")
        transitions = transitions if isinstance(transitions, int) else 0
        return await self._put(
            {
                "holderIdentity": self._process,
                "leaseDurationSeconds": int(WINDOW_S),
                "acquireTime": spec.get("acquireTime", now) if mine else now,
                "renewTime": now,
                "leaseTransitions": transitions if mine or not spec else transitions + 1,
            }
        )

    async def release(self) -> None:
        """Leave the Lease without a holder, if it is ours."""
        if self._lease is None or _holder(self._lease) != self._process:
            return
        await self._put({**_spec(self._lease), "holderIdentity": ""})

    async def _put(self, spec: Mapping[str, Any]) -> bool:
        version = version_of(self._lease or {})
        metadata = {**self._metadata, "resourceVersion": version} if version else self._metadata
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": dict(metadata), "spec": dict(spec)}
        try:
            answer = await self._api.put(self._path, body)
        except ApiUnreachableError as error:
            self._not_read(str(error))
            return False
        if answer.code not in (200, 201):
            # 409: somebody was quicker. 422: it exists by now. Either way the next read tells.
            if answer.code not in (409, 422):
                log.warning("the Lease was refused", extra={"cause": f"HTTP {answer.code}: {answer.message}"})
            self._lease = None
            return False
        self._lease = answer.body
        return True

    def _not_read(self, cause: str) -> LeaseState:
        log.debug("the Lease gives no answer", extra={"cause": cause})
        self._lease = None
        return self._watcher.failed()


def table_from(config_map: Mapping[str, Any]) -> TableAnswer:
    """The table a ConfigMap holds: the header under ``data``, the rows under ``binaryData``."""
    data, binary = config_map.get("data"), config_map.get("binaryData")
    header = data.get(HEADER_KEY) if isinstance(data, dict) else None
    rows = binary.get(TABLE_KEY) if isinstance(binary, dict) else None
    if not isinstance(header, str) or not isinstance(rows, str):
        missing = HEADER_KEY if not isinstance(header, str) else TABLE_KEY
        return TableMalformed(f"the ConfigMap has no {missing}")
    try:
        return TableRead(decode_table(header, base64.b64decode(rows, validate=True)))
    except (AssignmentError, binascii.Error) as error:
        return TableMalformed(str(error))


def secret_credentials(secret: Mapping[str, Any], *, name: str) -> CredentialsAnswer:
    """The pair a Secret holds, if it is labelled as credentials."""
    metadata = secret.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict) or labels.get(LABEL_CREDENTIALS) != "true":
        return CredentialsUnusable(
            Reason.SECRET_NOT_LABELLED,
            f'Secret {name} lacks the label {LABEL_CREDENTIALS}: "true"; only Secrets that carry it are read',
        )
    data = secret.get("data")
    values: dict[str, object] = {}
    for key in (API_KEY, ACCESS_TOKEN):
        raw = data.get(key) if isinstance(data, dict) else None
        try:
            values[key] = base64.b64decode(raw, validate=True).decode() if isinstance(raw, str) else None
        except ValueError:
            values[key] = None
    return credentials_from(values, where=f"Secret {name}")


_CONFLICT_WITH: Final = re.compile(r'conflict with "([^"]*)"')


def conflicting_managers(answer: Answer) -> set[str]:
    """With whom an apply conflicts, from the causes of the 409; empty where the server does not say."""
    details = answer.body.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    found: set[str] = set()
    for cause in causes if isinstance(causes, list) else ():
        if isinstance(cause, dict) and cause.get("reason") == "FieldManagerConflict":
            match = _CONFLICT_WITH.search(str(cause.get("message", "")))
            found.add(match[1] if match else "")
    return found


def _generation(body: Mapping[str, Any]) -> int:
    metadata = body.get("metadata")
    generation = metadata.get("generation") if isinstance(metadata, dict) else None
    return generation if isinstance(generation, int) else 0


def _spec(lease: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = lease.get("spec")
    return spec if isinstance(spec, dict) else {}


def _holder(lease: Mapping[str, Any]) -> str:
    holder = _spec(lease).get("holderIdentity")
    return holder if isinstance(holder, str) else ""
