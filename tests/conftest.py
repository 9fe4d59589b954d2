"""What holds for every level.

Properties are judged by what they find, never by how fast a busy machine finds it. Tests with real processes, servers
and clusters have deadlines, and a busy machine can miss one: such a test is run once more, and pytest lists it under
"rerun". That list is a list of defects to be looked at, in the test or in the product, not of passes. Unit tests have
no such excuse and get no second try.

No test compiles within its deadline: when a source of the shard has changed since the last session, the kernels are
compiled before the first test starts.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tickershard", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
# In CI one tree has one verdict: the examples follow from the test's source. Developers' runs explore anew each time.
settings.register_profile("ci", settings.get_profile("tickershard"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "tickershard")

LEVELS_WITH_DEADLINES = {"component", "api", "cluster"}


SHARD = Path(__file__).parent.parent / "shard"
KERNELS_OF = "tickershard/kernels"  # in pytest's cache: the sources that were compiled last


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    digest = hashlib.sha256()
    for path in sorted(SHARD.rglob("*.py")):
        digest.update(str(path).encode() + b"\0" + path.read_bytes())
    cache = session.config.cache
    if cache is not None and cache.get(KERNELS_OF, None) == digest.hexdigest():
        return
    subprocess.run([sys.executable, "-m", "ticker_shard.app.kernels"], check=True, stderr=subprocess.DEVNULL)
    if cache is not None:
        cache.set(KERNELS_OF, digest.hexdigest())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LEVELS_WITH_DEADLINES & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show why a test was run once more: a second try that passes, or fails of the first one, hides the reason."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"first try of {report.nodeid}", sep="_")
        terminalreporter.write_line(report.longreprtext)
