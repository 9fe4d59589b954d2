"""One installed pool on a cluster: what a person declares, and what they can see of it.

Broker and Redis are the chart's own for trials, but put up beside the release under the name `world`: they stay when
the release is upgraded, undone and uninstalled, as the real ones would. Accounts are made as docs/install.md says: a
Secret by `kubectl create secret`, its label by `kubectl label`, a KiteAccount.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import redis
from prometheus_client.parser import text_string_to_metric_families

from tests.support.chart import CHART, render
from tests.support.cluster import RunningCluster
from tests.support.cluster_client import ClusterClient, CommandError, eventually
from tests.support.cluster_tape import Tape, recording
from tests.support.delivery.history import SECOND_NS, History, Interval
from tests.support.delivery.starving import CpuWaits, waits_in_pods
from tests.support.shard_checks import differences
from tests.support.simulator import Control
from ticker_client import last_values_key
from ticker_crds.assignment import HEADER_KEY, TABLE_KEY, AssignmentTable, decode_table
from ticker_crds.names import assignment_name, shard_name

RELEASE: Final = "tickershard"
OPERATOR: Final = "tickershard-operator"
WORLD: Final = "world-tickershard"
NAMESPACE: Final = "ticks"
BROKER: Final = f"{WORLD}-simulator.{NAMESPACE}.svc:8080"
TEST_S: Final = 2_400  # the first test of a run also waits for image, cluster and another run's end
READY_S: Final = 90.0
ROLL_S: Final = 120.0
DISCARD_S: Final = 180.0  # a pod that slips in between has its whole grace period
WAITS_S: Final = 0.5
NAMES: Final = """
ADANIENT ADANIPORTS APOLLOHOSP ASIANPAINT AXISBANK BAJAJFINSV BAJFINANCE BHARTIARTL BPCL BRITANNIA CIPLA COALINDIA
DIVISLAB DRREDDY EICHERMOT GRASIM HCLTECH HDFCBANK HEROMOTOCO HINDALCO HINDUNILVR ICICIBANK INDUSINDBK INFY ITC
JSWSTEEL KOTAKBANK LT
"""
SYMBOLS: Final = tuple(f"NSE:{name}" for name in NAMES.split())


def manifest(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": "tickershard.io/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def values_of(cluster: RunningCluster, **over: Any) -> dict[str, Any]:
    """Chart values of a pool on `cluster`'s image that knows the world; `over` is merged in."""
    values: dict[str, Any] = {
        "image": image_values(cluster),
        "redis": {"existingSecret": f"{WORLD}-redis"},
        "endpointsAllowed": [f"{scheme}://{BROKER}" for scheme in ("ws", "http")],
        # The simulated market stands still at will; no test may depend on the hour at which it is run.
        "shards": {"marketHours": "never"},
    }
    return merged(values, over)


