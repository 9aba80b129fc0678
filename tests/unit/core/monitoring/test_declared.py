"""The list of service metrics, and what may only use its names: alerts, the Grafana dashboard, the pages."""

import json
import re
from collections import Counter
from typing import Any

import pytest
import yaml

from core.monitoring.declared import Declared, all_declared
from tests.fixtures.outside.prometheus import FOLDER, promtool
from tests.fixtures.paths import REPOSITORY

METRICS = {metric.name: metric for metric in all_declared()}
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((REPOSITORY / "operate/grafana/tunery.json").read_text())
PAGE = (REPOSITORY / "docs/operate/metrics.md").read_text()
UNITS = ("_seconds", "_bytes", "_ratio")
OF_HISTOGRAMS = ("_bucket", "_sum", "_count")


def names_in(expression: str) -> set[str]:
    """Return the metrics of Tunery that a PromQL expression reads."""
    found = set(re.findall(r"\btunery_\w+", expression))
    histograms = {name for name, metric in METRICS.items() if metric.kind == "histogram"}
    return {
        next((name for name in histograms if each in {name + end for end in OF_HISTOGRAMS}), each)
        for each in found
    }


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]


def test_each_name_is_there_once() -> None:
    assert [
        name for name, count in Counter(metric.name for metric in all_declared()).items() if count > 1
    ] == []


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_name_follows_the_rules_of_prometheus(metric: Declared) -> None:
    assert re.fullmatch(r"tunery(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    if metric.kind == "histogram":
        assert metric.name.endswith(UNITS)
        assert list(metric.buckets) == sorted(metric.buckets) != []
    assert not {"job", "instance", "le", "job_id"} & set(metric.labels)


def test_alerts_and_dashboard_use_no_other_names() -> None:
    used = set().union(*map(names_in, [rule["expr"] for rule in RULES] + expressions()))
    assert used <= METRICS.keys()


def test_the_dashboard_shows_every_metric_but_those_that_only_alerts_need() -> None:
    shown = set().union(*map(names_in, expressions()))
    watched = set().union(*(names_in(rule["expr"]) for rule in RULES))
    assert METRICS.keys() - shown <= watched | {"tunery_serve_adapters", "tunery_trainer_claims_total"}


def test_each_alert_has_a_heading_that_says_what_to_do() -> None:
    headings = re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operate/metrics.md#{rule['alert'].lower()}"


def test_promtool_takes_the_rules_and_each_alert_fires_in_its_unit_tests() -> None:
    done = promtool("check", "rules", "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("test", "rules", "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((FOLDER / "rules.test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tests for each in test["alert_rule_test"] if "exp_alerts" in each}
    assert fired == {rule["alert"] for rule in RULES}


def test_promtool_takes_the_configuration() -> None:
    done = promtool("check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_panels_do_not_overlap() -> None:
    cells = Counter(
        (x, y)
        for panel in DASHBOARD["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)
