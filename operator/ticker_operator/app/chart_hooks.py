"""What the chart's hooks do: apply a trial's objects after an install, let go of accounts before an uninstall.

``python -m ticker_operator.app.chart_hooks apply FILE | release DEPLOYMENT SELECTOR TRIAL``

A hook starts, does a handful of requests and ends, so it is the standard library and nothing else: no client library to
import, nothing of the operator's. It may be repeated at any point: each step looks at what is there.

`release` first stops the operator (which would put its finalizer back), then takes the finalizer off every account of
the namespace: with the operator gone nobody else would, and `kubectl delete` of an account would wait for ever. What
belongs to a trial is deleted with it.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from ticker_crds.constants import API_VERSION, FINALIZER_DRAIN, PLURALS, Kind

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API_URL: Final = "https://kubernetes.default.svc"
FIELD_MANAGER: Final = "helm-trial"
REQUEST_S: Final = 10.0
OPERATOR_GONE_S: Final = 60.0
PAUSE_S: Final = 1.0
TRIES_MAX: Final = 10
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"

JsonObject = dict[str, Any]


class HookError(RuntimeError):
    """The hook cannot do its work: what the API server said, or what did not happen in time."""


@dataclass(frozen=True)
class Api:
    """The API server as a pod sees it; `request` is the only door."""

    namespace: str
    token: str
    context: ssl.SSLContext | None
    url: str = API_URL

    @classmethod
    def of_pod(cls, folder: Path = SERVICE_ACCOUNT) -> Api:
        """Credentials as Kubernetes mounts them."""
        return cls(
            namespace=(folder / "namespace").read_text().strip(),
            token=(folder / "token").read_text().strip(),
            context=ssl.create_default_context(cafile=str(folder / "ca.crt")),
        )

    def custom(self, kind: Kind, name: str = "") -> str:
        """Path of our objects, or of one of them."""
        return f"/apis/{API_VERSION}/namespaces/{self.namespace}/{PLURALS[kind]}" + (f"/{name}" if name else "")

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        kind: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """One request.

        Raises
        ------
        urllib.error.HTTPError
            With the API server's refusal.
        """
        asked = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        request = urllib.request.Request(  # noqa: S310 -- the address is ours
            asked,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": kind, "Accept": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=REQUEST_S, context=self.context) as answer:  # noqa: S310
            found: JsonObject = json.load(answer)
        return found


def apply(api: Api, objects: Sequence[JsonObject], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Server-side apply of custom resources; a kind that was defined a moment ago may need a moment to be served."""
    for each in objects:
        kind, name = Kind(each["kind"]), each["metadata"]["name"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        _patiently(
            partial(
                api.request, "PATCH", api.custom(kind, name), each, kind="application/apply-patch+yaml", query=query
            ),
            unless=HTTPStatus.NOT_FOUND,
            sleep=sleep,
        )
        _say(f"{kind} {name} applied")


def release(
    api: Api,
    *,
    deployment: str,
    selector: str,
    trial: str,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Stop the operator, take its finalizer off every account, delete what belongs to the trial.

    Parameters
    ----------
    deployment, selector
        The operator's Deployment, and the labels of its pods.
    trial
        Labels of the accounts and subscriptions that go with the release.
    """
    scale = f"/apis/apps/v1/namespaces/{api.namespace}/deployments/{deployment}/scale"
    _unless_absent(partial(api.request, "PATCH", scale, {"spec": {"replicas": 0}}, kind=MERGE))
    deadline_s = now() + OPERATOR_GONE_S
    while pods := _names(api, f"/api/v1/namespaces/{api.namespace}/pods", selector):
        if now() > deadline_s:
            raise HookError(f"the operator still runs after {OPERATOR_GONE_S:.0f} s: {', '.join(pods)}")
        sleep(PAUSE_S)
    for name in _names(api, api.custom(Kind.ACCOUNT)):
        _patiently(partial(_let_go, api, name), unless=HTTPStatus.CONFLICT, sleep=sleep)
    for kind in (Kind.SUBSCRIPTION, Kind.ACCOUNT):
        for name in _names(api, api.custom(kind), trial):
            _unless_absent(partial(api.request, "DELETE", api.custom(kind, name)))
            _say(f"{kind} {name} of the trial deleted")


def _let_go(api: Api, name: str) -> None:
    account = _unless_absent(partial(api.request, "GET", api.custom(Kind.ACCOUNT, name)))
    metadata = account.get("metadata", {})
    finalizers = metadata.get("finalizers", [])
    if FINALIZER_DRAIN not in finalizers:
        return
    rest = [finalizer for finalizer in finalizers if finalizer != FINALIZER_DRAIN]
    # With the version, so that a finalizer which somebody adds meanwhile is not lost: 409, and once more.
    patch = {"metadata": {"finalizers": rest, "resourceVersion": metadata["resourceVersion"]}}
    _unless_absent(partial(api.request, "PATCH", api.custom(Kind.ACCOUNT, name), patch, kind=MERGE))
    _say(f"{Kind.ACCOUNT} {name} released")


def _names(api: Api, path: str, selector: str = "") -> list[str]:
    query = {"labelSelector": selector} if selector else None
    listed = _unless_absent(partial(api.request, "GET", path, query=query))
    return [item["metadata"]["name"] for item in listed.get("items", [])]


def _unless_absent(ask: Callable[[], JsonObject]) -> JsonObject:
    """The answer; nothing where there is no such object (or kind)."""
    try:
        return ask()
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.NOT_FOUND:
            return {}
        raise


def _patiently(act: Callable[[], object], *, unless: HTTPStatus, sleep: Callable[[float], None]) -> None:
    """Try again a few times while the answer is `unless`."""
    for attempt in range(1, TRIES_MAX + 1):
        try:
            act()
            return
        except urllib.error.HTTPError as error:
            if error.code != unless or attempt == TRIES_MAX:
                raise
            sleep(PAUSE_S)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str], api: Api | None = None) -> int:
    """The hook's command line; the exit code is the job's verdict."""
    match list(arguments):
        case ["apply", file]:
            objects = json.loads(Path(file).read_text())
            work = partial(apply, objects=objects)
        case ["release", deployment, selector, trial]:
            work = partial(release, deployment=deployment, selector=selector, trial=trial)
        case _:
            sys.stderr.write(f"{(__doc__ or '').splitlines()[2]}\n")
            return 2
    try:
        work(api or Api.of_pod())
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"the API server answered {error.code}: {error.read(2_000).decode(errors='replace')}\n")
        return 1
    except (HookError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
