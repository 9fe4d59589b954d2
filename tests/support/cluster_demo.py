"""``make cluster-demo``: what one types and sees, from `helm install` to an undone release, on a real cluster.

Every line after a ``$`` is really run, as shown, by a shell; what follows is what it said. A command that fails ends
the demonstration with its exit code. The cluster is the one that `make cluster-up` left running, or one of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.support.chart import CHART
from tests.support.cluster import ClusterUnavailableError, RunningCluster, cluster
from tests.support.cluster_client import ClusterClient
from tests.support.cluster_machine import MachineError
from tests.support.cluster_pool import discard

NAMESPACE = "demo"
SIGPIPE_CODE = 128 + signal.SIGPIPE
ACCOUNT = """
apiVersion: tickershard.io/v1alpha1
kind: KiteAccount
metadata: {name: trial-3}
spec:
  credentialsRef: {name: kite-3}
  endpoints:
    ticker: ws://tickershard-simulator.demo.svc:8080
    api: http://tickershard-simulator.demo.svc:8080
"""


class Demonstration:
    """Types commands and shows what they say."""

    def __init__(self, client: ClusterClient) -> None:
        path = f"{client.programs}{os.pathsep}{os.environ['PATH']}" if client.programs else os.environ["PATH"]
        self._environment = {**os.environ, "KUBECONFIG": str(client.kubeconfig), "PATH": path}

    def say(self, text: str) -> None:
        print(f"\n# {text}", flush=True)

    def type(self, command: str) -> None:
        """One command line, shown and run. What a reader that has seen enough ended has not failed."""
        print(f"$ {command}", flush=True)
        outcome = subprocess.run(["bash", "-o", "pipefail", "-c", command], env=self._environment, check=False)
        if outcome.returncode not in (0, SIGPIPE_CODE):
            raise SystemExit(outcome.returncode)

    def wait(self, *, until: str, timeout_s: float = 90) -> None:
        """Repeat a command silently until it succeeds; `kubectl wait` where one would watch."""
        deadline = time.monotonic() + timeout_s
        while subprocess.run(["bash", "-c", until], env=self._environment, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise SystemExit(f"not within {timeout_s:.0f} s: {until}")
            time.sleep(0.5)


def demonstrate(on: RunningCluster) -> None:
    """The story."""
    demo = Demonstration(on.client)
    repository, _, tag = on.image.rpartition(":")
    values = f"--set image.repository={repository} --set image.tag={tag} --set redis.trial.image={on.redis_image}"
    install = f"{CHART.relative_to(CHART.parents[1])} -n {NAMESPACE} {values} --take-ownership --wait"
    k = f"kubectl -n {NAMESPACE}"
    window = f"{k} get deployment ticker-trial-1 -o yaml | grep window-ms"
    settled = f"test $({k} get pods -l tickershard.io/account -o name | wc -l) = 3"

    demo.say("Two values, and a pool streams: simulated broker, Redis for a trial.")
    demo.type(
        f"helm upgrade --install tickershard {install} --create-namespace "
        "--set simulator.enabled=true --set redis.trial.enabled=true | head -8"
    )
    demo.type(f"{k} wait --for=condition=Ready kiteaccounts,tickersubscriptions --all --timeout=120s")
    demo.type(f"{k} get ticker")

    demo.say("What a consumer of one channel gets.")
    auth = 'REDISCLI_AUTH=$(sed -n "s/^requirepass //p" /etc/redis-trial/redis.conf)'
    redis = f"{k} exec deployment/tickershard-redis -- sh -c '{auth} redis-cli"
    demo.type(f'{redis} hkeys "{{ticker:equity}}:last"\'')
    demo.type(f'{redis} hget "{{ticker:equity}}:last" NSE:INFY\' | cut -c1-400')

    demo.say("One more account: it takes its share, nothing else moves.")
    literals = "--from-literal=api_key=simkey3 --from-literal=access_token=simtoken3"
    demo.type(f"{k} create secret generic kite-3 --save-config {literals}")
    demo.type(f"{k} label secret kite-3 tickershard.io/credentials=true")
    demo.type(f"{k} apply -f - <<END{ACCOUNT}END")
    demo.wait(until=f"{k} wait --for=condition=Ready kacc/trial-3 tsh/ticker-trial-3 --timeout=1s")
    demo.wait(until=f"{k} wait --for=condition=Ready tsub,tsh --all --timeout=1s")
    demo.type(f"{k} get tickershards")

    demo.say("This morning's token, into the same Secret: no pod restarts.")
    demo.type(f"{k} create secret generic kite-3 {literals} --dry-run=client -o yaml | {k} apply -f -")
    demo.type(f"{k} get pods -l tickershard.io/account")

    demo.say("A new release of the shards: each new pod streams before the old one stops.")
    demo.type(f"helm upgrade tickershard {install} --reuse-values --set shards.windowMs=50 | head -5")
    for account in ("trial-1", "trial-2", "trial-3"):
        demo.wait(until=f"{k} get deployment ticker-{account} -o yaml | grep -q window-ms=50")
        demo.wait(until=f"{k} rollout status deployment/ticker-{account} --timeout=1s")
    demo.wait(until=settled, timeout_s=150)
    demo.type(f"{window}")

    demo.say("Undo it for one shard: the operator holds it, and says so.")
    demo.type(f"{k} rollout undo deployment/ticker-trial-1")
    demo.wait(until=f"{k} wait tsh/ticker-trial-1 --for=condition=RolledBack --timeout=1s")
    demo.type(
        f'{k} get tsh ticker-trial-1 -o \'jsonpath={{.status.conditions[?(@.type=="RolledBack")].message}}{{"\\n"}}\''
    )
    demo.type(f"{window}")

    demo.say("And apply it after all.")
    demo.type(
        f"{k} annotate tsh ticker-trial-1 tickershard.io/resume="
        f"$({k} get tsh ticker-trial-1 -o 'jsonpath={{.status.rollout.blocked}}')"
    )
    demo.wait(until=f"{window}=50")
    demo.type(f"{k} get tickershards -o wide")

    demo.say("Without its operator the pool streams on.")
    demo.type(f"{k} scale deployment/tickershard-operator --replicas=0")
    demo.type(f"{redis} --csv subscribe ticker:equity' | head -4 | cut -c1-160")

    demo.say("Uninstalling lets go of the accounts; a trial's own go with it.")
    demo.type(f"helm uninstall tickershard -n {NAMESPACE} --wait")
    demo.type(f"{k} get kiteaccounts")


def main() -> int:
    """Run it; exit code 1 with the reason where there is no cluster."""
    try:
        with cluster() as running:
            discard(running.client, NAMESPACE)
            try:
                demonstrate(running)
            finally:
                discard(running.client, NAMESPACE)
    except (ClusterUnavailableError, MachineError) as error:
        print(f"no cluster: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
