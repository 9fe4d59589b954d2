"""A whole Kubernetes on this machine: etcd, API server, controllers, scheduler, kubelet, containerd, kube-proxy, DNS.

`cluster()` is what tests use. It takes, in this order,

1. the cluster of ``KUBECONFIG``, if ``TICKERSHARD_TEST_CLUSTER=1`` marks it as one to be written to (kind, k3d, …). The
   nodes have, or can pull, the images that ``TICKERSHARD_TEST_IMAGE`` and ``TICKERSHARD_TEST_REDIS_IMAGE`` name;
2. its own, on namespaces of this machine (`cluster_machine`): root on Linux with the packages of `cluster_packages`.
   One that `make cluster-up` started is used and left running; otherwise it lives as long as the tests.

By hand: ``python -m tests.support.cluster up | down | status``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.cluster_client import ClusterClient
from tests.support.cluster_config import ClusterFiles
from tests.support.cluster_image import CACHE, REDIS_IMAGE, pause_archive, product_archive, product_image, redis_archive
from tests.support.cluster_machine import Machine, MachineError
from tests.support.controlplane_binaries import (
    CLUSTER_LEVEL,
    BinariesUnavailableError,
    cache_folder,
    find_binaries,
)

NODE = "node1"
NODE_READY_S = 60.0
OTHER_USER_S = 1_800.0
TOOLS = (
    *("unshare", "nsenter", "ip", "mount", "openssl"),
    *("containerd", "ctr", "runc", "iptables", "conntrack", "buildah", "debootstrap"),
)
NETWORK_PLUGINS = (Path("/usr/lib/cni/bridge"), Path("/usr/lib/cni/host-local"), Path("/usr/lib/cni/loopback"))


class ClusterUnavailableError(RuntimeError):
    """The machine cannot run the cluster level: why."""


@dataclass(frozen=True)
class RunningCluster:
    """A cluster, and the images that its nodes have."""

    client: ClusterClient
    image: str
    redis_image: str
    own: OwnCluster | None  # None: somebody else's, whose programs we cannot stop


class OwnCluster:
    """The cluster on namespaces of this machine."""

    def __init__(self, state: Path = CACHE / "cluster") -> None:
        self.state = state
        self.machine = Machine(state, node=NODE)
        self.files = ClusterFiles(state, NODE)

    @property
    def client(self) -> ClusterClient:
        return ClusterClient(self.files.kubeconfig("admin"), programs=self.state / "bin", reachable=True)

    def up(self) -> None:
        """From nothing, or from the leftovers of a crash, to a node that is Ready."""
        binaries = find_binaries(CLUSTER_LEVEL, say=lambda line: print(line, flush=True))
        pause = pause_archive()
        self.machine.start()
        self.files.write()
        links = self.state / "bin"
        links.mkdir()
        for name, path in binaries.paths.items():
            (links / name).symlink_to(path)
        self._spawn("etcd", self.files.etcd(binaries))
        self._spawn("apiserver", self.files.apiserver(binaries))
        self._spawn("containerd", self.files.containerd())
        self.machine.await_ready("containerd", self._ctr("version"))
        self.load(pause)
        self.machine.await_ready("apiserver", self._kubectl("get", "--raw=/readyz"))
        self._spawn("controller-manager", self.files.controller_manager())
        self._spawn("scheduler", self.files.scheduler())
        self._spawn("kubelet", self.files.kubelet())
        self._spawn("proxy", self.files.proxy())
        self._spawn("dns", self.files.dns())
        wait = self._kubectl("wait", f"node/{NODE}", "--for=condition=Ready", "--timeout=5s")
        self.machine.await_ready("kubelet", wait, timeout_s=NODE_READY_S)
        # The first pod of a namespace is refused until its account exists.
        account = self._kubectl("get", "serviceaccount/default", "configmap/kube-root-ca.crt")
        self.machine.await_ready("controller-manager", account)

    def down(self) -> None:
        """Everything that `up` made is gone afterwards; nothing to do is fine."""
        self.machine.stop()

    def audited(self) -> list[dict[str, Any]]:
        """What pods asked of the API server so far, and what it answered."""
        return [json.loads(line) for line in self.files.audit_log.read_text().splitlines() if line.endswith("}")]

    def load(self, archive: Path) -> None:
        """Give the node an image."""
        self.machine.run(*self._ctr("images", "import", "--all-platforms", str(archive)))

    def tag(self, image: str, other: str) -> None:
        """A second name for an image: a release that differs in nothing else."""
        self.machine.run(*self._ctr("images", "tag", "--force", image, other))

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        program = self.state / "bin" / command[0]
        self.machine.spawn(name, [str(program) if program.exists() else command[0], *command[1:]])

    def _ctr(self, *arguments: str) -> list[str]:
        return ["ctr", "--address", str(self.files.containerd_socket), "--namespace", "k8s.io", *arguments]

    def _kubectl(self, *arguments: str) -> list[str]:
        kubeconfig = self.files.kubeconfig("admin")
        return [str(self.state / "bin" / "kubectl"), f"--kubeconfig={kubeconfig}", *arguments]


def missing_parts() -> list[str]:
    """What this machine lacks for a cluster of its own, in words."""
    if os.geteuid() != 0:
        return ["root (namespaces, mounts)"]
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return lacking + [str(plugin) for plugin in NETWORK_PLUGINS if not plugin.exists()]


@contextmanager
def cluster() -> Iterator[RunningCluster]:
    """The cluster that this run uses, with the product's image of the present checkout.

    Raises
    ------
    ClusterUnavailableError
        When there is none and none can be had.
    """
    if os.environ.get("TICKERSHARD_TEST_CLUSTER") == "1":
        yield _given_cluster()
        return
    lacking = missing_parts()
    if lacking:
        raise ClusterUnavailableError(f"the machine lacks: {', '.join(lacking)}")
    own = OwnCluster()
    with _only_user():
        yield from _use(own)


def _use(own: OwnCluster) -> Iterator[RunningCluster]:
    kept = own.machine.alive()
    try:
        archives = [product_archive(), redis_archive()]
        if not kept:
            own.up()
        for archive in archives:
            own.load(archive)
        image = product_image(archives[0].stem.rpartition("-")[2])
        yield RunningCluster(own.client, image, REDIS_IMAGE, own)
    except BinariesUnavailableError as error:
        raise ClusterUnavailableError(str(error)) from error
    finally:
        if not kept:
            own.down()


@contextmanager
def _only_user() -> Iterator[None]:
    """Addresses, state folder and the tests' namespaces are fixed, so a second user waits until the first is done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "cluster.lock").open("w") as lock:
        deadline = time.monotonic() + OTHER_USER_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    said = f"another run has used the test cluster of this machine for {OTHER_USER_S:.0f} s"
                    raise ClusterUnavailableError(said) from None
                time.sleep(1)
        yield


