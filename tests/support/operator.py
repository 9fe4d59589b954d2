"""A running operator for tests, the broker's list, the operator's exact rights, and a pool as a person sees it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.controlplane import ControlPlane, User
from tests.support.controlplane_client import ApiClient, collection_path, kind_manifest
from ticker_crds import AssignmentTable, Role, decode_table
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY
from ticker_crds.constants import (
    API_VERSION,
    LABEL_ACCOUNT,
    LABEL_CREDENTIALS,
    Condition,
    Kind,
)
from ticker_crds.names import assignment_name
from ticker_operator.app.preflight import RULES
from ticker_operator.app.settings import OperatorSettings
from ticker_operator.app.supervisor import run_operator
from ticker_operator.reconcile.instruments import trading_day

T = TypeVar("T")

DEADLINE_S: Final = 30.0
LOOK_S: Final = 0.05
HEADER: Final = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    "segment,exchange"
)


def eventually(look: Callable[[], T], *, within_s: float = DEADLINE_S, what: str = "") -> T:
    """The first answer of `look` that is true; assertion errors and absent objects count as "not yet"."""
    deadline = time.monotonic() + within_s
    last: object = None
    while True:
        try:
            last = look()
        except (AssertionError, KeyError, IndexError) as error:
            last = error
        else:
            if last:
                return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:.0f} s: {what or look}; last: {last!r}")
        time.sleep(LOOK_S)


# -- the broker's list -----------------------------------------------------------------------------------------


def dump_csv(equities: int = 40) -> str:
    """A list of ``NSE:EQ001``… and one expired contract."""
    gone = trading_day(datetime.now(UTC)) - timedelta(days=3)
    rows = [
        f"{256 * number + 1},{number},EQ{number:03},Company {number},0,,0,0.05,1,EQ,NSE,NSE"
        for number in range(1, equities + 1)
    ]
    rows.append(f'{256 * 9001 + 2},9001,GONEFUT,"GONE",0,{gone.isoformat()},0,0.05,25,FUT,NFO-FUT,NFO')
    return "\n".join([HEADER, *rows]) + "\n"


@dataclass
class Broker:
    """Serves the list; `answer` may be switched to a failure."""

    url: str
    content: bytes
    answer: int = 200
    asked: int = 0


@contextmanager
def broker(content: str | None = None) -> Iterator[Broker]:
    """A broker on loopback."""
    state = Broker("", (content or dump_csv()).encode())

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            self.send_response(state.answer)
            body = state.content if state.answer == 200 else b"no"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# -- rights ------------------------------------------------------------------------------------------------------


def role_rules() -> list[dict[str, Any]]:
    """The operator's Role, exactly."""
    return [{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.all_verbs)} for rule in RULES]


def operator_identity(plane: ControlPlane, namespace: str, *, rules: list[dict[str, Any]] | None = None) -> User:
    """A ServiceAccount that may do what the Role says and nothing else."""
    admin, rbac = plane.client(), "rbac.authorization.k8s.io"
    role = {
        "apiVersion": f"{rbac}/v1",
        "kind": "Role",
        "metadata": {"name": "operator"},
        "rules": role_rules() if rules is None else rules,
    }
    binding = {
        "apiVersion": f"{rbac}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "operator"},
        "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "operator"},
        "subjects": [{"kind": "ServiceAccount", "name": "operator", "namespace": namespace}],
    }
    admin.create(role, namespace=namespace).expect(201)
    admin.create(binding, namespace=namespace).expect(201)
    return plane.service_account(namespace, "operator")


# -- the operator ------------------------------------------------------------------------------------------------


@dataclass
class RunningOperator:
    """An operator in a thread of its own, with its own event loop."""

    settings: OperatorSettings
    exit_code: int | None = None
    failure: BaseException | None = None
    port: int = 0
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None

    def start(self) -> RunningOperator:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        eventually(lambda: self.port or self.exit_code is not None, what="probes listen")
        return self

    def _run(self) -> None:
        async def run() -> int:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            return await run_operator(self.settings, stop=self._stop, listening=self._listening)

        try:
            self.exit_code = asyncio.run(run())
        except BaseException as error:  # handed to the test
            self.failure = error

    def _listening(self, port: int) -> None:
        self.port = port

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> int:
        """In order; the exit code."""
        assert self._thread is not None
        if self._loop is not None and self._stop is not None and self.alive:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the operator did not stop"
        if self.failure is not None:
            raise self.failure
        assert self.exit_code is not None
        return self.exit_code


