"""`kubectl` and `helm` as a person types them, against one cluster, with answers a test can compare.

The tests use the commands rather than a library: what they prove is what a person will see.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

T = TypeVar("T")
COMMAND_S = 180.0


class CommandError(AssertionError):
    """A command ended with an error; the message has the command and what it said."""

    def __init__(self, command: Sequence[str], code: int, said: str) -> None:
        super().__init__(f"$ {shlex.join(command)}\n(exit code {code})\n{said.strip()[-4000:]}")
        self.code = code
        self.said = said


@dataclass(frozen=True)
class ClusterClient:
    """The commands of one cluster. `reachable` says that pods and services answer at their own addresses."""

    kubeconfig: Path
    programs: Path | None = None  # a folder with kubectl and helm, put before the PATH
    reachable: bool = False
    namespace: str = "default"

    # -- commands -----------------------------------------------------------

    def run(self, *command: str, stdin: str | None = None, timeout_s: float = COMMAND_S) -> str:
        """Run one command; its standard output. An error is a `CommandError`."""
        outcome = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env=self._environment(),
        )
        if outcome.returncode != 0:
            raise CommandError(command, outcome.returncode, outcome.stderr + outcome.stdout)
        return outcome.stdout

    def start(self, *command: str, to: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start one command that goes on; what it says goes into a file. The caller ends it."""
        return subprocess.Popen(command, stdout=to, stderr=subprocess.DEVNULL, env=self._environment())

    def _environment(self) -> dict[str, str]:
        path = os.environ["PATH"] if self.programs is None else f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "KUBECONFIG": str(self.kubeconfig)}

    def within(self, namespace: str) -> ClusterClient:
        """The same, with another namespace."""
        return replace(self, namespace=namespace)

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = COMMAND_S) -> str:
        return self.run("kubectl", f"--namespace={self.namespace}", *arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str) -> str:
        return self.run("helm", f"--namespace={self.namespace}", *arguments)

    def apply(self, *manifests: Mapping[str, Any]) -> str:
        """`kubectl apply -f -` of the manifests."""
        return self.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(each) for each in manifests))

    # -- answers ------------------------------------------------------------

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        """The objects of a list."""
        found: list[dict[str, Any]] = self.get(*arguments)["items"]
        return found

    def table(self, *arguments: str) -> list[dict[str, str]]:
        """`kubectl get …` as a person sees it: one dictionary a row, by column heading."""
        lines = self.kubectl("get", *arguments).splitlines()
        starts = [match.start() for match in re.finditer(r"\S+(?: \S+)*", lines[0])] if lines else []
        ends = [*starts[1:], None]
        cells = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
        return [dict(zip(cells[0], row, strict=True)) for row in cells[1:]]

    def condition(self, resource: str, name: str, kind: str) -> dict[str, Any]:
        """One condition of an object; an empty dictionary where it has none of that type."""
        return self.conditions(resource, name).get(kind, {})

    def conditions(self, resource: str, name: str) -> dict[str, dict[str, Any]]:
        """All conditions of an object by type."""
        found = self.get(resource, name).get("status", {}).get("conditions", [])
        return {each["type"]: each for each in found}

    # -- reaching in --------------------------------------------------------

    @contextlib.contextmanager
    def reach(self, service: str, port: int) -> Iterator[tuple[str, int]]:
        """Address at which `service` answers from here: its own, or a forwarded one on loopback."""
        if self.reachable:
            yield self.get("service", service)["spec"]["clusterIP"], port
            return
        where = f"--namespace={self.namespace}"
        command = ["kubectl", where, "port-forward", "--address=127.0.0.1", f"service/{service}", f":{port}"]
        forward = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "KUBECONFIG": str(self.kubeconfig)}
        )
        try:
            assert forward.stdout is not None
            match = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline())
            assert match, f"{shlex.join(command)} did not say its port"
            yield "127.0.0.1", int(match.group(1))
        finally:
            forward.kill()
            forward.wait()


def eventually(
    probe: Callable[[], T], *, until: Callable[[T], object] = bool, timeout_s: float, what: str, every_s: float = 0.25
) -> T:
    """Ask `probe` until its answer satisfies `until`; after the deadline fail with the last answer.

    A `CommandError` (an object that does not exist yet) counts as an answer that does not satisfy.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            answer = probe()
            said: object = answer
            if until(answer):
                return answer
        except CommandError as error:
            said = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}\nlast answer: {said}")
        time.sleep(every_s)
