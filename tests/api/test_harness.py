"""The control plane that the other tests rely on: identities, outages, leftovers, and where programs come from."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import controlplane_binaries
from tests.support.controlplane import ControlPlane, User, control_plane
from tests.support.controlplane_binaries import BinariesUnavailableError, find_binaries
from tests.support.controlplane_processes import Identity, ProcessGroup, ServerFailedError, sweep
from tests.support.kinds_refused import an_account

WITHIN_S = 20.0


def await_true(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------------------------
# Servers
# ---------------------------------------------------------------------------------------------------------------


def test_service_account_has_the_rights_of_its_roles_only(api_server: ControlPlane, namespace: str) -> None:
    shard = api_server.client(api_server.service_account(namespace, "shard"))

    who = shard.request(
        "POST",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
    ).expect(201)
    refused = shard.create(an_account(), namespace=namespace)

    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:shard"
    assert refused.status == 403
    assert "cannot create resource" in refused.message


def test_outage_keeps_objects_and_identities() -> None:
    visitor = User("visitor", ("readers",))
    with control_plane(users=[visitor]) as plane:
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "b"}}
        plane.client().create(config).expect(201)
        before = plane.client(visitor).create(config)

        plane.stop_apiserver()
        with pytest.raises(OSError, match="refused"):
            plane.client().get("ConfigMap", "kept", api_version="v1")
        plane.start_apiserver()

        assert plane.client().get("ConfigMap", "kept", api_version="v1")["data"] == {"a": "b"}
        assert (before.status, plane.client(visitor).create(config).status) == (403, 403)
        folder = plane.folder
        pids = [process.pid for process in plane.processes.running.values()]
    assert not folder.exists()
    assert not [pid for pid in pids if Identity.of(pid)]


def test_server_that_does_not_come_up_says_why(api_server: ControlPlane) -> None:
    processes = ProcessGroup.create("test")
    try:
        processes.start("etcd", [api_server.binaries["etcd"], "--no-such-flag"])
        with pytest.raises(ServerFailedError, match="etcd ended with 2\nUsage:") as failure:
            processes.await_ready("etcd", lambda: False, within_s=WITHIN_S)
        assert failure.value.ended
    finally:
        processes.close()


# ---------------------------------------------------------------------------------------------------------------
# Leftovers
# ---------------------------------------------------------------------------------------------------------------

CRASHING_RUN = """
import json, os, signal, sys
from tests.support.controlplane_processes import ProcessGroup
processes = ProcessGroup.create("test")
processes.start("server", ["sleep", "600"])
print(json.dumps([str(processes.folder), processes.running["server"].pid]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_crashed_run_are_stopped_and_removed() -> None:
    root = Path(__file__).parents[2]
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING_RUN], cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert crashed.returncode == -signal.SIGKILL, crashed.stderr
    folder, pid = json.loads(crashed.stdout)
    left = Identity.of(pid)
    assert left is not None, "the server outlives its run"

    mine = ProcessGroup.create("test")
    mine.close()

    await_true(lambda: not left.alive, "the server is stopped")
    assert not Path(folder).exists()


def test_living_run_is_left_alone(tmp_path: Path) -> None:
    other = ProcessGroup.create("test")
    other.start("server", ["sleep", "600"])
    try:
        sweep(other.folder.parent)

        assert other.folder.exists()
        assert other.running["server"].poll() is None
    finally:
        other.close()


def test_recorded_id_that_is_somebody_elses_now_is_not_stopped(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        run = tmp_path / "run"
        run.mkdir()
        gone = {"pid": 2**22 + 1, "started": "1"}
        (run / "owner.json").write_text(json.dumps(gone))
        (run / "processes.json").write_text(json.dumps({"etcd": {"pid": stranger.pid, "started": "1"}}))

        sweep(tmp_path)

        assert not run.exists()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# ---------------------------------------------------------------------------------------------------------------
# Programs
# ---------------------------------------------------------------------------------------------------------------


def a_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_given_programs_are_taken_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in controlplane_binaries.API_LEVEL:
        a_program(tmp_path / name)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    assert find_binaries()["etcd"] == tmp_path / "etcd"


def test_cluster_level_never_mixes_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in controlplane_binaries.API_LEVEL:
        a_program(tmp_path / "given" / name)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "given"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in controlplane_binaries.CLUSTER_LEVEL:
        a_program(controlplane_binaries.cache_folder() / name)
    a_program(controlplane_binaries.cache_folder() / "kube")

    found = find_binaries(controlplane_binaries.CLUSTER_LEVEL)

    assert {path.parent for path in found.paths.values()} == {controlplane_binaries.cache_folder()}


def test_incomplete_gift_is_said_and_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_program(tmp_path / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in (*controlplane_binaries.API_LEVEL, *controlplane_binaries.KUBE_NAMES, "kube"):
        a_program(controlplane_binaries.cache_folder() / name)
    said: list[str] = []

    found = find_binaries(say=said.append)

    assert found["etcd"].parent == controlplane_binaries.cache_folder()
    assert said == ["KUBEBUILDER_ASSETS lacks kube-apiserver, kubectl: taking our own"]


def test_machine_without_go_is_told_what_would_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BinariesUnavailableError, match="no Go to build it with: install Go, or set KUBEBUILDER_ASSETS"):
        find_binaries()


def test_failed_build_leaves_nothing_that_looks_like_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = a_program(tmp_path / "bin" / "go")
    go.write_text('#!/bin/sh\necho "main.go:1: undefined: everything"\nexit 1\n')
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(go.parent), prepend=os.pathsep)

    with pytest.raises(BinariesUnavailableError, match="undefined: everything"):
        find_binaries(say=lambda line: None)
    assert [path.name for path in controlplane_binaries.cache_folder().iterdir()] == ["etcd.log"]


def test_two_builders_build_once(tmp_path: Path) -> None:
    """A slow compiler that counts its runs, two processes that want the same program."""
    go = a_program(tmp_path / "bin" / "go")
    go.write_text(
        "#!/bin/sh\n"
        f'echo run >> "{tmp_path}/runs"\n'
        'while [ "$1" != -o ]; do shift; done\n'
        'sleep 0.5; printf "#!/bin/sh\\n" > "$2"; chmod +x "$2"\n'
    )
    program = "from tests.support.controlplane_binaries import find_binaries; print(find_binaries(['etcd'])['etcd'])"
    root = Path(__file__).parents[2]
    environment = {key: value for key, value in os.environ.items() if key != "KUBEBUILDER_ASSETS"}
    environment["PYTHONPATH"] = str(root)
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    environment["PATH"] = f"{go.parent}{os.pathsep}{os.environ['PATH']}"

    builders = [
        subprocess.Popen([sys.executable, "-c", program], cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [builder.communicate(timeout=60)[0].splitlines()[-1] for builder in builders]

    assert [builder.returncode for builder in builders] == [0, 0]
    assert said[0] == said[1]
    assert (tmp_path / "runs").read_text() == "run\n"
