"""From the gateway's errors to the loop's outcomes, in one place."""

from __future__ import annotations

from ticker_operator.kube.gateway import AbsentError, ApiError, ConflictError, RefusedError
from ticker_operator.reconcile.ports import Conflict, Refused, Unknown, Unreachable


def outcome_of(error: ApiError) -> Conflict | Refused | Unknown:
    """What a failed write means: an object that vanished is somebody else's write, like any conflict."""
    if isinstance(error, ConflictError | AbsentError):
        return Conflict(str(error))
    if isinstance(error, RefusedError):
        return Refused(str(error))
    return Unknown(str(error))


def read_failure(error: ApiError) -> Unreachable:
    """A read that did not give everything gave nothing; a collection that is not served is a missing kind."""
    return Unreachable(str(error), permanent=isinstance(error, AbsentError))
