"""The chart as `helm template` renders it, as objects that tests ask questions of."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.controlplane_binaries import cache_folder
from tests.support.require import unavailable

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "tickershard"
RELEASE: Final = "pool"
NAMESPACE: Final = "ticks"
REDIS: Final = {"redis": {"existingSecret": "ticker-redis"}}
TRIAL: Final = {"simulator": {"enabled": True}, "redis": {"trial": {"enabled": True}}}

Manifest = dict[str, Any]


class ChartRefusedError(AssertionError):
    """`helm template` refused; the message is what a person reads."""


@cache
def helm() -> str:
    """The helm of the test cluster if it was built already, else the one on the PATH: this level builds nothing."""
    ours = cache_folder() / "helm"
    if ours.exists():
        return str(ours)
    return shutil.which("helm") or unavailable("no helm: `make binaries` builds one")


class Rendered:
    """Manifests of one rendering."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.manifests = manifests

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self.manifests)

    def of_kind(self, kind: str) -> dict[str, Manifest]:
        return {each["metadata"]["name"]: each for each in self.manifests if each["kind"] == kind}

    def one(self, kind: str, name: str) -> Manifest:
        found = self.of_kind(kind)
        assert name in found, f"no {kind} {name}, only {sorted(found)}"
        return found[name]

    def pod_templates(self) -> dict[str, Manifest]:
        """The pod template of everything that makes pods, by kind and name."""
        return {
            f"{each['kind']}/{each['metadata']['name']}": each["spec"]["template"]
            for each in self.manifests
            if each["kind"] in ("Deployment", "Job")
        }

    def operator(self) -> Manifest:
        return self.one("Deployment", f"{RELEASE}-tickershard-operator")

    def operator_environment(self) -> dict[str, str]:
        container = self.operator()["spec"]["template"]["spec"]["containers"][0]
        return {entry["name"]: entry["value"] for entry in container["env"]}


def render(values: Mapping[str, Any] | None = None, *, name: str = RELEASE, namespace: str = NAMESPACE) -> Rendered:
    """What `helm install` would send with `values` over the chart's own."""
    text = _template(json.dumps(values or {}, sort_keys=True), name, namespace)
    return Rendered([each for each in yaml.load_all(text, Loader=yaml.CSafeLoader) if each])


@cache
def _template(values: str, name: str, namespace: str) -> str:
    outcome = subprocess.run(
        [helm(), "template", name, str(CHART), f"--namespace={namespace}", "--values=-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
    )
    if outcome.returncode != 0:
        raise ChartRefusedError(outcome.stderr)
    return outcome.stdout


def strings_in(value: Any) -> Iterator[str]:
    """Every text anywhere in a manifest."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from strings_in(key)
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)
