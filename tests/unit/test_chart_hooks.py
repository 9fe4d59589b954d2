"""The chart's hooks against an API server of a few lines: what they ask, in which order, and what they leave alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ticker_crds.constants import FINALIZER_DRAIN
from ticker_operator.app.chart_hooks import Api, HookError, apply, main, release

ACCOUNTS = "/apis/tickershard.io/v1alpha1/namespaces/ticks/kiteaccounts"
SUBSCRIPTIONS = "/apis/tickershard.io/v1alpha1/namespaces/ticks/tickersubscriptions"
PODS = "/api/v1/namespaces/ticks/pods"
SCALE = "/apis/apps/v1/namespaces/ticks/deployments/the-operator/scale"
TRIAL = "trial=true"

Answer = tuple[int, dict[str, Any]]


class FakeServer:
    """Answers by method and path; remembers every request. What it has no answer for does not exist."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[tuple[str, str], Callable[[], Answer]] = {}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                assert self.headers["Authorization"] == "Bearer the-token"
                server.asked.append((self.command, self.path, body))
                answer = server.answers.get((self.command, self.path), lambda: (404, {"message": "not found"}))
                code, content = answer()
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(content).encode())

            do_GET = do_PATCH = do_DELETE = answer  # noqa: N815 -- http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answer in turn; the last one for ever."""
        left = list(answers)
        self.answers[method, path] = lambda: left.pop(0) if len(left) > 1 else left[0]

    def changes(self) -> list[tuple[str, str, Any]]:
        return [request for request in self.asked if request[0] != "GET"]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    thread = threading.Thread(target=fake.http.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.http.shutdown()
    thread.join()
    fake.http.server_close()


@pytest.fixture
def api(server: FakeServer) -> Api:
    return Api(
        namespace="ticks", token="the-token", context=None, url=f"http://127.0.0.1:{server.http.server_address[1]}"
    )


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def run_release(api: Api, clock: Clock) -> None:
    release(api, deployment="the-operator", selector="app=op", trial=TRIAL, now=clock.now, sleep=clock.sleep)


def names(*given: str) -> Answer:
    return 200, {"items": [{"metadata": {"name": name}} for name in given]}


def account(name: str, *finalizers: str) -> Answer:
    return 200, {"metadata": {"name": name, "resourceVersion": "7", "finalizers": list(finalizers)}}


def a_pool(server: FakeServer) -> None:
    server.on("PATCH", SCALE, (200, {}))
    server.on("GET", f"{PODS}?labelSelector=app%3Dop", names())
    server.on("GET", ACCOUNTS, names("acc1", "acc2"))
    server.on("GET", f"{ACCOUNTS}/acc1", account("acc1", "other/one", FINALIZER_DRAIN))
    server.on("GET", f"{ACCOUNTS}/acc2", account("acc2", "other/one"))
    server.on("PATCH", f"{ACCOUNTS}/acc1", (200, {}))
    server.on("GET", f"{ACCOUNTS}?labelSelector=trial%3Dtrue", names())
    server.on("GET", f"{SUBSCRIPTIONS}?labelSelector=trial%3Dtrue", names())


def test_release_stops_the_operator_and_takes_only_its_finalizer(server: FakeServer, api: Api) -> None:
    a_pool(server)

    run_release(api, Clock())

    assert server.changes() == [
        ("PATCH", SCALE, {"spec": {"replicas": 0}}),
        ("PATCH", f"{ACCOUNTS}/acc1", {"metadata": {"finalizers": ["other/one"], "resourceVersion": "7"}}),
    ]


def test_release_waits_until_no_operator_runs(server: FakeServer, api: Api) -> None:
    a_pool(server)
    server.on("GET", f"{PODS}?labelSelector=app%3Dop", names("operator-1"), names("operator-1"), names())
    clock = Clock()

    run_release(api, clock)

    assert clock.now_s == 2.0
    order = [path for _, path, _ in server.asked]
    assert order.index(ACCOUNTS) > max(n for n, path in enumerate(order) if path.startswith(PODS))


def test_release_touches_no_account_while_the_operator_runs(server: FakeServer, api: Api) -> None:
    a_pool(server)
    server.on("GET", f"{PODS}?labelSelector=app%3Dop", names("operator-1"))

    with pytest.raises(HookError, match="operator-1"):
        run_release(api, Clock())

    assert [path for _, path, _ in server.changes()] == [SCALE]


def test_release_tries_again_when_an_account_changed_meanwhile(server: FakeServer, api: Api) -> None:
    a_pool(server)
    server.on("PATCH", f"{ACCOUNTS}/acc1", (409, {"message": "changed"}), (200, {}))

    run_release(api, Clock())

    assert sum(path == f"{ACCOUNTS}/acc1" for _, path, _ in server.changes()) == 2


def test_release_deletes_what_belongs_to_the_trial(server: FakeServer, api: Api) -> None:
    a_pool(server)
    server.on("GET", f"{ACCOUNTS}?labelSelector=trial%3Dtrue", names("trial-1"))
    server.on("GET", f"{SUBSCRIPTIONS}?labelSelector=trial%3Dtrue", names("trial"))
    server.on("DELETE", f"{SUBSCRIPTIONS}/trial", (200, {}))

    run_release(api, Clock())

    assert [path for method, path, _ in server.changes() if method == "DELETE"] == [
        f"{SUBSCRIPTIONS}/trial",
        f"{ACCOUNTS}/trial-1",  # answered with 404: gone already is fine
    ]


def test_release_finds_nothing_to_do_where_the_kinds_are_gone(server: FakeServer, api: Api) -> None:
    server.on("GET", f"{PODS}?labelSelector=app%3Dop", names())

    run_release(api, Clock())

    assert [path for _, path, _ in server.changes()] == [SCALE]


def test_apply_waits_for_a_kind_that_was_defined_a_moment_ago(server: FakeServer, api: Api) -> None:
    path = f"{ACCOUNTS}/trial-1?fieldManager=helm-trial&force=true"
    server.on("PATCH", path, (404, {}), (404, {}), (201, {}))
    clock = Clock()
    trial_account = {"kind": "KiteAccount", "metadata": {"name": "trial-1"}, "spec": {}}

    apply(api, [trial_account], sleep=clock.sleep)

    assert clock.now_s == 2.0
    assert server.changes()[-1] == ("PATCH", path, trial_account)


def test_a_refusal_is_the_jobs_failure_with_the_servers_words(
    server: FakeServer, api: Api, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.on("PATCH", f"{ACCOUNTS}/a?fieldManager=helm-trial&force=true", (422, {"message": "sockets: at most 3"}))
    file = tmp_path / "pool.json"
    file.write_text(json.dumps([{"kind": "KiteAccount", "metadata": {"name": "a"}}]))

    code = main(["apply", str(file)], api)

    assert code == 1
    assert "sockets: at most 3" in capsys.readouterr().err


def test_an_unknown_command_says_how_to_use_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["undo"]) == 2
    assert "apply FILE | release DEPLOYMENT SELECTOR TRIAL" in capsys.readouterr().err
