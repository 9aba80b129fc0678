"""The chart's objects are what Kubernetes, KEDA, LeaderWorkerSet and Prometheus' operator take."""

import re
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

from tests.fixtures.outside.chart import Object, Refused, container, pod_template, render
from tests.fixtures.outside.chart_values import EVERYTHING
from tests.fixtures.paths import REPOSITORY

OLDEST, NEWEST = "1.30", "1.37"
INSTALLATIONS: dict[str, dict[str, Any]] = {"defaults": {}, "everything": EVERYTHING}
OF_OTHERS = {
    "ScaledObject": ScaledObject,
    "TriggerAuthentication": TriggerAuthentication,
    "PodMonitor": PodMonitor,
}


def objects(installation: str) -> list[Object]:
    return render(**INSTALLATIONS[installation]).objects


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("installation", INSTALLATIONS)
def test_two_versions_of_kubernetes_take_each_object(installation: str, version: str) -> None:
    checked = set()
    for each in objects(installation):
        if each["kind"] not in {*OF_OTHERS, "LeaderWorkerSet"}:
            kubernetes_validate.validate(each, version, strict=True)
            checked.add(each["kind"])
    expected = {"Deployment", "Service", "Job", "NetworkPolicy", "PodDisruptionBudget"}
    assert checked == expected | ({"ConfigMap"} if installation == "everything" else set())


def test_a_field_that_kubernetes_does_not_know_is_noticed() -> None:
    each = {**objects("defaults")[0], "metdata": {}}
    with pytest.raises(kubernetes_validate.ValidationError, match="metdata"):
        kubernetes_validate.validate(each, NEWEST, strict=True)


def test_keda_and_the_operator_of_prometheus_take_their_objects_and_know_each_field() -> None:
    """Their models ignore unknown fields, so what they have read is compared with the object."""
    found = [each for each in objects("everything") if each["kind"] in OF_OTHERS]
    assert {each["kind"] for each in found} == set(OF_OTHERS)
    for each in found:
        read = OF_OTHERS[each["kind"]].model_validate(each)
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == each


def test_the_operator_takes_the_alerts_as_the_page_hands_them_over() -> None:
    page = (REPOSITORY / "docs/operate/kubernetes.md").read_text()
    (command,) = re.findall(r"^(\(printf.*?)\| kubectl", page, re.MULTILINE | re.DOTALL)
    made = subprocess.run(["sh", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    rule = yaml.safe_load(made.stdout)
    rules = yaml.safe_load((REPOSITORY / "operate/prometheus/rules.yml").read_text())
    assert rule["spec"] == rules
    read = PrometheusRule.model_validate(rule)
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == rule


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_a_group_of_machines_is_as_leader_worker_set_describes_it(version: str) -> None:
    """No package has the schema of LeaderWorkerSet, so this names the fields and the values that it takes."""
    (group,) = render(**EVERYTHING).of_kind("LeaderWorkerSet").values()
    assert group["apiVersion"] == "leaderworkerset.x-k8s.io/v1"
    assert set(group["spec"]) <= {"replicas", "startupPolicy", "leaderWorkerTemplate", "rolloutStrategy"}
    assert group["spec"]["startupPolicy"] in ("LeaderCreated", "LeaderReady")
    assert set(group["spec"]["leaderWorkerTemplate"]) == {"size", "restartPolicy", "workerTemplate"}
    assert group["spec"]["leaderWorkerTemplate"]["restartPolicy"] in ("None", "RecreateGroupOnPodRestart")
    template = pod_template(group)
    pod = {"apiVersion": "v1", "kind": "Pod", **template}
    pod["metadata"] = {**template["metadata"], "name": "machine"}
    kubernetes_validate.validate(pod, version, strict=True)


def test_a_group_divides_its_devices_among_machines_that_meet_at_the_first_one() -> None:
    template = render(**EVERYTHING).pods["tunery-worker-rack"]
    machine = container(template)
    variables = {each["name"]: each for each in machine["env"]}
    assert variables["TUNERY_DEVICES"]["value"] == "16"
    assert variables["TUNERY_NODES"]["value"] == "2"
    assert variables["TUNERY_RENDEZVOUS"]["value"] == "$(LWS_LEADER_ADDRESS):29500"
    field = variables["TUNERY_NODE_RANK"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.labels['leaderworkerset.sigs.k8s.io/worker-index']"
    assert machine["resources"]["limits"]["nvidia.com/gpu"] == 8


def test_devices_that_cannot_be_divided_among_machines_are_refused() -> None:
    with pytest.raises(
        Refused, match=r"workers\.rack: its 9 devices cannot be divided evenly among 2 machines"
    ):
        render(workers={"rack": {"devices": 9, "group": {"size": 2}}})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"workers": {"gpu": {"devicess": 2}}}, "devicess"),
        ({"workers": {"Big GPU": {}}}, "Big GPU"),
        ({"api": {"replicas": 0}}, "/api/replicas"),
        ({"s3": {"endpointUrl": "s3.example.com"}}, "/s3/endpointUrl"),
        ({"images": {"api": {"digest": "latest"}}}, "/images/api/digest"),
        ({"settings": {"tunery_log_level": "debug"}}, "tunery_log_level"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(Refused, match=named):
        render(**values)
