"""The Helm chart runs the service of docker-compose.yml, and gives it no rights that it does not need."""

import json
import re
import textwrap
import tomllib
from typing import Any

import pytest
import yaml

from api import stop_times as api_stop_times
from core.settings import SERVER_FIELDS, Settings
from tests.fixtures.outside.chart import CHART, Object, Refused, container, render
from tests.fixtures.outside.chart_values import EVERYTHING
from tests.fixtures.paths import REPOSITORY
from worker.process import stop_times

SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
SERVICE_OF = {"api": "api", "migrate": "migrate", "worker": "worker", "server": "serve"}
MAKES_SECRETS = {
    "TUNERY_DATABASE_URL",
    "TUNERY_DATABASE_DIRECT_URL",
    "TUNERY_BROKER_URL",
    "TUNERY_SECRET_KEYS",
    "TUNERY_SERVE_UPSTREAM_KEY",
    "TUNERY_SIGN_ON_CLIENT_SECRET",
}
(HOME,) = {  # below which libraries keep caches
    found
    for image in ("Dockerfile", "Dockerfile.gpu")
    for found in re.findall(r"^ENV HOME=(\S+)", (REPOSITORY / image).read_text(), re.MULTILINE)
}
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def pods() -> dict[str, Object]:
    """Return the templates of all pods of an installation that has everything."""
    return render(**EVERYTHING).pods


def program_of(template: Object) -> str:
    return str(template["metadata"]["labels"]["tunery.dev/program"])


def variables(template: Object) -> dict[str, Object]:
    found = container(template)["env"]
    assert len({each["name"] for each in found}) == len(found), "a variable is there twice"
    return {each["name"]: each for each in found}


def test_each_setting_of_the_chart_exists_and_has_a_value_that_fits() -> None:
    for template in pods().values():
        found = variables(template)
        ours = {variable for variable in found if variable.startswith("TUNERY_")}
        assert ours <= {f"TUNERY_{field.upper()}" for field in Settings.model_fields}
        plain = {each: found[each]["value"] for each in ours if "value" in found[each]}
        Settings(**{each.removeprefix("TUNERY_").lower(): value for each, value in plain.items()})


def test_a_program_gets_what_compose_gives_it() -> None:
    for template in pods().values():
        service = SERVICES[SERVICE_OF[program_of(template)]]
        assert container(template)["args"] == service["command"]
        found = variables(template)
        unneeded = {  # compose hands the same variables to all
            "migrate": {"TUNERY_BROKER_URL", "TUNERY_SECRET_KEYS"},
            "server": {"TUNERY_BROKER_URL"},
        }.get(program_of(template), set())
        assert set(service["environment"]) - set(found) == unneeded
        same = {
            "TUNERY_INTEGRATIONS",
            "TUNERY_LOG_JSON",
            "TUNERY_SERVE_HOST",
            "TUNERY_SERVE_PORT",
            "TUNERY_S3_BUCKET",
        }
        for each in same & set(service["environment"]):
            assert found[each]["value"] == service["environment"][each]


def test_all_programs_of_compose_run() -> None:
    ours = {SERVICE_OF[program_of(template)] for template in pods().values()}
    assert ours == {name for name, service in SERVICES.items() if "build" in service}


def test_whatever_is_secret_comes_from_a_secret_that_exists_already() -> None:
    for template in pods().values():
        found = variables(template)
        secret = {each for each in found if each in MAKES_SECRETS or re.search("TOKEN|ACCESS_KEY", each)}
        assert {"TUNERY_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"} <= secret
        for each in secret:
            assert found[each]["valueFrom"]["secretKeyRef"]["name"].startswith("tunery-")
        assert {f"TUNERY_{field.upper()}" for field in SERVER_FIELDS} - {"TUNERY_BROKER_URL"} <= set(found)


def test_the_chart_makes_no_secret() -> None:
    assert not render(**EVERYTHING).of_kind("Secret")
    fields = Settings.model_fields
    kept = {
        f"TUNERY_{name.upper()}" for name, field in fields.items() if "SecretStr" in str(field.annotation)
    }
    assert kept <= MAKES_SECRETS


