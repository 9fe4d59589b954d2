"""`PoolReader` on the Kubernetes API: lists of the watched kinds, tables, Secrets by name, Leases.

Secrets are read one by one, by the name an account gives, and only used when they carry the credentials label: else
anybody who may write an account could point it at somebody's secret. Of a Secret nothing is kept but whether its keys
are there and its version. Leases are polled here and never watched through kopf: they change every two seconds, and
how long a shard has been silent must be measured by our own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ticker_crds.constants import LABEL_CREDENTIALS, LABEL_MANAGED_BY, MANAGED_BY, Kind, Reason
from ticker_crds.names import shard_name
from ticker_operator.kube.gateway import CUSTOM, DEPLOYMENTS, LEASES, SECRETS, AbsentError, ApiError, Gateway
from ticker_operator.kube.outcomes import read_failure
from ticker_operator.kube.tables import KubeTables
from ticker_operator.kube.workloads import KubeWorkloads
from ticker_operator.reconcile.ports import WORKLOAD, CredentialsFact, Listing, StoredTable, WorkloadFacts

CREDENTIAL_KEYS: Final = ("api_key", "access_token")
SHARD_PREFIX: Final = shard_name("")
OUR_DEPLOYMENTS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY}"


class KubeReader:
    """See `ticker_operator.reconcile.ports.PoolReader`."""

    def __init__(self, gateway: Gateway, *, tables: KubeTables, workloads: KubeWorkloads) -> None:
        self._gateway = gateway
        self._tables = tables
        self._workloads = workloads

    async def list_kind(self, kind: str) -> Listing:
        """Every object of `kind`, asked afresh.

        Raises
        ------
        Unreachable
        """
        try:
            if kind == WORKLOAD:
                answer = await self._gateway.list_all(DEPLOYMENTS, labels=OUR_DEPLOYMENTS)
            else:
                answer = await self._gateway.list_all(CUSTOM[Kind(kind)])
        except ApiError as error:
            raise read_failure(error) from error
        return Listing(tuple(answer.get("items") or ()), str(answer.get("metadata", {}).get("resourceVersion", "")))

    async def read_tables(self) -> Mapping[str, StoredTable]:
        """Every stored table by account, asked afresh.

        Raises
        ------
        Unreachable
        """
        return await self._tables.read_tables()

    async def read_workloads(self) -> Mapping[str, WorkloadFacts]:
        """What runs, by account, asked afresh.

        Raises
        ------
        Unreachable
        """
        return await self._workloads.read_workloads()

    async def read_credentials(self, secret: str) -> CredentialsFact:
        """Whether this Secret may be used by an account.

        Raises
        ------
        Unreachable
        """
        try:
            body = await self._gateway.get(SECRETS, secret)
        except AbsentError:
            return CredentialsFact(
                Reason.SECRET_MISSING,
                f"There is no Secret {secret}. Create it with the keys api_key and access_token and the label "
                f'{LABEL_CREDENTIALS}: "true".',
            )
        except ApiError as error:
            raise read_failure(error) from error
        return judge_secret(secret, body)

    async def read_heartbeats(self) -> Mapping[str, str]:
        """By account, holder and renewal of its shard's Lease.

        Raises
        ------
        Unreachable
        """
        try:
            answer = await self._gateway.list_all(LEASES)
        except ApiError as error:
            raise read_failure(error) from error
        beats: dict[str, str] = {}
        for lease in answer.get("items") or ():
            name, spec = lease["metadata"]["name"], lease.get("spec") or {}
            if name.startswith(SHARD_PREFIX) and spec.get("holderIdentity"):
                beats[name.removeprefix(SHARD_PREFIX)] = f"{spec['holderIdentity']} {spec.get('renewTime', '')}"
        return beats


def judge_secret(name: str, body: Mapping[str, Any]) -> CredentialsFact:
    """The fact about a Secret, without any value of it."""
    metadata = body.get("metadata") or {}
    version = str(metadata.get("resourceVersion", ""))
    if (metadata.get("labels") or {}).get(LABEL_CREDENTIALS) != "true":
        return CredentialsFact(
            Reason.SECRET_NOT_LABELLED,
            f'Secret {name} is not meant for accounts: it lacks the label {LABEL_CREDENTIALS}: "true". '
            f"If it holds this account's token: kubectl label secret {name} {LABEL_CREDENTIALS}=true",
            version,
        )
    data = body.get("data") or {}
    missing = [key for key in CREDENTIAL_KEYS if not data.get(key)]
    if missing:
        return CredentialsFact(
            Reason.SECRET_KEY_MISSING, f"Secret {name} has no {' and no '.join(missing)} (or it is empty).", version
        )
    return CredentialsFact(
        Reason.ACCEPTED, f"Secret {name} has an api_key and an access_token.", version, _issued_at(metadata)
    )


def _issued_at(metadata: Mapping[str, Any]) -> str:
    """When the Secret's data was last written, as the API server noted it."""
    entries = [entry for entry in metadata.get("managedFields") or () if "f:data" in (entry.get("fieldsV1") or {})]
    times = [str(entry["time"]) for entry in entries if entry.get("time")]
    return max(times, default=str(metadata.get("creationTimestamp") or ""))