def _given_cluster() -> RunningCluster:
    try:
        kubeconfig = Path(os.environ["KUBECONFIG"])
        image, redis_image = os.environ["TICKERSHARD_TEST_IMAGE"], os.environ["TICKERSHARD_TEST_REDIS_IMAGE"]
    except KeyError as error:
        raise ClusterUnavailableError(f"TICKERSHARD_TEST_CLUSTER=1 also wants {error.args[0]}") from None
    programs = cache_folder()  # for helm; a kubectl on the PATH serves as well
    return RunningCluster(
        ClusterClient(kubeconfig, programs=programs if programs.exists() else None), image, redis_image, None
    )


def main(arguments: Sequence[str]) -> int:
    """The command: up, down, status."""
    own = OwnCluster()
    match list(arguments):
        case ["up"]:
            if lacking := missing_parts():
                print(f"no cluster here: the machine lacks {', '.join(lacking)}", file=sys.stderr)
                return 1
            if not own.machine.alive():
                started = time.monotonic()
                own.up()
                print(f"ready in {time.monotonic() - started:.0f} s")
            print(f"export KUBECONFIG={own.files.kubeconfig('admin')} PATH={own.state / 'bin'}:$PATH")
        case ["down"]:
            own.down()
        case ["status"]:
            running = {name: process.alive() for name, process in own.machine.recorded().items()}
            print(json.dumps(running, indent=1) if running else "no cluster")
            return 0 if own.machine.alive() else 3
        case _:
            print("usage: python -m tests.support.cluster up | down | status", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (MachineError, BinariesUnavailableError) as failure:
        sys.exit(f"{failure}")
