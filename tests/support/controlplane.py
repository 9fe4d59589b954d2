"""The API level: a real etcd and kube-apiserver on loopback, ready in a few seconds, gone afterwards.

Nothing else of Kubernetes runs: no controller makes a ReplicaSet of a Deployment, deletes what a namespace or an owner
left, or gives a namespace its default ServiceAccount. What is real: schemas, CEL, defaulting, server-side apply,
printer columns, watches, RBAC, tokens of ServiceAccounts.

Who one is: users are told apart by tokens that are fixed at the start (`User`, `API_ADMIN`), ServiceAccounts by tokens
that the server issues (`ControlPlane.service_account`).

`etcd_command` and `apiserver_command` take every address and further arguments, for harnesses that need more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.controlplane_binaries import API_LEVEL, Binaries, BinariesUnavailableError, find_binaries
from tests.support.controlplane_client import ApiClient
from tests.support.controlplane_processes import ProcessGroup, ServerFailedError
from tests.support.require import unavailable

START_S: Final = 60.0  # 5 s on an idle machine
START_ATTEMPTS: Final = 3  # a port that was free may be somebody's a moment later
SERVICE_RANGE: Final = "198.19.0.0/24"  # a benchmark range: never anybody's real network
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class User:
    """An identity that the server knows by a token."""

    name: str
    groups: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


def api_admin() -> User:
    """May do everything."""
    return User("admin", ("system:masters",))


def free_port(address: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def etcd_command(
    binaries: Binaries, *, folder: Path, port: int, peer_port: int, address: str = "127.0.0.1"
) -> list[str]:
    """A single etcd that never waits for the disk."""
    client, peer = f"http://{address}:{port}", f"http://{address}:{peer_port}"
    return [
        str(binaries["etcd"]),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_command(
    binaries: Binaries,
    *,
    folder: Path,
    port: int,
    etcd: str,
    address: str = "127.0.0.1",
    service_range: str = SERVICE_RANGE,
    authorization: str = "RBAC",
    extra: Sequence[str] = (),
) -> list[str]:
    """An API server that knows the users of `write_users`; its certificate lies in ``<folder>/certificates``."""
    return [
        str(binaries["kube-apiserver"]),
        f"--etcd-servers={etcd}",
        f"--bind-address={address}",
        f"--advertise-address={address}",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'certificates'}",
        f"--service-cluster-ip-range={service_range}",
        f"--authorization-mode={authorization}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={folder / 'service-account.key'}",
        f"--service-account-signing-key-file={folder / 'service-account.key'}",
        "--allow-privileged=true",
        "--profiling=false",
        *extra,
    ]


def write_users(folder: Path, users: Sequence[User]) -> None:
    """The token file and the key that signs tokens of ServiceAccounts."""
    lines = [f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in users]
    _write_private(folder / "tokens.csv", "\n".join(lines) + "\n")
    _write_private(folder / "service-account.key", _new_signing_key())


def _new_signing_key() -> str:
    """A private key on P-256 in SEC 1 form: version, number, curve; the public half follows from it."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    number = (secrets.randbelow(order - 1) + 1).to_bytes(32, "big")
    encoded = bytes.fromhex("30310201010420") + number + bytes.fromhex("a00a06082a8648ce3d030107")
    return f"-----BEGIN EC PRIVATE KEY-----\n{base64.encodebytes(encoded).decode()}-----END EC PRIVATE KEY-----\n"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


