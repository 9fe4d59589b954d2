"""First process of the test cluster's machine: prepares its namespaces, then reaps orphans until it is killed.

Started by `cluster_machine` inside fresh mount, network, process, host-name and IPC namespaces; uses the standard
library only. What it makes (mounts, bridge, NAT rules added later by kube-proxy) exists in these namespaces alone,
so the kernel removes all of it when this process ends, however it ends.

* /run is a tmpfs of its own, /var/lib and /var/log are overlays whose changes land in the state folder: kubelet,
  containerd and the network plugins have fixed paths there.
* Mounts are shared *inside*: the kubelet mounts a Secret, containerd must see it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

BRIDGE = "pods0"
OVERLAID = ("/var/lib", "/var/log")
SYSCTLS = {
    "/proc/sys/net/ipv4/ip_forward": "1",
    "/proc/sys/net/ipv4/conf/all/route_localnet": "1",
}


def prepare(state: Path, bridge_address: str, node: str) -> None:
    """Mounts, addresses and switches of the machine."""
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for folder in OVERLAID:
        upper, work = (state / "overlay" / folder.strip("/").replace("/", "-") / name for name in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        run("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={work}", folder)
    socket.sethostname(node)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", bridge_address, "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for path, value in SYSCTLS.items():
        Path(path).write_text(value)


def run(*command: str) -> None:
    """One command; its complaint ends this process, and with it the machine."""
    subprocess.run(command, check=True)


def reap_forever() -> None:
    """Collect whatever is left to process 1; containerd's shims are orphans by design."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        signal.sigwait({signal.SIGCHLD})
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    break
            except ChildProcessError:
                break


def main() -> None:
    """Arguments: state folder, bridge address with prefix length, node name."""
    state, bridge_address, node = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    prepare(state, bridge_address, node)
    (state / "machine-ready").touch()
    reap_forever()


if __name__ == "__main__":
    main()