def test_a_pod_has_longer_than_its_program_needs_to_stop() -> None:
    needed = {"api": api_stop_times.API, "worker": stop_times.WORKER, "server": stop_times.SERVER}
    of_compose = {
        name: int(SERVICES[SERVICE_OF[name]]["stop_grace_period"].removesuffix("s")) for name in needed
    }
    for template in (*pods().values(), *render().pods.values()):
        if (program := program_of(template)) in needed:
            hook = (
                container(template).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            )
            grace = template["spec"]["terminationGracePeriodSeconds"] - hook
            assert grace > needed[program]
            assert grace == of_compose[program]


@pytest.mark.parametrize(
    ("where", "values", "needs"),
    [
        ("api", {"preStopSeconds": 12}, 12 + api_stop_times.API),
        ("workers.gpu", {}, stop_times.WORKER),
        ("servers.gpu", {}, stop_times.SERVER),
    ],
)
def test_a_grace_that_is_too_short_is_refused(where: str, values: Object, needs: int) -> None:
    def with_grace(seconds: int) -> Object:
        part, _, name = where.partition(".")
        given = {**values, "terminationGracePeriodSeconds": seconds}
        return {part: {name: given} if name else given}

    assert render(**with_grace(needs)).pods
    refused = rf"{where}\.terminationGracePeriodSeconds: it needs at least {needs} seconds"
    with pytest.raises(Refused, match=refused):
        render(**with_grace(needs - 1))


def emptied(pod: Object) -> set[str]:
    """Return the names of the pod's volumes that are its own."""
    return {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}


def test_a_program_has_no_rights_and_writes_only_where_a_volume_is() -> None:
    for template in pods().values():
        pod = template["spec"]
        user = int(re.findall(r"USER (\d+)", (REPOSITORY / "Dockerfile").read_text())[0])
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["shareProcessNamespace"], "as `init: true` of compose: somebody must bury orphans"
        allowed = container(template)["securityContext"]
        assert allowed["readOnlyRootFilesystem"]
        assert allowed["capabilities"] == {"drop": ["ALL"]}
        assert not allowed["allowPrivilegeEscalation"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container(template)["volumeMounts"]}
        if program_of(template) != "migrate":
            own = {path for path, name in mounts.items() if name in emptied(pod)}
            assert {f"{HOME}/.cache", f"{HOME}/.triton"} <= own
        assert not [path for path in mounts if path.startswith("/home")]
        assert {"/tmp", variables(template)["TUNERY_HOME"]["value"]} <= set(mounts)  # noqa: S108
        assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}


