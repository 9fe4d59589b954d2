"""What the chart renders: names, rights, security, settings. Values that make no sense are refused with what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE, REDIS, RELEASE, ROOT, TRIAL, ChartRefusedError, render, strings_in
from tests.support.cluster_image import chart_image
from ticker_crds.account import KiteAccount
from ticker_crds.constants import LABEL_CREDENTIALS
from ticker_crds.subscription import TickerSubscription
from ticker_operator.app.crds_command import drift
from ticker_operator.app.preflight import RULES
from ticker_operator.app.settings import OperatorSettings
from ticker_shard.app.settings import ShardSettings
from ticker_shard.publish.addresses import SCHEMES

OPERATOR = f"{RELEASE}-tickershard-operator"
FULL = {
    **TRIAL,
    "imagePullSecrets": [{"name": "regcred"}],
    "operator": {"podLabels": {"team": "ticks"}, "podAnnotations": {"note": "x"}, "priorityClassName": "high"},
    "shards": {
        "podLabels": {"team": "ticks"},
        "podAnnotations": {"note": "x"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "ticks", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    },
}


# -- the operator ----------------------------------------------------------------


def test_the_image_that_make_image_builds_by_docker_is_the_one_it_runs() -> None:
    (container,) = render(REDIS).operator()["spec"]["template"]["spec"]["containers"]

    assert container["image"] == chart_image()


def test_runs_one_operator_at_a_time() -> None:
    spec = render(REDIS).operator()["spec"]

    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_every_setting_it_passes_is_one_of_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = render(FULL).operator_environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    settings = OperatorSettings()  # type: ignore[call-arg]  # from the environment

    prefix = str(OperatorSettings.model_config["env_prefix"])
    assert {name.removeprefix(prefix).lower() for name in environment} <= set(OperatorSettings.model_fields)
    assert settings.namespace == NAMESPACE
    assert settings.redis_secret == f"{RELEASE}-tickershard-redis"
    assert settings.shard_tolerations == ({"key": "ticks", "operator": "Exists"},)
    assert settings.shard_image_pull_secrets == ("regcred",)
    assert settings.shard_priority_class == "high"


def test_its_defaults_are_the_programs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "namespace",
        "endpoints_allowed",
        "shard_image",
        "shard_image_pull_policy",
        "redis_secret",
        "shard_resources",
    }
    for name, value in render(REDIS).operator_environment().items():
        monkeypatch.setenv(name, value)

    settings = OperatorSettings()  # type: ignore[call-arg]  # from the environment

    shard_defaults = {
        name: ShardSettings.model_fields[name].default
        for name in (
            "window_ms",
            "ticks_max",
            "silence_ms",
            "mute_ms",
            "market_hours",
            "confirm_after_s",
            "rate",
            "dividend_yield",
            "underlying_stale_s",
            "reprice_ms",
            "stream_max",
            "circuit_failures",
            "circuit_wait_first_ms",
            "circuit_wait_max_ms",
            "backpressure_fill",
            "backpressure_conflate_ms",
            "backpressure_shed_ms",
            "backpressure_calm_ms",
        )
    }
    for name, field in OperatorSettings.model_fields.items():
        if name not in given:
            expected = shard_defaults.get(name.removeprefix("shard_"), field.default)
            actual = getattr(settings, name)
            assert actual == (expected if field.default_factory is None else {}), name


def test_undoing_the_operator_undoes_its_shards() -> None:
    before, after = (render({**REDIS, "shards": {"image": {"tag": tag}}}) for tag in ("1", "2"))

    assert before.operator()["spec"]["template"] != after.operator()["spec"]["template"]
    changed = [a["metadata"]["name"] for a, b in zip(before, after, strict=True) if a != b]
    assert changed == [OPERATOR]


def test_shards_run_the_operators_image_unless_told_otherwise() -> None:
    image = {"repository": "example/ticker", "tag": "7"}

    same = render({**REDIS, "image": image}).operator_environment()
    other = render({**REDIS, "image": image, "shards": {"image": {"tag": "8"}}}).operator_environment()

    assert same["TICKERSHARD_OPERATOR_SHARD_IMAGE"] == "example/ticker:7"
    assert other["TICKERSHARD_OPERATOR_SHARD_IMAGE"] == "example/ticker:8"


def test_what_a_shards_image_does_not_say_is_taken_from_the_image() -> None:
    values = {**REDIS, "image": {"tag": "7"}, "shards": {"image": {"repository": "mirror.example/ticker"}}}

    assert render(values).operator_environment()["TICKERSHARD_OPERATOR_SHARD_IMAGE"] == "mirror.example/ticker:7"


def test_a_digest_pins_the_image() -> None:
    digest = "sha256:" + "0" * 64

    template = render({**REDIS, "image": {"digest": digest}}).operator()["spec"]["template"]

    assert template["spec"]["containers"][0]["image"] == f"tickershard@{digest}"


def test_a_new_chart_version_alone_restarts_nothing() -> None:
    for name, template in render(TRIAL).pod_templates().items():
        labels = template["metadata"]["labels"]
        assert set(labels) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}, name


def test_renders_no_disruption_budget() -> None:
    assert render(TRIAL).of_kind("PodDisruptionBudget") == {}


# -- security ---------------------------------------------------------------------


@pytest.mark.parametrize("values", [REDIS, FULL], ids=["least", "everything"])
def test_every_pod_meets_the_restricted_standard_and_writes_to_no_disk(values: dict[str, Any]) -> None:
    for name, template in render(values).pod_templates().items():
        pod = template["spec"]
        assert pod["enableServiceLinks"] is False, f"{name}: a Service's variables would look like settings"
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name


def test_what_serves_has_probes() -> None:
    for name, manifest in render(TRIAL).of_kind("Deployment").items():
        container = manifest["spec"]["template"]["spec"]["containers"][0]
        assert {"readinessProbe", "livenessProbe"} <= set(container), name


def test_rights_end_at_the_namespace() -> None:
    rendered = render(FULL)

    assert not rendered.of_kind("ClusterRole")
    assert not rendered.of_kind("ClusterRoleBinding")
    assert all(each["metadata"].get("namespace", NAMESPACE) == NAMESPACE for each in rendered)


def test_the_operator_holds_exactly_the_rights_that_it_asks_for() -> None:
    role = render(REDIS).one("Role", OPERATOR)

    held = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert held == {(rule.group, rule.resource): set(rule.all_verbs) for rule in RULES}


def test_no_rule_has_a_wildcard_and_secrets_are_never_listed() -> None:
    for name, role in render(FULL).of_kind("Role").items():
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
            assert rule["resources"] != ["secrets"] or set(rule["verbs"]) == {"get", "watch"}, name


def test_pods_without_rights_get_no_token() -> None:
    deployments = render(TRIAL).of_kind("Deployment")

    for part in ("redis", "simulator"):
        assert (
            deployments[f"{RELEASE}-tickershard-{part}"]["spec"]["template"]["spec"]["automountServiceAccountToken"]
            is False
        )


def test_a_redis_url_stands_in_a_secret_and_nowhere_else() -> None:
    url = "rediss://user:canary@redis.example:6379/0"

    rendered = render({"redis": {"url": url}})

    holders = [each["kind"] for each in rendered if any("canary" in text for text in strings_in(each))]
    assert holders == ["Secret"]
    assert rendered.one("Secret", f"{RELEASE}-tickershard-redis")["stringData"] == {"url": url}


def test_rights_can_be_somebody_elses() -> None:
    rendered = render({**REDIS, "rbac": {"create": False}, "serviceAccount": {"create": False, "name": "given"}})

    assert OPERATOR not in rendered.of_kind("Role")
    assert OPERATOR not in rendered.of_kind("ServiceAccount")
    assert rendered.operator()["spec"]["template"]["spec"]["serviceAccountName"] == "given"


# -- definitions --------------------------------------------------------------------


def test_definitions_are_the_generated_ones() -> None:
    assert drift(CHART / "files" / "crds") == []


def test_definitions_survive_an_uninstall_unless_told_otherwise() -> None:
    kept, removed = (render({**REDIS, "crds": {"keep": keep}}) for keep in (True, False))

    for name, definition in kept.of_kind("CustomResourceDefinition").items():
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", name
    for name, definition in removed.of_kind("CustomResourceDefinition").items():
        assert "helm.sh/resource-policy" not in definition["metadata"]["annotations"], name


def test_the_chart_changes_nothing_in_a_definition_but_its_annotations() -> None:
    rendered = render(REDIS).of_kind("CustomResourceDefinition")

    generated = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("*.yaml")}
    assert len(rendered) == len(generated) == 3
    for definition in generated.values():
        found = rendered[definition["metadata"]["name"]]
        del found["metadata"]["annotations"]
        assert found == definition


def test_definitions_can_be_left_to_somebody_else() -> None:
    assert not render({**REDIS, "crds": {"enabled": False}}).of_kind("CustomResourceDefinition")


# -- the trial ------------------------------------------------------------------------


def trial_pool(values: dict[str, Any] = TRIAL) -> list[dict[str, Any]]:
    data = render(values).one("ConfigMap", f"{RELEASE}-tickershard-trial-pool")["data"]
    pool: list[dict[str, Any]] = json.loads(data["pool.json"])
    return pool


def test_two_values_make_a_whole_trial_pool() -> None:
    accounts = [KiteAccount.model_validate(each) for each in trial_pool() if each["kind"] == "KiteAccount"]
    subscriptions = [
        TickerSubscription.model_validate(each) for each in trial_pool() if each["kind"] == "TickerSubscription"
    ]

    assert [account.metadata.name for account in accounts] == ["trial-1", "trial-2"]
    assert len(subscriptions) == 1
    assert subscriptions[0].spec.instruments


def test_trial_accounts_name_addresses_that_the_operator_allows() -> None:
    allowed = json.loads(render(TRIAL).operator_environment()["TICKERSHARD_OPERATOR_ENDPOINTS_ALLOWED"])

    for each in trial_pool():
        if each["kind"] == "KiteAccount":
            assert set(each["spec"]["endpoints"].values()) == set(allowed)


def test_trial_accounts_have_labelled_credentials_that_the_simulator_knows() -> None:
    secrets = render(TRIAL).of_kind("Secret")

    for number in (1, 2):
        secret = secrets[f"trial-{number}"]
        assert secret["metadata"]["labels"][LABEL_CREDENTIALS] == "true"
        assert secret["stringData"] == {"api_key": f"simkey{number}", "access_token": f"simtoken{number}"}


def test_a_simulator_can_come_without_accounts() -> None:
    rendered = render({**REDIS, "simulator": {"enabled": True, "accounts": 0}})

    assert rendered.of_kind("Service").keys() == {f"{RELEASE}-tickershard-simulator"}
    assert not rendered.of_kind("Secret")
    assert f"{RELEASE}-tickershard-trial-pool" not in rendered.of_kind("Job")


def test_without_a_trial_nothing_of_it_is_there() -> None:
    rendered = render(REDIS)

    assert list(rendered.of_kind("Deployment")) == [OPERATOR]
    assert not rendered.of_kind("Secret")
    assert not rendered.of_kind("ConfigMap")
    assert json.loads(rendered.operator_environment()["TICKERSHARD_OPERATOR_ENDPOINTS_ALLOWED"]) == []


# -- uninstalling ---------------------------------------------------------------------


def test_accounts_are_released_before_the_operator_goes() -> None:
    rendered = render(REDIS)
    name = f"{RELEASE}-tickershard-release-accounts"

    for kind in ("Job", "ServiceAccount", "Role", "RoleBinding"):
        annotations = rendered.one(kind, name)["metadata"]["annotations"]
        assert annotations["helm.sh/hook"] == "pre-delete", kind
    container = rendered.one("Job", name)["spec"]["template"]["spec"]["containers"][0]
    assert container["args"][:2] == ["release", OPERATOR]


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({}, "redis.existingSecret (kubectl -n ticks create secret", id="no Redis"),
        pytest.param(
            {"redis": {"url": "redis://a", "existingSecret": "b"}}, "now 2 of the three", id="two ways to Redis"
        ),
        pytest.param({**REDIS, "operatr": {}}, "'operatr' not allowed", id="a misspelt part"),
        pytest.param({**REDIS, "operator": {"quietMS": 5}}, "'quietMS' not allowed", id="a misspelt value"),
        pytest.param({**REDIS, "operator": {"detectAfterS": 2}}, "/operator/detectAfterS", id="a value out of range"),
        pytest.param({"redis": {"url": "http://redis"}}, "redis.url must begin with", id="a URL of something else"),
        pytest.param(
            {**REDIS, "operator": {"detectAfterS": 20}},
            "moveAfterS (15) must be above operator.detectAfterS (20)",
            id="lost before it is silent",
        ),
        pytest.param(
            {**REDIS, "shards": {"circuitWaitFirstMs": 500, "circuitWaitMaxMs": 400}},
            "circuitWaitFirstMs (500) must not be above shards.circuitWaitMaxMs (400)",
            id="a first wait longer than the longest",
        ),
        pytest.param(
            {**REDIS, "shards": {"backpressureConflateMs": 3000, "backpressureShedMs": 3000}},
            "backpressureConflateMs (3000) must be below shards.backpressureShedMs (3000)",
            id="two levels at once",
        ),
        pytest.param(
            {**REDIS, "endpointsAllowed": ["kite.example"]}, "/endpointsAllowed/0", id="an address without scheme"
        ),
        pytest.param({**REDIS, "simulator": {"accounts": 10}}, "/simulator/accounts", id="more keys than there are"),
        pytest.param(
            {**REDIS, "serviceAccount": {"create": False}}, "serviceAccount.name", id="an account without name"
        ),
        pytest.param({**REDIS, "image": {"digest": "latest"}}, "/image/digest", id="a digest that is none"),
        *(
            pytest.param(
                {**REDIS, what: {"podLabels": {label: "stranger"}}},
                f"{what}.podLabels: the pods are found by {label}",
                id=f"a label by which pods are found: {what}, {label}",
            )
            for what, label in (
                ("operator", "app.kubernetes.io/name"),
                ("operator", "app.kubernetes.io/component"),
                ("operator", "tickershard.io/shard"),
                ("shards", "app.kubernetes.io/managed-by"),
                ("shards", "tickershard.io/account"),
            )
        ),
    ],
)
def test_refuses(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ChartRefusedError) as refusal:
        render(values)

    assert said in str(refusal.value)


@pytest.mark.parametrize("url", ["redsi://user:canary@redis:6379/0", "user:canary@redis"])
def test_a_refused_redis_url_is_not_repeated(url: str) -> None:
    with pytest.raises(ChartRefusedError) as refusal:
        render({"redis": {"url": url}})

    assert "redis.url must begin with" in str(refusal.value)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_every_form_of_url_that_a_shard_reads_may_be_given(scheme: str) -> None:
    url = f"{scheme}://redis:26379/mymaster"

    assert render({"redis": {"url": url}}).one("Secret", f"{RELEASE}-tickershard-redis")["stringData"]["url"] == url
