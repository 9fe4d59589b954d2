"""From what a Secret or a file holds to a usable pair, or to the rule it breaks. Pure, and silent about values."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Final

from ticker_crds.constants import Reason
from ticker_shard.assignment.ports import CredentialsAnswer, CredentialsRead, CredentialsUnusable

API_KEY: Final = "api_key"
ACCESS_TOKEN: Final = "access_token"  # noqa: S105 - the name of a key
VALUE_CHARS_MAX: Final = 1_024
_ALLOWED: Final = frozenset(string.ascii_letters + string.digits + string.punctuation)


def credentials_from(values: Mapping[str, object], *, where: str) -> CredentialsAnswer:
    """The pair in `values`; surrounding white space (a line feed at the end of a file) is not part of it.

    Parameters
    ----------
    values
        Name → text.
    where
        How a person calls the place, e.g. ``Secret acc1-token``.
    """
    pair = {}
    for name in (API_KEY, ACCESS_TOKEN):
        raw = values.get(name)
        value = raw.strip() if isinstance(raw, str) else ""
        if not value:
            return CredentialsUnusable(Reason.SECRET_KEY_MISSING, f"{where} has no {name}; put it there")
        if len(value) > VALUE_CHARS_MAX or not _ALLOWED.issuperset(value):
            return CredentialsUnusable(
                Reason.SECRET_KEY_MISSING,
                f"{name} in {where} is not a token: it has {len(value):,} characters, allowed are 1 to "
                f"{VALUE_CHARS_MAX:,} printable ASCII characters without spaces",
            )
        pair[name] = value
    return CredentialsRead(api_key=pair[API_KEY], access_token=pair[ACCESS_TOKEN])
