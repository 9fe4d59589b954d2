"""What holds for every level.

Properties are judged by what they find, never by how fast a busy machine finds it. Tests with real processes, servers
and clusters have deadlines, and a busy machine can miss one: such a test is run once more, and pytest lists it under
"rerun". That list is a list of defects to be looked at, in the test or in the product, not of passes. Unit tests have
no such excuse and get no second try.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("tickershard", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tickershard")

LEVELS_WITH_DEADLINES = {"component", "api", "cluster"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LEVELS_WITH_DEADLINES & set(item.path.parts):
            item.add_marker(pytest.mark.flaky(reruns=1))
