"""What a machine cannot run is skipped with its reason; REQUIRE_CLUSTER=1 turns such a skip into a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """End this test: skipped with `reason`, or failed where everything must run (CI)."""
    if os.environ.get("REQUIRE_CLUSTER") == "1":
        pytest.fail(f"REQUIRE_CLUSTER=1, but {reason}", pytrace=False)
    pytest.skip(reason)
