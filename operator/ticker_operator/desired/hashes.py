"""Canonical hashes: equal meaning, equal text, equal hash.

The algorithm stands in front, so that a later one is told apart from a change of content. The rest is short enough
for a label value (63 characters) and long enough never to meet by accident (96 bits).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

ALGORITHM: Final = "sha256"
DIGITS: Final = 24


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces. What JSON does not have (sets, dates) is a mistake of ours: a TypeError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_hash(value: Any) -> str:
    """``sha256-…`` with 24 hex digits, over canonical JSON. Usable as an annotation and as a label."""
    digest = hashlib.sha256(canonical_json(value).encode()).hexdigest()
    return f"{ALGORITHM}-{digest[:DIGITS]}"