def test_the_migration_runs_before_each_release_and_needs_no_other_object_of_the_chart() -> None:
    rendered = render(**EVERYTHING)
    job = rendered.of_kind("Job")["tunery-migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = rendered.pods["tunery-migrate"]
    mounted = rendered.of_kind("ConfigMap", "Secret", "ServiceAccount", "PersistentVolumeClaim")
    text = json.dumps(pod["spec"])
    assert mounted
    assert not [name for name in mounted if f'"{name}"' in text]
    assert [volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" not in volume] == []
    assert container(pod)["args"] == ["migrate"]
    asked = render(migration={"contractUpTo": "0006"}).pods["tunery-migrate"]
    assert container(asked)["args"] == ["migrate", "--contract-up-to", "0006"]


def test_the_api_offers_the_device_classes_that_have_workers() -> None:
    assert variables(pods()["tunery-api"])["TUNERY_DEVICE_CLASSES"]["value"] == "1,8,16"


def test_a_worker_asks_for_its_devices_and_one_without_gpu_for_none() -> None:
    limits = {name: container(template)["resources"].get("limits", {}) for name, template in pods().items()}
    assert limits["tunery-worker-l4"]["nvidia.com/gpu"] == 1
    assert limits["tunery-worker-h100"]["nvidia.com/gpu"] == 8
    assert limits["tunery-server-gpu"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in {**limits["tunery-worker-cpu"], **limits["tunery-server-small"]}


def test_keda_takes_workers_and_servers_down_to_none_and_nobody_else_sets_their_number() -> None:
    rendered = render(**EVERYTHING)
    made = rendered.of_kind("Deployment", "LeaderWorkerSet")
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"]
        for each in rendered.of_kind("ScaledObject").values()
    }
    assert set(scaled) == {
        f"tunery-{name}" for name in ("worker-l4", "worker-cpu", "worker-rack", "server-gpu")
    }
    for name, spec in scaled.items():
        assert spec["minReplicaCount"] == 0
        assert spec["scaleTargetRef"]["kind"] == made[name]["kind"]
        assert spec["scaleTargetRef"]["apiVersion"] == made[name]["apiVersion"]
        reference = spec["triggers"][0]["authenticationRef"]["name"]
        assert reference in rendered.of_kind("TriggerAuthentication")
    for name, each in made.items():
        assert ("replicas" in each["spec"]) == (name not in scaled)


def test_without_keda_none_of_its_objects_is_made() -> None:
    assert not render().of_kind("ScaledObject", "TriggerAuthentication", "PodMonitor", "LeaderWorkerSet")


def test_kueue_finds_its_queue_where_a_value_names_one() -> None:
    made = render(**EVERYTHING).of_kind("Deployment", "LeaderWorkerSet")
    queues = {
        name: each["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") for name, each in made.items()
    }
    assert queues["tunery-worker-l4"] == queues["tunery-worker-rack"] == "training"
    assert queues["tunery-server-small"] == "chats"
    assert queues["tunery-worker-cpu"] is None


def test_a_drain_takes_one_pod_after_the_other() -> None:
    rendered = render(**EVERYTHING)
    budgets = rendered.of_kind("PodDisruptionBudget")
    for name, template in rendered.pods.items():
        if name != "tunery-migrate":
            assert budgets[name]["spec"]["maxUnavailable"] == 1
            assert budgets[name]["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]


def selects(policy: Object, template: Object) -> bool:
    wanted = policy["podSelector"]["matchLabels"].items()
    return wanted <= template["metadata"]["labels"].items()


def reachable(policies: list[Object], template: Object) -> list[Object]:
    """Return the rules by which a pod is reached."""
    return [rule for each in policies if selects(each, template) for rule in each.get("ingress", [])]


def test_nobody_reaches_a_pod_but_by_a_rule_that_names_port_and_peers() -> None:
    policies = [each["spec"] for each in render(**EVERYTHING).of_kind("NetworkPolicy").values()]
    closed = [each for each in policies if "ingress" not in each]
    for name, template in pods().items():
        assert any(selects(each, template) and "Ingress" in each["policyTypes"] for each in closed), name
        rules = reachable(policies, template)
        assert (not rules) == (name == "tunery-migrate")
        for rule in rules:
            assert rule["from"]
            assert "ports" in rule or name == "tunery-worker-rack"


def test_only_machines_of_a_group_reach_all_its_ports() -> None:
    policies = [each["spec"] for each in render(**EVERYTHING).of_kind("NetworkPolicy").values()]
    (rule,) = [rule for rule in reachable(policies, pods()["tunery-worker-rack"]) if "ports" not in rule]
    (peer,) = rule["from"]
    reached_by = [name for name, template in pods().items() if selects(peer, template)]
    assert reached_by == ["tunery-worker-rack"]


def test_only_the_api_and_workers_ask_those_that_answer_chats() -> None:
    policies = [each["spec"] for each in render(**EVERYTHING).of_kind("NetworkPolicy").values()]
    for name in ("tunery-server-gpu", "tunery-worker-l4"):
        rules = [rule for rule in reachable(policies, pods()[name]) if rule["ports"][0]["port"] == 8001]
        asking = {
            other
            for rule in rules
            for peer in rule["from"]
            for other in pods()
            if "podSelector" in peer and selects(peer, pods()[other])
        }
        assert {program_of(pods()[other]) for other in asking} == {"api", "worker"}


def test_metrics_have_a_port_and_a_monitor_where_a_value_names_the_port() -> None:
    monitors = render(**EVERYTHING).of_kind("PodMonitor")
    assert set(monitors) == {"tunery-api", "tunery-server", "tunery-worker"}
    watched = {name: each["spec"]["podMetricsEndpoints"] for name, each in monitors.items()}
    for program, port in (("api", "metrics"), ("worker", "metrics"), ("server", "chats")):
        (endpoint,) = watched[f"tunery-{program}"]
        assert (endpoint["port"], endpoint["path"]) == (port, "/metrics")
        labels = {each["targetLabel"]: each["replacement"] for each in endpoint["relabelings"]}
        assert labels == {"job": "tunery", "program": program}, "the labels of rules.yml"
    read = {
        name
        for name, pod in pods().items()
        for each in monitors.values()
        if pod["metadata"]["labels"]["app.kubernetes.io/component"]
        in each["spec"]["selector"]["matchExpressions"][0]["values"]
    }
    assert read == {"tunery-api", "tunery-worker-l4", "tunery-server-gpu"}
    ports = {name: [port["name"] for port in container(pod).get("ports", [])] for name, pod in pods().items()}
    assert "metrics" in ports["tunery-api"]
    assert ports["tunery-server-gpu"] == ["chats"]
    assert "metrics" not in ports["tunery-worker-cpu"]
    for pod, port in (
        ("tunery-api", "TUNERY_API_METRICS_PORT"),
        ("tunery-worker-l4", "TUNERY_WORKER_METRICS_PORT"),
    ):
        found = variables(pods()[pod])
        assert (found["TUNERY_METRICS_HOST"]["value"], found[port]["value"]) == ("0.0.0.0", "9100")  # noqa: S104
    assert "TUNERY_METRICS_HOST" not in variables(pods()["tunery-worker-cpu"])


@pytest.mark.parametrize("where", ["api", "workerDefaults"])
@pytest.mark.parametrize("port", [8000, 8001])
def test_a_metrics_port_that_something_else_has_is_refused(where: str, port: int) -> None:
    peers = {"metricsFrom": [{"podSelector": {}}]}
    with pytest.raises(Refused, match=rf"metrics\.port: {port} is already api\.port or chatPort"):
        render(**{where: {"metrics": {"port": port}}, "networkPolicy": peers})


@pytest.mark.parametrize(
    "values",
    [
        {"api": {"metrics": {"port": 9100}}},
        {"workerDefaults": {"metrics": {"port": 9100}}},
        {"serverDefaults": {"metrics": {"enabled": True}}},
    ],
)
def test_metrics_that_no_peer_may_collect_are_refused(values: Object) -> None:
    with pytest.raises(Refused, match=r"networkPolicy\.metricsFrom: name who collects the metrics"):
        render(**values)
    assert render(**values, networkPolicy={"enabled": False}).of_kind("PodMonitor")


def test_only_the_migration_gets_the_database_without_the_pooler() -> None:
    direct = {name for name, pod in pods().items() if "TUNERY_DATABASE_DIRECT_URL" in variables(pod)}
    assert direct == {"tunery-migrate"}
    assert "TUNERY_DATABASE_DIRECT_URL" not in variables(render().pods["tunery-migrate"])


def test_large_and_broken_numbers_reach_a_program_as_they_are() -> None:
    found = variables(pods()["tunery-worker-l4"])
    assert found["TUNERY_COHORT_BYTES"]["value"] == str(4 * 1024**3)
    assert found["TUNERY_SERVE_SHARE"]["value"] == "0.3"


def test_the_chart_is_of_this_release() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_each_value_has_a_description_and_each_described_value_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def resolved(node: Any) -> Any:
        return schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node

    def compare(node: Any, value: Any, where: str) -> None:
        node = resolved(node)
        assert where == "" or node["description"], where
        if "properties" in node:
            assert set(node["properties"]) - {"global"} == set(value), where
            for name in value:
                compare(node["properties"][name], value[name], f"{where}/{name}")

    compare(schema, VALUES, "")


def test_each_example_of_the_page_is_what_the_chart_takes() -> None:
    page = (REPOSITORY / "docs/operate/kubernetes.md").read_text()
    examples = re.findall(r"^( *)```yaml\n(.*?)^\1```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    for _, example in examples:
        values = yaml.safe_load(textwrap.dedent(example))
        expected = {
            name for name, worker in values.get("workers", VALUES["workers"]).items() if worker is not None
        }
        found = {name.removeprefix("tunery-worker-") for name in render(**values).pods if "-worker-" in name}
        assert found == expected


def test_the_page_says_first_that_no_cluster_has_seen_the_chart() -> None:
    page = (REPOSITORY / "docs/operate/kubernetes.md").read_text()
    assert "never applied to a cluster" in page.splitlines()[0]
