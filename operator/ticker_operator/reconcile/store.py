"""The operator's memory of what exists: fed by a watch, replaced by its own lists.

A watch tells of changes, but never of what vanished while it was broken, and it may bring an old object after a newer
one. So every kind is listed afresh from time to time, and a list *replaces* what is here, with two exceptions, both for
things that happened while the list was on its way: an object the watch brought in that the list does not know yet
stays, and one the watch saw deleted does not come back.

Nothing may act before every kind was listed once (`complete`): an empty store must never mean "delete everything". A
list that fails changes nothing, because its caller never gets one to hand in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ticker_crds.constants import Kind
from ticker_operator.model.actions import Manifest
from ticker_operator.reconcile.ports import WORKLOAD, Listing
from ticker_operator.reconcile.relevance import urgency_of_change
from ticker_operator.reconcile.reloader import Urgency

WATCHED: Final[tuple[str, ...]] = (Kind.ACCOUNT, Kind.SUBSCRIPTION, Kind.SHARD, WORKLOAD)

Changed: TypeAlias = Callable[[str, Urgency], None]


@dataclass(frozen=True, slots=True)
class PoolObjects:
    """Everything that was seen, by kind, each sorted by name: equal pools look equal."""

    accounts: tuple[Manifest, ...] = ()
    subscriptions: tuple[Manifest, ...] = ()
    shards: tuple[Manifest, ...] = ()
    workloads: tuple[Manifest, ...] = ()


@dataclass(slots=True)
class _Held:
    objects: dict[str, Manifest] = field(default_factory=dict)  # by uid
    touched: dict[str, int] = field(default_factory=dict)  # uid → tick of its last event, deletions included
    gone: dict[str, Manifest] = field(default_factory=dict)  # deleted since the last list: its last state
    listed: bool = False


@dataclass(frozen=True, slots=True)
class ListBegun:
    """Proof of when a list was asked for; hand it back with the answer."""

    kind: str
    tick: int


class Store:
    """Objects by kind and uid.

    Parameters
    ----------
    changed
        Called with a cause and its urgency for every change that a pass would read.
    """

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._held: dict[str, _Held] = {kind: _Held() for kind in WATCHED}
        self._tick = 0

    # -- feeding ---------------------------------------------------------------------------------------------

    def observe(self, kind: str, obj: Manifest, *, deleted: bool = False) -> None:
        """One event of the watch, or the answer to a write of ours."""
        uid = _uid(obj)
        if not uid:
            return
        held = self._held[kind]
        before = held.objects.get(uid)
        newest = before or held.gone.get(uid)
        if newest is not None and _older(obj, newest):
            return  # a late event; what is newer is known already
        self._tick += 1
        held.touched[uid] = self._tick
        self._put(kind, uid, before, None if deleted else obj)
        if deleted:
            held.gone[uid] = {"metadata": _metadata(obj)}

    def begin_list(self, kind: str) -> ListBegun:
        """Call before asking for a list."""
        self._tick += 1
        return ListBegun(kind, self._tick)

    def replace(self, begun: ListBegun, listing: Listing) -> None:
        """A complete list that was asked for at `begun`."""
        held = self._held[begun.kind]
        listed = {uid: obj for obj in listing.objects if (uid := _uid(obj))}
        since = {uid for uid, tick in held.touched.items() if tick > begun.tick}
        for uid in list(held.objects):
            if uid not in listed and uid not in since:
                self._put(begun.kind, uid, held.objects[uid], None)
        for uid, obj in listed.items():
            before = held.objects.get(uid)
            if (before is None and uid in since) or (before is not None and _older(obj, before)):
                continue  # deleted, or renewed, while the list was on its way
            self._put(begun.kind, uid, before, obj)
        held.touched = {uid: tick for uid, tick in held.touched.items() if uid in since}
        held.gone = {uid: obj for uid, obj in held.gone.items() if uid in since}
        held.listed = True

    def _put(self, kind: str, uid: str, before: Manifest | None, after: Manifest | None) -> None:
        held = self._held[kind]
        if after is None:
            held.objects.pop(uid, None)
        else:
            held.objects[uid] = after
            held.gone.pop(uid, None)
        if before is None and after is None:
            return
        urgency = urgency_of_change(kind, before=before, after=after)
        if urgency is not None:
            self._changed(f"{kind} {_name(after or before or {})}", urgency)

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether every kind was listed at least once."""
        return all(held.listed for held in self._held.values())

    def snapshot(self) -> PoolObjects:
        """What is known now. The mappings are shared and never changed in place."""
        assert self.complete, "nothing acts before the first full list"
        return PoolObjects(
            accounts=self._sorted(Kind.ACCOUNT),
            subscriptions=self._sorted(Kind.SUBSCRIPTION),
            shards=self._sorted(Kind.SHARD),
            workloads=self._sorted(WORKLOAD),
        )

    def find(self, kind: str, name: str) -> Manifest | None:
        """The object of this name, if one is known."""
        return next((obj for obj in self._held[kind].objects.values() if _name(obj) == name), None)

    def _sorted(self, kind: str) -> tuple[Manifest, ...]:
        return tuple(sorted(self._held[kind].objects.values(), key=_name))


def _uid(obj: Manifest) -> str:
    return str(_metadata(obj).get("uid") or "")


def _name(obj: Manifest) -> str:
    return str(_metadata(obj).get("name") or "")


def _metadata(obj: Manifest) -> Manifest:
    metadata = obj.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _older(obj: Manifest, than: Manifest) -> bool:
    """Whether `obj` is certainly an earlier state. Versions that are not numbers cannot be ordered: then it is not."""
    mine, other = str(_metadata(obj).get("resourceVersion", "")), str(_metadata(than).get("resourceVersion", ""))
    return mine.isdecimal() and other.isdecimal() and int(mine) < int(other)