def operator_settings(
    kubeconfig: Path, namespace: str, *, endpoints: tuple[str, ...] = (), **more: Any
) -> OperatorSettings:
    """Quick ones: what takes seconds in a pool takes tenths here."""
    values: dict[str, Any] = {
        "namespace": namespace,
        "kubeconfig": kubeconfig,
        "endpoints_allowed": endpoints,
        "shard_image": "tickershard:test",
        "quiet_ms": 100,
        "plan_interval_s": 0.5,
        "resync_s": 5,
        "host": "127.0.0.1",
        "port": 0,
    }
    return OperatorSettings(**(values | more))


# -- what people write -------------------------------------------------------------------------------------------


@dataclass
class Pool:
    """One namespace, as a person with kubectl sees it."""

    client: ApiClient
    namespace: str
    broker: Broker

    def account(self, name: str, *, secret: bool = True, **spec: Any) -> None:
        """A KiteAccount and its Secret."""
        if secret:
            self.secret(f"{name}-kite")
        endpoints = {"api": self.broker.url, "ticker": self.broker.url.replace("http", "ws")}
        body = {"credentialsRef": {"name": f"{name}-kite"}, "endpoints": endpoints, **spec}
        self.create(kind_manifest(Kind.ACCOUNT, name, body))

    def secret(self, name: str, *, labelled: bool = True, keys: tuple[str, ...] = ("api_key", "access_token")) -> None:
        """A Secret with these keys."""
        self.create({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": {LABEL_CREDENTIALS: "true"} if labelled else {}},
            "data": {key: base64.b64encode(f"{key} of {name}".encode()).decode() for key in keys},
        })  # fmt: skip

    def subscription(self, name: str, symbols: list[str], **spec: Any) -> None:
        """A TickerSubscription of these symbols."""
        body = {"instruments": [{"symbol": symbol} for symbol in symbols], "mode": "quote", **spec}
        self.create(kind_manifest(Kind.SUBSCRIPTION, name, body))

    def create(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        return self.client.create(manifest, namespace=self.namespace).expect(201)

    def delete(self, kind: Kind, name: str) -> None:
        self.client.delete(
            {"apiVersion": API_VERSION, "kind": kind.value, "metadata": {"name": name}}, namespace=self.namespace
        ).expect(200)

    def get(self, kind: str, name: str, api_version: str = API_VERSION) -> dict[str, Any]:
        return self.client.get(kind, name, namespace=self.namespace, api_version=api_version)

    def list(self, kind: str, api_version: str = API_VERSION, **query: str) -> list[dict[str, Any]]:
        path = collection_path(kind, api_version, namespace=self.namespace)
        items = self.client.request("GET", path, **query).expect(200)["items"]
        return [{"kind": kind, "apiVersion": api_version, **item} for item in items]

    def names(self, kind: str, api_version: str = API_VERSION) -> list[str]:
        return [item["metadata"]["name"] for item in self.list(kind, api_version)]

    def status(self, kind: Kind, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get(kind.value, name).get("status") or {}
        return found

    def condition(self, kind: Kind, name: str, wanted: Condition) -> dict[str, Any]:
        """One condition; `KeyError` while there is none."""
        entries = {entry["type"]: entry for entry in self.status(kind, name).get("conditions", [])}
        found: dict[str, Any] = entries[wanted.value]
        return found

    def table(self, account: str) -> AssignmentTable:
        """The account's table as it is stored; `AssertionError` while there is none."""
        body = self.get("ConfigMap", assignment_name(account), "v1")
        return decode_table(body["data"][HEADER_KEY], base64.b64decode(body["binaryData"][TABLE_KEY]))

    def owners(self) -> dict[str, str]:
        """Symbol → account, of what lies in role ``owner`` in the tables."""
        found: dict[str, str] = {}
        for body in self.list("ConfigMap", "v1", labelSelector=LABEL_ACCOUNT):
            table = decode_table(body["data"][HEADER_KEY], base64.b64decode(body["binaryData"][TABLE_KEY]))
            for row in table.instruments:
                if row.role is Role.OWNER:
                    assert row.symbol not in found, f"{row.symbol} has two owners"
                    found[row.symbol] = table.account
        return found
