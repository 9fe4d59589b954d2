"""What the figures were taken on: hardware, kernel, versions, commit. A figure without these says little."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

PACKAGES: Final = ("hiredis", "kiteconnect", "numba", "numpy", "orjson", "ormsgpack", "picows", "redis", "scipy")


def machine() -> dict[str, Any]:
    """Everything that a reader needs to compare."""
    return {
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "redis_server": _said_by("redis-server", "--version"),
        "packages": {package: _version(package) for package in PACKAGES},
        "commit": _commit(),
        "load_before": os.getloadavg()[0],
        "taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    commit = _said_by("git", "rev-parse", "--short=12", "HEAD")
    return f"{commit} with changes" if commit and _said_by("git", "status", "--porcelain") else commit


def _said_by(*command: str) -> str | None:
    """What a program answers; `None` if it is not there or refuses."""
    if shutil.which(command[0]) is None:
        return None
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None
