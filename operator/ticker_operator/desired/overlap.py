"""Whether a new pod may stream beside the old one: the broker gives an account three sockets.

A hand-over without a gap needs the places of both pods at once, or one of them after the other: two pods with two
sockets each hand over through the third place, socket by socket (docs/handover.md). What counts is what the serving pod
has *now* and what the new one will have:

=========  =====================  ==================================  ===========
serving    new pod with 1         2                                   3
=========  =====================  ==================================  ===========
1          overlap                overlap                             stops first
2          overlap                overlap, socket by socket           stops first
3          stops first            stops first                         stops first
=========  =====================  ==================================  ===========

A pod that hands over socket by socket waits for its successor; one that does not wait, of an older template, cannot.

The strategy of a Deployment is not part of its template. It is chosen with each template that is written, and is put
at *rest* when no old pod is left: what fits the live template beside itself, which is what `kubectl rollout restart`
and `undo` will find.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ticker_crds.constants import SOCKETS_MAX
from ticker_operator.model import DeploymentFacts

SURGE: Final[Mapping[str, Any]] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
RECREATE: Final[Mapping[str, Any]] = {"type": "Recreate"}
BY_SOCKET: Final = 2  # sockets of two pods that fit one after the other: a pod, and one place more
# Where its like finds no place beside it, a pod that goes does not wait for one to start.
HAND_OVER_S: Final = 1
_SOCKETS: Final = "--sockets="
_DRAIN: Final = "--drain-deadline-s="


def overlaps(serving: int, coming: int) -> bool:
    """Whether the sockets of both pods fit beside each other, at once or one after the other."""
    return serving + coming <= SOCKETS_MAX or serving == coming == BY_SOCKET


def strategy_of(live: DeploymentFacts | None, *, sockets: int) -> dict[str, Any]:
    """``spec.strategy`` that goes with a template of so many sockets.

    Parameters
    ----------
    live
        The Deployment that gets the template; `None` where there is none yet.
    sockets
        Of the new template.
    """
    if live is None:
        return dict(SURGE if overlaps(sockets, sockets) else RECREATE)
    return _strategy(serving_sockets(live), sockets, of=live.template)


def resting_strategy(live: DeploymentFacts) -> dict[str, Any]:
    """``spec.strategy`` while nothing rolls."""
    sockets = sockets_of(live.template)
    return _strategy(sockets, sockets, of=live.template)


def serving_sockets(live: DeploymentFacts) -> int:
    """Sockets of the pod that must not be disturbed: the Ready one, which need not be of the newest template."""
    ready = [entry.sockets for entry in live.replica_sets if entry.pods_ready]
    return max(ready, default=sockets_of(live.template))


def sockets_of(template: Mapping[str, Any]) -> int:
    """Sockets that a shard's pod template tells it to open; one where it says nothing, as the program itself."""
    told = _told(template, _SOCKETS)
    return int(told) if told.isdecimal() else 1


def _strategy(serving: int, coming: int, *, of: Mapping[str, Any]) -> dict[str, Any]:
    """The strategy beside pods of the template `of`."""
    by_socket = serving + coming > SOCKETS_MAX
    waits = _told(of, _DRAIN) != str(HAND_OVER_S)
    return dict(SURGE if overlaps(serving, coming) and (waits or not by_socket) else RECREATE)


def _told(template: Mapping[str, Any], flag: str) -> str:
    """What a template tells the program by a flag; empty where nothing."""
    containers = (template.get("spec") or {}).get("containers") or ()
    arguments = [text for container in containers for text in container.get("args") or () if isinstance(text, str)]
    return next((text.removeprefix(flag) for text in reversed(arguments) if text.startswith(flag)), "")
