"""What Redis's errors, and those of the way to it, are called: every error answer has a name."""

from __future__ import annotations

import re
from typing import Final

from redis import exceptions

from ticker_shard.publish.fence import Trouble, TroubleKind


class RedisTroubleError(Exception):
    """The connection cannot be made or used; carries the named reason."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"{trouble.kind}: {trouble.message}")
        self.trouble = trouble


# By the word that opens Redis's error.
_BY_WORD: Final[dict[str, TroubleKind]] = {
    "NOAUTH": TroubleKind.NO_AUTH,
    "WRONGPASS": TroubleKind.WRONG_PASSWORD,
    "NOPERM": TroubleKind.NO_PERMISSION,
    "OOM": TroubleKind.OUT_OF_MEMORY,
    "READONLY": TroubleKind.READ_ONLY,
    "LOADING": TroubleKind.LOADING,
    "MASTERDOWN": TroubleKind.LOADING,
    "BUSY": TroubleKind.BUSY,
    "MOVED": TroubleKind.CLUSTER,
    "ASK": TroubleKind.CLUSTER,
    "CROSSSLOT": TroubleKind.CLUSTER,
    "CLUSTERDOWN": TroubleKind.CLUSTER,
    "TRYAGAIN": TroubleKind.CLUSTER,
    "NOREPLICAS": TroubleKind.NOT_WRITABLE,
    "MISCONF": TroubleKind.NOT_WRITABLE,
    "WRONGTYPE": TroubleKind.WRONG_TYPE,
}
# The library strips the word of errors that it knows and raises a class of its own instead.
_BY_CLASS: Final[tuple[tuple[type[Exception], TroubleKind], ...]] = (
    (exceptions.BusyLoadingError, TroubleKind.LOADING),
    (exceptions.MasterDownError, TroubleKind.LOADING),
    (exceptions.NoPermissionError, TroubleKind.NO_PERMISSION),
    (exceptions.AuthorizationError, TroubleKind.NO_PERMISSION),
    (exceptions.OutOfMemoryError, TroubleKind.OUT_OF_MEMORY),
    (exceptions.ReadOnlyError, TroubleKind.READ_ONLY),
    (exceptions.ClusterError, TroubleKind.CLUSTER),
    (exceptions.AskError, TroubleKind.CLUSTER),
    (exceptions.TimeoutError, TroubleKind.TIMEOUT),
    (TimeoutError, TroubleKind.TIMEOUT),
)

_SCRIPT_PLACE_OF_REDIS_6: Final = re.compile(
    r"^Error running script .*@user_script: ?\d+: "
)  # before the word, not behind


def classify(error: Exception) -> Trouble:
    """The name of what a library or socket error means."""
    message = str(error)
    # Within a script, "... script: <digest>, on @user_script:35." follows, and the word may stand behind "ERR".
    words = _SCRIPT_PLACE_OF_REDIS_6.sub("", message).replace("-", " ").split()
    for word in words[:3]:
        if word.rstrip(":") in _BY_WORD:
            return Trouble(_BY_WORD[word.rstrip(":")], message)
    if isinstance(error, exceptions.AuthenticationError):
        missing = "without any password" in message or "Authentication required" in message
        return Trouble(TroubleKind.NO_AUTH if missing else TroubleKind.WRONG_PASSWORD, message)
    for kind, trouble in _BY_CLASS:
        if isinstance(error, kind):
            return Trouble(trouble, message or "no answer in time")
    if isinstance(error, exceptions.ConnectionError | OSError):
        return Trouble(TroubleKind.UNREACHABLE, message or type(error).__name__)
    return Trouble(TroubleKind.REFUSED, message)
