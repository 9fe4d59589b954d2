"""Assignment tables as ConfigMaps ``<shard>-assignment``: the header in ``data``, the gzipped rows in ``binaryData``.

The shard watches its own ConfigMap by name, and the operator reads all of them back after a start: they are its only
memory of who streams what. So a write is guarded by the resourceVersion its decision was read from, and the first one
is a plain create, which fails if somebody was quicker. Reading unpacks only what changed since the last time.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from ticker_crds import AssignmentError, AssignmentTable, decode_table, encode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import (
    API_VERSION,
    LABEL_ACCOUNT,
    LABEL_MANAGED_BY,
    LABEL_SHARD,
    MANAGED_BY,
    MANAGER_OPERATOR,
    Kind,
)
from ticker_crds.names import assignment_name, shard_name
from ticker_operator.kube.gateway import CONFIG_MAPS, ApiError, Body, Gateway
from ticker_operator.kube.outcomes import outcome_of, read_failure
from ticker_operator.reconcile.ports import Refused, StoredTable, WriteOutcome, Written

OwnerUid: TypeAlias = Callable[[str], str]
OURS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ACCOUNT}"


class KubeTables:
    """`TablePort` and the reading of tables.

    Parameters
    ----------
    gateway
        The API.
    owner_uid
        Account → uid of its TickerShard, which owns the table; empty while there is none.
    """

    def __init__(self, gateway: Gateway, *, owner_uid: OwnerUid) -> None:
        self._gateway = gateway
        self._owner_uid = owner_uid
        self._read: dict[str, StoredTable] = {}

    async def read_tables(self) -> dict[str, StoredTable]:
        """Every stored table by account, asked afresh.

        Raises
        ------
        Unreachable
        """
        try:
            answer = await self._gateway.list_all(CONFIG_MAPS, labels=OURS)
        except ApiError as error:
            raise read_failure(error) from error
        tables = [self._stored(body) for body in answer.get("items", ())]
        self._read = {stored.account: stored for stored in tables}
        return dict(self._read)

    def _stored(self, body: Body) -> StoredTable:
        account, version = body["metadata"]["labels"][LABEL_ACCOUNT], body["metadata"]["resourceVersion"]
        known = self._read.get(account)
        if known is not None and known.version == version:
            return known
        try:
            packed = base64.b64decode((body.get("binaryData") or {})[TABLE_KEY], validate=True)
            return StoredTable(account, version, decode_table(body["data"][HEADER_KEY], packed))
        except (KeyError, TypeError, binascii.Error, AssignmentError) as error:
            return StoredTable(account, version, None, f"{type(error).__name__}: {error}")

    async def write_table(self, table: AssignmentTable, *, expected: str | None) -> WriteOutcome:
        """Store `table`; `expected` is the stored version, `None` where there must be none yet."""
        try:
            body = self._body(table)
        except AssignmentError as error:
            return Refused(str(error))
        try:
            if expected is None:
                answer = await self._gateway.create(CONFIG_MAPS, body, manager=MANAGER_OPERATOR)
            else:
                body["metadata"]["resourceVersion"] = expected
                answer = await self._gateway.apply(CONFIG_MAPS, body, manager=MANAGER_OPERATOR)
        except ApiError as error:
            return outcome_of(error)
        version = str(answer["metadata"]["resourceVersion"])
        self._read[table.account] = StoredTable(table.account, version, table)
        return Written(version)

    def _body(self, table: AssignmentTable) -> dict[str, Any]:
        header, packed = encode_table(table)
        account = table.account
        metadata: dict[str, Any] = {
            "name": assignment_name(account),
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_ACCOUNT: account, LABEL_SHARD: shard_name(account)},
        }
        uid = self._owner_uid(account)
        if uid:
            metadata["ownerReferences"] = [owner_reference(account, uid)]
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {HEADER_KEY: header},
            "binaryData": {TABLE_KEY: base64.b64encode(packed).decode()},
        }


def owner_reference(account: str, uid: str) -> dict[str, Any]:
    """The account's TickerShard as controlling owner."""
    return {
        "apiVersion": API_VERSION,
        "kind": Kind.SHARD.value,
        "name": shard_name(account),
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
