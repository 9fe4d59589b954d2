"""Whether a new pod may stream beside the old one: the broker gives an account three sockets.

A hand-over without a gap needs the places of both pods at once. What counts is what the serving pod has *now* and what
the new one will have, so a change of ``sockets`` may overlap although neither number would beside itself:

=========  =====================  ==================================  ===========
serving    new pod with 1         2                                   3
=========  =====================  ==================================  ===========
1          overlap                overlap                             stops first
2          overlap                stops first                         stops first
3          stops first            stops first                         stops first
=========  =====================  ==================================  ===========

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
_FLAG: Final = "--sockets="


def overlaps(serving: int, coming: int) -> bool:
    """Whether the sockets of both pods fit beside each other."""
    return serving + coming <= SOCKETS_MAX


def strategy_of(live: DeploymentFacts | None, *, sockets: int) -> dict[str, Any]:
    """``spec.strategy`` that goes with a template of so many sockets.

    Parameters
    ----------
    live
        The Deployment that gets the template; `None` where there is none yet.
    sockets
        Of the new template.
    """
    serving = sockets if live is None else serving_sockets(live)
    return dict(SURGE if overlaps(serving, sockets) else RECREATE)


def resting_strategy(live: DeploymentFacts) -> dict[str, Any]:
    """``spec.strategy`` while nothing rolls."""
    return strategy_of(None, sockets=sockets_of(live.template))


def serving_sockets(live: DeploymentFacts) -> int:
    """Sockets of the pod that must not be disturbed: the Ready one, which need not be of the newest template."""
    ready = [entry.sockets for entry in live.replica_sets if entry.pods_ready]
    return max(ready, default=sockets_of(live.template))


def sockets_of(template: Mapping[str, Any]) -> int:
    """Sockets that a shard's pod template tells it to open; one where it says nothing, as the program itself."""
    containers = (template.get("spec") or {}).get("containers") or ()
    arguments = [text for container in containers for text in container.get("args") or () if isinstance(text, str)]
    told = [text.removeprefix(_FLAG) for text in arguments if text.startswith(_FLAG)]
    return int(told[-1]) if told and told[-1].isdecimal() else 1
