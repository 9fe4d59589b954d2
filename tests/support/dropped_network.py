"""A network between a process and us on which every packet, both ways, can be made to vanish without a word.

A network namespace with a pair of virtual cables; inside it two packet filter rules. Nothing of the machine's own
network is touched. Root only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support.require import unavailable

TOOLS = ("ip", "iptables")


@dataclass(frozen=True)
class DroppedNetwork:
    """Its name, and the address that processes inside it listen on."""

    name: str
    address: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """A command that runs another one inside."""
        return ("ip", "netns", "exec", self.name)

    def drop(self) -> None:
        """From now on packets vanish; nobody is told."""
        for chain, direction in (("INPUT", "-i"), ("OUTPUT", "-o")):
            _run(*self.prefix, "iptables", "-w", "-I", chain, "!", direction, "lo", "-j", "DROP")

    def heal(self) -> None:
        """They arrive again."""
        for chain in ("INPUT", "OUTPUT"):
            _run(*self.prefix, "iptables", "-w", "-F", chain)


@contextmanager
def dropped_network() -> Iterator[DroppedNetwork]:
    """A network of this test's own, gone afterwards."""
    if os.geteuid() != 0:
        unavailable("a network namespace needs root")
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)} (Debian: iproute2, iptables)")
    number = os.getpid() % 16_384  # a /30 for each process that runs tests
    name, ours, theirs = f"ticks-{os.getpid()}", f"tk{os.getpid()}a", f"tk{os.getpid()}b"
    base = f"10.231.{number // 64}.{number % 64 * 4}"
    head, _, last = base.rpartition(".")
    host, guest = f"{head}.{int(last) + 1}", f"{head}.{int(last) + 2}"
    try:
        try:
            _run("ip", "netns", "add", name)
            _run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
            _run("ip", "addr", "add", f"{host}/30", "dev", ours)
            _run("ip", "link", "set", ours, "up")
            _run("ip", "-n", name, "addr", "add", f"{guest}/30", "dev", theirs)
            for device in (theirs, "lo"):
                _run("ip", "-n", name, "link", "set", device, "up")
            network = DroppedNetwork(name, guest)
            network.heal()  # tries whether the packet filter works at all
        except subprocess.CalledProcessError as error:
            unavailable(f"no network namespace with a packet filter here: {error.stderr.strip()}")
        yield network
    finally:
        for command in (("ip", "link", "del", ours), ("ip", "netns", "del", name)):
            with suppress(subprocess.CalledProcessError):
                _run(*command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
