"""What each program of the test cluster is told: command lines and configuration as plain data.

Addresses are benchmark ranges, so they are nobody's real network. Everybody has a token (admin, node, scheduler, …):
the least effort that still gives real identities, so that Node authorisation and RBAC are as in production. The API
server signs itself; its certificate is the root that pods trust. The one client certificate is the API server's own,
for `kubectl logs`.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.cluster_image import PAUSE_IMAGE
from tests.support.cluster_init import BRIDGE
from tests.support.cluster_machine import BRIDGE_ADDRESS, POD_RANGE, SERVICE_RANGE, MachineError
from tests.support.controlplane import User, apiserver_command, etcd_command, write_users
from tests.support.controlplane_binaries import Binaries

API_PORT = 6443
API_SERVER = f"https://{BRIDGE_ADDRESS}:{API_PORT}"
ETCD_PORT = 2379
KUBELET_PORT = 10250
KUBELET_HEALTH = 10248
CLUSTER_DOMAIN = "cluster.local"

PROGRAMS = {
    "admin": User("admin", ("system:masters",)),
    "controller-manager": User("system:kube-controller-manager"),
    "scheduler": User("system:kube-scheduler"),
    "proxy": User("system:kube-proxy"),
    "dns": User("coredns", ("system:masters",)),
}


@cache
def node_user(node: str) -> User:
    """The kubelet's identity: the Node authoriser knows a node by this name."""
    return User(f"system:node:{node}", ("system:nodes",))


