"""`helm install` with two values makes a pool that streams, anywhere, without a broker account; and it goes again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.chart import CHART, TRIAL, render
from tests.support.cluster import RunningCluster
from tests.support.cluster_client import ClusterClient, eventually
from tests.support.cluster_pool import TEST_S, image_values, install, merged, namespace

pytestmark = pytest.mark.timeout(TEST_S)


@pytest.fixture(scope="module")
def trial(cluster: RunningCluster) -> Iterator[ClusterClient]:
    # Where another release brought the definitions, a second one must leave them alone.
    alone = not definitions(cluster.client)
    values = {
        "image": image_values(cluster),
        "redis": {"trial": {"image": cluster.redis_image}},
        "crds": {"enabled": alone, "keep": False},
    }
    with namespace(cluster.client, "ticker-trial") as client:
        install(client, merged(TRIAL, values))
        yield client


def definitions(client: ClusterClient) -> list[str]:
    found = client.kubectl("get", "customresourcedefinitions", "-o", "name").split()
    return [name for name in found if name.endswith("tickershard.io")]


def test_every_manifest_is_accepted_by_the_api_server(trial: ClusterClient) -> None:
    elsewhere = trial.within("default")  # where no release has them already
    rendered = render(merged(TRIAL, {"imagePullSecrets": [{"name": "regcred"}]}), namespace=elsewhere.namespace)

    accepted = set()
    for manifest in rendered:
        if manifest["kind"] != "CustomResourceDefinition":  # they belong to the release that is installed
            elsewhere.kubectl(
                *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-"),
                stdin=json.dumps(manifest),
            )
            accepted.add(manifest["kind"])
    assert accepted >= {"Deployment", "Role", "RoleBinding", "ServiceAccount", "Secret"}


def test_the_pool_becomes_ready_by_itself(trial: ClusterClient) -> None:
    trial.kubectl("wait", "--for=condition=Ready", "--timeout=90s", "kiteaccounts", "--all")
    trial.kubectl("wait", "--for=condition=Ready", "--timeout=90s", "tickersubscriptions", "--all")
    trial.kubectl("wait", "--for=condition=Ready", "--timeout=90s", "tickershards", "--all")

    subscription = trial.get("tickersubscription", "trial")
    wanted = len(subscription["spec"]["instruments"])
    assert subscription["status"]["streaming"] == wanted
    rows = trial.table("tickershards")
    assert [row["ACCOUNT"] for row in rows] == ["trial-1", "trial-2"]
    assert sum(int(row["CONFIRMED"]) for row in rows) == wanted


def test_ticks_arrive_in_redis(trial: ClusterClient) -> None:
    instruments = trial.get("tickersubscription", "trial")["spec"]["instruments"]
    wanted = {each["symbol"] for each in instruments}
    secret = trial.get("secret", "tickershard-redis")["data"]
    password = base64.b64decode(secret["password"]).decode()

    with (
        trial.reach("tickershard-redis", 6379) as (host, port),
        redis.Redis(host=host, port=port, password=password) as server,
    ):
        found = eventually(
            lambda: {field.decode() for key in server.scan_iter("{ticker:*}:last") for field in server.hkeys(key)},
            until=lambda fields: fields == wanted,
            timeout_s=20,
            what="the last values of every instrument in Redis",
        )
    assert found == wanted


def test_redis_lets_nobody_in_without_the_password(trial: ClusterClient) -> None:
    with (
        trial.reach("tickershard-redis", 6379) as (host, port),
        redis.Redis(host=host, port=port) as server,
        pytest.raises(redis.AuthenticationError),
    ):
        server.ping()


def test_the_notes_say_what_to_type(trial: ClusterClient) -> None:
    notes = trial.helm("get", "notes", "tickershard")

    command = next(line for line in notes.splitlines() if " get ticker" in line).split()
    assert "trial-1" in trial.run(*command)


def test_uninstalling_leaves_nothing_of_a_trial(trial: ClusterClient) -> None:
    ours = json.loads(trial.helm("get", "values", "tickershard", "-o", "json"))["crds"]["enabled"]

    trial.helm("uninstall", "tickershard", "--wait", "--timeout=120s")

    eventually(
        lambda: trial.kubectl("get", "deployments,secrets,services,jobs,roles,pods", "-o", "name").split(),
        until=lambda left: not left,
        timeout_s=150,
        what="nothing left in the namespace",
    )
    assert bool(definitions(trial)) is not ours


def test_the_chart_can_be_packaged(trial: ClusterClient, tmp_path: Path) -> None:
    trial.helm("package", str(CHART), "--destination", str(tmp_path))

    assert [path.suffix for path in tmp_path.iterdir()] == [".tgz"]