def image_values(cluster: RunningCluster) -> dict[str, str]:
    """`cluster`'s image as the chart takes it."""
    repository, _, tag = cluster.image.rpartition(":")
    return {"repository": repository, "tag": tag}


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid over `values`, mapping by mapping."""
    result = dict(values)
    for key, value in over.items():
        known = result.get(key)
        result[key] = merged(known, value) if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return result


@dataclass(repr=False)
class Pool:
    """A release in a namespace of its own."""

    cluster: RunningCluster
    client: ClusterClient
    simulator: Control
    redis: redis.Redis
    tape: Tape
    waits: CpuWaits
    tokens: dict[str, str] = field(default_factory=dict)  # by account: the canaries

    def ran_s(self, start_s: float, end_s: float) -> float:
        """For how much of this time the pool's processes could run: what the machine kept from them is not theirs."""
        seen = History((), 0, 0, starved=tuple(self.waits.found))
        return seen.ran_ns(Interval(round(start_s * SECOND_NS), round(end_s * SECOND_NS))) / SECOND_NS

    # -- what a person does -------------------------------------------------

    def install(self, values: Mapping[str, Any], *options: str) -> str:
        """`helm upgrade --install`."""
        return install(self.client, values, *options)

    def add_account(self, name: str, *, number: int, **spec: Any) -> None:
        """Secret, label, KiteAccount; `number` is the simulator's key."""
        token = f"canary-{name}-first"
        self.simulator.grant(f"simkey{number}", token)
        self.tokens[name] = token
        literals = (f"--from-literal=api_key=simkey{number}", f"--from-literal=access_token={token}")
        self.client.kubectl("create", "secret", "generic", f"kite-{name}", "--save-config", *literals)
        self.client.kubectl("label", "secret", f"kite-{name}", "tickershard.io/credentials=true")
        endpoints = {"ticker": f"ws://{BROKER}", "api": f"http://{BROKER}"}
        wanted = {"credentialsRef": {"name": f"kite-{name}"}, "endpoints": endpoints, **spec}
        self.client.apply(manifest("KiteAccount", name, wanted))

    def rotate(self, name: str, *, number: int, token: str) -> None:
        """A new token, as it is done every morning."""
        self.simulator.grant(f"simkey{number}", token)
        self.tokens[name] = token
        literals = (f"--from-literal=api_key=simkey{number}", f"--from-literal=access_token={token}")
        made = self.client.kubectl(
            "create", "secret", "generic", f"kite-{name}", *literals, "--dry-run=client", "-o", "yaml"
        )
        self.client.kubectl("apply", "-f", "-", stdin=made)

    def subscribe(self, name: str, symbols: Iterable[str], **spec: Any) -> None:
        """A TickerSubscription on a channel of its own."""
        instruments = [{"symbol": symbol} for symbol in symbols]
        self.client.apply(manifest("TickerSubscription", name, {"instruments": instruments, "channel": name, **spec}))

    def evict(self, pod: str) -> None:
        """What `kubectl drain` asks for."""
        path = f"/api/v1/namespaces/{self.client.namespace}/pods/{pod}/eviction"
        body = f'{{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {{"name": "{pod}"}}}}'
        self.client.kubectl("create", "--raw", path, "-f", "-", stdin=body)

    # -- what a person sees -------------------------------------------------

    def await_ready(self, *resources: str, timeout_s: float = READY_S) -> None:
        """`kubectl wait --for=condition=Ready`."""
        seconds = f"--timeout={timeout_s:.0f}s"
        self.client.kubectl("wait", "--for=condition=Ready", seconds, *resources, timeout_s=timeout_s + 10)

    def await_streaming(self, accounts: Sequence[str], total: int, *, timeout_s: float = READY_S) -> dict[str, int]:
        """Until these shards confirm `total` instruments between them; confirmed by account."""

        def confirmed() -> dict[str, int]:
            rows = self.client.items("tickershards")
            return {
                row["spec"]["accountRef"]["name"]: int(row.get("status", {}).get("confirmed", 0))
                for row in rows
                if row["spec"]["accountRef"]["name"] in accounts
            }

        return eventually(
            confirmed,
            until=lambda found: len(found) == len(accounts) and sum(found.values()) == total,
            timeout_s=timeout_s,
            what=f"{total} instruments confirmed by {', '.join(accounts)}",
        )

    def table(self, account: str) -> AssignmentTable:
        """The assignment table of an account, as it lies in its ConfigMap."""
        return table_in(self.client.get("configmap", assignment_name(account)))

    def placement(self, accounts: Iterable[str]) -> dict[str, str]:
        """Symbol → account, of what is owned."""
        return {
            f"{row.exchange}:{row.tradingsymbol}": account
            for account in accounts
            for row in self.table(account).instruments
            if row.role == "owner"
        }

    def pods(self, account: str) -> list[str]:
        """Names of a shard's pods, on their way out or not."""
        found = self.client.items("pods", "-l", f"tickershard.io/account={account}")
        return [pod["metadata"]["name"] for pod in found]

    def shard_pod(self, account: str) -> dict[str, Any]:
        """The one pod of a shard that is not on its way out."""
        found = self.client.items("pods", "-l", f"tickershard.io/account={account}")
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        assert len(staying) == 1, [pod["metadata"]["name"] for pod in staying]
        return staying[0]

    def accounts(self) -> list[str]:
        """Names of the pool's accounts."""
        return [each["metadata"]["name"] for each in self.client.items("kiteaccounts")]

    def shard_flag(self, account: str, name: str) -> str | None:
        """A flag's value in the shard's live template."""
        deployment = self.client.get("deployment", shard_name(account))
        arguments: list[str] = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
        start = f"--{name}="
        return next((text.removeprefix(start) for text in arguments if text.startswith(start)), None)

    def shard_image(self, account: str) -> str:
        """The image in the shard's live template."""
        deployment = self.client.get("deployment", shard_name(account))
        image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        return image

    def await_shards(self, accounts: Iterable[str], wanted: Callable[[str], bool], *, what: str) -> None:
        """Until each shard's template is as `wanted` and one pod of it is left, Ready."""
        for account in accounts:
            eventually(partial(wanted, account), timeout_s=ROLL_S, what=f"{account}: {what}")
        for account in accounts:
            eventually(partial(self._settled, account), timeout_s=ROLL_S, what=f"{account}: one pod, Ready")

    def _settled(self, account: str) -> bool:
        status = self.client.get("deployment", shard_name(account)).get("status", {})
        pods = self.client.items("pods", "-l", f"tickershard.io/account={account}")
        return len(pods) == 1 and status.get("readyReplicas") == 1 and status.get("updatedReplicas") == 1

    def ledger(self, account: str) -> dict[str, float]:
        """The shard's own books, by outcome."""
        pod = self.shard_pod(account)["metadata"]["name"]
        path = f"/api/v1/namespaces/{self.client.namespace}/pods/{pod}:8080/proxy/metrics"
        rows: dict[str, float] = {}
        for family in text_string_to_metric_families(self.client.kubectl("get", "--raw", path)):
            for sample in family.samples:
                if sample.name == "tickershard_rows_total":
                    outcome = sample.labels["outcome"]
                    rows[outcome] = rows.get(outcome, 0) + sample.value
                elif sample.name.startswith("tickershard_rows_"):
                    rows[sample.name.removeprefix("tickershard_rows_")] = sample.value
        return rows

    def last_values(self, channel: str) -> dict[str, dict[str, Any]]:
        """The channel's newest rows by symbol."""
        stored: dict[Any, Any] = self.redis.hgetall(last_values_key(f"ticker:{channel}"))
        return {bytes(key).decode(): json.loads(row) for key, row in stored.items()}

    def wrong_last_values(self, channel: str, symbols: Iterable[str]) -> list[str]:
        """What Redis holds against what the simulator recorded; the market must stand still."""
        sent = {entry.row["instrument_token"]: entry.row for entry in self.simulator.stats().tokens.values()}
        stored = self.last_values(channel)
        complaints = [f"{symbol}: no last value" for symbol in symbols if symbol not in stored]
        for symbol in set(symbols) & stored.keys():
            row = stored[symbol]
            complaints += [f"{symbol}: {text}" for text in differences(sent[row["instrument_token"]], row)]
        return complaints