@dataclass(frozen=True)
class ClusterFiles:
    """Where everything of one cluster lies; `write` fills the folder."""

    state: Path
    node: str

    @property
    def users(self) -> dict[str, User]:
        """Who is known to the API server, by the name of the kubeconfig."""
        return {**PROGRAMS, "node": node_user(self.node)}

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def root_certificate(self) -> Path:
        return self.certificates / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        """Every request of a pod, a JSON line each."""
        return self.state / "logs" / "audit.jsonl"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    def kubeconfig(self, name: str) -> Path:
        return self.config / f"{name}.kubeconfig"

    def write(self) -> None:
        """All files that the programs read; before any of them starts."""
        for folder in (self.config, self.certificates, self.state / "cni"):
            folder.mkdir(parents=True)
        write_users(self.state, tuple(self.users.values()))
        self._make_client_certificate()
        for name, user in self.users.items():
            self._write_kubeconfig(name, user)
        self._write(self.config / "audit.json", self.audit_policy())
        self._write(self.config / "kubelet.json", self.kubelet_configuration())
        self._write(self.config / "proxy.json", self.proxy_configuration())
        self._write(self.state / "cni" / "10-pods.conflist", self.network_configuration())
        (self.config / "containerd.toml").write_text(self.containerd_configuration())
        (self.config / "Corefile").write_text(self.dns_configuration())

    # -- command lines ------------------------------------------------------

    def etcd(self, binaries: Binaries) -> list[str]:
        return etcd_command(binaries, folder=self.state, port=ETCD_PORT, peer_port=ETCD_PORT + 1)

    def apiserver(self, binaries: Binaries) -> list[str]:
        return apiserver_command(
            binaries,
            folder=self.state,
            port=API_PORT,
            etcd=f"http://127.0.0.1:{ETCD_PORT}",
            address=BRIDGE_ADDRESS,
            service_range=SERVICE_RANGE,
            authorization="Node,RBAC",
            extra=(
                "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
                f"--audit-policy-file={self.config / 'audit.json'}",
                f"--audit-log-path={self.audit_log}",
                "--kubelet-preferred-address-types=InternalIP",  # else `kubectl logs` looks up the node's name
                f"--kubelet-client-certificate={self.certificates / 'kubelet-client.crt'}",
                f"--kubelet-client-key={self.certificates / 'kubelet-client.key'}",
            ),
        )

    def controller_manager(self) -> list[str]:
        return [
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig('controller-manager')}",
            f"--service-account-private-key-file={self.state / 'service-account.key'}",
            f"--root-ca-file={self.root_certificate}",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]

    def scheduler(self) -> list[str]:
        return [
            "kube-scheduler",
            f"--kubeconfig={self.kubeconfig('scheduler')}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]

    def containerd(self) -> list[str]:
        return ["containerd", f"--config={self.config / 'containerd.toml'}"]

    def kubelet(self) -> list[str]:
        return [
            "kubelet",
            f"--config={self.config / 'kubelet.json'}",
            f"--kubeconfig={self.kubeconfig('node')}",
            f"--root-dir={self.state / 'kubelet'}",
            f"--hostname-override={self.node}",
            f"--node-ip={BRIDGE_ADDRESS}",
        ]

    def proxy(self) -> list[str]:
        return ["kube-proxy", f"--config={self.config / 'proxy.json'}", f"--hostname-override={self.node}"]

    def dns(self) -> list[str]:
        return ["coredns", "-conf", str(self.config / "Corefile")]

    # -- configuration ------------------------------------------------------

    @staticmethod
    def audit_policy() -> dict[str, Any]:
        pods = {"level": "Metadata", "userGroups": ["system:serviceaccounts"], "omitStages": ["RequestReceived"]}
        return {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [pods, {"level": "None"}]}

    def kubelet_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": BRIDGE_ADDRESS,
            "port": KUBELET_PORT,
            "healthzPort": KUBELET_HEALTH,
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self.certificates / "kubelet-client.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDNS": [BRIDGE_ADDRESS],
            "clusterDomain": CLUSTER_DOMAIN,
            "resolvConf": "",
            "podLogsDir": str(self.state / "pod-logs"),
            # A container or a plain virtual machine may have neither systemd nor the newer control groups.
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
            "registryPullQPS": 0,
            "maxPods": 60,
            "syncFrequency": "10s",
        }

    def proxy_configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clientConnection": {"kubeconfig": str(self.kubeconfig("proxy"))},
            "clusterCIDR": POD_RANGE,
            "conntrack": {"maxPerCore": 0, "min": 0},
            "iptables": {"minSyncPeriod": "100ms"},
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
        }

    @staticmethod
    def network_configuration() -> dict[str, Any]:
        bridge = {
            "type": "bridge",
            "bridge": BRIDGE,
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": POD_RANGE}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}

    def containerd_configuration(self) -> str:
        return f"""version = 2
root = "{self.state / "containerd"}"
state = "/run/containerd-state"
[grpc]
  address = "{self.containerd_socket}"
[ttrpc]
  address = "{self.containerd_socket}.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  disable_tcp_service = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.state / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

    def dns_configuration(self) -> str:
        return f""".:53 {{
    errors
    ready 127.0.0.1:8181
    kubernetes {CLUSTER_DOMAIN} {{
        kubeconfig {self.kubeconfig("dns")} test
    }}
}}
"""

    # -- inner --------------------------------------------------------------

    def _make_client_certificate(self) -> None:
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"),
            *("-subj", "/O=system:masters/CN=apiserver", "-addext", "extendedKeyUsage=clientAuth"),
            *("-keyout", str(self.certificates / "kubelet-client.key")),
            *("-out", str(self.certificates / "kubelet-client.crt")),
        )

    def _write_kubeconfig(self, name: str, user: User) -> None:
        self._write(
            self.kubeconfig(name),
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": name, "namespace": "default"}}],
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {"server": API_SERVER, "certificate-authority": str(self.root_certificate)},
                    }
                ],
                "users": [{"name": name, "user": {"token": user.token}}],
            },
        )
        self.kubeconfig(name).chmod(0o600)

    @staticmethod
    def _write(path: Path, value: dict[str, Any]) -> None:
        path.write_text(json.dumps(value, indent=1))


def _openssl(*arguments: str) -> None:
    outcome = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if outcome.returncode != 0:
        raise MachineError(f"openssl {arguments[0]}: {outcome.stderr.strip()}")
