"""The trial Redis's Secret, rendered by a helm that asks a real API server what is there already."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, RELEASE, TRIAL, helm
from tests.support.controlplane import ControlPlane

NAME = f"{RELEASE}-tickershard-redis"


def rendered_secret(api_server: ControlPlane, namespace: str) -> dict[str, Any]:
    flags = [f"--namespace={namespace}", f"--kubeconfig={api_server.kubeconfig(namespace=namespace)}"]
    outcome = subprocess.run(
        [helm(), "template", RELEASE, str(CHART), *flags, "--dry-run=server", "--values=-"],
        input=json.dumps({**TRIAL, "crds": {"enabled": False}}),  # they are there, and not this release's
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    manifests = yaml.load_all(outcome.stdout, Loader=yaml.CSafeLoader)
    found = [each for each in manifests if each and each["kind"] == "Secret" and each["metadata"]["name"] == NAME]
    assert len(found) == 1
    return dict(found[0]["stringData"])


@pytest.mark.parametrize(
    ("data", "password"),
    [
        (None, None),
        ({"url": "redis://elsewhere:6379/0"}, None),  # made while redis.url was set
        ({"password": "kept"}, "kept"),
    ],
    ids=["no Secret", "a Secret without a password", "a Secret with one"],
)
def test_a_password_is_kept_where_there_is_one_and_made_where_there_is_none(
    api_server: ControlPlane, namespace: str, data: dict[str, str] | None, password: str | None
) -> None:
    if data is not None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        metadata = {
            "name": NAME,
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": namespace},
        }
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
        api_server.client().create(secret, namespace=namespace).expect(201)

    found = rendered_secret(api_server, namespace)

    assert len(found["password"]) == 24 if password is None else found["password"] == password
    assert found["url"] == f"redis://:{found['password']}@{NAME}.{namespace}.svc:6379/0"
    assert f"requirepass {found['password']}" in found["redis.conf"]