def table_in(found: Mapping[str, Any]) -> AssignmentTable:
    """The assignment table that a ConfigMap holds."""
    return decode_table(found["data"][HEADER_KEY], base64.b64decode(found["binaryData"][TABLE_KEY]))


def install(client: ClusterClient, values: Mapping[str, Any], *options: str) -> str:
    """`helm upgrade --install` of the checkout's chart, waiting until everything is Ready."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return client.helm(
            *("upgrade", "--install", RELEASE, str(CHART), f"--values={file.name}"),
            # Definitions outlive a release: those of an earlier one become this one's.
            *("--take-ownership", "--wait", "--timeout=120s", *options),
        )


@contextmanager
def namespace(client: ClusterClient, name: str) -> Iterator[ClusterClient]:
    """A fresh namespace that enforces the restricted Pod Security standard; gone afterwards, whatever is in it."""
    discard(client, name)
    client.kubectl("create", "namespace", name)
    client.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        yield client.within(name)
    finally:
        discard(client, name)


def discard(client: ClusterClient, name: str) -> None:
    """Delete a namespace. Its operator goes first, then the finalizer that it would have taken off."""
    inner = client.within(name)
    inner.kubectl("delete", "deployments,jobs", "--all", "--cascade=foreground", "--wait=false")
    # A shard that is told to stop waits for its successor; here there will be none.
    inner.kubectl("delete", "pods", "--all", "--grace-period=0", "--force")
    client.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")
    eventually(
        lambda: _is_gone(inner),
        timeout_s=DISCARD_S,
        what=f"namespace {name} is gone",
    )


def _is_gone(inner: ClusterClient) -> bool:
    try:
        inner.kubectl("get", "namespace", inner.namespace)
    except CommandError:
        return True
    try:
        accounts = inner.kubectl("get", "kiteaccounts", "-o", "name").split()
        for account in accounts:
            inner.kubectl("patch", account, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    except CommandError:
        pass  # no such kind, or gone meanwhile
    return False


def component(each: Mapping[str, Any]) -> str | None:
    """Which part of the chart a manifest belongs to."""
    name: str | None = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return name


def create_world(cluster: RunningCluster, client: ClusterClient) -> None:
    """Broker and Redis, from the chart's templates for a trial, and wait for them."""
    values = {
        "image": image_values(cluster),
        "redis": {"trial": {"enabled": True, "image": cluster.redis_image}},
        "simulator": {"enabled": True, "accounts": 0, "ticksPerSecond": 400},
    }
    parts = ("simulator", "redis")
    rendered = render(values, name=WORLD.partition("-")[0], namespace=client.namespace)
    client.apply(*(each for each in rendered if component(each) in parts))
    for part in parts:
        client.kubectl("rollout", "status", f"deployment/{WORLD}-{part}", "--timeout=60s")


@contextmanager
def installed_pool(cluster: RunningCluster) -> Iterator[Pool]:
    """World and release, with the simulator's control API, a Redis client, and a tape of everything published."""
    with ExitStack() as stack:
        client = stack.enter_context(namespace(cluster.client, NAMESPACE))
        create_world(cluster, client)
        install(client, values_of(cluster))
        host, port = stack.enter_context(client.reach(f"{WORLD}-simulator", 8080))
        secret = client.get("secret", f"{WORLD}-redis")["data"]["password"]
        redis_host, redis_port = stack.enter_context(client.reach(f"{WORLD}-redis", 6379))
        server = redis.Redis(host=redis_host, port=redis_port, password=base64.b64decode(secret).decode())
        stack.callback(server.close)
        tape = stack.enter_context(recording(server, "ticker:*"))
        waits = waits_in_pods()
        stack.enter_context(waits.watching(every_s=WAITS_S))
        yield Pool(cluster, client, Control(f"http://{host}:{port}"), server, tape, waits)
