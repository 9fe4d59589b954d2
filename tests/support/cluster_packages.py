"""The Debian packages that the test levels use: installed when this is root on Debian and some are missing.

Repeating it costs nothing and asks no mirror. On any other machine it says so and changes nothing: the tests that
need a package skip with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = (
    "containerd",  # runs the pods
    "runc",
    "containernetworking-plugins",  # the pods' network
    "iptables",  # kube-proxy
    "conntrack",
    "iproute2",
    "buildah",  # builds the image from the Dockerfile
    "debootstrap",  # the local base image
    "openssl",
    "redis-server",  # component tests
)


def missing_packages() -> list[str]:
    """Those of `PACKAGES` that dpkg does not know as installed."""
    known = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    installed = {line.split()[0] for line in known.splitlines() if line.endswith(" installed")}
    return [package for package in PACKAGES if package not in installed]


def main() -> int:
    """Install what is missing.

    Returns
    -------
    int
        Exit code: 0 also where nothing can be installed, because a skip with a reason is the next step's answer.
    """
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        print("not Debian: no packages installed, the cluster level will be skipped")
        return 0
    missing = missing_packages()
    if not missing:
        return 0
    if os.geteuid() != 0:
        print(f"not root: {', '.join(missing)} stay missing, tests that need them will be skipped")
        return 0
    print(f"== Debian packages: {' '.join(missing)}", flush=True)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0", *missing],
    ):
        outcome = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            print(f"{' '.join(command)} failed:\n{outcome.stdout}{outcome.stderr}", file=sys.stderr)
            return outcome.returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
