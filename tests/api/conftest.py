"""One API server for the run, a namespace for each test."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml

from tests.support.controlplane import ControlPlane, control_plane
from tests.support.controlplane_binaries import API_LEVEL, BinariesUnavailableError, find_binaries

CRDS = Path(__file__).parents[2] / "crds"
NUMBERS = count(1)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before the first test's time-out runs, and where its progress can be seen."""
    here = Path(__file__).parent
    if session.config.option.collectonly or not any(here in item.path.parents for item in session.items):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    say = reporter.write_line if reporter else print
    with contextlib.suppress(BinariesUnavailableError):  # the fixture skips with the reason
        find_binaries(API_LEVEL, say=say)


@pytest.fixture(scope="session")
def api_server() -> Iterator[ControlPlane]:
    """Etcd and kube-apiserver with our three kinds."""
    with control_plane() as plane:
        admin = plane.client()
        kinds = [yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))]
        for kind in kinds:
            admin.apply(kind, manager="tests").expect(200, 201)
        plane.await_established(kind["metadata"]["name"] for kind in kinds)
        yield plane


@pytest.fixture
def namespace(api_server: ControlPlane, request: pytest.FixtureRequest) -> str:
    """A fresh namespace: a pool of the test's own."""
    title = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"t{next(NUMBERS)}-{title}"
    api_server.client().create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).expect(201)
    return name