@dataclass
class ControlPlane:
    """A running API server."""

    binaries: Binaries
    processes: ProcessGroup
    port: int
    etcd_port: int
    users: tuple[User, ...]
    extra: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return self.processes.folder

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate that clients trust."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def admin(self) -> User:
        return self.users[0]

    def client(self, user: User | None = None) -> ApiClient:
        """Plain requests as `user`, the admin by default."""
        return ApiClient(self.url, token=(user or self.admin).token, ca_file=self.ca_file)

    def service_account(self, namespace: str, name: str, *, seconds: int = 3600) -> User:
        """A ServiceAccount, made if need be, with a token as a pod would hold it."""
        admin = self.client()
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        admin.request("POST", path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        demand = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        answer = admin.request("POST", f"{path}/{name}/token", demand).expect(201)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return User(f"system:serviceaccount:{namespace}:{name}", groups, answer["status"]["token"])

    def kubeconfig(self, user: User | None = None, *, namespace: str = "default") -> Path:
        """A kubeconfig of `user`, the admin by default."""
        user = user or self.admin
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user.name, "namespace": namespace}}],
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority-data": base64.b64encode(self.ca_file.read_bytes()).decode(),
                    },
                }
            ],
            "users": [{"name": user.name, "user": {"token": user.token}}],
        }
        path = self.folder / f"{user.name.replace(':', '_')}.{namespace}.kubeconfig"
        _write_private(path, json.dumps(document))
        return path

    def kubectl(
        self, *arguments: str, namespace: str = "default", user: User | None = None, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What `kubectl` says; its exit code is the caller's to judge."""
        return subprocess.run(
            [str(self.binaries["kubectl"]), *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
            env={
                **{key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
                "KUBECONFIG": str(self.kubeconfig(user, namespace=namespace)),
                "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            },
        )

    def await_established(self, names: Iterable[str], *, within_s: float = START_S) -> None:
        """Wait until CustomResourceDefinitions of these names are served."""
        for name in names:
            said = self.kubectl("wait", "--for=condition=Established", f"crd/{name}", f"--timeout={within_s:.0f}s")
            assert said.returncode == 0, said.stderr

    def stop_apiserver(self) -> None:
        """An outage of the API; etcd keeps everything."""
        self.processes.kill("kube-apiserver")

    def start_apiserver(self) -> None:
        """Start it (again), on the same port, and wait until it is ready."""
        command = apiserver_command(
            self.binaries,
            folder=self.folder,
            port=self.port,
            etcd=f"http://127.0.0.1:{self.etcd_port}",
            extra=self.extra,
        )
        self.processes.start("kube-apiserver", command)
        self.processes.await_ready("kube-apiserver", self._ready, within_s=START_S)

    def _ready(self) -> bool:
        if not self.ca_file.exists():
            return False
        with contextlib.suppress(OSError, ssl.SSLError, urllib.error.URLError):
            return self.client().request("GET", "/readyz", accept="text/plain").status == 200
        return False


API_EXTRA: Final = (
    # Pods may be made without the controller that gives a namespace its ServiceAccount.
    "--disable-admission-plugins=ServiceAccount",
    "--endpoint-reconciler-type=none",
)


def start_control_plane(
    *, users: Sequence[User] = (), extra: Sequence[str] = API_EXTRA, binaries: Binaries | None = None
) -> ControlPlane:
    """Start both servers; `users` are known besides the admin.

    Raises
    ------
    BinariesUnavailableError
        When the programs cannot be had on this machine.
    """
    binaries = binaries or find_binaries(API_LEVEL)
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            return _start_once(binaries, users=(api_admin(), *users), extra=extra)
        except ServerFailedError as failure:
            taken = failure.ended and "address already in use" in str(failure)
            if not taken or attempt == START_ATTEMPTS:
                raise
    raise AssertionError("the loop returns or raises")


def _start_once(binaries: Binaries, *, users: tuple[User, ...], extra: Sequence[str]) -> ControlPlane:
    processes = ProcessGroup.create("controlplane")
    try:
        etcd_port = free_port()
        processes.start("etcd", etcd_command(binaries, folder=processes.folder, port=etcd_port, peer_port=free_port()))
        write_users(processes.folder, users)
        plane = ControlPlane(binaries, processes, free_port(), etcd_port, users, tuple(extra))
        processes.await_ready("etcd", lambda: _etcd_ready(etcd_port), within_s=START_S)
        plane.start_apiserver()
    except BaseException:
        processes.close()
        raise
    return plane


def _etcd_ready(port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
        found: Mapping[str, Any] = json.load(answer)
        return str(found.get("health")) == "true"
    return False


@contextmanager
def control_plane(*, users: Sequence[User] = (), extra: Sequence[str] = API_EXTRA) -> Iterator[ControlPlane]:
    """For fixtures: a control plane, or a skip with the reason."""
    try:
        binaries = find_binaries(API_LEVEL)
    except BinariesUnavailableError as error:
        unavailable(str(error))
    plane = start_control_plane(users=users, extra=extra, binaries=binaries)
    try:
        yield plane
    finally:
        plane.processes.close()
