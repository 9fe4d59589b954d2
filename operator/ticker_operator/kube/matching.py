"""Whether a live object still says what we applied. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def holds(live: object, applied: object) -> bool:
    """Whether everything in `applied` is in `live`; members that the API or others added do not count.

    Lists must have the same length, because in what we write (rules, subjects, owner references) an additional entry
    is a change. Owner references and finalizers of others are beside ours in sets, so those are looked up, not
    counted.
    """
    if isinstance(applied, Mapping):
        return isinstance(live, Mapping) and all(
            _in_set(live.get(key), value) if key in ("ownerReferences", "finalizers") else holds(live.get(key), value)
            for key, value in applied.items()
        )
    if isinstance(applied, list | tuple):
        return (
            isinstance(live, list | tuple)
            and len(live) == len(applied)
            and all(holds(one, other) for one, other in zip(live, applied, strict=True))
        )
    return live == applied


def _in_set(live: object, applied: object) -> bool:
    if not isinstance(live, list | tuple) or not isinstance(applied, list | tuple):
        return False
    return all(any(holds(one, other) for one in live) for other in applied)
