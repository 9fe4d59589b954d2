"""Small files that are replaced whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def replace_bytes(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write `content` beside `path` and rename it there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def replace_json(path: Path, value: Any) -> None:
    """The same for a JSON value."""
    replace_bytes(path, (json.dumps(value, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The object in `path`; an absent, unreadable or malformed file is an empty one."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
