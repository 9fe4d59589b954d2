"""`tickershard operator` where it cannot start: one line that names what is wrong, and no traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ticker_operator.app.operator_command import command

KUBECONFIG = {
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
    "clusters": [{"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "me", "user": {}}],
}


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    refused = CliRunner().invoke(command, ["--shard-image", "x", "--kubeconfig", str(tmp_path / "absent")])

    assert refused.exit_code == 1
    assert f"no API server: {tmp_path / 'absent'}: there is no such file" in refused.output


def test_outside_a_pod_without_a_kubeconfig_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "absent"))

    refused = CliRunner().invoke(command, ["--shard-image", "x"])

    assert refused.exit_code == 1
    assert "not in a pod, and the usual kubeconfig ($KUBECONFIG, else ~/.kube/config) cannot be used" in refused.output


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(json.dumps(KUBECONFIG))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        flags = ["--shard-image", "x", "--kubeconfig", str(path), "--host", "127.0.0.1", "--port", str(port)]

        refused = CliRunner().invoke(command, flags)

    assert refused.exit_code == 2
    assert f"--port (TICKERSHARD_OPERATOR_PORT): cannot listen on 127.0.0.1 port {port}" in refused.output
