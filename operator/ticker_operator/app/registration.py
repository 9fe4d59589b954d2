"""kopf, as far as we use it: four kinds watched, one log-in. It writes nothing into any object this way.

A handler puts the object into the store and returns: no await, nothing that can fail inside, because kopf logs a failed
``on.event`` handler and forgets the event. What the settings below are for is said beside each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import kopf
from kubernetes.aio.client import Configuration

from ticker_crds.constants import GROUP, LABEL_MANAGED_BY, MANAGED_BY, PLURALS, VERSION, Kind
from ticker_operator.kube.connection import load_configuration
from ticker_operator.reconcile.ports import WORKLOAD

TOKEN_FRESH: Final = timedelta(minutes=5)  # the kubelet replaces the token file about hourly
LOGIN_PAUSE_S: Final = 1.0
WATCHED_PLURALS: Final[tuple[tuple[str, str, str, str], ...]] = (
    *((GROUP, VERSION, PLURALS[kind], kind.value) for kind in Kind),
    ("apps", "v1", "deployments", WORKLOAD),
)

Observe = Callable[[str, dict[str, Any], bool], None]  # kind, object, deleted
Count = Callable[[str, str], None]  # kind, event type


class EndlessBackoff:
    """Waits between kopf's own attempts: starts anew at each iteration, and never ends.

    A finite row ends the process once it is used up: after a minute of 503 or 403.
    """

    def __init__(self, *steps_s: float) -> None:
        self._steps_s = steps_s

    def __iter__(self) -> Iterator[float]:
        yield from self._steps_s
        while True:
            yield self._steps_s[-1]


def make_registry(*, observe: Observe, count: Count, kubeconfig: Path | None) -> kopf.OperatorRegistry:
    """Handlers of the four kinds, and the log-in."""
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry, id="login")(make_login(kubeconfig))
    for group, version, plural, kind in WATCHED_PLURALS:
        _watch(registry, group, version, plural, kind, observe=observe, count=count)
    return registry


def _watch(
    registry: kopf.OperatorRegistry, group: str, version: str, plural: str, kind: str, *, observe: Observe, count: Count
) -> None:
    @kopf.on.event(group, version, plural, registry=registry, id=f"seen-{plural}")
    async def seen(event: Any, **_: Any) -> None:
        count(kind, str(event.get("type") or ""))
        body = event.get("object")
        if isinstance(body, dict):
            observe(kind, body, event.get("type") == "DELETED")


def make_login(kubeconfig: Path | None) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    """A log-in handler that reads token and certificates anew each time.

    Each answer has another expiry, so that kopf takes it for new credentials: after a 401 of an API server that is just
    starting, the same token is good a second later. The pause keeps a lasting 401 from turning into a storm.
    """
    last_at = 0.0

    async def login(**_: Any) -> kopf.ConnectionInfo:
        nonlocal last_at
        if time.monotonic() - last_at < LOGIN_PAUSE_S:
            await asyncio.sleep(LOGIN_PAUSE_S)
        last_at = time.monotonic()
        return connection_info(await load_configuration(kubeconfig))

    return login


def connection_info(configuration: Configuration) -> kopf.ConnectionInfo:
    """The gateway's connection in kopf's words."""
    scheme_and_token = str(configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or "")
    _, _, token = scheme_and_token.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme="Bearer" if token else None,
        token=token or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        expiration=datetime.now(UTC) + TOKEN_FRESH,
    )


def make_settings() -> kopf.OperatorSettings:
    """The settings, each with its reason."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our own events, on transitions only
    settings.scanning.disabled = True  # no cluster-wide reading of CRDs and namespaces; preflight checks the kinds
    settings.peering.standalone = True  # a peering object named "default" would pause us
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 5.0  # a black hole is not waited for
    settings.networking.error_backoffs = EndlessBackoff(0.5, 1, 2, 3, 5)
    settings.watching.connect_timeout = 5.0
    settings.watching.server_timeout = 600  # whole seconds: the API server refuses 600.0
    # Not every Deployment of the namespace.
    settings.watching.label_selectors["apps", "v1", "deployments"] = f"{LABEL_MANAGED_BY}={MANAGED_BY}"
    settings.execution.max_workers = 2  # there are no synchronous handlers
    settings.process.ultimate_exiting_timeout = 25.0  # within the pod's grace period
    return settings
