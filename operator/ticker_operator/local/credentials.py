"""Credentials on one machine: Secrets in the trader's folder, handed to each account's shard as its ``token`` file.

Values stay inside this room: what goes through a port is whether a Secret may be used, and a version that changes
with it. The token file is readable by its owner only and replaced whole, so a shard sees the old pair or the new one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ticker_common.logs import register_secret
from ticker_crds.constants import LABEL_CREDENTIALS, Reason
from ticker_operator.local.files import replace_bytes
from ticker_operator.local.layout import TOKEN_FILE
from ticker_operator.reconcile.ports import CredentialsFact

CREDENTIAL_KEYS: Final = ("api_key", "access_token")


class Wallet:
    """The usable pairs by Secret, as of the last time each was judged."""

    def __init__(self) -> None:
        self._pairs: dict[str, bytes] = {}

    def judge(self, secret: str, document: Mapping[str, Any] | None) -> CredentialsFact:
        """Whether this Secret may be used; a usable one is remembered for `hand_out`."""
        self._pairs.pop(secret, None)
        if document is None:
            return CredentialsFact(Reason.SECRET_MISSING, f"No file declares a Secret {secret}.")
        if (document["metadata"].get("labels") or {}).get(LABEL_CREDENTIALS) != "true":
            label = f'{LABEL_CREDENTIALS}: "true"'
            return CredentialsFact(Reason.SECRET_NOT_LABELLED, f"Secret {secret} lacks the label {label}.")
        values = _values(document)
        missing = [key for key in CREDENTIAL_KEYS if not values.get(key)]
        if missing:
            return CredentialsFact(
                Reason.SECRET_KEY_MISSING, f"Secret {secret} has no {' and no '.join(missing)} (or it is empty)."
            )
        register_secret(*(values[key] for key in CREDENTIAL_KEYS))
        content = json.dumps({key: values[key] for key in CREDENTIAL_KEYS}).encode()
        self._pairs[secret] = content
        version = hashlib.sha256(content).hexdigest()[:12]
        return CredentialsFact(Reason.ACCEPTED, f"Secret {secret} has an api_key and an access_token.", version)

    def hand_out(self, secret: str, folder: Path) -> None:
        """Have the account's token file hold this Secret's pair; nothing is taken away from a running shard."""
        content = self._pairs.get(secret)
        path = folder / TOKEN_FILE
        if content is not None and (not path.exists() or path.read_bytes() != content):
            replace_bytes(path, content, mode=0o600)


def _values(document: Mapping[str, Any]) -> dict[str, str]:
    values = {str(key): str(value) for key, value in (document.get("stringData") or {}).items()}
    for key, value in (document.get("data") or {}).items():
        try:
            values.setdefault(str(key), base64.b64decode(str(value), validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue  # counts as missing, which the caller says
    return values
