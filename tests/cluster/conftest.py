"""The cluster of this run, and one pool on it that the tests share.

Bringing both up takes a minute and a half, so the pool is installed once and the tests of a file go on from each
other's end, in the order of the file. The trial has a release of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import ClusterUnavailableError, RunningCluster
from tests.support.cluster import cluster as running_cluster
from tests.support.cluster_machine import MachineError
from tests.support.cluster_pool import SYMBOLS, Pool, installed_pool
from tests.support.require import unavailable

LAST = (
    "test_cluster_delivery.py",
    "test_cluster_chaos.py",
    "test_cluster_uninstall.py",
)  # Redis loses its data; then the release goes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files of this folder in the order of the pool's life."""
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)


@pytest.fixture(scope="session")
def cluster() -> Iterator[RunningCluster]:
    """A whole Kubernetes with the image of this checkout."""
    try:
        with running_cluster() as running:
            yield running
    except (ClusterUnavailableError, MachineError) as error:
        unavailable(f"no cluster: {error}")


@pytest.fixture(scope="session")
def pool(cluster: RunningCluster) -> Iterator[Pool]:
    """Installed, two accounts, one subscription: declared, not yet waited for."""
    with installed_pool(cluster) as installed:
        installed.add_account("acc1", number=1)
        installed.add_account("acc2", number=2)
        installed.subscribe("prices", SYMBOLS)
        yield installed


@pytest.fixture
def streaming(pool: Pool) -> Pool:
    """The pool with every instrument confirmed: where a test starts."""
    pool.simulator.resume()
    pool.await_streaming(pool.accounts(), len(SYMBOLS))
    return pool
