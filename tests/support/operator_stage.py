"""The controllers and shards that the API level lacks, played in a thread.

At the API level nothing makes pods of a Deployment and no shard runs. `Stage` plays both, by the rules of the real
ones: one pod per Deployment with `replicas` 1, none without it; a shard acknowledges the table it finds, renews its
Lease and says what it streams. A test tells single shards to fall silent, to be refused, or to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.controlplane_client import collection_path
from tests.support.operator import DEADLINE_S, Pool
from ticker_crds import AssignmentTable
from ticker_crds.constants import (
    API_VERSION,
    LABEL_ACCOUNT,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    MANAGER_SHARD,
    Condition,
    Kind,
    Reason,
)

STEP_S: Final = 0.15


@dataclass
class Stage:
    """Plays the Deployment controller and the shards of one namespace, in a thread.

    Attributes
    ----------
    silent
        Accounts whose shard does nothing any more: no renewal, no word.
    refused
        Accounts whose token the broker refuses.
    slow
        Accounts whose shard renews its Lease but acknowledges nothing new.
    """

    pool: Pool
    silent: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    acknowledged: dict[str, list[tuple[int, dict[str, str]]]] = field(default_factory=dict)
    failure: BaseException | None = None
    _said: dict[str, Any] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join(DEADLINE_S)
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        while not self._stop.wait(STEP_S):
            try:
                self._play()
            except (OSError, AssertionError):
                continue  # the API server is away or just starting, as it may be
            except BaseException as error:  # handed to the test
                self.failure = error
                return

    def _play(self) -> None:
        deployments = {body["metadata"]["name"]: body for body in self.pool.list("Deployment", "apps/v1")}
        pods = {body["metadata"]["name"] for body in self.pool.list("Pod", "v1")}
        for name, deployment in deployments.items():
            wanted = deployment["spec"].get("replicas", 1)
            if wanted and f"{name}-0" not in pods:
                self._start_pod(name, deployment)
            self._deployment_status(deployment, wanted)
        ended = {
            pod
            for pod in pods
            if not deployments.get(pod.removesuffix("-0"), {"spec": {"replicas": 0}})["spec"].get("replicas", 1)
        }
        for pod in ended:
            self._delete_pod(pod)
        pods -= ended
        for shard in self.pool.list(Kind.SHARD.value):
            if f"{shard['metadata']['name']}-0" in pods:
                self._speak(shard)

    def _start_pod(self, name: str, deployment: Mapping[str, Any]) -> None:
        template = deployment["spec"]["template"]
        metadata = {**template["metadata"], "name": f"{name}-0"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        answer = self.pool.client.create(pod, namespace=self.pool.namespace)
        if answer.status == 201:
            status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
            self.pool.client.merge(pod, status, namespace=self.pool.namespace, subresource="status")

    def _deployment_status(self, deployment: Mapping[str, Any], wanted: int) -> None:
        generation = deployment["metadata"]["generation"]
        status = {
            "observedGeneration": generation,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
        }
        known = deployment.get("status") or {}
        if any(known.get(key, 0) != value for key, value in status.items()):
            self.pool.client.merge(deployment, {"status": status}, namespace=self.pool.namespace, subresource="status")

    def _delete_pod(self, name: str) -> None:
        path = f"{collection_path('Pod', 'v1', namespace=self.pool.namespace)}/{name}"
        self.pool.client.request("DELETE", path, {"gracePeriodSeconds": 0})

    def _speak(self, shard: Mapping[str, Any]) -> None:
        account = shard["spec"]["accountRef"]["name"]
        if account in self.silent:
            return
        self._renew(shard)
        if account in self.slow:
            return
        try:
            table = self.pool.table(account)
        except AssertionError:
            return
        said = (table.digest, account in self.refused)
        if self._said.get(account) == said:
            return
        status = self._status(table, refused=account in self.refused)
        body = {"apiVersion": API_VERSION, "kind": Kind.SHARD.value, "metadata": {"name": shard["metadata"]["name"]}}
        answer = self.pool.client.apply(
            {**body, "status": status}, manager=MANAGER_SHARD, namespace=self.pool.namespace, subresource="status"
        )
        if answer.status == 200:
            self._said[account] = said
            roles = {row.symbol: row.role.value for row in table.instruments}
            self.acknowledged.setdefault(account, []).append((table.revision, roles))

    def _renew(self, shard: Mapping[str, Any]) -> None:
        labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: shard["spec"]["accountRef"]["name"]}
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": shard["metadata"]["name"], "labels": labels},
            "spec": {"holderIdentity": "pod/1", "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")},
        }
        self.pool.client.apply(lease, manager="stage", namespace=self.pool.namespace, force=True)

    def _status(self, table: AssignmentTable, *, refused: bool) -> dict[str, Any]:
        well = not refused
        conditions = [
            _entry(Condition.CONNECTED, well, Reason.CONNECTED if well else Reason.DISCONNECTED),
            _entry(Condition.CREDENTIALS_VALID, well, Reason.ACCEPTED if well else Reason.TOKEN_REJECTED),
            _entry(Condition.STREAMING, well, Reason.STREAMING if well else Reason.STANDBY),
            _entry(Condition.DEGRADED, not well, Reason.HEALTHY if well else Reason.TOKEN_REJECTED),
        ]
        return {
            "acknowledged": {"revision": table.revision, "digest": table.digest, "process": "pod/1", "unconfirmed": []},
            "confirmed": len(table.instruments),
            "sockets": "1/1",
            "epoch": 1,
            "conditions": conditions,
        }


def _entry(kind: Condition, well: bool, reason: Reason) -> dict[str, Any]:
    return {
        "type": kind.value,
        "status": "True" if well else "False",
        "reason": reason.value,
        "message": "played",
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "observedGeneration": 1,
    }
