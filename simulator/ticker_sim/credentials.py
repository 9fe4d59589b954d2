"""The file of accounts."""

from __future__ import annotations

import json
from pathlib import Path

from ticker_common.logs import register_secret


class CredentialsRefusedError(ValueError):
    """The file is not what it should be; the message names the entry, never a value."""


def read_credentials(path: Path) -> list[tuple[str, str, str, str]]:
    """(api_key, api_secret, access_token, user_id) of each entry; only `api_key` must be given.

    Raises
    ------
    CredentialsRefusedError
        Not readable, not a list of objects of strings, or a key twice.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CredentialsRefusedError(f"{path}: {type(error).__name__}, a JSON list of objects is needed") from None
    if not isinstance(entries, list) or not entries:
        raise CredentialsRefusedError(f"{path}: a JSON list of at least one object is needed")
    found: dict[str, tuple[str, str, str, str]] = {}
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("api_key"), str) or not entry["api_key"]:
            raise CredentialsRefusedError(f"{path}: entry {number} has no api_key")
        values = [entry.get(name, "") for name in ("api_secret", "access_token")]
        values.append(entry.get("user_id") or f"SIM{number:03d}")
        if not all(isinstance(value, str) for value in values):
            raise CredentialsRefusedError(f"{path}: entry {number} has a value that is no string")
        if entry["api_key"] in found:
            raise CredentialsRefusedError(f"{path}: entry {number} repeats an api_key")
        found[entry["api_key"]] = (entry["api_key"], values[0], values[1], values[2])
        register_secret(entry["api_key"], *values[:2])
    return list(found.values())
